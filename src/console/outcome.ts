import type { Row } from "./row.ts";

/** How a receipt is drawn: what its kind and verdict come down to, for colour, mark and filter. */
export const OUTCOMES = {
  completed: { name: "Completed", mark: "●" },
  denied: { name: "Denied", mark: "▲" },
  failed: { name: "Failed, cut or unknown", mark: "✕" },
  record: { name: "The ledger's own records", mark: "○" },
} as const;
export type Outcome = keyof typeof OUTCOMES;
export const OUTCOME_NAMES = Object.keys(OUTCOMES) as Outcome[];

export function outcomeOf({ kind, verdict }: Pick<Row, "kind" | "verdict">): Outcome {
  if (kind === "DENIAL") return "denied";
  if (kind !== "ACTION") return "record";
  return verdict === "COMPLETED" ? "completed" : "failed";
}

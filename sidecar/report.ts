/**
 * What the sidecar says while it runs: one line on standard error for a person, the same as one JSON
 * line where standard error is not a terminal. Names, ids, states and hashes: never a payload, never
 * a key.
 */
export type Report = (event: string, facts?: Readonly<Record<string, string | number>>) => void;

export const stderrReport: Report = (event, facts = {}) => {
  process.stderr.write(line(event, facts, process.stderr.isTTY));
};

/** One event as it is said, its line's end with it. */
export function line(
  event: string,
  facts: Readonly<Record<string, string | number>>,
  toPerson: boolean,
): string {
  if (!toPerson) return `${JSON.stringify({ event, ...facts })}\n`;
  // Text of several lines is meant to be pasted, so it stands by itself.
  const all = Object.entries(facts).map(([key, value]) => [key, String(value)] as const);
  const inline = all.filter(([, v]) => !v.includes("\n")).map(([key, v]) => `${key}=${v}`);
  const blocks = all.filter(([, v]) => v.includes("\n")).map(([, v]) => v.replace(/^/gm, "  "));
  return `${[`dragons: ${[event, ...inline].join("  ")}`, ...blocks].join("\n")}\n`;
}

/** At the start and at each renewal: what merely observes must never be taken for what enforces. */
export function reportObserving(
  report: Report,
  { observeUntilUs }: { readonly observeUntilUs: number },
  nowUs: number,
): void {
  if (nowUs >= observeUntilUs) return;
  const until = new Date(observeUntilUs / 1000).toISOString();
  report("OBSERVES ONLY: what no scope allows passes, and its receipts say WOULD_DENY", { until });
}

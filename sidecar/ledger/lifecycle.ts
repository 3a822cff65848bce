import { ActionBody, GoalBody, OutcomeBody } from "../../src/domain/payload.ts";
import type { Closing, RecordDraft } from "./work-ledger.ts";

/** What a ledger writes about itself. Drift and adopted epochs are written by those who see them. */
export type LifecycleEvent = "boot" | "restart" | "recovery" | "shutdown" | (string & {});

const NOTHING = new Uint8Array(0);

/** A LIFECYCLE receipt: what happened is the action's verb, the particulars are the outcome. */
export function lifecycleDraft(
  event: LifecycleEvent,
  particulars: string,
  manifestHash: Uint8Array,
  nowUs: number,
): RecordDraft {
  return {
    kind: "LIFECYCLE",
    reason: "UNSPECIFIED",
    scope: "",
    leaseRef: NOTHING,
    manifestHash,
    claim: NOTHING,
    goal: GoalBody.encode({ ...GoalBody.empty(), version: 1, purpose: "the ledger's own record" }),
    action: ActionBody.encode({ ...ActionBody.empty(), version: 1, verb: event }),
    evidence: NOTHING,
    outcome: outcomeOf(particulars),
    openedAtUs: nowUs,
  };
}

/** How an intent ends that a crash left open. What was reserved may have passed, so it is spent. */
export const crashed = (reservedBytes: number, nowUs: number): Closing => ({
  ...untold(nowUs, "unknown: the sidecar ended before it was told"),
  spentBytes: reservedBytes,
  verdict: "INDETERMINATE",
  reason: "CRASHED",
});

/** How an intent ends that became durable after its caller was told no. */
export const refusedAfterAll = (why: string, nowUs: number): Closing => ({
  ...untold(nowUs, why),
  verdict: "DENIED",
  reason: "LEDGER_UNAVAILABLE",
});

const untold = (nowUs: number, status: string): Omit<Closing, "verdict" | "reason"> => ({
  closedAtUs: nowUs,
  egressLastUs: 0,
  spentBytes: 0,
  action: NOTHING,
  evidence: NOTHING,
  outcome: outcomeOf(status),
});

/** An outcome that is told in words alone. */
const outcomeOf = (status: string): Uint8Array =>
  OutcomeBody.encode({ ...OutcomeBody.empty(), version: 1, status });

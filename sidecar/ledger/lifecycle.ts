import { ActionBody, GoalBody, OutcomeBody } from "../../src/domain/payload.ts";
import type { RecordDraft } from "./work-ledger.ts";

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

/** An outcome that is told in words alone. */
export const outcomeOf = (status: string): Uint8Array =>
  OutcomeBody.encode({ ...OutcomeBody.empty(), version: 1, status });

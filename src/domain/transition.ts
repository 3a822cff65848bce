import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

export const STATES = [
  "UNSPECIFIED",
  "DOCKED",
  "RUNNING",
  "DEGRADED",
  "AUTOHEALING",
  "QUARANTINED",
  "STOPPED",
] as const;
export type State = (typeof STATES)[number];

export const CONDITION_TYPES = [
  "UNSPECIFIED",
  "SILENT",
  "STALLED",
  "LOOPING",
  "LEASE_ZERO",
  "LEDGER_FAULT",
  "SYNC_LAG",
  "DENIAL_STORM",
  "DRIFT",
  "FORK",
  "REGRESS",
  "KEY_MISUSE",
  "HELD",
] as const;
export type ConditionType = (typeof CONDITION_TYPES)[number];

export const DESIRES = ["UNSPECIFIED", "RUN", "HOLD", "STOP"] as const;
export type Desire = (typeof DESIRES)[number];

/** Why a transition was made: a condition, its end, or a word from outside. */
export const CAUSES = [
  "UNSPECIFIED",
  "FIRST_BEAT",
  "CONDITION",
  "CONDITIONS_CLEARED",
  "REMEDY_STARTED",
  "RECOVERED",
  "REMEDIES_SPENT",
  "OPERATOR",
  "FINISHED",
  "FAILED",
  "UNCONFIRMED",
] as const;
export type Cause = (typeof CAUSES)[number];

export const Condition = message("condition", {
  type: oneOf(1, CONDITION_TYPES),
  sinceUs: u64(2),
  /** ref of the heartbeat, lease, receipt or proof that shows it. */
  artifact: bytes(3, 32),
});
export type Condition = ReturnType<typeof Condition.decode>;

/** A stretch of time in which the control plane was up and could have heard. */
export const Interval = message("interval", { fromUs: u64(1), untilUs: u64(2) });

export const TransitionBody = message("transition", {
  version: u32(1),
  transitionId: str(2),
  tenantId: str(3),
  instanceId: str(4),
  ledgerId: bytes(5, 32),
  from: oneOf(6, STATES),
  to: oneOf(7, STATES),
  cause: oneOf(8, CAUSES),
  condition: oneOf(9, CONDITION_TYPES),
  atUs: u64(10),
  desired: oneOf(11, DESIRES),
  conditions: repeated(nested(12, Condition)),
  /** refs of the signed artifacts that it rests on. */
  artifacts: repeated(bytes(13, 32)),
  /** The operator's login key and reason, for OPERATOR. */
  actor: bytes(14, 32),
  reason: str(15),
  /** What silence was judged by: the beat last heard, when the next was due, the bar, and when we listened. */
  lastBeatUs: u64(16),
  dueUs: u64(17),
  thresholdUs: u64(18),
  observerUp: repeated(nested(19, Interval)),
});
export type TransitionBody = ReturnType<typeof TransitionBody.decode>;

export const TRANSITION: SignedKind<TransitionBody> = { name: "transition", body: TransitionBody };

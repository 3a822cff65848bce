import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import { isId, isInstanceId } from "./ids.ts";
import { type Invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import { purposeMax } from "./limits.ts";
import { isPrintable } from "./printable.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import { checkIssued, firstOf, isPresent, must, openVersion1, sameTenant } from "./verify.ts";

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

/** Every move that there is, and what it may be put down to. Nothing leads out of STOPPED. */
export const MOVES: Readonly<Record<State, Partial<Record<State, readonly Cause[]>>>> = {
  UNSPECIFIED: {},
  DOCKED: {
    RUNNING: ["FIRST_BEAT"],
    QUARANTINED: ["CONDITION", "OPERATOR"],
    STOPPED: ["FINISHED", "FAILED", "OPERATOR"],
  },
  RUNNING: {
    DEGRADED: ["CONDITION"],
    QUARANTINED: ["CONDITION", "OPERATOR"],
    STOPPED: ["FINISHED", "FAILED", "OPERATOR"],
  },
  DEGRADED: {
    RUNNING: ["CONDITIONS_CLEARED"],
    AUTOHEALING: ["REMEDY_STARTED"],
    QUARANTINED: ["CONDITION", "OPERATOR", "UNCONFIRMED"],
    STOPPED: ["FINISHED", "FAILED", "OPERATOR", "UNCONFIRMED"],
  },
  AUTOHEALING: {
    RUNNING: ["RECOVERED"],
    // Its remedies are used up; or what they were for has gone, and something else stands.
    DEGRADED: ["REMEDIES_SPENT", "CONDITION"],
    QUARANTINED: ["CONDITION", "OPERATOR", "REMEDIES_SPENT"],
    STOPPED: ["FINISHED", "FAILED", "OPERATOR"],
  },
  QUARANTINED: {
    // One more reason holds it, or one of several was released.
    QUARANTINED: ["CONDITION", "OPERATOR"],
    DEGRADED: ["OPERATOR"],
    STOPPED: ["FINISHED", "FAILED", "OPERATOR"],
  },
  STOPPED: {},
};

export const Condition = message("condition", {
  type: oneOf(1, CONDITION_TYPES),
  sinceUs: u64(2),
  /** ref of the heartbeat, lease, receipt or proof that shows it. */
  artifact: bytes(3, 32),
});
export type Condition = ReturnType<typeof Condition.decode>;

/** A stretch of time in which the control plane was up and could have heard. */
export const Interval = message("interval", { fromUs: u64(1), untilUs: u64(2) });
export type Interval = ReturnType<typeof Interval.decode>;

/** What happened to an organism, as far as its state is concerned: see `Input` in organism.ts. */
const INPUTS = [
  "UNSPECIFIED",
  "BEAT",
  "TICK",
  "SESSION",
  "LEASE",
  "POLICY",
  "FAULT",
  "HOLD",
  "STOP",
  "RELEASE",
  "REMEDY",
] as const;

export const REMEDY_OUTCOMES = ["UNSPECIFIED", "STARTED", "SUCCEEDED", "EXHAUSTED"] as const;

/**
 * What a move was decided from, when it was: with the beat that it names, the grant's thresholds and
 * the transition's own silence, everything that `decide` sees. Anybody can decide again: history.ts.
 */
export const TransitionBasis = message("transitionBasis", {
  /** What was just taken into account. */
  input: oneOf(1, INPUTS),
  /** ref of the beat last accepted, 32 bytes; absent: none yet. */
  beat: bytes(2, 32),
  /** This organism's own lateness, smoothed, and its mean deviation: what the threshold is made of. */
  latenessUs: u64(3),
  deviationUs: u64(4),
  /** 1: a session was open; 0: none. */
  attached: u32(5),
  sessionEpoch: u64(6),
  /** ref of the last lease, 32 bytes; absent: none yet. */
  lease: bytes(7, 32),
  /** Since when it is leased without a break, until when, and until when it may believe so. */
  leaseGrantedUs: u64(8),
  leaseUntilUs: u64(9),
  leaseHorizonUs: u64(10),
  /** From when a standstill counts, by the sidecar's clock: work is in hand since; 0: idle. */
  busySinceUs: u64(11),
  /** 1: work was refused or failed, and none was completed since; 0: not so. */
  struggling: u32(12),
  denialsUs: u64(13),
  /** When its agent was first heard to have ended; 0: it has not. */
  exitedUs: u64(14),
  /** 1: a beat since it came into this state showed recovery; 0: none did. */
  proven: u32(15),
  remedy: oneOf(16, REMEDY_OUTCOMES),
  progressMarkUs: u64(17),
  /** When an operator's stop came, and the last release; 0: none. */
  stopUs: u64(18),
  releasedUs: u64(19),
  /** What holds it quarantined, or is about to. */
  holds: repeated(nested(20, Condition)),
  /** The passing conditions that stood before: one that stands is measured by its lower bar. */
  before: repeated(nested(21, Condition)),
  /** The declared time, smoothed, and which part of its beats never arrived: of the threshold, too. */
  usualUs: u64(22),
  missedPpm: u64(23),
  /** What the remedy in hand is for, and refs of the directives sent for it so far, in order; absent: no remedy. */
  treated: oneOf(24, CONDITION_TYPES),
  directives: repeated(bytes(25, 32)),
});
export type TransitionBasis = ReturnType<typeof TransitionBasis.decode>;

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
  /**
   * What silence is judged by: when the last beat was heard, when the next was due, how long past
   * that is too long, and when we listened since. `observerUp` is empty where silence was not judged.
   */
  lastBeatUs: u64(16),
  dueUs: u64(17),
  thresholdUs: u64(18),
  observerUp: repeated(nested(19, Interval)),
  /** Absent in transitions of earlier versions: those cannot be decided again. */
  basis: nested(20, TransitionBasis),
  /** What an operator's release took away, each by its name. */
  released: repeated(nested(21, Condition)),
});
export type TransitionBody = ReturnType<typeof TransitionBody.decode>;

export const TRANSITION: SignedKind<TransitionBody> = { name: "transition", body: TransitionBody };

/** What is wrong with a transition taken by itself; null: nothing. */
export function checkTransition(body: TransitionBody): Invalid | null {
  const { from, to, cause, conditions, desired } = body;
  const types = conditions.map((c) => CONDITION_TYPES.indexOf(c.type));
  const field = (ok: boolean, what: string) => must(ok, "E_FIELD", `transition.${what}`);
  return firstOf(
    () => field(isId("trn", body.transitionId), "transitionId is not a trn_ id"),
    () => field(isInstanceId(body.instanceId), "instanceId is not 32 hex digits of a UUIDv7"),
    () => field(isPresent(body.ledgerId), "ledgerId is absent"),
    () => field(MOVES[from][to] !== undefined, `to: ${to} does not follow ${from}`),
    () =>
      field(
        MOVES[from][to]?.includes(cause) === true,
        `cause: ${cause} never led ${from} to ${to}`,
      ),
    () =>
      field(
        cause !== "CONDITION" || body.condition !== "UNSPECIFIED",
        "condition is absent, and the cause is one",
      ),
    () => field(desired !== "UNSPECIFIED", "desired is absent"),
    () =>
      field(
        types.every((type, i) => type > (types[i - 1] ?? 0)),
        "conditions are not sorted by type, each once",
      ),
    () =>
      field(
        (cause === "OPERATOR") === (body.reason !== "") &&
          (cause === "OPERATOR") === isPresent(body.actor),
        "actor and reason stand with OPERATOR, and only there",
      ),
    () =>
      field(
        body.released.length === 0 || (from === "QUARANTINED" && cause === "OPERATOR"),
        "released stands where an operator let something out of quarantine",
      ),
    () =>
      field(
        [body.basis.attached, body.basis.struggling, body.basis.proven].every((n) => n <= 1),
        "basis: attached, struggling and proven are 0 or 1",
      ),
    () =>
      field(
        body.reason.length <= purposeMax && isPrintable(body.reason),
        `reason is not printable text of at most ${purposeMax} characters`,
      ),
  );
}

/**
 * Verifies that the tenant's issuer recorded this change of state, and that it says all that its cause
 * asks for. Whether it follows from the evidence that it cites is `step`'s to say, see lifecycle.ts.
 */
export function verifyTransition(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
  nowUs: number,
): Verified<TransitionBody> | Invalid {
  const opened = openVersion1(crypto, TRANSITION, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const times = { signedAtUs: body.atUs, nowUs };
  return (
    firstOf(
      () => sameTenant("transition.tenantId", body.tenantId, keyset.body.tenantId),
      () => checkTransition(body),
      () => checkIssued("transition.atUs", body.atUs, nowUs),
      () => checkSigners("transition", keyset, "ISSUER", signers, times),
    ) ?? verified
  );
}

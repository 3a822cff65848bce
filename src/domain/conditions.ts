import { equal } from "./bytes.ts";
import { bool, bytes, message, nested, u64 } from "./canonical.ts";
import type { LivenessPolicy } from "./grant.ts";
import { HeartbeatBody, succession } from "./heartbeat.ts";
import { heartbeatIntervalUs } from "./limits.ts";
import type { Verified } from "./signed.ts";
import { heard, Rhythm, type Silence } from "./suspicion.ts";
import { CONDITION_TYPES, type Condition, type ConditionType } from "./transition.ts";

/**
 * What is known of an organism, and what is wrong with it by that knowledge.
 *
 * Some conditions clear by themselves when the facts change; the five LATCHED ones are proofs or an
 * operator's word, and only a release takes them away.
 */
const LATCHED = ["DRIFT", "FORK", "REGRESS", "KEY_MISUSE", "HELD"] as const;
export type Latched = (typeof LATCHED)[number];
export type Clearing = Exclude<ConditionType, Latched | "UNSPECIFIED">;

/** The facts that conditions are derived from: signed artifacts and when we heard of them. */
export const Facts = message("facts", {
  rhythm: nested(1, Rhythm),
  /** The last beat that was accepted; all absent: none yet. */
  beat: nested(2, HeartbeatBody),
  beatRef: bytes(3, 32),
  /** The last lease; since when it is leased without a break; until when, unless revoked. */
  leaseRef: bytes(4, 32),
  leaseGrantedUs: u64(5),
  leaseUntilUs: u64(6),
  /** The latest end of any lease that the sidecar could still believe in, revoked or not. */
  leaseHorizonUs: u64(7),
  attached: bool(8),
  sessionEpoch: u64(9),
  /** From when a standstill counts, by the sidecar's clock: work is in hand since, see `hear`; 0: idle. */
  busySinceUs: u64(10),
  /** Work was refused or failed, and none was completed since. */
  struggling: bool(11),
  /** Denials as time still to be worked off, in microseconds: a leaky bucket. */
  denialsUs: u64(12),
  /** When we first heard that the agent had ended for good; 0: it has not. */
  exitedUs: u64(13),
});
export type Facts = ReturnType<typeof Facts.decode>;

/** A grant's thresholds with the defaults filled in. Durations in microseconds. */
export interface Policy {
  readonly intervalUs: number;
  readonly stallDegradedUs: number;
  readonly stallAutohealUs: number;
  /** A call in flight excuses a standstill up to this age. */
  readonly callAgeMaxUs: number;
  /** STAY: silence is waited out for ever. */
  readonly silentBeyondLease: "STAY" | "STOP" | "QUARANTINE";
  readonly quarantineStalled: boolean;
  /** A state is left for a better one no sooner than this. */
  readonly dwellUs: number;
}

const MINUTE_US = 60_000_000;

/** By the thresholds that they were filled in from: those of a grant are asked for at every look. */
const policies = new WeakMap<LivenessPolicy, Policy>();

export function policyOf(liveness: LivenessPolicy): Policy {
  const known = policies.get(liveness);
  if (known !== undefined) return known;
  const policy = filledIn(liveness);
  policies.set(liveness, policy);
  return policy;
}

function filledIn(liveness: LivenessPolicy): Policy {
  const intervalUs = liveness.heartbeatIntervalUs || heartbeatIntervalUs;
  const stallDegradedUs = liveness.stallDegradedUs || 30 * MINUTE_US;
  const beyond = liveness.silentBeyondLease;
  return {
    intervalUs,
    stallDegradedUs,
    stallAutohealUs: Math.max(liveness.stallAutohealUs || 2 * stallDegradedUs, stallDegradedUs),
    callAgeMaxUs: Math.floor(stallDegradedUs * 1.5),
    silentBeyondLease: beyond === "UNSPECIFIED" ? "STAY" : beyond,
    quarantineStalled: liveness.quarantineStalled === "YES",
    dwellUs: intervalUs,
  };
}

/** Receipts that wait for us: at 5,000 actions a second, ten seconds of them. Clears at half. */
const SYNC_LAG_RECEIPTS = 50_000;
/** What one denial costs, and how much debt is a storm: 300 in a minute. Clears at half. */
const DENIAL_COST_US = 200_000;
const DENIAL_DEBT_US = 300 * DENIAL_COST_US;
/**
 * As many actions in the novelty window, none of them new in any way, are a loop: five a second, which
 * nobody polls at. Clears at half.
 */
const LOOP_ACTIONS = 3_000;
/** A lease that was granted takes at most this long to be in force at the sidecar. */
const ADOPTION_US = 5_000_000;
/** How long a machine slept is told to hundredths of a second, now more and now less: less is no sleep. */
const SLEPT_MIN_US = 1_000_000;

/** The facts after a beat. The caller has verified it and asked `succession`. */
export function hear(facts: Facts, beat: Verified<HeartbeatBody>, nowUs: number): Facts {
  const { beat: last, rhythm } = facts;
  const { body } = beat;
  const first = rhythm.heardUs === 0;
  // Counts are of one ledger: against another's, or before the first beat, there is no growth.
  const before = first || !equal(last.ledgerId, body.ledgerId) ? body : last;
  const completed = grown(before, body, (s) => s.completed);
  const denied = grown(before, body, (s) => s.denied);
  const failed = grown(before, body, (s) => s.failed);
  const struggling = completed > 0 ? false : facts.struggling || denied + failed > 0;
  const sleptUs = body.suspendedUs - before.suspendedUs;
  const slept = sleptUs >= SLEPT_MIN_US;
  const leaked = Math.max(facts.denialsUs - (nowUs - rhythm.heardUs), 0);
  const next: Facts = {
    ...facts,
    rhythm: heard(rhythm, {
      receivedUs: nowUs,
      declaredUs: body.nextDueUs - body.wallUs,
      sameSession: body.sessionEpoch === last.sessionEpoch,
      slept,
      missed: Math.max(body.counter - last.counter - 1, 0),
    }),
    beat: body,
    beatRef: beat.ref,
    sessionEpoch: Math.max(facts.sessionEpoch, body.sessionEpoch),
    struggling,
    denialsUs: Math.min(leaked + Math.min(denied, 1_000) * DENIAL_COST_US, 2 * DENIAL_DEBT_US),
    exitedUs: body.child === "EXITED" ? facts.exitedUs || nowUs : 0,
  };
  if (!hasWorkInHand(next)) next.busySinceUs = 0;
  else if (facts.busySinceUs === 0) next.busySinceUs = body.wallUs;
  else if (slept) {
    // Nobody gets on asleep: what was a standstill before counts on from the awakening.
    const stillSinceUs = Math.max(facts.busySinceUs, body.lastProgressUs);
    next.busySinceUs = Math.min(stillSinceUs + sleptUs, body.wallUs);
  }
  return next;
}

/** How many more of a kind than before, over all scopes; scopes may be added up under "". */
function grown(
  before: HeartbeatBody,
  after: HeartbeatBody,
  count: (scope: HeartbeatBody["scopes"][number]) => number,
): number {
  const sum = (b: HeartbeatBody) => b.scopes.reduce((n, s) => n + count(s), 0);
  return Math.max(sum(after) - sum(before), 0);
}

/** So many repeats in the novelty window are work that does not move: two a minute. */
export const REPEATS_IN_HAND = 20;

/**
 * Idle is not stalled: work is in hand when a call is open, when the agent is suspended in the middle
 * of its life, when it does again and again what it has done, or when what it tried last did not
 * succeed and it was trying a short while ago.
 */
export function hasWorkInHand(facts: Facts): boolean {
  const { beat, struggling } = facts;
  const { actions, repeats } = beat.novelty;
  // What is merely listened to is in flight, has no age, and is waited for by nobody.
  if (beat.oldestInFlightUs > 0 || beat.child === "STOPPED") return true;
  if (repeats >= REPEATS_IN_HAND) return true;
  return struggling && actions > 0;
}

/** For how long work that is in hand has stood still, as of the last beat; what its machine slept is not counted. */
export const standstillUs = ({ beat, busySinceUs }: Facts): number =>
  busySinceUs === 0 ? 0 : beat.wallUs - Math.max(beat.lastProgressUs, busySinceUs);

/** What a derivation sees. `raised`: the condition stands already, so its lower bar applies. */
interface View {
  readonly facts: Facts;
  readonly policy: Policy;
  /** Of the one that is asked. */
  raised: boolean;
  readonly nowUs: number;
  /** Null when this input is no occasion to judge silence: only a look at the clock is. */
  readonly silence: Silence | null;
}

/** One function a condition. What it returns is whether the condition holds, by the facts alone. */
const DERIVATIONS: Readonly<Record<Clearing, (view: View) => boolean>> = {
  // A beat ends silence; only time in which we listened begins it.
  SILENT: ({ silence, raised }) => (silence === null ? raised : silence.silent),

  STALLED: ({ facts, policy, raised }) => {
    if (facts.busySinceUs === 0) return false;
    const { oldestInFlightUs } = facts.beat;
    // A call in flight is no standstill while it is young enough; a stall, once seen, is not excused
    // again by the next call.
    const excused = !raised && oldestInFlightUs < policy.callAgeMaxUs;
    return standstillUs(facts) - (excused ? oldestInFlightUs : 0) >= policy.stallDegradedUs;
  },

  LOOPING: ({ facts, raised }) => {
    const { actions, targets, shapes, outcomes } = facts.beat.novelty;
    return (
      targets + shapes + outcomes === 0 && actions >= (raised ? LOOP_ACTIONS / 2 : LOOP_ACTIONS)
    );
  },

  LEASE_ZERO: ({ facts, nowUs }) => {
    if (nowUs >= facts.leaseUntilUs) return true;
    // We granted one, and the sidecar says after a fair time that it has none.
    const adoptedBy = facts.leaseGrantedUs + ADOPTION_US;
    return facts.rhythm.heardUs >= adoptedBy && facts.beat.autonomyLeftUs === 0;
  },

  LEDGER_FAULT: ({ facts }) =>
    facts.beat.ledgerHealth === "FULL" || facts.beat.ledgerHealth === "FAILED",

  SYNC_LAG: ({ facts, raised }) =>
    facts.beat.syncLag >= (raised ? SYNC_LAG_RECEIPTS / 2 : SYNC_LAG_RECEIPTS),

  DENIAL_STORM: ({ facts, raised, nowUs }) => {
    const debt = facts.denialsUs - (nowUs - facts.rhythm.heardUs);
    return debt >= (raised ? DENIAL_DEBT_US / 2 : DENIAL_DEBT_US);
  },
};

/**
 * The self-clearing conditions that hold now, in the order of their types. One that held before keeps
 * its `sinceUs` and artifact; an unchanged set is the same array.
 */
export function derive(
  before: readonly Condition[],
  facts: Facts,
  policy: Policy,
  nowUs: number,
  silence: Silence | null,
): readonly Condition[] {
  // Asked ten thousand times a second, of organisms of which most have no condition at all.
  const view: View = { facts, policy, raised: false, nowUs, silence };
  const after: Condition[] = [];
  for (const type of CLEARING) {
    const old = before.length === 0 ? undefined : before.find((c) => c.type === type);
    view.raised = old !== undefined;
    if (!DERIVATIONS[type](view)) continue;
    const artifact = type === "LEASE_ZERO" ? facts.leaseRef : facts.beatRef;
    after.push(old ?? { type, sinceUs: nowUs, artifact });
  }
  const same = after.length === before.length && after.every((c, i) => c === before[i]);
  return same ? before : after;
}

export const isLatched = (type: ConditionType): type is Latched =>
  (LATCHED as readonly ConditionType[]).includes(type);
const isClearing = (type: ConditionType): type is Clearing =>
  type !== "UNSPECIFIED" && !isLatched(type);
/** In the order of their types. */
const CLEARING = CONDITION_TYPES.filter(isClearing);

/** What a beat proves beyond doubt, if anything. Such a condition stays until it is released. */
export function proof(
  facts: Facts,
  beat: HeartbeatBody,
  manifestHash: Uint8Array,
): "DRIFT" | "FORK" | "REGRESS" | null {
  if (facts.rhythm.heardUs > 0) {
    const order = succession(facts.beat, beat);
    if (order === "FORK" || order === "REGRESS") return order;
  }
  return equal(beat.manifestHash, manifestHash) ? null : "DRIFT";
}

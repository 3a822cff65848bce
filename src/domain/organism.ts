import { bool, bytes, message, nested, oneOf, repeated, str, u64 } from "./canonical.ts";
import { Facts, type Latched } from "./conditions.ts";
import { LivenessPolicy } from "./grant.ts";
import type { HeartbeatBody } from "./heartbeat.ts";
import { clockSkewMaxUs, firstBeatUs } from "./limits.ts";
import type { Verified } from "./signed.ts";
import {
  CONDITION_TYPES,
  Condition,
  type ConditionType,
  DESIRES,
  Interval,
  REMEDY_OUTCOMES,
  STATES,
} from "./transition.ts";

/** An operator's word, as it is cited by the transition that follows from it. */
export const Order = message("order", {
  /** The operator's login key. 32 bytes. */
  actor: bytes(1, 32),
  reason: str(2),
  /** ref of the recorded command; may be absent. */
  artifact: bytes(3, 32),
});
export type Order = ReturnType<typeof Order.decode>;

/** Everything about one organism that must survive a restart: `encode` and `decode` are its form. */
export const OrganismView = message("organism", {
  state: oneOf(1, STATES),
  /** When the state was entered. */
  sinceUs: u64(2),
  desired: oneOf(3, DESIRES),
  /** Conditions that come and go with the facts, by type. */
  conditions: repeated(nested(4, Condition)),
  /** Conditions that keep it quarantined until an operator releases them by name. */
  holds: repeated(nested(5, Condition)),
  facts: nested(6, Facts),
  manifestHash: bytes(7, 32),
  liveness: nested(8, LivenessPolicy),
  /** How the remedy in hand stands. */
  remedy: oneOf(9, REMEDY_OUTCOMES),
  /** A beat that shows recovery arrived, after the last condition was gone. */
  proven: bool(10),
  /** `lastProgressUs` of the last beat when the state was entered. */
  progressMarkUs: u64(11),
  /** The operator's stop, while it waits to be seen. */
  stop: nested(12, Order),
  stopUs: u64(13),
  /** When a quarantine was last released in full; 0: never. */
  releasedUs: u64(14),
  /** The latest time that the machine has seen; its clock does not go back. */
  latestUs: u64(15),
  /** When we listened, as of when SILENT was raised: what it still rests on. */
  silentUp: repeated(nested(16, Interval)),
  /** What the remedy in hand is for, and refs of the directives sent for it so far, in order. */
  treated: oneOf(17, CONDITION_TYPES),
  directives: repeated(bytes(18, 32)),
});
export type OrganismView = ReturnType<typeof OrganismView.decode>;

/** What can happen to an organism, as far as its state is concerned. Refs are 32 bytes. */
export type Input =
  /** A beat, verified. */
  | { readonly kind: "beat"; readonly beat: Verified<HeartbeatBody> }
  /** A look at the clock, with the stretches in which we listened (`observing`). */
  | { readonly kind: "tick"; readonly up: readonly Interval[] }
  /** A session opened, or its stream ended. */
  | { readonly kind: "session"; readonly epoch: number; readonly attached: boolean }
  /** A lease was granted or renewed until `untilUs`; or revoked: `untilUs` is now. */
  | { readonly kind: "lease"; readonly ref: Uint8Array; readonly untilUs: number }
  /** A grant with other thresholds, or for another manifest, took effect. */
  | {
      readonly kind: "policy";
      readonly liveness: LivenessPolicy;
      readonly manifestHash: Uint8Array;
    }
  /** Something that proves misconduct: two heads, a regress, a key where it may not be. */
  | {
      readonly kind: "fault";
      readonly type: Exclude<Latched, "HELD">;
      readonly artifact: Uint8Array;
    }
  | { readonly kind: "hold" | "stop"; readonly order: Order }
  /** Takes away the holds named, and only those. */
  | { readonly kind: "release"; readonly releases: readonly ConditionType[]; readonly order: Order }
  /** Remedies for a condition are tried from now on. */
  | { readonly kind: "remedy"; readonly outcome: "STARTED"; readonly condition: ConditionType }
  /** The next of them was sent. */
  | { readonly kind: "remedy"; readonly outcome: "SENT"; readonly directive: Uint8Array }
  /** What they are for is gone; or all were sent, each had its time, and it still stands. */
  | { readonly kind: "remedy"; readonly outcome: "SUCCEEDED" | "EXHAUSTED" };

/** A newborn organism: docked, wanted running, nothing heard. */
export function born(
  manifestHash: Uint8Array,
  liveness: LivenessPolicy,
  nowUs: number,
): OrganismView {
  return {
    ...OrganismView.empty(),
    state: "DOCKED",
    sinceUs: nowUs,
    desired: "RUN",
    manifestHash,
    liveness,
    latestUs: nowUs,
  };
}

/**
 * All conditions of an organism, held and passing, each type once, in the order of their types. One
 * that is both stands since it was first seen.
 */
export const conditionsOf = ({ holds, conditions }: OrganismView): Condition[] =>
  CONDITION_TYPES.flatMap((type) =>
    [...holds, ...conditions]
      .filter((c) => c.type === type)
      .sort((a, b) => a.sinceUs - b.sinceUs)
      .slice(0, 1),
  );

export const isSilent = ({ conditions }: OrganismView): boolean =>
  conditions.some((c) => c.type === "SILENT");

/** Whether leases may be granted and renewed in this state. Quarantined and stopped never. */
export const mayBeLeased = (view: OrganismView): boolean =>
  view.desired === "RUN" && view.state !== "QUARANTINED" && view.state !== "STOPPED";

/** Whether it could still act: it has a session, or a lease that it may believe in. */
export const holdsAuthority = (view: OrganismView, nowUs: number): boolean =>
  view.state !== "STOPPED" &&
  (view.facts.attached || nowUs < view.facts.leaseHorizonUs + clockSkewMaxUs);

/**
 * Whether it counts among the instances that its grant allows aboard. One that is gone and can hold
 * nothing any more does not: machines that are gone must not keep others out.
 * @param listenedUs since when we listen without a break
 */
export const takesPlace = (view: OrganismView, listenedUs: number, nowUs: number): boolean =>
  view.state !== "STOPPED" && (holdsAuthority(view, nowUs) || !isGone(view, listenedUs, nowUs));

/** Who never beat has no rhythm to fall silent of: it is gone when its first beat is long overdue. */
const isGone = (view: OrganismView, listenedUs: number, nowUs: number): boolean =>
  view.facts.rhythm.heardUs === 0
    ? nowUs >= Math.max(view.sinceUs, listenedUs) + firstBeatUs
    : isSilent(view);

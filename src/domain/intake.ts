import { equal } from "./bytes.ts";
import {
  derive,
  type Facts,
  hear,
  type Policy,
  policyOf,
  proof,
  standstillUs,
} from "./conditions.ts";
import type { DirectiveBody } from "./directive.ts";
import { type HeartbeatBody, succession } from "./heartbeat.ts";
import { releaseCrossingUs } from "./limits.ts";
import type { Input, Order, OrganismView } from "./organism.ts";
import type { Verified } from "./signed.ts";
import type { Condition, ConditionType } from "./transition.ts";

/** Why an input had no effect. The view is then the one that was given. */
export type Refusal =
  | "STOPPED"
  | "STALE_BEAT"
  | "OLD_SESSION"
  | "FORK_IS_FINAL"
  | "NOT_QUARANTINED"
  | "NOT_HELD"
  | "NO_REASON"
  | "REMEDY_OUT_OF_TURN";

/** The view with the input's facts in it, or why it is refused. States are not its business. */
export function take(view: OrganismView, input: Input, t: number): OrganismView | Refusal {
  const { facts } = view;
  switch (input.kind) {
    case "tick":
      return view;
    case "beat":
      return takeBeat(view, input.beat, t);
    case "session": {
      if (input.epoch < facts.sessionEpoch) return "OLD_SESSION";
      return {
        ...view,
        facts: { ...facts, sessionEpoch: input.epoch, attached: input.attached },
      };
    }
    case "lease": {
      const leaseHorizonUs = Math.max(facts.leaseHorizonUs, input.untilUs);
      // A renewal continues what was granted before.
      const leaseGrantedUs = t < facts.leaseUntilUs ? facts.leaseGrantedUs : t;
      const lease = { leaseRef: input.ref, leaseUntilUs: input.untilUs, leaseGrantedUs };
      return { ...view, facts: { ...facts, ...lease, leaseHorizonUs } };
    }
    case "policy":
      return { ...view, liveness: input.liveness, manifestHash: input.manifestHash };
    case "fault":
      return hold(view, input.type, input.artifact, t);
    case "hold": {
      if (input.order.reason === "") return "NO_REASON";
      const desired = view.desired === "STOP" ? "STOP" : "HOLD";
      return hold({ ...view, desired }, "HELD", input.order.artifact, t);
    }
    case "stop":
      if (input.order.reason === "") return "NO_REASON";
      if (view.desired === "STOP") return view;
      return { ...view, desired: "STOP", stop: input.order, stopUs: t };
    case "release":
      return takeRelease(view, input.releases, input.order, t);
    case "remedy":
      return takeRemedy(view, input, t);
  }
}

function takeBeat(
  view: OrganismView,
  beat: Verified<HeartbeatBody>,
  t: number,
): OrganismView | Refusal {
  const { facts } = view;
  const shown = proof(facts, beat.body, view.manifestHash);
  if (shown === "FORK" || shown === "REGRESS") {
    // It shows a history that cannot be, whichever session says so; it is no sign of how things are.
    return hold(view, shown, beat.ref, t);
  }
  if (beat.body.sessionEpoch < facts.sessionEpoch) return "OLD_SESSION";
  if (facts.rhythm.heardUs > 0 && succession(facts.beat, beat.body) !== "NEXT") return "STALE_BEAT";
  const heard = { ...view, facts: hear(facts, beat, t) };
  if (shown === null || crossesRelease(view, beat, t)) return heard;
  return hold(heard, shown, beat.ref, t);
}

/**
 * Whether a beat says again what was just released: it was on its way when its sidecar was told. No
 * lease is earned by it, and what it goes on saying counts.
 */
function crossesRelease(view: OrganismView, { body }: Verified<HeartbeatBody>, t: number): boolean {
  const { releasedUs, facts } = view;
  if (releasedUs === 0 || t >= releasedUs + releaseCrossingUs) return false;
  return equal(body.manifestHash, facts.beat.manifestHash);
}

/** Holds it quarantined for a reason; a reason that holds already keeps its time and artifact. */
export function hold(
  view: OrganismView,
  type: ConditionType,
  artifact: Uint8Array,
  t: number,
): OrganismView {
  if (view.holds.some((c) => c.type === type)) return view;
  return { ...view, holds: [...view.holds, { type, sinceUs: t, artifact }] };
}

function takeRelease(
  view: OrganismView,
  releases: readonly ConditionType[],
  order: Order,
  t: number,
): OrganismView | Refusal {
  if (view.state !== "QUARANTINED") return takeRenewal(view, releases, order, t);
  if (order.reason === "") return "NO_REASON";
  if (releases.includes("FORK")) return "FORK_IS_FINAL";
  const held = (type: ConditionType) => view.holds.some((c) => c.type === type);
  if (releases.length === 0 || !releases.every(held)) return "NOT_HELD";
  const holds = view.holds.filter((c) => !releases.includes(c.type));
  const desired = view.desired === "HOLD" && releases.includes("HELD") ? "RUN" : view.desired;
  return { ...view, holds, desired, releasedUs: holds.length === 0 ? t : view.releasedUs };
}

/**
 * A lease that was revoked leaves an organism without authority, though not in quarantine, and no new
 * one is cut for it until an operator releases just that.
 */
function takeRenewal(
  view: OrganismView,
  releases: readonly ConditionType[],
  order: Order,
  t: number,
): OrganismView | Refusal {
  const withoutLease = view.conditions.some((c) => c.type === "LEASE_ZERO");
  if (!withoutLease || !releases.includes("LEASE_ZERO")) return "NOT_QUARANTINED";
  return order.reason === "" ? "NO_REASON" : { ...view, releasedUs: t };
}

/** What is tried for a condition, mildest first. Conditions without a row have no remedy. */
const LADDER: Partial<Record<ConditionType, readonly DirectiveBody["kind"][]>> = {
  LEASE_ZERO: ["RESYNC", "REATTACH"],
  SYNC_LAG: ["RESYNC", "REATTACH"],
  LEDGER_FAULT: ["RESYNC", "REATTACH"],
  STALLED: ["RESTART_AGENT", "REATTACH"],
  LOOPING: ["RESTART_AGENT"],
  DENIAL_STORM: ["RESTART_AGENT"],
};
export const remediesFor = (type: ConditionType): readonly DirectiveBody["kind"][] =>
  LADDER[type] ?? [];

function takeRemedy(
  view: OrganismView,
  input: Extract<Input, { kind: "remedy" }>,
  t: number,
): OrganismView | Refusal {
  const { state, facts, conditions, remedy, treated, directives } = view;
  const policy = policyOf(view.liveness);
  if (input.outcome === "STARTED") {
    const { condition } = input;
    const stands = persisting(conditions, condition, facts, policy, t) !== undefined;
    const due = stands && remedyDue(condition, facts, policy);
    if (state !== "DEGRADED" || !facts.attached || !due) return "REMEDY_OUT_OF_TURN";
    return { ...view, remedy: "STARTED", treated: condition, directives: [] };
  }
  if (state !== "AUTOHEALING" || remedy !== "STARTED") return "REMEDY_OUT_OF_TURN";
  const still = persisting(conditions, treated, facts, policy, t);
  const left = remediesFor(treated).length - directives.length;
  switch (input.outcome) {
    case "SENT":
      if (still === undefined || left <= 0) return "REMEDY_OUT_OF_TURN";
      return { ...view, directives: [...directives, input.directive] };
    case "SUCCEEDED":
      if (conditions.some((c) => c.type === treated)) return "REMEDY_OUT_OF_TURN";
      return { ...view, remedy: "SUCCEEDED", proven: false };
    case "EXHAUSTED": {
      if (still === undefined || left > 0) return "REMEDY_OUT_OF_TURN";
      const spent = { ...view, remedy: "EXHAUSTED", proven: false } as const;
      if (!unsafeToLeave(treated, policy)) return spent;
      return hold(spent, treated, still.artifact, t);
    }
  }
}

/** What stood, if it stands now, too, by what is known of it: of time alone a storm of denials passes. */
export const persisting = (
  before: readonly Condition[],
  type: ConditionType,
  facts: Facts,
  policy: Policy,
  nowUs: number,
): Condition | undefined =>
  before.some((c) => c.type === type)
    ? derive(before, facts, policy, nowUs, null).find((c) => c.type === type)
    : undefined;

/** Whether what stands may be treated: a stall when work has stood still for as long as its grant says. */
export const remedyDue = (type: ConditionType, facts: Facts, policy: Policy): boolean =>
  remediesFor(type).length > 0 &&
  (type !== "STALLED" || standstillUs(facts) >= policy.stallAutohealUs);

/** What may not be left as it is once remedies are used up. */
export function unsafeToLeave(type: ConditionType, policy: Policy): boolean {
  if (type === "DENIAL_STORM" || type === "LEDGER_FAULT") return true;
  return policy.quarantineStalled && (type === "LOOPING" || type === "STALLED");
}

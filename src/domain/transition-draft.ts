import { compare, equal } from "./bytes.ts";
import { conditionsOf, type Input, isSilent, Order, type OrganismView } from "./organism.ts";
import { barUs, dueUs, silence as judge, type Silence } from "./suspicion.ts";
import type {
  Cause,
  Condition,
  ConditionType,
  State,
  TransitionBasis,
  TransitionBody,
} from "./transition.ts";

/** A transition but for the names that its recorder gives it. */
export type TransitionDraft = Omit<
  TransitionBody,
  "version" | "transitionId" | "tenantId" | "instanceId" | "ledgerId"
>;

export interface Move {
  readonly to: State;
  readonly cause: Cause;
  readonly condition: ConditionType;
}

/** What a step saw besides the view, for its transitions to tell. */
export interface Seen {
  readonly input: Input;
  /** The passing conditions that stood before. */
  readonly before: Condition[];
  readonly silence: Silence | null;
  readonly released: Condition[];
}

/** A move, with everything that it rests on. `from` and `to` are the view before and after it. */
export function draft(
  from: OrganismView,
  to: OrganismView,
  { cause, condition }: Move,
  t: number,
  { input, before, silence, released }: Seen,
): TransitionDraft {
  const { rhythm, beatRef, leaseRef } = to.facts;
  const conditions = conditionsOf(to);
  const order = orderOf(to, cause, input);
  // What was judged just now, or what it has rested on since it was.
  const rests = silence ?? (isSilent(from) ? judge(rhythm, from.silentUp) : null);
  const freed = from.state === "QUARANTINED" && to.state !== "STOPPED" ? released : [];
  return {
    from: from.state,
    to: to.state,
    cause,
    condition,
    atUs: t,
    desired: to.desired,
    conditions,
    artifacts: distinct([
      ...[...conditions, ...freed].map((c) => c.artifact),
      artifactOf(input),
      order.artifact,
      beatRef,
      leaseRef,
      ...from.directives,
    ]),
    actor: order.actor,
    reason: order.reason,
    lastBeatUs: rhythm.heardUs,
    dueUs: dueUs(rhythm),
    thresholdUs: rests?.thresholdUs ?? barUs(rhythm),
    observerUp: rests?.observerUp ?? [],
    basis: basisOf(from, input, before),
    released: freed,
  };
}

/** What `decide` saw, but for what stands in the beat, the grant and the transition itself. */
function basisOf(view: OrganismView, { kind }: Input, before: Condition[]): TransitionBasis {
  const { facts } = view;
  return {
    input: kind.toUpperCase() as Uppercase<Input["kind"]>,
    beat: facts.beatRef,
    latenessUs: facts.rhythm.latenessUs,
    deviationUs: facts.rhythm.deviationUs,
    usualUs: facts.rhythm.usualUs,
    missedPpm: facts.rhythm.missedPpm,
    attached: facts.attached ? 1 : 0,
    sessionEpoch: facts.sessionEpoch,
    lease: facts.leaseRef,
    leaseGrantedUs: facts.leaseGrantedUs,
    leaseUntilUs: facts.leaseUntilUs,
    leaseHorizonUs: facts.leaseHorizonUs,
    busySinceUs: facts.busySinceUs,
    struggling: facts.struggling ? 1 : 0,
    denialsUs: facts.denialsUs,
    exitedUs: facts.exitedUs,
    proven: view.proven ? 1 : 0,
    remedy: view.remedy,
    progressMarkUs: view.progressMarkUs,
    stopUs: view.stopUs,
    releasedUs: view.releasedUs,
    holds: view.holds,
    before,
    treated: view.treated,
    directives: view.directives,
  };
}

/** The operator's word behind a transition; empty where there is none. */
function orderOf(view: OrganismView, cause: Cause, input: Input): Order {
  if (cause !== "OPERATOR") return Order.empty();
  if (view.state === "STOPPED") return view.stop;
  return input.kind === "hold" || input.kind === "release" ? input.order : Order.empty();
}

function artifactOf(input: Input): Uint8Array {
  switch (input.kind) {
    case "beat":
      return input.beat.ref;
    case "lease":
      return input.ref;
    case "fault":
      return input.artifact;
    default:
      return new Uint8Array(0);
  }
}

/** Each ref once, in byte order, so that the same evidence always reads the same. */
const distinct = (refs: readonly Uint8Array[]): Uint8Array[] =>
  refs
    .filter((r) => r.length > 0)
    .sort(compare)
    .filter((r, i, all) => i === 0 || !equal(r, all[i - 1] as Uint8Array));

import { derive, isLatched, type Policy, policyOf } from "./conditions.ts";
import { hold, type Refusal, take } from "./intake.ts";
import { clockSkewMaxUs } from "./limits.ts";
import { holdsAuthority, type Input, isSilent, type OrganismView } from "./organism.ts";
import { barUs, dueUs, silence as judge, type Silence } from "./suspicion.ts";
import type { Cause, Condition, ConditionType, Interval, State } from "./transition.ts";
import { draft, type Move, type TransitionDraft } from "./transition-draft.ts";

/**
 * Who is still there, and in what state: a pure machine over what was heard.
 *
 *     docked ─▶ running ◀─▶ degraded ◀─▶ autohealing
 *                              ▲  │           │
 *                  a release   │  ▼           ▼
 *                            quarantined ◀────┘        any ─▶ stopped
 *
 * The state is the worst that the conditions imply. What wants the organism otherwise (`desired`) is
 * kept apart from what is seen. Time decides only together with evidence: a clock alone moves nothing
 * but the two waits that an exit and an operator's stop begin.
 */

export interface Step {
  /** The very same object when nothing changed. */
  readonly view: OrganismView;
  /** In order; each starts where the one before ended. */
  readonly transitions: TransitionDraft[];
  readonly refused: Refusal | null;
}

/** After an exit the last receipts get this long to arrive. */
export const FINAL_SYNC_US = 30_000_000;
/** Admitted calls may outlive their lease by this much; a stop is not confirmed before. */
export const DRAIN_US = 30_000_000;

/**
 * Takes one input into account at `nowUs` (microseconds since the epoch). Total: every input in every
 * state has an answer, and none throws. An earlier `nowUs` than before counts as no time passed.
 */
export function step(view: OrganismView, input: Input, nowUs: number): Step {
  // Whoever listened until then has seen that time.
  const listenedUs = input.kind === "tick" ? (input.up.at(-1)?.untilUs ?? 0) : 0;
  const t = Math.max(nowUs, view.latestUs, listenedUs);
  if (view.state === "STOPPED" && !delivers(input)) return refuse(view, "STOPPED");
  const taken = take(view, input, t);
  if (typeof taken === "string") return refuse(view, taken);
  if (view.state === "STOPPED") {
    return { view: { ...taken, latestUs: t }, transitions: [], refused: null };
  }
  const policy = policyOf(taken.liveness);
  const silence = input.kind === "tick" ? judge(view.facts.rhythm, input.up) : null;
  const heard = input.kind === "beat" && taken.facts !== view.facts;
  // A beat ends silence.
  const before = heard ? view.conditions.filter((c) => c.type !== "SILENT") : view.conditions;
  let next = observe(taken, { before, heard, silence }, t, policy);
  const more = further(view, next, input);
  let to = decide(next, t, policy);
  const transitions: TransitionDraft[] = [];
  if (more !== null || to !== null) {
    const seen = { input, before, silence, released: without(view.holds, next.holds) };
    if (more !== null) transitions.push(draft(next, next, more, t, seen));
    for (; to !== null; to = decide(next, t, policy)) {
      const from = next;
      next = enter(from, to.to, t);
      transitions.push(draft(from, next, to, t, seen));
    }
  }
  if (next === view) return { view, transitions, refused: null };
  return { view: { ...next, latestUs: t }, transitions, refused: null };
}

/**
 * Until when a look at the clock changes nothing, unless something else happens to it, as long as we listen
 * without a break: time alone begins silence, ends leases, lets a storm of denials pass, and ends the dwelling of
 * one that has proven itself. 0: look.
 * @param listens false: nobody listens now, so that nobody becomes silent.
 */
export function restsUntilUs(view: OrganismView, listens: boolean): number {
  const { state, desired, conditions, holds, facts, remedy, latestUs } = view;
  if (desired !== "RUN" || facts.exitedUs > 0 || holds.length > 0) return 0;
  const isWell = state === "RUNNING" && conditions.length === 0;
  if (!isWell && (state !== "DEGRADED" || remedy === "STARTED" || mayPass(conditions))) return 0;
  const { rhythm, leaseUntilUs, leaseHorizonUs } = facts;
  // Asked at every beat of a fleet: no list is made.
  let restsUs = sooner(Number.POSITIVE_INFINITY, leaseUntilUs, latestUs);
  if (isSilent(view)) {
    // What a grant wants done about one that is gone is done at the next look.
    const stays = policyOf(view.liveness).silentBeyondLease === "STAY";
    if (!stays && isUnconfirmed(view, latestUs)) return 0;
    restsUs = sooner(restsUs, leaseHorizonUs + clockSkewMaxUs, latestUs);
  } else {
    // Its silence has just ended, and what was known of it is put away at the next look.
    if (view.silentUp.length > 0) return 0;
    const silentUs = dueUs(rhythm) + barUs(rhythm);
    if (listens && silentUs <= latestUs) return 0;
    if (listens) restsUs = sooner(restsUs, silentUs, latestUs);
  }
  if (isWell || !view.proven) return restsUs;
  return sooner(restsUs, view.sinceUs + policyOf(view.liveness).dwellUs, latestUs);
}

/** Of two ends the earlier one; what has passed by now ends nothing. */
const sooner = (untilUs: number, us: number, nowUs: number): number =>
  us > nowUs && us < untilUs ? us : untilUs;

/** A storm of denials passes by time alone. */
const mayPass = (conditions: OrganismView["conditions"]): boolean =>
  conditions.some((c) => c.type === "DENIAL_STORM");

/**
 * What still counts after the end: whoever finds the ledger may bring it to its own. It moves what is
 * known of the ledger, and nothing else ever again.
 */
const delivers = ({ kind }: Input): boolean => kind === "session" || kind === "beat";

const refuse = (view: OrganismView, refused: Refusal): Step => ({ view, transitions: [], refused });

/** Derives the passing conditions anew, and whether a beat now proves that all is well. */
function observe(
  view: OrganismView,
  { before, heard, silence }: { before: Condition[]; heard: boolean; silence: Silence | null },
  t: number,
  policy: Policy,
): OrganismView {
  const conditions = derive(before, view.facts, policy, t, silence) as Condition[];
  const proven = conditions.length === 0 && (heard ? provesRecovery(view, policy) : view.proven);
  let next = view;
  if (conditions !== view.conditions) next = { ...next, conditions };
  if (proven !== view.proven) next = { ...next, proven };
  const rested = view.silentUp.length > 0;
  if (isSilent(next) !== rested) next = { ...next, silentUp: rested ? [] : upOf(silence) };
  return pastLease(next, t, policy) ? hold(next, "SILENT", view.facts.beatRef, t) : next;
}

const upOf = (silence: Silence | null): Interval[] => silence?.observerUp ?? [];

/** A beat proves recovery when nothing is in hand, or work moves, or its oldest call is still young. */
export function provesRecovery({ facts, progressMarkUs }: OrganismView, policy: Policy): boolean {
  const { inFlight, lastProgressUs, oldestInFlightUs } = facts.beat;
  return (
    inFlight === 0 || lastProgressUs > progressMarkUs || oldestInFlightUs < policy.callAgeMaxUs
  );
}

/** Silent beyond everything it could hold, by a grant that says what then. */
function isUnconfirmed(view: OrganismView, t: number): boolean {
  // A release buys time until another lease has run out.
  const horizonUs = view.facts.leaseHorizonUs + clockSkewMaxUs;
  return (
    view.state === "DEGRADED" &&
    isSilent(view) &&
    !holdsAuthority(view, t) &&
    horizonUs >= view.releasedUs
  );
}

const pastLease = (view: OrganismView, t: number, policy: Policy): boolean =>
  policy.silentBeyondLease === "QUARANTINE" && isUnconfirmed(view, t);

const move = (to: State, cause: Cause, condition: ConditionType | null = null): Move => ({
  to,
  cause,
  condition: condition ?? "UNSPECIFIED",
});

/**
 * What happened to a quarantine that goes on: one more reason holds it, or of several one was
 * released. It stays where it is, and nothing that an operator or a proof says goes unrecorded.
 */
function further(view: OrganismView, next: OrganismView, input: Input): Move | null {
  if (view.state !== "QUARANTINED" || next.holds.length === 0) return null;
  if (input.kind === "release") return move("QUARANTINED", "OPERATOR");
  const [added] = without(next.holds, view.holds);
  return added === undefined ? null : move("QUARANTINED", causeOfHold(added.type), added.type);
}

const without = (all: readonly Condition[], taken: readonly Condition[]): Condition[] =>
  all.filter((c) => !taken.some((other) => other.type === c.type));

/** The table of transitions: where to go from here, if anywhere. */
export function decide(view: OrganismView, t: number, policy: Policy): Move | null {
  if (view.state === "STOPPED") return null;
  const held = worst(view.holds);
  // Before anything else, so that an agent of two seconds is seen to have run.
  if (view.state === "DOCKED" && held === null && beatsUnderLease(view, t)) {
    return move("RUNNING", "FIRST_BEAT");
  }
  const end = ending(view, t);
  if (end !== null) return move("STOPPED", end);
  if (held !== null) {
    return view.state === "QUARANTINED" ? null : move("QUARANTINED", causeOfHold(held), held);
  }
  const wrong = worst(view.conditions);
  const healthy = view.proven && t - view.sinceUs >= policy.dwellUs;
  switch (view.state) {
    case "QUARANTINED":
      return move("DEGRADED", "OPERATOR");
    case "RUNNING":
      return wrong === null ? null : move("DEGRADED", "CONDITION", wrong);
    case "DEGRADED":
      if (view.remedy === "STARTED") return move("AUTOHEALING", "REMEDY_STARTED", view.treated);
      if (policy.silentBeyondLease === "STOP" && isUnconfirmed(view, t)) {
        return move("STOPPED", "UNCONFIRMED", "SILENT");
      }
      return healthy ? move("RUNNING", "CONDITIONS_CLEARED") : null;
    case "AUTOHEALING":
      if (view.remedy === "EXHAUSTED") return move("DEGRADED", "REMEDIES_SPENT", view.treated);
      if (view.remedy !== "SUCCEEDED") return null;
      // Whatever else stands, or has come since, is not what these remedies were for.
      if (wrong !== null) return move("DEGRADED", "CONDITION", wrong);
      return healthy ? move("RUNNING", "RECOVERED") : null;
    default:
      return null;
  }
}

const beatsUnderLease = ({ facts }: OrganismView, t: number): boolean =>
  facts.beat.leaseRef.length > 0 && t < facts.leaseUntilUs;

/** Whether it has come to its end, and by what. */
function ending({ facts, desired, conditions, stopUs }: OrganismView, t: number): Cause | null {
  const { beat, exitedUs, leaseHorizonUs } = facts;
  if (exitedUs > 0) {
    const delivered = beat.syncLag === 0 && beat.inFlight === 0;
    if (delivered || t >= exitedUs + FINAL_SYNC_US) {
      if (desired === "STOP") return "OPERATOR";
      return beat.childExit === 1 ? "FINISHED" : "FAILED";
    }
  }
  if (desired !== "STOP") return null;
  // It says itself that it holds nothing and does nothing, or nobody is there to say so and
  // everything that it could have held has run out.
  const quiet = facts.rhythm.heardUs > stopUs && beat.inFlight === 0 && beat.autonomyLeftUs === 0;
  const absent = !facts.attached || conditions.some((c) => c.type === "SILENT");
  const spent = t >= leaseHorizonUs + clockSkewMaxUs + DRAIN_US;
  return (quiet && t >= facts.leaseUntilUs) || (absent && spent) ? "OPERATOR" : null;
}

/** What a quarantine is put down to. Only what remedies could not mend is held besides the latched. */
export function causeOfHold(type: ConditionType): Cause {
  if (type === "HELD") return "OPERATOR";
  if (type === "SILENT") return "UNCONFIRMED";
  return isLatched(type) ? "CONDITION" : "REMEDIES_SPENT";
}

/** Worst first: proofs, an operator's word, danger to evidence, absence, and the rest. */
const SEVERITY: readonly ConditionType[] = [
  "FORK",
  "KEY_MISUSE",
  "REGRESS",
  "DRIFT",
  "HELD",
  "LEDGER_FAULT",
  "DENIAL_STORM",
  "SILENT",
  "LEASE_ZERO",
  "LOOPING",
  "STALLED",
  "SYNC_LAG",
];
const worst = (conditions: readonly Condition[]): ConditionType | null =>
  SEVERITY.find((type) => conditions.some((c) => c.type === type)) ?? null;

/** The view in its new state. What was proven or tried in the old one does not carry over. */
const enter = (view: OrganismView, to: State, t: number): OrganismView => ({
  ...view,
  state: to,
  sinceUs: t,
  proven: false,
  ...(to === "AUTOHEALING"
    ? {}
    : { remedy: "UNSPECIFIED", treated: "UNSPECIFIED", directives: [] }),
  progressMarkUs: view.facts.beat.lastProgressUs,
});

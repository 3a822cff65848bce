import { equal, toHex } from "./bytes.ts";
import { derive, hasWorkInHand, isLatched, policyOf } from "./conditions.ts";
import type { LivenessPolicy } from "./grant.ts";
import { HeartbeatBody } from "./heartbeat.ts";
import { persisting, remediesFor, remedyDue, unsafeToLeave } from "./intake.ts";
import { causeOfHold, decide, provesRecovery } from "./lifecycle.ts";
import { heartbeatDeclaredUsMax } from "./limits.ts";
import { conditionsOf, OrganismView } from "./organism.ts";
import { barUs, silence as judge } from "./suspicion.ts";
import { type Condition, checkTransition, type State, type TransitionBody } from "./transition.ts";

/**
 * A history of states, decided again from what its transitions rest on, by nobody's leave: no clock, no
 * network, and no more than the issuer's records, the beats that they cite, and the grant.
 *
 * What is taken on the control plane's word is when a beat arrived, when it listened, what it remembered
 * of arrivals before, and what a remedy came to; its signature stands under that. Everything else follows
 * or differs.
 */
export interface HistoryEvidence {
  /** Of one instance, in the order of the tenant ledger; verified, see `verifyTransition`. */
  readonly transitions: readonly TransitionBody[];
  /** A verified beat by its ref; null: it is not at hand. */
  readonly beat: (ref: Uint8Array) => HeartbeatBody | null;
  /** What the genesis of a ledger and the grant of its dock say; null: they are not at hand. */
  readonly origin: (ledgerId: Uint8Array) => Origin | null;
}

export interface Origin {
  readonly manifestHash: Uint8Array;
  readonly liveness: LivenessPolicy;
}

/**
 * AGREES: it follows from what it cites. DIFFERS: it does not. UNSHOWN: what it rests on is not at
 * hand, or was not told by the version that recorded it.
 */
export type Agreement = "AGREES" | "DIFFERS" | "UNSHOWN";

export interface Moment {
  readonly transition: TransitionBody;
  readonly agreement: Agreement;
  /** A sentence; empty where it agrees. */
  readonly why: string;
}

export interface History {
  readonly moments: readonly Moment[];
  /** After the last of them. */
  readonly state: State;
  /** It begins with the birth: the first transition leads out of DOCKED. */
  readonly whole: boolean;
  /** The worst of all moments: DIFFERS before UNSHOWN before AGREES. */
  readonly agreement: Agreement;
}

/** Where a history stands between two of its transitions. */
interface Standing {
  readonly state: State;
  /** When the state was entered, and the last progress that was known by then; null: nothing at hand says. */
  readonly sinceUs: number;
  readonly markUs: number | null;
  readonly last: TransitionBody | null;
}

type Objection = { readonly agreement: "DIFFERS" | "UNSHOWN"; readonly why: string };
const differs = (why: string): Objection => ({ agreement: "DIFFERS", why });
const unshown = (why: string): Objection => ({ agreement: "UNSHOWN", why });

/** Decides a whole history again. Total: whatever it is given, it answers. */
export function retrace(evidence: HistoryEvidence): History {
  const [first] = evidence.transitions;
  let at: Standing = { state: first?.from ?? "DOCKED", sinceUs: 0, markUs: null, last: null };
  const moments = evidence.transitions.map((transition): Moment => {
    const objection = objectionTo(transition, at, evidence);
    at = after(transition, at, evidence);
    return { transition, ...(objection ?? { agreement: "AGREES", why: "" }) };
  });
  const worst = (["DIFFERS", "UNSHOWN"] as const).find((a) =>
    moments.some((m) => m.agreement === a),
  );
  return {
    moments,
    state: at.state,
    whole: first === undefined || first.from === "DOCKED",
    agreement: worst ?? "AGREES",
  };
}

function after(t: TransitionBody, at: Standing, { beat }: HistoryEvidence): Standing {
  const { basis } = t;
  // Where a history begins within a state, what is first said of its mark stands from then on.
  if (t.to === t.from) return { ...at, markUs: at.markUs ?? basis.progressMarkUs, last: t };
  const mark = basis.beat.length > 0 ? beat(basis.beat) : HeartbeatBody.empty();
  return { state: t.to, sinceUs: t.atUs, markUs: mark?.lastProgressUs ?? null, last: t };
}

function objectionTo(t: TransitionBody, at: Standing, evidence: HistoryEvidence): Objection | null {
  const malformed = checkTransition(t);
  if (malformed !== null) return differs(malformed.detail);
  if (t.from !== at.state)
    return differs(`it leads out of ${t.from}, and the state is ${at.state}`);
  if (at.last !== null && t.atUs < at.last.atUs) return differs("it is older than the one before");
  const { basis } = t;
  if (basis.input === "UNSPECIFIED") return unshown("it does not say what it was decided from");
  const origin = evidence.origin(t.ledgerId);
  if (origin === null) return unshown("the grant of its ledger is not at hand");
  const cited = basis.beat.length > 0 ? evidence.beat(basis.beat) : HeartbeatBody.empty();
  if (cited === null) return unshown(`heartbeat ${toHex(basis.beat)} is not at hand`);
  const view = viewOf(t, at, origin, cited);
  return (
    factsObjection(t, view) ??
    (at.last === null ? null : successionObjection(t, at.last)) ??
    remedyObjection(t, at.last, view) ??
    holdsObjection(t, at.last, view, evidence) ??
    moveObjection(t, at, view)
  );
}

/** The organism as it was when this was decided, but for its passing conditions. */
function viewOf(
  t: TransitionBody,
  at: Standing,
  origin: Origin,
  beat: HeartbeatBody,
): OrganismView {
  const { basis } = t;
  return {
    ...OrganismView.empty(),
    state: t.from,
    sinceUs: at.sinceUs,
    desired: t.desired,
    holds: basis.holds,
    facts: {
      rhythm: {
        heardUs: t.lastBeatUs,
        declaredUs: Math.max(t.dueUs - t.lastBeatUs, 0),
        latenessUs: basis.latenessUs,
        deviationUs: basis.deviationUs,
        usualUs: basis.usualUs,
        missedPpm: basis.missedPpm,
      },
      beat,
      beatRef: basis.beat,
      leaseRef: basis.lease,
      leaseGrantedUs: basis.leaseGrantedUs,
      leaseUntilUs: basis.leaseUntilUs,
      leaseHorizonUs: basis.leaseHorizonUs,
      attached: basis.attached === 1,
      sessionEpoch: basis.sessionEpoch,
      busySinceUs: basis.busySinceUs,
      struggling: basis.struggling === 1,
      denialsUs: basis.denialsUs,
      exitedUs: basis.exitedUs,
    },
    manifestHash: origin.manifestHash,
    liveness: origin.liveness,
    remedy: basis.remedy,
    treated: basis.treated,
    directives: basis.directives,
    proven: basis.proven === 1,
    progressMarkUs: basis.progressMarkUs,
    stopUs: basis.stopUs,
    releasedUs: basis.releasedUs,
    latestUs: t.atUs,
  };
}

/** What the basis says against the beat that it names. */
function factsObjection(t: TransitionBody, { facts }: OrganismView): Objection | null {
  const { basis } = t;
  const { beat, rhythm } = facts;
  if (t.lastBeatUs > 0 !== basis.beat.length > 0) return differs("a beat without its time");
  if (t.lastBeatUs > t.atUs) return differs("its beat was heard after it");
  if (t.lastBeatUs > 0) {
    const declaredUs = Math.min(beat.nextDueUs - beat.wallUs, heartbeatDeclaredUsMax);
    if (rhythm.declaredUs !== declaredUs) return differs("the beat declared another next one");
    if (beat.sessionEpoch > basis.sessionEpoch) return differs("the beat is of a later session");
  }
  if (basis.exitedUs > 0 !== (beat.child === "EXITED")) {
    return differs("its agent's end is not what the beat says");
  }
  if (basis.busySinceUs > 0 !== hasWorkInHand(facts)) {
    return differs("work in hand is not what the beat says");
  }
  if (basis.leaseUntilUs > basis.leaseHorizonUs) return differs("a lease beyond all leases");
  return null;
}

/** What only grows, against the transition before. */
function successionObjection(t: TransitionBody, last: TransitionBody): Objection | null {
  if (t.instanceId !== last.instanceId) return differs("it is of another instance");
  const grows = ["sessionEpoch", "leaseHorizonUs", "releasedUs", "stopUs"] as const;
  const shrunk = grows.find((field) => t.basis[field] < last.basis[field]);
  if (shrunk !== undefined) return differs(`${shrunk} is less than it was before`);
  if (t.lastBeatUs < last.lastBeatUs) return differs("its beat was heard before the last one was");
  if (last.desired === "STOP" && t.desired !== "STOP") return differs("a stop was taken back");
  return null;
}

/** Nothing is held without cause, and nothing let go but by an operator. */
function holdsObjection(
  t: TransitionBody,
  last: TransitionBody | null,
  view: OrganismView,
  { beat }: HistoryEvidence,
): Objection | null {
  const { holds, input } = t.basis;
  const has = (all: readonly Condition[], { type }: Condition) => all.some((c) => c.type === type);
  const before = last?.basis.holds ?? [];
  const gone = before.find((c) => !has(holds, c) && !has(t.released, c) && input !== "RELEASE");
  if (gone !== undefined) return differs(`${gone.type} held it, and nobody released that`);
  for (const added of [...holds, ...t.released].filter((c) => !has(before, c))) {
    const { type, artifact } = added;
    if (type === "HELD") continue;
    if (!isLatched(type)) {
      // What holds it where a history begins may have stood, and passed, before that, and by another grant.
      if (last === null && t.from === "QUARANTINED") continue;
      const policy = policyOf(view.liveness);
      if (type === "SILENT") {
        if (policy.silentBeyondLease === "QUARANTINE") continue;
        return differs("its grant does not quarantine for silence");
      }
      if (!unsafeToLeave(type, policy)) {
        return differs(`remedies that fail for ${type} do not quarantine by its grant`);
      }
      const { remedy, treated } = view;
      if (t.from === "AUTOHEALING" && remedy === "EXHAUSTED" && treated === type) continue;
      return differs(`no remedies for ${type} were used up`);
    }
    if (artifact.length === 0) return differs(`${type} is shown by nothing`);
    if (type !== "DRIFT") continue;
    const shown = beat(artifact);
    if (shown === null) return unshown(`heartbeat ${toHex(artifact)} is not at hand`);
    if (equal(shown.manifestHash, view.manifestHash)) {
      return differs("the beat that should show DRIFT measured what its manifest says");
    }
  }
  return null;
}

/** A remedy is for one condition, begins where that is due, and is used up when all was sent and it still stands. */
function remedyObjection(
  { from, to, atUs, basis }: TransitionBody,
  last: TransitionBody | null,
  { facts, liveness }: OrganismView,
): Objection | null {
  const { remedy, treated, directives, before } = basis;
  const policy = policyOf(liveness);
  const stood = before.some((c) => c.type === treated);
  const stands = persisting(before, treated, facts, policy, atUs) !== undefined;
  const remedies = remediesFor(treated);
  if (to === "AUTOHEALING") {
    const due = stands && basis.attached === 1 && remedyDue(treated, facts, policy);
    return due && directives.length === 0 ? null : differs("no remedy was due");
  }
  if (from !== "AUTOHEALING") return null;
  if (remedies.length === 0) return differs("its remedy is for nothing");
  if (last !== null && last.condition !== treated)
    return differs(`its remedy began for ${last.condition}`);
  const left = remedies.length - directives.length;
  if (left < 0) return differs(`more was sent than there is for ${treated}`);
  if (remedy === "EXHAUSTED" && (left > 0 || !stands)) {
    return differs(`its remedies for ${treated} were not used up`);
  }
  if (remedy === "SUCCEEDED" && stood) return differs(`${treated} stood when its remedy succeeded`);
  return null;
}

/** The conditions and the move, by the rules of conditions.ts and lifecycle.ts. */
function moveObjection(t: TransitionBody, at: Standing, view: OrganismView): Objection | null {
  const { basis } = t;
  const { rhythm } = view.facts;
  const policy = policyOf(view.liveness);
  const stood = basis.before.some((c) => c.type === "SILENT");
  const silence = basis.input === "TICK" || stood ? judge(rhythm, t.observerUp) : null;
  if (t.observerUp.some((i) => i.untilUs > t.atUs || i.fromUs > i.untilUs)) {
    return differs("it listened at no such time");
  }
  // A look at the clock judges anew; whatever else happens, what was judged then still stands.
  if (stood && basis.input !== "TICK" && silence?.silent !== true) {
    return differs("SILENT rests on no silence");
  }
  if (t.thresholdUs !== (silence?.thresholdUs ?? barUs(rhythm))) {
    return differs("its threshold does not follow from its arrivals");
  }
  if (basis.before.some((c) => c.sinceUs > t.atUs)) return differs("a condition of the future");
  const judged = basis.input === "TICK" ? silence : null;
  const conditions = [...derive(basis.before, view.facts, policy, t.atUs, judged)];
  const whole = { ...view, conditions };
  if (!sameConditions(conditionsOf(whole), t.conditions)) {
    return differs(`its conditions should be ${names(conditionsOf(whole))}`);
  }
  const proves =
    conditions.length === 0 && rhythm.heardUs >= at.sinceUs && provesRecovery(view, policy);
  if (view.proven && !proves) return differs("the beat proves no recovery");
  if (at.markUs !== null && basis.progressMarkUs !== at.markUs) {
    return differs("its progress is measured from elsewhere");
  }
  if (t.to === t.from) return furtherObjection(t, at);
  const move = decide(whole, t.atUs, policy);
  if (move === null) return differs("it should stay in its state");
  if (move.to !== t.to || move.cause !== t.cause || move.condition !== t.condition) {
    const by = move.condition === "UNSPECIFIED" ? move.cause : `${move.cause}: ${move.condition}`;
    return differs(`it should go to ${move.to} by ${by}`);
  }
  return null;
}

/** A quarantine that goes on: a reason more, or one less. */
function furtherObjection(t: TransitionBody, { last }: Standing): Objection | null {
  if (t.basis.input === "RELEASE") {
    return t.released.length > 0 ? null : differs("a release of nothing");
  }
  const known = last?.basis.holds ?? [];
  const added = t.basis.holds.some(
    (c) => c.type === t.condition && !known.some((k) => k.type === c.type),
  );
  return added && t.cause === causeOfHold(t.condition) ? null : differs("nothing was added");
}

const sameConditions = (a: readonly Condition[], b: readonly Condition[]): boolean =>
  a.length === b.length &&
  a.every((c, i) => {
    const other = b[i] as Condition;
    return (
      c.type === other.type && c.sinceUs === other.sinceUs && equal(c.artifact, other.artifact)
    );
  });
const names = (all: readonly Condition[]): string => all.map((c) => c.type).join(", ") || "none";

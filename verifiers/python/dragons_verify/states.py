"""Section 11, "States": what moved an organism, decided again from what its transitions rest on."""

from types import SimpleNamespace

from .canonical import empty

S = 10**6
LATCHED = ("DRIFT", "FORK", "REGRESS", "KEY_MISUSE", "HELD")
PASSING = "SILENT STALLED LOOPING LEASE_ZERO LEDGER_FAULT SYNC_LAG DENIAL_STORM".split()
WORST = (
    "FORK KEY_MISUSE REGRESS DRIFT HELD LEDGER_FAULT DENIAL_STORM SILENT LEASE_ZERO LOOPING"
    " STALLED SYNC_LAG"
).split()


class Objection(Exception):
    """`word`: DIFFERS or UNSHOWN."""

    def __init__(self, word, why):
        super().__init__(f"{word}: {why}")
        self.word = word


def holds_good(good, why):
    if not good:
        raise Objection("DIFFERS", why)


def retrace(transitions, beats, manifest_hash, liveness):
    """Of each transition AGREES, DIFFERS or UNSHOWN. `beats`: by ref, those at hand."""
    policy = thresholds(liveness)
    at = SimpleNamespace(state="DOCKED", since=0, mark=None, last=None)
    if transitions:
        at.state = transitions[0].__dict__["from"]
    words = []
    for t in transitions:
        try:
            judge(t, at, beats, manifest_hash, policy)
            words.append("AGREES")
        except Objection as o:
            words.append(o.word)
        if t.to != t.__dict__["from"]:
            known = beats.get(t.basis.beat) if t.basis.beat else empty("heartbeat")
            at.state, at.since = t.to, t.at_us
            at.mark = known.last_progress_us if known else None
        elif at.mark is None:
            at.mark = t.basis.progress_mark_us
        at.last = t
    return words


def thresholds(liveness):
    d = liveness.stall_degraded_us or 1800 * S
    return SimpleNamespace(
        interval=liveness.heartbeat_interval_us or 10 * S,
        degraded=d,
        autoheal=max(liveness.stall_autoheal_us or 2 * d, d),
        call_age=d * 3 // 2,
        beyond=liveness.silent_beyond_lease,
        quarantines=liveness.quarantine_stalled == "YES",
    )


def judge(t, at, beats, manifest_hash, policy):
    basis = t.basis
    holds_good(t.__dict__["from"] == at.state, "it leads out of another state")
    holds_good(not at.last or t.at_us >= at.last.at_us, "it is older than the one before")
    if not basis.input:
        raise Objection("UNSHOWN", "it does not say what it was decided from")
    if basis.beat and basis.beat not in beats:
        raise Objection("UNSHOWN", "its beat is not at hand")
    beat = beats[basis.beat] if basis.beat else empty("heartbeat")
    facts(t, beat)
    if at.last:
        succession(t, at.last)
    remedies(t, at.last, beat, policy)
    held(t, at.last, beats, manifest_hash, policy)
    move(t, at, beat, policy)


def facts(t, beat):
    """Rule 2."""
    basis = t.basis
    heard = t.last_beat_us > 0
    holds_good(heard == bool(basis.beat) and t.last_beat_us <= t.at_us, "its beat and when it came")
    if heard:
        declared = min(beat.next_due_us - beat.wall_us, 300 * S)
        holds_good(max(t.due_us - t.last_beat_us, 0) == declared, "another next beat was declared")
        holds_good(beat.session_epoch <= basis.session_epoch, "the beat is of a later session")
    holds_good((basis.exited_us > 0) == (beat.child == "EXITED"), "its agent's end")
    busy = beat.oldest_in_flight_us > 0 or beat.child == "STOPPED" or beat.novelty.repeats >= 20
    busy = busy or basis.struggling == 1 and beat.novelty.actions > 0
    holds_good((basis.busy_since_us > 0) == busy, "work in hand")
    holds_good(basis.lease_until_us <= basis.lease_horizon_us, "a lease beyond all leases")


def succession(t, last):
    """Rule 3."""
    holds_good(t.instance_id == last.instance_id, "it is of another instance")
    for name in "session_epoch lease_horizon_us released_us stop_us".split():
        holds_good(getattr(t.basis, name) >= getattr(last.basis, name), f"{name} fell")
    holds_good(t.last_beat_us >= last.last_beat_us, "its beat was heard before the last one was")
    holds_good(last.desired != "STOP" or t.desired == "STOP", "a stop was taken back")


def held(t, last, beats, manifest_hash, policy):
    """Rule 4."""
    before = {c.type for c in last.basis.holds} if last else set()
    stay = {c.type for c in [*t.basis.holds, *t.released]}
    tried = t.__dict__["from"] == "AUTOHEALING" and t.basis.remedy == "EXHAUSTED"
    spent = t.basis.treated if tried else ""
    begins = not last and t.__dict__["from"] == "QUARANTINED"
    holds_good(t.basis.input == "RELEASE" or before <= stay, "nobody released what held it")
    for c in [*t.basis.holds, *t.released]:
        if c.type in before or c.type == "HELD" or begins and c.type not in LATCHED:
            continue
        if c.type == "SILENT":
            holds_good(policy.beyond == "QUARANTINE", "its grant does not quarantine for silence")
        elif c.type not in LATCHED:
            unsafe = c.type in ("DENIAL_STORM", "LEDGER_FAULT")
            unsafe = unsafe or policy.quarantines and c.type in ("LOOPING", "STALLED")
            holds_good(unsafe, f"remedies that fail for {c.type} do not quarantine")
            holds_good(c.type == spent, f"no remedies for {c.type} were used up")
        else:
            holds_good(c.artifact, f"{c.type} is shown by nothing")
            if c.type == "DRIFT" and c.artifact not in beats:
                raise Objection("UNSHOWN", "the beat that should show DRIFT is not at hand")
            drifted = c.type != "DRIFT" or beats[c.artifact].manifest_hash != manifest_hash
            holds_good(drifted, "the beat that should show DRIFT does not")


LADDER = {
    "STALLED": ("RESTART_AGENT", "REATTACH"),
    "LOOPING": ("RESTART_AGENT",),
    "LEASE_ZERO": ("RESYNC", "REATTACH"),
    "LEDGER_FAULT": ("RESYNC", "REATTACH"),
    "SYNC_LAG": ("RESYNC", "REATTACH"),
    "DENIAL_STORM": ("RESTART_AGENT",),
}


def remedies(t, last, beat, policy):
    """Rule 4a."""
    basis = t.basis
    treated, sent = basis.treated, len(basis.directives)
    stood = treated in {c.type for c in basis.before}
    stands = stood and passing(t, beat, policy, True).get(treated, False)
    if t.to == "AUTOHEALING":
        still = standstill(t, beat) if basis.busy_since_us else 0
        due = stands and treated in LADDER and (treated != "STALLED" or still >= policy.autoheal)
        holds_good(due and basis.attached == 1 and not sent, "no remedy was due")
    elif t.__dict__["from"] == "AUTOHEALING":
        holds_good(treated in LADDER, "its remedy is for nothing")
        holds_good(not last or last.condition == treated, "its remedy began for something else")
        left = len(LADDER[treated]) - sent
        holds_good(left >= 0, "more was sent than there is")
        spent = basis.remedy == "EXHAUSTED"
        holds_good(not spent or left == 0 and stands, "its remedies were not used up")
        holds_good(basis.remedy != "SUCCEEDED" or not stood, "it stood when its remedy succeeded")


def standstill(t, beat):
    return beat.wall_us - max(beat.last_progress_us, t.basis.busy_since_us)


def silence(t):
    """Rule 5: the threshold where silence is judged, where it is not, and whether it holds."""
    basis, heard = t.basis, t.last_beat_us
    declared = max(t.due_us - heard, 0) if heard else 0
    more = declared if basis.missed_ppm < 1000 else 2 * basis.usual_us
    bar = min(max(more + S + basis.lateness_us + 4 * basis.deviation_us, 2 * S), 600 * S)
    stretches = [i for i in t.observer_up if i.until_us > heard]
    if not stretches:
        return bar, bar, False
    start, until = max(stretches[-1].from_us, heard), stretches[-1].until_us
    judged = bar + (30 * S if start > heard else 0)
    nothing = max(until - max(heard + declared, start), 0) if heard else 0
    return judged, bar, nothing >= judged


def passing(t, beat, policy, silent):
    """Rule 6: the types that hold now."""
    basis, before = t.basis, {c.type for c in t.basis.before}
    stalled, looping = "STALLED" in before, "LOOPING" in before
    age = beat.oldest_in_flight_us
    excused = age if not stalled and age < policy.call_age else 0
    still = standstill(t, beat) - excused
    n = beat.novelty
    untaken = t.last_beat_us >= basis.lease_granted_us + 5 * S and beat.autonomy_left_us == 0
    storm = 30 * S if "DENIAL_STORM" in before else 60 * S
    return {
        "SILENT": silent,
        "STALLED": basis.busy_since_us > 0 and still >= policy.degraded,
        "LOOPING": n.targets + n.shapes + n.outcomes == 0
        and n.actions >= (1500 if looping else 3000),
        "LEASE_ZERO": t.at_us >= basis.lease_until_us or untaken,
        "LEDGER_FAULT": beat.ledger_health in ("FULL", "FAILED"),
        "SYNC_LAG": beat.sync_lag >= (25_000 if "SYNC_LAG" in before else 50_000),
        "DENIAL_STORM": basis.denials_us - (t.at_us - t.last_beat_us) >= storm,
    }


def move(t, at, beat, policy):
    """Rules 5 to 8."""
    basis = t.basis
    before = {c.type: c for c in basis.before}
    threshold, bar, silent = silence(t)
    holds_good(
        all(i.from_us <= i.until_us <= t.at_us for i in t.observer_up), "it listened at no such time"
    )
    stands = "SILENT" in before
    judged = basis.input == "TICK"
    holds_good(judged or not stands or silent, "SILENT rests on no silence")
    wanted = threshold if judged or stands else bar
    holds_good(t.threshold_us == wanted, "its threshold does not follow from its arrivals")
    holds_good(all(c.since_us <= t.at_us for c in basis.before), "a condition of the future")
    now = passing(t, beat, policy, silent if judged else stands)
    wrong = [name for name in PASSING if now[name]]
    conditions = [before.get(name) or raised(name, t) for name in wrong]
    shown = sorted([*basis.holds, *conditions], key=lambda c: (WHERE[c.type], c.since_us))
    first = [c for n, c in enumerate(shown) if n == 0 or shown[n - 1].type != c.type]
    holds_good(first == t.conditions, "its conditions are others")
    proof = not wrong and t.last_beat_us >= at.since and proves(t, beat, policy)
    holds_good(not basis.proven or proof, "the beat proves no recovery")
    known = at.mark is not None
    holds_good(not known or basis.progress_mark_us == at.mark, "its progress is from elsewhere")
    if t.to == t.__dict__["from"]:
        return further(t, at)
    holds_good(decide(t, at, beat, policy, wrong) == (t.to, t.cause, t.condition), "another move")


WHERE = {name: n for n, name in enumerate([*PASSING, *LATCHED])}


def raised(name, t):
    artifact = t.basis.lease if name == "LEASE_ZERO" else t.basis.beat
    return SimpleNamespace(type=name, since_us=t.at_us, artifact=artifact)


def proves(t, beat, policy):
    moved = beat.last_progress_us > t.basis.progress_mark_us
    return beat.in_flight == 0 or moved or beat.oldest_in_flight_us < policy.call_age


def further(t, at):
    """A quarantine that goes on: a reason more, or one less."""
    if t.basis.input == "RELEASE":
        return holds_good(t.released, "a release of nothing")
    known = {c.type for c in at.last.basis.holds} if at.last else set()
    added = {c.type for c in t.basis.holds} - known
    holds_good(t.condition in added and t.cause == cause_of(t.condition), "nothing was added")


def cause_of(hold):
    if hold in ("HELD", "SILENT"):
        return "OPERATOR" if hold == "HELD" else "UNCONFIRMED"
    return "CONDITION" if hold in LATCHED else "REMEDIES_SPENT"


def worst(types):
    return next((name for name in WORST if name in types), "")


def decide(t, at, beat, policy, wrong):
    """Rule 8: where to, by what cause, for what condition; None: it stays."""
    basis, state = t.basis, t.__dict__["from"]
    hold, bad = worst({c.type for c in basis.holds}), worst(wrong)
    if state == "DOCKED" and not hold and beat.lease_ref and t.at_us < basis.lease_until_us:
        return "RUNNING", "FIRST_BEAT", ""
    end = ending(t, beat, wrong)
    if end:
        return "STOPPED", end, ""
    if hold:
        return None if state == "QUARANTINED" else ("QUARANTINED", cause_of(hold), hold)
    healthy = basis.proven == 1 and t.at_us - at.since >= policy.interval
    if state == "QUARANTINED":
        return "DEGRADED", "OPERATOR", ""
    if state == "RUNNING":
        return ("DEGRADED", "CONDITION", bad) if bad else None
    if state == "DEGRADED":
        if basis.remedy == "STARTED":
            return "AUTOHEALING", "REMEDY_STARTED", basis.treated
        out = basis.lease_horizon_us + 60 * S
        lost = "SILENT" in wrong and not basis.attached and t.at_us >= out >= basis.released_us
        if lost and policy.beyond == "STOP":
            return "STOPPED", "UNCONFIRMED", "SILENT"
        return ("RUNNING", "CONDITIONS_CLEARED", "") if healthy else None
    if state == "AUTOHEALING":
        if basis.remedy == "EXHAUSTED":
            return "DEGRADED", "REMEDIES_SPENT", basis.treated
        if basis.remedy != "SUCCEEDED":
            return None
        if bad:
            return "DEGRADED", "CONDITION", bad
        return ("RUNNING", "RECOVERED", "") if healthy else None
    return None


def ending(t, beat, wrong):
    basis = t.basis
    if basis.exited_us > 0:
        delivered = beat.sync_lag == 0 and beat.in_flight == 0
        if delivered or t.at_us >= basis.exited_us + 30 * S:
            if t.desired == "STOP":
                return "OPERATOR"
            return "FINISHED" if beat.child_exit == 1 else "FAILED"
    if t.desired != "STOP":
        return ""
    idle = t.last_beat_us > basis.stop_us and beat.in_flight == 0 and beat.autonomy_left_us == 0
    gone = not basis.attached or "SILENT" in wrong
    spent = t.at_us >= basis.lease_horizon_us + 90 * S
    return "OPERATOR" if idle and t.at_us >= basis.lease_until_us or gone and spent else ""

"""Section 8: the checks in their order, on a pack that is read once."""

from types import SimpleNamespace

from . import crypto, decide, limits, states
from .artifacts import frames
from .authority import Authority
from .canonical import Broken, decode
from .chain import Heads, Intents, Tree, included
from .recorded import Recorded

NAMES = {
    1: "FRAMES", 2: "TENANT", 3: "KEYSET", 4: "MANIFEST", 5: "GRANT", 6: "DOCK", 7: "GENESIS",
    8: "LEASE", 9: "REVOCATION", 10: "HEARTBEAT", 11: "TRANSITION", 12: "CHECKPOINT",
    20: "RECEIPT_ENCODING", 21: "RECEIPT_OWNER", 22: "RECEIPT_SIGNATURE", 23: "SEQUENCE",
    24: "CHAIN", 25: "ID", 26: "TIME", 27: "SHAPE", 28: "RECEIPT_MANIFEST", 29: "COVERAGE",
    30: "PAYLOAD", 31: "CONTENT", 32: "CLAIM", 33: "DECISION", 34: "INTENT", 35: "INTENT_CHAIN",
    36: "REFERENCE", 37: "HEADS", 38: "LIMITS", 39: "INCLUSION", 40: "TAIL", 41: "OPEN_INTENTS", 42: "REFERENCED",
    43: "HISTORY", 44: "RECORDED",
}  # fmt: skip
BODIES = ("goal", "action", "evidence", "outcome", "claim")
DECIDABLE = ("SCOPE_NOT_GRANTED", "CONDITION_FALSE", "CONDITION_UNEVALUABLE", "LIMIT_SPENT")
NUMBERS = ("UNANCHORED_TAIL", "RANGE", "SINGLE")
VOUCHED = {"HEARTBEAT": 10, "TRANSITION": 11, "CHECKPOINT": 12}
PREAMBLE = ("KEYSET", "MANIFEST", "GRANT", "DOCK", "LEASE", "REVOCATION", *VOUCHED, "FRONTIER")
LADDER = ("INTACT", "PROVEN", "ANCHORED", "WITNESSED")


def verify(file, trust, now_us):
    """The report, as `dragons verify -o json` has it."""
    return Verifier(trust, now_us).run(file)


class Verifier:
    def __init__(self, trust, now_us):
        self.trust, self.now_us = trust, trust.as_of_us or now_us if trust else now_us
        self.held = dict.fromkeys(NAMES, 0)
        self.flags, self.ledgers, self.section = {}, [], None
        self.tenant = ""

    def run(self, file):
        broken = None
        if self.trust is None:
            self.flag("UNPINNED", None)
        try:
            self.read(file)
        except Broken as b:
            broken = self.told(b)
        return self.report(broken)

    def passed(self, check, n=1):
        self.held[check] += n

    def flag(self, name, at, ledger="", detail=""):
        entry = self.flags.setdefault((name, ledger, detail), [])
        if at is not None:
            entry.append(at)

    def read(self, file):
        expected, stream = None, frames(file)
        for kind, body in stream:
            self.passed(1)
            if kind == "HEADER":
                header = decode("header", body)
                self.tenant, expected = header.tenant_id, header.ledgers
                if not self.tenant or self.trust and self.tenant != self.trust.tenant:
                    raise Broken("E_TENANT_MISMATCH", "", 2)
                self.passed(2)
            elif kind == "GENESIS":
                self.close()
                if self.ledgers and self.ledgers[-1].control:
                    raise Broken("E_PACK_ORDER", "the control ledger is the last", 1)
                self.section = Control(self, body) if is_control(body) else Section(self, body)
            elif kind == "END":
                self.close()
                if not self.ledgers:
                    raise Broken("E_PACK_EMPTY", "no ledger", 1, 0)
                if len(self.ledgers) != expected:
                    raise Broken("E_PACK_TRUNCATED", f"{expected} ledgers were promised", 1)
                self.conclude()
            else:
                self.section.take(kind, body)
        known = self.trust and self.trust.known
        if known and not any(s.known_used for s in self.ledgers):
            self.flag("KNOWN_HEAD_UNUSED", None)

    def conclude(self):
        """What only the whole pack tells: the control plane's ledger speaks of the others."""
        control = self.ledgers[-1] if self.ledgers[-1].control else None
        if control:
            self.passed(44, control.recorded.compare(control.first))
        for s in self.ledgers:
            s.conclude(control if control is not s else None)

    def close(self):
        if self.section:
            self.section.finish()
            self.ledgers.append(self.section)
            self.section = None

    def told(self, b):
        section = self.section
        at = section.due if section and b.check not in (None, 1) else 0
        index = at if b.index is None else b.index
        first = b.suspect if b.suspect is not None else index
        check = b.check or 1
        return {
            "code": b.code,
            "check": NAMES[check],
            "index": index,
            "ledger": section.name if section and section.started and check != 1 else "",
            "first_bad": index,
            "suspect": first,
            "untrusted_from": max(1, first),
            "detail": b.detail,
        }

    def report(self, broken):
        self.words = [word for s in self.ledgers for word in s.history()]
        self.passed(43, self.words.count("AGREES"))
        verdicts = [LADDER.index(s.verdict) for s in self.ledgers]
        verdict = "BROKEN" if broken else LADDER[min(verdicts, default=0)]
        return {
            "format": "dragons report 0",
            "verdict": verdict,
            "pinned": self.trust is not None,
            "tenant": self.tenant,
            "broken": broken,
            "flags": [
                {"flag": f, "ledger": l, "count": _count(f, at), "at": _ranges(f, at), "detail": d}
                for (f, l, d), at in self.flags.items()
            ],
            "checks": [
                {"number": n, "name": name, "status": self.status(name, n, broken), "held": h}
                for (n, name), h in zip(NAMES.items(), self.held.values())
            ],
            "ledgers": [s.summary() for s in self.ledgers],
        }

    def status(self, name, number, broken):
        unrecorded = any(f in ("UNRECORDED", "STATES_DIFFER") for f, _, _ in self.flags)
        if broken and broken["check"] == name or number == 44 and unrecorded:
            return "FAIL"
        if number == 43 and "DIFFERS" in self.words:
            return "FAIL"
        if self.held[number] and not (number == 43 and "UNSHOWN" in self.words):
            return "PASS"
        return "NOT REACHED" if broken else "NOT CHECKABLE OFFLINE"


def exit_code(report):
    if not report["pinned"]:
        return 78
    return {"BROKEN": 2, "FORKED": 2, "INTACT": 3, "PROVEN": 3}.get(report["verdict"], 0)


def _count(flag, at):
    return at[0] if flag in NUMBERS else max(1, len(set(at)))


def _ranges(flag, at):
    out = []
    for n in sorted(set(at)) if flag not in NUMBERS else []:
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out


class Section:
    """One ledger."""

    control = False

    def __init__(self, verifier, genesis):
        self.v, self.stored, self.due = verifier, {"GENESIS": [genesis]}, 0
        self.name, self.verdict, self.settled, self.known_used = "", "INTACT", False, False
        self.leaves, self.start, self.singles = [], 0, []
        self.tree, self.roots, self.intents, self.ids = Tree(), Heads(), None, set()
        self.heartbeats, self.transitions, self.checkpoints = [], [], []
        self.moves = []
        self.hashes, self.missing, self.shown, self.closed = {}, {}, {}, set()
        self.cited, self.opened, self.head, self.first, self.last = set(), 0, None, 1, 0
        self.rows, self.before, self.begun, self.started = {}, 0, False, False
        self.with_rows = False
        self.counts = dict.fromkeys(
            "receipts completed failed cut indeterminate observed denied lifecycle corrections records"
            " decisionsSame decisionsNotReproducible decisionsUnshown".split(),
            0,
        )

    def passed(self, check, n=1):
        self.v.passed(check, n)

    def flag(self, name, at, detail=""):
        self.v.flag(name, at, self.name, detail)

    def take(self, kind, body):
        if kind in PREAMBLE:
            self.stored.setdefault(kind, []).append(body)
            return
        self.settle()
        if kind == "RECEIPT":
            self.begin()
            self.receipt(body)
        elif kind == "PROOF" and not self.control:
            self.begin()
            self.single(body)
        elif kind == "OPEN_INTENT" and not self.control and not self.singles:
            self.begin()
            self.due = self.last
            self.at(41, self.row, body)
        elif kind == "LEAVES":
            self.begin()
            self.at(1, self.told, body)
        else:
            raise Broken("E_PACK_ORDER", kind, 1)

    def at(self, check, judge, *args):
        try:
            return judge(*args)
        except Broken as b:
            b.check = b.check or check
            raise

    def settle(self):
        if self.settled:
            return
        self.settled, v = True, self.v
        known = {s.a.ledger_id for s in v.ledgers}
        self.a = Authority(v.trust, v.tenant, v.passed)
        self.a.settle(self.stored, self.control)
        self.name = self.a.ledger_id.hex()
        self.prepare()
        for kind, number in VOUCHED.items():
            for body in self.stored.get(kind, []):
                self.at(number, self.vouched, kind, body)
                self.passed(number)
        for body in self.stored.get("FRONTIER", []):
            self.at(1, self.frontier, body)
        if self.a.ledger_id in known:
            raise Broken("E_LEDGER_DUP", "", 7)

    def prepare(self):
        self.intents = Intents(self.a.ledger_id)
        self.by_number = {}
        newest = max((r.body.epoch for r in self.a.revocations), default=0)
        for lease in self.a.leases.values():
            b = lease.body
            self.by_number[b.lease_seq] = lease
            self.roots.expect(b.head_size, b.head_root, "E_LEASE_HEAD", b.head_size)
            place = (b.intents_opened, b.intents_head, "E_LEASE_HEAD", b.head_size)
            self.intents.heads.expect(*place)
            if b.revocation_epoch > newest:
                self.v.flags.setdefault(("REVOCATION_NOT_SHOWN", self.name, ""), [])

    def vouched(self, kind, body):
        if kind == "HEARTBEAT":
            h = self.a.heartbeat(body)
            b = h.body
            self.heartbeats.append(h)
            if b.lease_ref:
                self.cited.add(b.lease_ref)
            self.roots.expect(b.size, b.root, "E_HEARTBEAT_HEAD", b.size)
            place = (b.intents_opened, b.intents_head, "E_HEARTBEAT_HEAD", b.size)
            self.intents.heads.expect(*place)
        elif kind == "TRANSITION":
            t = self.a.transition(body)
            self.transitions.append(t.ref)
            self.moves.append(t.body)
        else:
            c = self.a.checkpoint(body)
            self.checkpoints.append(c)
            self.roots.expect(c.size, c.root, "E_FORK", c.size)
            for name in c.unknown:
                self.flag("UNKNOWN_SIGNER", None, name)

    def frontier(self, body):
        f = decode("frontier", body)
        if bin(f.size).count("1") != len(f.nodes) or not f.last:
            raise Broken("E_PACK_FRAME", "a frontier of another size")
        self.tree.size, self.tree.nodes = f.size, list(f.nodes)
        self.tree.append(f.last)
        self.head, self.opened = f.last, f.intents_opened
        if not f.intents_head:
            raise Broken("E_PACK_FRAME", "a frontier without its head of intents")
        self.opening(f)
        self.first, self.last = f.size + 2, f.size + 1

    def opening(self, f):
        self.intents.start(f.intents_opened, f.intents_head)

    def begin(self):
        """Before the first receipt: what is known of the head it starts from."""
        if self.begun:
            return
        self.begun, self.due, self.start = True, self.first, self.last
        self.signers = [self.a.genesis.body.ledger_key]
        self.ready()
        self.head = self.head or self.a.ledger_id
        known = self.v.trust and self.v.trust.known
        self.known_used = bool(known) and known.ledger == self.a.ledger_id
        if self.known_used and known.size >= self.last:
            self.roots.expect(known.size, known.root, "E_FORK", known.size)
        for claims, low in self.stated():
            for at in [n for n in claims if n < low]:
                self.before += len(claims.pop(at))
            if 0 in claims:
                claims[0] = [c for c in claims[0] if c[0]]
        self.passed(37, self.at(37, self.roots.reached, self.last, self.tree.root(), 37))
        self.at(35, self.intents.reached)
        self.started = True

    def ready(self):
        self.limits = limits.Limits(self.a.leases, self.first > 1)

    def stated(self):
        return (self.roots.claims, self.last), (self.intents.heads.claims, self.intents.size)

    def receipt(self, data):
        def check(number, judge):
            told = self.at(number, judge)
            self.passed(number, 1 if told is None else told)

        r = SimpleNamespace()
        check(20, lambda: self.read(r, data))
        check(21, lambda: self.owner(r.h))
        check(22, lambda: self.signature(r))
        check(23, lambda: self.sequence(r.h))
        if r.h.prev_hash != self.head:
            raise Broken("E_CHAIN_PREV", "not the hash of the one before", 24, suspect=max(1, self.due - 1))
        self.passed(24)
        check(25, lambda: self.id(r.h))
        check(26, lambda: self.time(r.h))
        check(27, lambda: self.shape(r.h))
        check(28, lambda: self.manifest(r.h))
        check(29, lambda: self.coverage(r))
        check(30, lambda: self.payload(r))
        check(31, lambda: self.content(r))
        check(32, lambda: self.claim(r))
        check(33, lambda: self.decision(r))
        self.head = crypto.sha256(b"\0", crypto.pae("receipt", r.bytes))
        check(34, lambda: self.intent_once(r.h))
        check(35, lambda: self.intent_chain(r))
        check(36, lambda: self.reference(r))
        self.hashes[self.head] = self.due
        check(37, self.leaf)
        check(38, lambda: self.limit(r))
        self.bracket(r)
        self.count(r.h)
        self.last, self.due = self.due, self.due + 1

    def single(self, data):
        """A receipt by itself, with the way to the root of a checkpoint."""

        def check(number, judge):
            told = self.at(number, judge)
            self.passed(number, 1 if told is None else told)

        if self.leaves or self.first > 1 or self.last >= self.first and not self.singles:
            raise Broken("E_PACK_ORDER", "PROOF", 1)
        r, self.due = SimpleNamespace(), self.last + 1
        check(20, lambda: self.read(r, data, "proof"))
        check(21, lambda: self.owner(r.h))
        check(22, lambda: self.signature(r))
        self.due = r.h.seq
        check(25, lambda: self.id(r.h))
        check(26, lambda: self.time(r.h))
        check(27, lambda: self.shape(r.h))
        self.opened = 0
        check(28, lambda: self.manifest(r.h))
        check(29, lambda: self.coverage(r))
        check(30, lambda: self.payload(r))
        check(31, lambda: self.content(r))
        check(32, lambda: self.claim(r))
        check(33, lambda: self.decision(r))
        check(39, lambda: self.included(r))
        self.singles.append(self.due)
        self.shown[self.due] = r.mask
        self.count(r.h)
        self.last = self.due

    def included(self, r):
        if self.due <= self.last:
            raise Broken("E_SEQ_DUP", "proofs ascend")
        heads = [c for c in self.checkpoints if c.size == r.frame.size]
        if not heads:
            raise Broken("E_PROOF_HEAD", "no checkpoint of that size")
        leaf = crypto.sha256(b"\0", crypto.pae("receipt", r.bytes))
        if not included(leaf, self.due - 1, heads[0], r.frame.path):
            raise Broken("E_PROOF_PATH", "another leaf")

    def leaf(self):
        """Told before by LEAVES, or told now."""
        if not self.leaves:
            self.tree.append(self.head)
            return self.roots.reached(self.due, self.tree.root(), 37)
        at = self.due - self.start - 1
        if at >= len(self.leaves) or self.leaves[at] != self.head:
            raise Broken("E_LEAF_MISMATCH")
        return 0

    def read(self, r, data, kind="receiptFrame"):
        frame = r.frame = decode(kind, data)
        envelope = decode("signedBytes", frame.signed)
        r.h, r.bytes, r.row = decode("receipt", envelope.body), envelope.body, frame.row
        r.signatures = envelope.signatures

    def owner(self, h):
        if h.tenant_id != self.v.tenant:
            raise Broken("E_TENANT_MISMATCH")
        if h.ledger_id != self.a.ledger_id:
            raise Broken("E_LEDGER_MISMATCH")

    def signature(self, r):
        if len(r.signatures) != 1:
            raise Broken("E_RECEIPT_SIG", "not exactly one")
        [s] = r.signatures
        if s.key not in self.signers:
            raise Broken("E_KEY_UNKNOWN", "not the ledger's key")
        if not crypto.verify(s.key, crypto.pae("receipt", r.bytes), s.value):
            raise Broken("E_RECEIPT_SIG", "its signature does not verify")

    def sequence(self, h):
        if h.seq != self.due:
            raise Broken("E_SEQ_GAP" if h.seq > self.due else "E_SEQ_DUP", f"it says {h.seq}")

    def id(self, h):
        if not decide.is_id("rcp_", h.receipt_id):
            raise Broken("E_ID_FORMAT", h.receipt_id)
        if h.receipt_id in self.ids:
            raise Broken("E_ID_DUP", h.receipt_id)
        self.ids.add(h.receipt_id)

    def time(self, h):
        if h.closed_at_us < h.opened_at_us or h.egress_last_us and h.egress_last_us < h.opened_at_us:
            raise Broken("E_TIME_BACKWARDS", "closed before it opened")

    def shape(self, h):
        action, denial, boot = (h.kind == k for k in ("ACTION", "DENIAL", "LIFECYCLE"))
        refers = h.kind in ("CORRECTION", "REDACTION")
        good = h.version == 1 and h.opened_at_us and h.kind not in ("", "RECORD")
        good = good and (h.seq > 1 or boot) and (h.lease_ref or denial or boot)
        good = good and bool(h.refers_to) == refers
        good = good and bool(h.redacted_mask) == (h.kind == "REDACTION") and h.redacted_mask < 32
        good = good and h.intents_opened >= max(self.opened, h.intent_seq)
        good = good and (action or not h.spent_bytes and not h.would_deny)
        if action:
            good = good and h.intent_seq and h.count == 1 and h.verdict not in ("", "DENIED")
            good = good and (h.verdict != "COMPLETED" or not h.reason)
            good = good and (h.scope or h.would_deny)
        elif denial:
            good = good and h.verdict == "DENIED" and h.reason and not h.egress_last_us
            good = good and h.count and (h.count == 1 or not h.intent_seq)
        else:
            good = good and not h.intent_seq and not h.egress_last_us and h.count == 1
        if not good:
            raise Broken("E_RECEIPT_FIELDS", "kind, verdict, reason and lease do not go together")
        self.opened = h.intents_opened

    def manifest(self, h):
        if h.manifest_hash == self.a.genesis.body.manifest_hash:
            return
        if h.kind in ("LIFECYCLE", "DENIAL"):
            self.flag("OTHER_MANIFEST", h.seq)
            return
        shown = h.manifest_hash in self.a.manifests
        raise Broken("E_MANIFEST_MISMATCH" if shown else "E_MANIFEST_MISSING")

    def coverage(self, r):
        h, r.lease = r.h, None
        if h.lease_ref:
            r.lease = self.a.leases.get(h.lease_ref)
            if r.lease is None:
                raise Broken("E_LEASE_MISSING", "the lease cited is not shown")
            self.cited.add(h.lease_ref)
        if h.kind != "ACTION":
            return 0
        lease = r.lease.body
        if h.opened_at_us < lease.not_before_us:
            raise Broken("E_LEASE_NOT_YET")
        if h.opened_at_us >= lease.not_after_us:
            raise Broken("E_LEASE_EXPIRED")
        if h.verdict != "INDETERMINATE":
            self.followed(h, lease)
        after = self.by_number.get(lease.lease_seq + 2)
        if after and h.intent_seq > after.body.intents_opened:
            raise Broken("E_HEAD_LAG", "a later lease pins fewer intents")
        self.revoked(h, r.lease)
        return 1

    def followed(self, h, lease):
        until, number = lease.not_after_us, lease.lease_seq
        while h.egress_last_us >= until:
            number += 1
            later = [n for n in self.by_number if n >= number]
            if not later:
                raise Broken("E_LEASE_COVERAGE", "bytes left after the last lease had ended")
            number = min(later)
            b, scopes = self.by_number[number].body, self.by_number[number].scopes
            if b.not_before_us > until or h.scope not in scopes and not h.would_deny:
                raise Broken("E_LEASE_COVERAGE", "a gap between leases")
            until = max(until, b.not_after_us)

    def revoked(self, h, lease):
        a, told = self.a, False
        signers = {*lease.signers, *a.grant.signers, *a.dock.signers}
        for r in a.revocations:
            b = r.body
            hit = {
                "LEASE": b.target == lease.ref,
                "GRANT": b.target == lease.body.grant_ref,
                "MANIFEST": b.target == lease.body.manifest_hash,
                "INSTANCE": b.target == a.ledger_id,
                "KEY": b.target in signers,
                "TENANT": not self.resumed(b.epoch, lease),
            }.get(b.kind, False)
            if not hit or h.opened_at_us < b.effective_us:
                continue
            if lease.body.revocation_epoch >= b.epoch:
                raise Broken("E_LEASE_REVOKED", f"revoked in epoch {b.epoch}")
            told = True
        if told:
            self.flag("USED_AFTER_REVOCATION", h.seq)

    def resumed(self, epoch, lease):
        keys = self.a.keys
        gone = {r.body.target for r in self.a.revocations if r.body.kind == "KEY"}
        for r in self.a.revocations:
            if r.body.kind != "RESUME" or not epoch < r.body.epoch <= lease.body.revocation_epoch:
                continue
            bad = any(k in gone or keys.of[k].compromised_from_us for k in r.signers)
            if not bad and len(r.signers) >= keys.thresholds.get("OPERATOR_GRANT", 1):
                return True
        return False

    def payload(self, r):
        r.claim_commitment, r.data, r.mask = None, {}, 0
        if not r.row:
            return 0
        h, row = r.h, decode("payload", r.row)
        if len(row.commitments) != 5:
            raise Broken("E_PAYLOAD_ROW", "five commitments")
        if crypto.payload_hash(row.commitments) != h.payload_hash:
            raise Broken("E_PAYLOAD_HASH")
        order = [o.field for o in row.openings]
        for before, o in zip([0, *order], row.openings):
            if not before < o.field <= 5 or not o.salt:
                raise Broken("E_PAYLOAD_ROW", "openings ascend, each with its salt")
            place = (o.field, self.a.ledger_id, h.intent_seq, h.receipt_id)
            if crypto.commitment(*place, o.salt, o.data) != row.commitments[o.field - 1]:
                raise Broken("E_OPENING_MISMATCH", BODIES[o.field - 1])
        r.claim_commitment = row.commitments[4]
        r.data = {BODIES[o.field - 1]: o.data for o in row.openings}
        r.mask = sum(1 << (f - 1) for f in order)

    def content(self, r):
        h, r.shown = r.h, {}
        if h.kind not in ("ACTION", "DENIAL"):
            return len(r.data)
        for name, data in r.data.items():
            must = h.kind == "ACTION" and (h.verdict == "COMPLETED" or name == "claim")
            if must and not data:
                raise Broken("E_EVIDENCE_EMPTY", name)
            if data:
                r.shown[name] = decode(name, data)
        leases = r.shown["evidence"].leases if "evidence" in r.shown else [h.lease_ref]
        if h.kind == "ACTION" and leases[:1] != [h.lease_ref]:
            raise Broken("E_LEASE_COVERAGE", "its evidence begins with another lease")
        return len(r.data)

    def claim(self, r):
        h, claim, action = r.h, r.shown.get("claim"), r.shown.get("action")
        r.judged = h.kind == "ACTION" or h.kind == "DENIAL" and h.reason in DECIDABLE
        if claim is None:
            return 0
        fault = decide.fault_of(claim) if r.judged else None
        if fault:
            raise Broken("E_SCOPE_NOT_NORMAL", fault)
        names = ("protocol", "target", "verb", "path", "scheme")
        if action and any(getattr(claim, n) != getattr(action, n) for n in names):
            raise Broken("E_CLAIM_ACTION")
        return 1

    def decision(self, r):
        h, claim = r.h, r.shown.get("claim")
        if h.kind not in ("ACTION", "DENIAL"):
            return 0
        if "claim" not in r.data:
            self.flag("SCOPE_UNSHOWN", h.seq)
            self.counts["decisionsUnshown"] += 1
            return 0
        clocked = r.lease and not r.lease.body.not_before_us <= h.opened_at_us < r.lease.body.not_after_us
        if claim is None or not r.judged or not r.lease or h.intent_seq and h.kind == "DENIAL" or clocked:
            self.counts["decisionsNotReproducible"] += 1
            return 0
        manifest = self.a.manifests[r.lease.body.manifest_hash]
        reason, scope = decide.decide(claim, manifest, r.lease.scopes)
        if h.kind == "DENIAL" and reason != h.reason:
            raise Broken("E_DECISION_DIFFERS", str(reason))
        if h.kind == "ACTION" and h.would_deny:
            if r.lease.body.observe_until_us <= h.opened_at_us:
                raise Broken("E_SCOPE_EXCEEDED", "its lease does not observe")
            if claim.protocol == "OPAQUE":
                raise Broken("E_SCOPE_EXCEEDED", "what is opaque is not observed")
            if reason != h.would_deny:
                raise Broken("E_DECISION_DIFFERS", str(reason))
            self.flag("OBSERVED", h.seq)
        elif h.kind == "ACTION" and (reason, scope) != (None, h.scope):
            raise Broken("E_SCOPE_EXCEEDED", str(reason))
        self.counts["decisionsSame"] += 1
        return 1

    def intent_once(self, h):
        if not h.intent_seq:
            return 0
        if h.intent_seq in self.closed:
            raise Broken("E_INTENT_DUP", str(h.intent_seq))
        self.closed.add(h.intent_seq)
        return 1

    def intent_chain(self, r):
        h, r.limited = r.h, []
        self.with_rows = self.with_rows or r.claim_commitment is not None
        heads = self.intents.heads
        if h.intents_opened >= self.intents.size and (h.intents_opened or h.intents_head):
            heads.expect(h.intents_opened, h.intents_head, "E_INTENT_CHAIN", h.seq)
        if h.intent_seq:
            claim = r.shown.get("claim")
            intent = SimpleNamespace(
                receipt_id=h.receipt_id,
                lease_ref=h.lease_ref,
                opened_at_us=h.opened_at_us,
                claim=r.claim_commitment,
                scope=h.scope,
                seq=h.seq,
                lease=r.lease,
                limit_state=claim.limit_state if claim and h.kind == "ACTION" else None,
            )
            self.extend(h.intent_seq, intent, r.limited)
        self.intents.reached()
        return 1 if h.intent_seq else 0

    def extend(self, k, intent, limited):
        for before, after in self.intents.add(k, intent):
            limited.append((self.intents.size, after))
            if before is None:
                continue
            if after.receipt_id <= before.receipt_id:
                raise Broken("E_ID_ORDER", after.receipt_id)
            if after.opened_at_us < before.opened_at_us:
                if after.lease_ref == before.lease_ref:
                    raise Broken("E_TIME_BACKWARDS", "opened before the intent before it")
                self.flag("CLOCK_SET_BACK", after.seq)

    def reference(self, r):
        h = r.h
        self.shown[self.due] = r.mask
        if not h.refers_to:
            return 0
        seq = self.hashes.get(h.refers_to)
        if seq is None:
            if self.first > 1:
                return 0
            raise Broken("E_REF_UNKNOWN", "no earlier receipt")
        if self.shown[seq] & h.redacted_mask:
            raise Broken("E_OPENING_REDACTED", f"of receipt {seq}")
        if h.redacted_mask:
            self.missing[seq] = self.missing.get(seq, 0) | h.redacted_mask
        return 1

    def bracket(self, r):
        """A receipt closed long after others signed a head over it: its clock ran ahead."""
        times = [c.cosigned_us for c in self.checkpoints if c.cosigned_us and c.size >= r.h.seq]
        if times and r.h.closed_at_us > min(times) + 60 * 10**6:
            self.flag("AFTER_COSIGNATURE", r.h.seq)

    def limit(self, r):
        if r.h.kind == "ACTION":
            self.limits.charged(r.h, r.lease, r.shown)
        self.judge_limits(r.limited)
        return 1 if r.h.kind == "ACTION" else 0

    def judge_limits(self, limited):
        for k, intent in limited:
            self.limits.intent(k, intent, self.flag)
            for beat in self.heartbeats:
                if beat.body.intents_opened == k:
                    self.limits.beat(beat)

    def count(self, h):
        self.counts["receipts"] += 1
        if h.kind == "ACTION":
            self.counts[h.verdict.lower()] += 1
            self.counts["observed"] += bool(h.would_deny)
        elif h.kind == "DENIAL":
            self.counts["denied"] += h.count
        else:
            name = {"LIFECYCLE": "lifecycle", "RECORD": "records"}.get(h.kind, "corrections")
            self.counts[name] += 1

    def row(self, data):
        i = decode("openIntent", data)
        misplaced = i.intent_seq <= next(reversed(self.rows), 0)
        if misplaced or not i.lease_ref or not i.claim_commitment:
            raise Broken("E_INTENT_COUNT", f"the row of intent {i.intent_seq}")
        if i.lease_ref not in self.a.leases:
            raise Broken("E_LEASE_MISSING")
        if i.intent_seq in self.closed:
            raise Broken("E_INTENT_COUNT", f"intent {i.intent_seq} is closed")
        self.cited.add(i.lease_ref)
        self.rows[i.intent_seq] = i
        limited = []
        intent = SimpleNamespace(
            receipt_id=i.receipt_id,
            lease_ref=i.lease_ref,
            opened_at_us=i.opened_at_us,
            claim=i.claim_commitment,
            scope=None,
            seq=self.last,
        )
        self.at(35, self.extend, i.intent_seq, intent, limited)
        self.judge_limits(limited)

    def most(self):
        return max(self.opened, self.intents.heads.largest(), *self.rows, *self.closed)

    def told(self, data):
        if not data or len(data) % 32:
            raise Broken("E_PACK_FRAME", "leaves of 32 bytes", 1, 0)
        for at in range(0, len(data), 32):
            leaf = bytes(data[at : at + 32])
            self.leaves.append(leaf)
            self.tree.append(leaf)
            self.passed(37, self.roots.reached(self.tree.size, self.tree.root(), 37))

    def finish(self):
        self.settle()
        self.begin()
        if self.last < self.first:
            raise Broken("E_PACK_EMPTY", "a ledger without receipts", 1, 0)
        if self.singles:
            self.at(42, self.referenced)
            self.passed(42)
            return
        if self.roots.claims:
            raise Broken(
                "E_TAIL_TRUNCATED",
                f"have {self.tree.size}, attested {self.roots.largest()}",
                40,
                self.tree.size + 1,
            )
        self.passed(40)
        self.intents_shown()

    def intents_shown(self):
        unclosed = []
        for k in range(self.intents.base + 1, self.most() + 1):
            if k not in self.closed and k not in self.rows:
                if self.with_rows or len(unclosed) == 10_000:
                    raise Broken("E_INTENT_MISSING", f"intent {k}", 41, self.last)
                unclosed.append(k)
        for k in [*self.rows, *unclosed]:
            self.flag("OPEN_INTENT", k)
        self.passed(41)
        self.at(42, self.referenced)
        self.passed(42)

    def referenced(self):
        a = self.a
        numbers = sorted(a.leases[r].body.lease_seq for r in self.cited if r in a.leases)
        least, most = (numbers[0], numbers[-1] + 2) if numbers else (1, 0)
        stray = [n for n in self.by_number if not least <= n <= most]
        grants = {x.body.grant_ref for x in a.leases.values()} | {a.dock.body.grant_ref}
        manifests = {a.grants[g].body.manifest_hash for g in a.grants}
        manifests.add(a.genesis.body.manifest_hash)
        if stray or set(a.grants) - grants or set(a.manifests) - manifests or len(a.docks) > 1:
            raise Broken("E_UNREFERENCED", "nothing cites it", index=0)

    def conclude(self, control):
        trust, heads = self.v.trust, self.checkpoints
        quorum = trust.quorum if trust else 0
        if control:
            heads = control.recorded.heads_of(self, control.checkpoints, quorum) + heads
        heads = [c for c in heads if self.first <= c.size <= self.tree.size]
        witnessed = [c for c in heads if quorum and len(c.witnesses) >= quorum]
        signed = [c for c in heads if c.cosigned_us or c in witnessed]
        if trust:
            self.verdict = "WITNESSED" if witnessed else "ANCHORED" if signed else "INTACT"
        if self.singles:
            self.verdict = "PROVEN" if trust else "INTACT"
            self.flag("SINGLE", len(self.singles))
            self.hidden()
            return
        anchor = max(reversed(signed), key=lambda c: c.size, default=None)
        top = anchor.size if anchor else self.first - 1
        if self.first > 1 or self.tree.size > self.last:
            self.flag("RANGE", self.last - self.first + 1)
        if top < self.last:
            self.flag("UNANCHORED_TAIL", self.last - top)
        if anchor and trust and trust.max_age_us and self.v.now_us - anchor.cosigned_us > trust.max_age_us:
            self.flag("STALE_CHECKPOINT", None)
        self.hidden()

    def hidden(self):
        for seq, mask in self.shown.items():
            erased = self.missing.get(seq, 0)
            if erased:
                self.flag("ERASED", seq)
            if 31 & ~(mask | erased):
                self.flag("WITHHELD", seq)

    def history(self):
        """Check 43: of each transition whether it follows from what it cites."""
        if self.control or not self.moves:
            return []
        beats = {h.ref: h.body for h in self.heartbeats}
        a = self.a
        return states.retrace(self.moves, beats, a.genesis.body.manifest_hash, a.grant.body.liveness)

    def summary(self):
        return {
            "ledger": self.name,
            "role": "CONTROL" if self.control else "WORK",
            "verdict": self.verdict,
            "from": self.first,
            "to": self.last,
            "size": self.tree.size,
            "root": self.tree.root().hex(),
            "counts": self.counts,
            "openIntents": sorted(self.rows),
            "heartbeats": len(self.heartbeats),
        }


def is_control(data):
    try:
        return decode("genesis", decode("signedBytes", data).body).role == "CONTROL"
    except Broken:
        return False


class Control(Section):
    """The control plane's own ledger: section 12a."""

    control = True

    def prepare(self):
        self.recorded = Recorded(self.v.ledgers)
        for section in self.v.ledgers:
            for lease in section.a.leases.values():
                b = lease.body
                if b.control_size:
                    place = (b.control_size, b.control_root, "E_CONTROL_HEAD", b.control_size)
                    self.roots.expect(*place)

    def opening(self, f):
        pass

    def ready(self):
        self.intents = Intents(self.a.ledger_id)
        if self.first > 1:
            self.signers = self.a.record_keys

    def stated(self):
        return ((self.roots.claims, self.last),)

    def manifest(self, h):
        return 0

    def coverage(self, r):
        return 0

    def shape(self, h):
        good = h.kind == "RECORD" and h.version == 1 and h.opened_at_us and h.count == 1
        good = good and h.verdict == "COMPLETED" and h.intents_head == self.a.ledger_id
        names = (
            "reason scope would_deny lease_ref manifest_hash refers_to intent_seq intents_opened"
            " egress_last_us redacted_mask spent_bytes"
        ).split()
        if not good or any(getattr(h, n) for n in names):
            raise Broken("E_RECEIPT_FIELDS", "not a record")

    def content(self, r):
        r.shown, data, self.old = {}, r.data, self.signers
        wanted = [f for f in ("action", "outcome") if data.get(f) == b""]
        if wanted or any(data.get(f) for f in ("goal", "evidence", "claim")):
            raise Broken("E_EVIDENCE_EMPTY", "not a record's payload")
        if "action" not in data:
            self.signers = self.a.record_keys
            return len(data)
        what = decode("record", data["action"]).what
        if what == "keyset":
            self.follow(data.get("outcome"))
        if "outcome" in data and what == "manifest":
            decode("manifest", data["outcome"])
        elif "outcome" in data and what in SIGNED:
            decode(what, decode("signedBytes", data["outcome"]).body)
        if "outcome" in data:
            self.recorded.take(self.due, what, data["outcome"])
        return len(data)

    def follow(self, keyset):
        """Who signs from the next record on: the CONTROL_LEDGER key that came last."""
        self.signers = self.a.record_keys
        if keyset is not None:
            keys = decode("keyset", decode("signedBytes", keyset).body).keys
            named = [k for k in keys if k.role == "CONTROL_LEDGER"]
            self.signers = [max(named, key=lambda k: (k.not_before_us, k.key)).key] if named else self.old

    def claim(self, r):
        return 0

    decision = claim
    intent_chain = claim
    limit = claim

    def intent_once(self, h):
        return 0

    def intents_shown(self):
        pass


SIGNED = "keyset grant dock genesis lease revocation transition directive heartbeat".split()

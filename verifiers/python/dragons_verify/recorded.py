"""Section 12a: what the control plane's ledger has of the sections before it."""

from types import SimpleNamespace

from .artifacts import checkpoint
from .authority import opened
from .canonical import Broken
from .states import LADDER


class Recorded:
    def __init__(self, sections):
        self.sections, self.open = list(sections), 0
        self.heads, self.leases, self.sent = {}, {}, {}
        self.states = {s.a.ledger_id: [] for s in sections}

    def take(self, seq, what, artifact):
        """A record that is open in both fields."""
        self.open += 1
        if what == "head":
            self.heads.setdefault(_head(artifact), seq)
        elif what == "lease":
            self.leases.setdefault(opened("lease", artifact).ref, seq)
        elif what == "directive":
            d = opened("directive", artifact)
            self.sent[d.ref] = (seq, d.body.ledger_id, d.body.kind)
        elif what == "transition":
            t = opened("transition", artifact)
            self.states.get(t.body.ledger_id, []).append((t.ref, seq))

    def heads_of(self, section, checkpoints, quorum):
        """Heads that a section states and a record has, as signed by who signed over that record."""
        leases = [(x.body.head_size, x.body.head_root) for x in section.a.leases.values()]
        beats = [(h.body.size, h.body.root) for h in section.heartbeats]
        origin = f"dragons/ledger/{section.name}"
        found = []
        for size, root in [(c.size, c.root) for c in section.checkpoints] + leases + beats:
            seq = self.heads.get((origin, size, root), 0)
            over = sorted((c for c in checkpoints if c.size >= seq), key=lambda c: c.size)
            if seq and over:
                by = next((c for c in over if quorum and len(c.witnesses) >= quorum), over[0])
                found.append(
                    SimpleNamespace(size=size, cosigned_us=by.cosigned_us, witnesses=by.witnesses)
                )
        return found

    def compare(self, first):
        """How much of what the sections show stands there; the rest is flagged."""
        held = 0
        for s in self.sections if self.open else []:
            due = [x for x in s.a.leases.values() if x.body.control_size >= first - 1]
            for lease in due:
                if lease.ref in self.leases:
                    held += 1
                else:
                    s.flag("UNRECORDED", lease.body.lease_seq)
            shown, recorded = s.transitions, [ref for ref, _ in self.states[s.a.ledger_id]]
            moves = s.moves
            if first > 1:
                begun = shown.index(recorded[0]) if recorded and recorded[0] in shown else len(shown)
                shown, moves = shown[begun:], moves[begun:]
            if shown != recorded:
                s.flag("STATES_DIFFER", None, f"{len(shown)} shown, {len(recorded)} recorded")
            elif not self._were_sent(s.a.ledger_id, moves):
                s.flag("STATES_DIFFER", None, "a remedy that was not sent")
            else:
                held += len(shown)
        return held

    def _were_sent(self, ledger_id, moves):
        """Each remedy that a change of state tells of, between it and the one before."""
        seqs = [seq for _, seq in self.states[ledger_id]]
        for n in range(1, len(moves)):
            t = moves[n]
            if t.__dict__["from"] != "AUTOHEALING" or moves[n - 1].to != "AUTOHEALING":
                continue
            kinds = LADDER.get(t.basis.treated, ())
            for k, ref in enumerate(t.basis.directives):
                seq, ledger, kind = self.sent.get(ref, (0, None, None))
                meant = ledger == ledger_id and k < len(kinds) and kind == kinds[k]
                if not (meant and seqs[n - 1] < seq < seqs[n]):
                    return False
        return True


def _head(note):
    """Origin, size and root of a note that was recorded; None where it is none."""
    try:
        c = checkpoint(note)
    except Broken:
        return None
    return c.origin, c.size, c.root

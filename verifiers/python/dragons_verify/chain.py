"""Section 3: the tree over receipts and the chain of intents, and what signed heads say of both."""

from . import crypto
from .canonical import Broken


class Tree:
    """RFC 6962, growing: the roots of its largest whole subtrees, largest first."""

    def __init__(self):
        self.size, self.nodes = 0, []

    def append(self, leaf):
        self.size += 1
        node, n = leaf, self.size
        while n % 2 == 0:
            node, n = crypto.sha256(b"\1", self.nodes.pop(), node), n // 2
        self.nodes.append(node)

    def root(self):
        if not self.nodes:
            return crypto.sha256(b"")
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = crypto.sha256(b"\1", node, root)
        return root


def included(leaf, index, head, path):
    """RFC 9162, 2.1.3.2."""
    if index >= head.size:
        return False
    fn, sn, node = index, head.size - 1, leaf
    for sibling in path:
        if sn == 0:
            return False
        if fn % 2 or fn == sn:
            node = crypto.sha256(b"\1", sibling, node)
            while fn % 2 == 0 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = crypto.sha256(b"\1", node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == head.root


class Heads:
    """Claims of (position, hash), answered when that position is reached."""

    def __init__(self):
        self.claims = {}

    def expect(self, at, value, code, index):
        self.claims.setdefault(at, []).append((value, code, index))

    def reached(self, at, value, check):
        found = self.claims.pop(at, [])
        for stated, code, index in found:
            if stated != value:
                raise Broken(code, "another history than is shown", check, index)
        return len(found)

    def largest(self):
        return max(self.claims, default=0)


class Intents:
    """I_k, extended as soon as the receipt or the open row of the next intent is known."""

    def __init__(self, ledger_id):
        self.size, self.head, self.base = 0, ledger_id, 0
        self.pending, self.closed, self.heads = {}, set(), Heads()
        self.last = None

    def start(self, size, head):
        self.size = self.base = size
        self.head = head

    def add(self, k, intent):
        """Tells the intents that follow now, in order; the caller judges each, then goes on."""
        if k > self.base:
            self.pending[k] = intent
        while self.size + 1 in self.pending:
            after = self.pending.pop(self.size + 1)
            before, self.last = self.last, after
            self.size += 1
            if self.head is None or after.claim is None:
                self.head = None
            else:
                place = after.opened_at_us.to_bytes(8, "big") + after.claim
                self.head = crypto.sha256(
                    b"\2", self.head, after.receipt_id.encode(), after.lease_ref, place
                )
            yield before, after
            self.reached()

    def reached(self):
        if self.head is None:
            self.heads.claims.pop(self.size, None)
            return 0
        return self.heads.reached(self.size, self.head, 35)

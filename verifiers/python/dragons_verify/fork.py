"""Section 6a: a file that proves that one ledger has two histories."""

from . import crypto
from .authority import Authority, opened, signed_by
from .canonical import Broken, decode
from .chain import Tree

MAGIC = b"dragons fork 1\n"
MAX = 64 * 1024 * 1024


def judge(data, trust):
    """The report, as `dragons verify -o json` has it."""
    report = {"format": "dragons fork report 0", "pinned": trust is not None, "broken": None}
    try:
        a, kind, index = _judged(data, trust)
    except Broken as b:
        return {**report, "verdict": "BROKEN", "broken": {"code": b.code, "detail": b.detail}}
    return {
        **report,
        "verdict": "FORKED",
        "tenant": a.tenant,
        "ledger": a.ledger_id.hex(),
        "kind": kind,
        "index": index,
    }


def _judged(data, trust):
    if len(data) > MAX or not data.startswith(MAGIC):
        raise Broken("E_FORK_FIELD", "no such file")
    p = decode("fork", data[len(MAGIC) :])
    if not p.tenant_id or trust and trust.tenant != p.tenant_id:
        raise Broken("E_TENANT_MISMATCH")
    a = Authority(trust, p.tenant_id, lambda *_: None)
    kinds = ("KEYSET", "MANIFEST", "GRANT", "DOCK")
    lists = (p.keysets, p.manifests, p.grants, p.docks)
    a.settle({**dict(zip(kinds, lists)), "GENESIS": [p.genesis]}, False)
    e = p.equivocation
    if e.version != 1 or e.ledger_id != a.ledger_id:
        raise Broken("E_FORK_FIELD", "of another version or ledger")
    if e.kind != "ROOT" and p.receipts:
        raise Broken("E_FORK_FIELD", "receipts that nothing asks for")
    kind = {"RECEIPTS": _receipts, "CHAIN": _chain, "HEADS": _heads, "ROOT": _root}.get(e.kind)
    if kind is None:
        raise Broken("E_FORK_FIELD", "no kind")
    return a, e.kind, kind(a, e, p)


def _receipt(a, part):
    r = opened("receipt", part)
    try:
        signed_by(r, {a.genesis.body.ledger_key})
    except Broken:
        raise Broken("E_FORK_SIG", "not by the ledger key alone") from None
    if r.body.ledger_id != a.ledger_id or r.body.tenant_id != a.tenant:
        raise Broken("E_FORK_FIELD", "a receipt of another ledger")
    r.hash = crypto.sha256(b"\0", crypto.pae("receipt", r.bytes))
    return r


def _head(a, part):
    a.heard = set()
    return a.heartbeat(part).body


def _receipts(a, e, p):
    one, other = _receipt(a, e.first), _receipt(a, e.second)
    if one.body.seq != other.body.seq or one.bytes == other.bytes:
        raise Broken("E_FORK_NONE", "one receipt, or two places")
    return one.body.seq


def _chain(a, e, p):
    one, other = _receipt(a, e.first), _receipt(a, e.second)
    if other.body.seq != one.body.seq + 1 or other.body.prev_hash == one.hash:
        raise Broken("E_FORK_NONE", "the second follows the first")
    return one.body.seq


def _heads(a, e, p):
    one, other = _head(a, e.first), _head(a, e.second)
    roots = one.size == other.size and one.root != other.root
    alike = one.intents_opened == other.intents_opened
    if not roots and not (alike and one.intents_head != other.intents_head):
        raise Broken("E_FORK_NONE", "the heads agree")
    return one.size


def _root(a, e, p):
    head, tree, before = _head(a, e.second), Tree(), a.ledger_id
    if head.size != len(p.receipts):
        raise Broken("E_FORK_FIELD", "other receipts than the head's")
    last = a.genesis.bytes
    for n, data in enumerate(p.receipts, 1):
        r = _receipt(a, data)
        if r.body.seq != n or r.body.prev_hash != before:
            raise Broken("E_FORK_FIELD", f"receipt {n} does not follow")
        before, last = r.hash, r.bytes
        tree.append(r.hash)
    if decode("signedBytes", e.first).body != last:
        raise Broken("E_FORK_FIELD", "the first part is not the last receipt")
    if tree.root() == head.root:
        raise Broken("E_FORK_NONE", "the head is that of the receipts")
    return head.size

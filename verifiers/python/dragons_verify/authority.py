"""Checks 2 to 12: who may say what, from the root down to leases, heartbeats and checkpoints."""

from types import SimpleNamespace

from . import crypto
from .artifacts import checkpoint, key_hash
from .canonical import Broken, decode
from .decide import NAME, SCOPE, UNLIMITED, is_id, manifest_fault, printable

CONTROL_HAS = ("GENESIS", "KEYSET", "CHECKPOINT", "FRONTIER")
DAY = 86_400 * 10**6
OPERATOR_KINDS = ("GRANT", "KEY", "MANIFEST", "INSTANCE", "TENANT", "RESUME")
ROLES = "OPERATOR_GRANT OPERATOR_LOGIN ISSUER COSIGNER CONTROL_LEDGER WITNESS".split()
# Fields that may not be absent, beside version 1 and an id of its prefix.
PRESENT = {
    "grant": ("grt_", "issued_at_us purpose instances_max measure_min manifest_hash".split()),
    "dock": ("dck_", "issued_at_us join_keys grant_ref".split()),
    "lease": ("lse_", "issued_at_us lease_seq head_root intents_head".split()),
    "heartbeat": ("hbt_", (
        "session_epoch counter wall_us monotonic_us next_due_us child root intents_head grant_ref"
        " manifest_hash ledger_health enforcement"
    ).split()),
    "transition": ("trn_", "at_us to".split()),
    "revocation": ("", "epoch kind effective_us".split()),
}


def opened(name, data):
    """Envelope and body, decoded, with the reference that others cite it by."""
    envelope = decode("signedBytes", data)
    body = decode(name, envelope.body)
    return SimpleNamespace(
        name=name,
        body=body,
        bytes=envelope.body,
        ref=crypto.ref(name, envelope.body),
        signatures=envelope.signatures,
        signers=[s.key for s in envelope.signatures],
    )


def code(thing, fault):
    return f"E_{thing.name.upper()}_{fault}"


def all_verify(thing):
    keys, message = thing.signers, crypto.pae(thing.name, thing.bytes)
    for fault in filter(None, map(crypto.key_fault, keys)):
        raise Broken(fault, "a key that signed is unsound")
    good = 0 < len(keys) <= 16 and len(set(keys)) == len(keys)
    return good and all(crypto.verify(s.key, message, s.value) for s in thing.signatures)


def once(seen, thing):
    """No object stands twice in a section."""
    if thing.ref in seen:
        raise Broken(code(thing, "DUP"))
    if isinstance(seen, set):
        seen.add(thing.ref)


def signed_by(thing, keys):
    """By exactly these keys."""
    if not all_verify(thing) or set(thing.signers) != set(keys):
        raise Broken(code(thing, "SIG"), "not signed as it must be")


class Keys:
    """The newest keyset's."""

    def __init__(self, keyset):
        self.of = {k.key: k for k in keyset.keys}
        self.thresholds = {t.role: t.signatures for t in keyset.thresholds}

    def judge(self, thing, role, at):
        found = [self.of.get(k) for k in thing.signers]
        enough = len(found) >= self.thresholds.get(role, 1)
        if not all_verify(thing) or not enough or any(k is None or k.role != role for k in found):
            raise Broken(code(thing, "SIG"), f"not by {role} keys of the keyset")
        thing.judged = (found, at)

    def in_force(self, thing):
        found, at = thing.judged
        for k in found:
            if k.compromised_from_us and at >= k.compromised_from_us:
                raise Broken(code(thing, "KEY_COMPROMISED"), k.holder)
            if not k.not_before_us <= at < k.not_after_us:
                raise Broken(code(thing, "KEY_EXPIRED"), k.holder)


class Authority:
    """What one section's frames 3 to 9 say, once they hold."""

    def __init__(self, trust, tenant, passed):
        self.trust, self.tenant, self.passed = trust, tenant, passed
        self.manifests, self.grants, self.docks, self.leases = {}, {}, {}, {}
        self.revocations, self.heard = [], set()

    def settle(self, frames, control):
        for number, kind, judge in (
            (3, "KEYSET", self._keysets),
            (4, "MANIFEST", self._manifests),
            (5, "GRANT", self._grants),
            (6, "DOCK", self._docks),
            (7, "GENESIS", self._control_genesis if control else self._genesis),
            (8, "LEASE", self._leases),
            (9, "REVOCATION", self._revocations),
        ):
            found = frames.get(kind, [])
            try:
                if control and kind not in ("KEYSET", "GENESIS"):
                    continue
                judge(found)
                if control and kind == "KEYSET" and set(frames) - set(CONTROL_HAS):
                    raise Broken("E_PACK_ORDER", "not in a control ledger", 1, 0)
            except Broken as broken:
                broken.check = broken.check or number
                raise
            self.passed(number, len(found))

    def _keysets(self, frames):
        if not frames:
            raise Broken("E_KEYSET_MISSING")
        root, before = self.trust and self.trust.root, None
        for data in frames:
            k = opened("keyset", data)
            root = root or (k.signers or [b""])[0]
            self._by_root(k, root)
            self._keyset_body(k.body, root)
            if before is not None:
                if k.body.keyset_version <= before.body.keyset_version:
                    raise Broken("E_KEYSET_DUP")
                if k.body.previous != before.ref:
                    raise Broken("E_KEYSET_REF")
                named = {(e.role, e.key) for e in k.body.keys}
                if any((e.role, e.key) not in named for e in before.body.keys):
                    raise Broken("E_KEYSET_FIELD", "drops a key")
            root, before = k.body.root_key or root, k
        if self.trust and before.body.keyset_version < self.trust.keyset_version:
            raise Broken("E_KEYSET_ROLLBACK")
        self.keys = Keys(before.body)

    @staticmethod
    def _by_root(k, root):
        """One that hands over is signed by both roots, and holds by either."""
        handed = k.body.root_key
        if handed and root == handed:
            if not all_verify(k) or len(k.signers) != 2 or handed not in k.signers:
                raise Broken("E_KEYSET_SIG", "a handover is signed by two")
        else:
            signed_by(k, {root, handed} - {b""})

    def _keyset_body(self, body, root):
        order = [(ROLES.index(k.role), k.key) for k in body.keys if k.role and k.key]
        good = body.tenant_id and body.version == 1 and body.keyset_version and body.issued_at_us
        good = good and bool(body.previous) == (body.keyset_version > 1)
        good = good and len(order) == len(body.keys) and sorted(set(order)) == order
        for key in [*(k.key for k in body.keys), body.root_key]:
            if key and crypto.key_fault(key):
                raise Broken(crypto.key_fault(key))
        good = good and len(body.keys) <= 256 and (not body.root_key or body.keyset_version > 1)
        good = good and NAME.fullmatch(body.tenant_id)
        for k in body.keys:
            good = good and k.not_before_us < k.not_after_us
            good = good and bool(k.login_role) == (k.role == "OPERATOR_LOGIN")
            good = good and printable(k.holder, 63, ("Cc",))
        roles = [ROLES.index(t.role) for t in body.thresholds if t.role]
        good = good and all(t.signatures < 2 or t.role == "OPERATOR_GRANT" for t in body.thresholds)
        good = good and len(roles) == len(body.thresholds) and roles == sorted(set(roles))
        for t in body.thresholds:
            good = good and 0 < t.signatures <= sum(k.role == t.role for k in body.keys)
        if not good:
            raise Broken("E_KEYSET_FIELD")
        if len({root, body.root_key, *(k.key for k in body.keys)} - {b""}) < len(body.keys) + 1:
            raise Broken("E_KEYSET_FIELD")
        cas = body.control_cas
        if len(cas) > 4 or any(not 1 <= len(ca) <= 2048 for ca in cas):
            raise Broken("E_KEYSET_FIELD")
        if cas != sorted(set(cas)):
            raise Broken("E_KEYSET_FIELD")
        if body.tenant_id != self.tenant:
            raise Broken("E_TENANT_MISMATCH")

    def _manifests(self, frames):
        for data in frames:
            m, name = decode("manifest", data), crypto.manifest_hash(data)
            fault = manifest_fault(m)
            if fault:
                raise Broken("E_MANIFEST_FIELD", fault)
            if name in self.manifests:
                raise Broken("E_MANIFEST_DUP")
            self.manifests[name] = m

    def _common(self, thing):
        prefix, present = PRESENT[thing.name]
        named = prefix == "" or is_id(prefix, getattr(thing.body, f"{thing.name}_id"))
        good = named and thing.body.version == 1 and all(getattr(thing.body, f) for f in present)
        if hasattr(thing.body, "not_after_us"):
            good = good and thing.body.not_before_us < thing.body.not_after_us
        if not good:
            raise Broken(code(thing, "FIELD"))
        if thing.body.tenant_id != self.tenant:
            raise Broken(code(thing, "TENANT"))

    def _grants(self, frames):
        for data in frames:
            g = opened("grant", data)
            manifest = self.manifests.get(g.body.manifest_hash)
            if manifest is None:
                raise Broken("E_MANIFEST_MISSING")
            self.keys.judge(g, "OPERATOR_GRANT", g.body.issued_at_us)
            self._common(g)
            self.keys.in_force(g)
            if not 10**6 <= g.body.lease_ttl_max_us <= DAY or not printable(g.body.purpose):
                raise Broken("E_GRANT_FIELD")
            if not _scopes(g.body.scopes) or not _liveness(g.body.liveness) or not _observing(g.body):
                raise Broken("E_GRANT_FIELD")
            if {s.name for s in g.body.scopes} - {c.name for c in manifest.capabilities}:
                raise Broken("E_GRANT_MANIFEST")
            opaque = {c.name for c in manifest.capabilities for r in c.rules if r.protocol == "OPAQUE"}
            if any(s.name in opaque and s.limits.max_bytes == UNLIMITED for s in g.body.scopes):
                raise Broken("E_GRANT_MANIFEST")
            once(self.grants, g)
            self.grants[g.ref] = g

    def _docks(self, frames):
        for data in frames:
            d = opened("dock", data)
            if d.body.grant_ref not in self.grants:
                raise Broken("E_GRANT_MISSING")
            self.keys.judge(d, "OPERATOR_GRANT", d.body.issued_at_us)
            self._common(d)
            keys = [j.key for j in d.body.join_keys]
            if len(keys) > 256:
                raise Broken("E_DOCK_FIELD")
            for before, j in zip([b"", *keys], d.body.join_keys):
                if j.key and crypto.key_fault(j.key):
                    raise Broken(crypto.key_fault(j.key))
                if j.key <= before or not j.ledgers_max:
                    raise Broken("E_DOCK_FIELD")
            if set(keys) & set(self.keys.of):
                raise Broken("E_DOCK_FIELD")
            self.keys.in_force(d)
            once(self.docks, d)
            self.docks[d.ref] = d

    def _genesis(self, frames):
        g = self.genesis = opened("genesis", frames[0])
        body = g.body
        if body.tenant_id != self.tenant:
            raise Broken("E_TENANT_MISMATCH")
        fault = crypto.key_fault(body.ledger_key)
        if fault:
            raise Broken(fault)
        dock = self.docks.get(body.dock_ref)
        if dock is None:
            raise Broken("E_DOCK_MISSING")
        signed_by(g, {body.join_key, body.ledger_key})
        if body.ledger_key in [j.key for j in dock.body.join_keys]:
            raise Broken("E_GENESIS_FIELD")
        if body.join_key not in [j.key for j in dock.body.join_keys]:
            raise Broken("E_GENESIS_SIG")
        if body.version != 1 or body.role != "WORK" or not is_id("", body.instance_id):
            raise Broken("E_GENESIS_FIELD")
        if not body.nonce or not body.manifest_hash:
            raise Broken("E_GENESIS_FIELD")
        if body.created_at_us < dock.body.not_before_us:
            raise Broken("E_GENESIS_NOT_YET_VALID")
        if body.created_at_us >= dock.body.not_after_us:
            raise Broken("E_GENESIS_EXPIRED")
        self.dock, self.grant = dock, self.grants[dock.body.grant_ref]
        if body.manifest_hash not in self.manifests:
            raise Broken("E_MANIFEST_MISSING")
        if body.manifest_hash != self.grant.body.manifest_hash:
            raise Broken("E_GENESIS_MANIFEST")
        self._new(g)

    def _control_genesis(self, frames):
        g = self.genesis = opened("genesis", frames[0])
        body = g.body
        if body.tenant_id != self.tenant:
            raise Broken("E_TENANT_MISMATCH")
        fault = crypto.key_fault(body.ledger_key)
        if fault:
            raise Broken(fault)
        if not all_verify(g):
            raise Broken("E_GENESIS_SIG")
        foreign = body.instance_id or body.manifest_hash or body.dock_ref or body.join_key
        if body.version != 1 or foreign or not body.nonce:
            raise Broken("E_GENESIS_FIELD")
        self.keys.judge(g, "CONTROL_LEDGER", body.created_at_us)
        self.keys.in_force(g)
        if g.signers[0] != body.ledger_key:
            raise Broken("E_GENESIS_SIG")
        self._new(g)

    def _new(self, genesis):
        self.ledger_id = genesis.ref
        self.record_keys = [k for k, v in self.keys.of.items() if v.role == "CONTROL_LEDGER"]
        own = genesis.body.role == "CONTROL"
        self.line_keys = self.record_keys if own else [genesis.body.ledger_key]

    def _leases(self, frames):
        numbers = []
        for data in frames:
            lease = opened("lease", data)
            body, grant = lease.body, self.grant.body
            if body.grant_ref not in self.grants:
                raise Broken("E_GRANT_MISSING")
            self.keys.judge(lease, "ISSUER", body.issued_at_us)
            self._common(lease)
            self.keys.in_force(lease)
            if not _scopes(body.scopes):
                raise Broken("E_LEASE_FIELD")
            if bool(body.control_size) != bool(body.control_root):
                raise Broken("E_LEASE_FIELD")
            if body.grant_ref != self.grant.ref:
                raise Broken("E_LEASE_REF")
            if (body.ledger_id, body.instance_id) != (self.ledger_id, self.genesis.body.instance_id):
                raise Broken("E_LEASE_LEDGER")
            if body.manifest_hash != self.genesis.body.manifest_hash:
                raise Broken("E_LEASE_MANIFEST")
            if _wider(body, grant):
                raise Broken("E_LEASE_WIDENED")
            if body.issued_at_us >= body.not_after_us:
                raise Broken("E_LEASE_EXPIRED")
            once(self.leases, lease)
            numbers.append(body.lease_seq)
            lease.scopes = {s.name: s.limits for s in body.scopes}
            self.leases[lease.ref] = lease
        if len(set(numbers)) < len(numbers):
            raise Broken("E_LEASE_DUP")

    def _revocations(self, frames):
        seen = set()
        for data in frames:
            r = opened("revocation", data)
            role = "OPERATOR_GRANT" if r.body.kind in OPERATOR_KINDS else "ISSUER"
            found = [self.keys.of.get(k) for k in r.signers]
            if not all_verify(r) or any(k is None or k.role != role for k in found):
                raise Broken("E_REVOCATION_SIG")
            self._common(r)
            targeted = r.body.kind not in ("TENANT", "RESUME")
            if bool(r.body.target) != targeted or bool(r.body.previous) != (r.body.epoch > 1):
                raise Broken("E_REVOCATION_FIELD")
            if not printable(r.body.reason):
                raise Broken("E_REVOCATION_FIELD")
            once(seen, r)
            self.revocations.append(r)
        for before, r in zip(self.revocations, self.revocations[1:]):
            if r.body.epoch != before.body.epoch + 1 or r.body.previous != before.ref:
                raise Broken("E_REVOCATION_GAP")

    def heartbeat(self, data):
        h = opened("heartbeat", data)
        if len(h.bytes) > 1024:
            raise Broken("E_HEARTBEAT_FIELD")
        signed_by(h, {self.genesis.body.ledger_key})
        self._common(h)
        if not _beat(h.body):
            raise Broken("E_HEARTBEAT_FIELD")
        if h.body.ledger_id != self.ledger_id:
            raise Broken("E_HEARTBEAT_LEDGER")
        once(self.heard, h)
        return h

    def transition(self, data):
        t = opened("transition", data)
        self.keys.judge(t, "ISSUER", t.body.at_us)
        self._common(t)
        self.keys.in_force(t)
        if t.body.ledger_id != self.ledger_id:
            raise Broken("E_TRANSITION_LEDGER")
        once(self.heard, t)
        return t

    def checkpoint(self, data):
        c = checkpoint(data)
        if c.origin != f"dragons/ledger/{self.ledger_id.hex()}":
            raise Broken("E_CP_ORIGIN")
        c.cosigned_us, c.witnesses, c.unknown, c.signed_by = 0, set(), [], set()
        own = [k for k in self.line_keys if c.lines[0][1] == key_hash(c.origin, 1, k)]
        if c.lines[0][0] != c.origin or not own:
            raise Broken("E_CP_SIG")
        if not crypto.verify(own[0], c.signed, c.lines[0][2]):
            raise Broken("E_CP_SIG")
        for line in c.lines[1:]:
            self._cosignature(c, *line)
        if not c.cosigned_us and not c.witnesses and self.trust:
            raise Broken("E_CP_UNSIGNED")
        return c

    def _cosignature(self, c, name, hint, rest):
        trust = self.trust
        witnesses = trust.witnesses if trust else []
        named = trust.cosigners if trust else None
        if named is None:
            named = [k for k, v in self.keys.of.items() if v.role == "COSIGNER"]
        for key in [*named, *witnesses]:
            if key_hash(name, 4, key) != hint:
                continue
            message = f"cosignature/v1\ntime {int.from_bytes(rest[:8], 'big')}\n".encode()
            if (name, key) in c.signed_by:
                raise Broken("E_CP_SIG", "signs twice")
            c.signed_by.add((name, key))
            if len(rest) != 72 or not crypto.verify(key, message + c.signed, rest[8:]):
                raise Broken("E_CP_SIG")
            at = int.from_bytes(rest[:8], "big") * 10**6
            if key in witnesses:
                c.witnesses.add(key)
            if key in named and self._in_force(key, at):
                c.cosigned_us = max(c.cosigned_us, at)
            return
        c.unknown.append(name)

    def _in_force(self, key, at):
        if self.trust and self.trust.cosigners is not None:
            return True
        k = self.keys.of[key]
        sound = not k.compromised_from_us or at < k.compromised_from_us
        return sound and k.not_before_us <= at < k.not_after_us


def _scopes(scopes):
    names = [s.name for s in scopes]
    good = len(names) <= 64 and names == sorted(set(names))
    return good and all(SCOPE.fullmatch(n) and len(n) <= 64 for n in names)


def _liveness(policy):
    within = (
        (policy.heartbeat_interval_us, 250_000, 300 * 10**6),
        (policy.stall_degraded_us, 10**6, 30 * DAY),
        (policy.stall_autoheal_us, 10**6, 30 * DAY),
    )
    good = all(not us or least <= us <= most for us, least, most in within)
    heal = policy.stall_autoheal_us
    return good and (not heal or heal >= policy.stall_degraded_us)


def _observing(grant):
    until, start = grant.observe_until_us, max(grant.issued_at_us, grant.not_before_us)
    return not until or start < until <= min(grant.not_after_us, start + 14 * DAY)


def _beat(b):
    """What a heartbeat must not say of itself."""
    scopes, spent = [s.scope for s in b.scopes], [s.scope for s in b.spent]
    return (
        b.next_due_us >= b.wall_us
        and bool(b.child_exit) == (b.child == "EXITED")
        and (b.in_flight or not b.oldest_in_flight_us)
        and (b.lease_ref or not b.autonomy_left_us and not b.observe_until_us)
        and scopes == sorted(set(scopes))
        and spent == sorted(set(spent))
        and all(is_id("dir_", r.directive_id) and r.outcome for r in b.directive_results)
    )


def _wider(lease, grant):
    allowed = {s.name: s.limits for s in grant.scopes}
    if {s.name for s in lease.scopes} - set(allowed):
        return True
    for s in lease.scopes:
        if any(v > getattr(allowed[s.name], n) for n, v in vars(s.limits).items()):
            return True
    ttl = lease.not_after_us - lease.not_before_us
    return (
        ttl > grant.lease_ttl_max_us
        or lease.not_before_us < grant.not_before_us
        or lease.not_before_us < lease.issued_at_us - 60 * 10**6
        or lease.not_after_us > grant.not_after_us
        or lease.observe_until_us > grant.observe_until_us
    )

"""Sections 4, 6 and 7: the frames of a pack, checkpoints, and the auditor's trust file."""

import base64
import json
import re
from datetime import datetime, timezone
from types import SimpleNamespace

from . import crypto
from .canonical import MAX, Broken, decode

MAGIC = b"dragons evidence 1\n"
KINDS = (
    "HEADER GENESIS KEYSET MANIFEST GRANT DOCK LEASE REVOCATION HEARTBEAT TRANSITION CHECKPOINT"
    " FRONTIER LEAVES RECEIPT PROOF OPEN_INTENT END"
).split()
MAX_BODY = 4 * 1024 * 1024


def frames(file):
    """(kind, body) in order; what END says is asked once it was told, and its ledger judged."""
    magic = file.read(len(MAGIC))
    if not magic:
        raise Broken("E_PACK_EMPTY", "the file is empty")
    if magic != MAGIC:
        raise Broken("E_PACK_MAGIC", "no pack begins so")
    count, before = 0, 0
    while True:
        head = file.read(5)
        if len(head) < 5:
            raise Broken("E_PACK_TRUNCATED", "no END")
        kind, length = head[0], int.from_bytes(head[1:], "big")
        if not 1 <= kind <= len(KINDS):
            raise Broken("E_PACK_KIND", str(kind))
        if length > MAX_BODY:
            raise Broken("E_PACK_FRAME", f"a body of {length} bytes")
        body = file.read(length)
        if len(body) < length:
            raise Broken("E_PACK_TRUNCATED", "a frame ends early")
        name, count = KINDS[kind - 1], count + 1
        _in_place(before, kind, name)
        before = kind
        yield name, body
        if name != "END":
            continue
        end = decode("end", body)
        if end.frames != count:
            raise Broken("E_PACK_TRUNCATED", f"END counts {end.frames} frames, there are {count}")
        if file.read(1):
            raise Broken("E_PACK_TRAILING", "something follows END")
        return


def _in_place(before, kind, name):
    first = before == 0
    fits = (kind == 1) if first else kind != 1
    if not first and kind != 2:
        fits = fits and kind >= before and (before != 1 or kind == len(KINDS))
        fits = fits and not (kind == before and name == "FRONTIER")
    if not fits:
        raise Broken("E_PACK_ORDER", name)


def checkpoint(data):
    """Origin, size, root, the bytes that are signed, and (name, key hash, rest) of each line."""
    try:
        text = data.decode("utf-8")
        head, _, tail = text.partition("\n\n")
        origin, size, root = head.split("\n")
        good = re.fullmatch(r"0|[1-9][0-9]*", size) and int(size) <= MAX and tail.endswith("\n")
        root_bytes = _base64(root)
        lines = [_line(line) for line in tail[:-1].split("\n")]
        good = good and origin.startswith("dragons/ledger/")
        if not good or len(root_bytes) != 32 or len(lines) > 16:
            raise ValueError
    except ValueError:
        raise Broken("E_CP_FIELD", "not a signed note over a head") from None
    signed = (head + "\n").encode()
    return SimpleNamespace(origin=origin, size=int(size), root=root_bytes, signed=signed, lines=lines)


def _line(line):
    m = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
    raw = _base64(m.group(2)) if m else b""
    if len(raw) < 5:
        raise ValueError
    return m.group(1), raw[:4], raw[4:]


def _base64(text):
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError
    return raw


def key_hash(name, algorithm, key):
    return crypto.sha256(name.encode(), b"\n", bytes([algorithm]), key)[:4]


class TrustFault(Exception):
    pass


FIELDS = set(
    "format tenant rootKey keysetVersion cosigners witnesses quorum knownHead asOf maxAgeSeconds"
    .split()
)


def trust_file(data):
    if len(data) > 65536 or b"\\" in data:
        raise TrustFault("file: at most 64 KiB of UTF-8 JSON, without escapes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except ValueError as e:
        raise TrustFault(f"file: {e}") from None
    _object(value, FIELDS, "file")
    if value.get("format") != "dragons trust 0":
        raise TrustFault('format: must be "dragons trust 0"')
    if not isinstance(value.get("tenant"), str) or not value["tenant"]:
        raise TrustFault("tenant: the tenant's name")
    witnesses = _list(value, "witnesses")
    for w in witnesses:
        _object(w, {"name", "key"}, "witnesses")
        if not isinstance(w.get("name"), str) or not w["name"]:
            raise TrustFault("witnesses: each has a name")
    quorum = _number(value, "quorum", 1, len(witnesses), len(witnesses))
    known = value.get("knownHead")
    if known is not None:
        _object(known, {"ledger", "size", "root"}, "knownHead")
        known = SimpleNamespace(
            ledger=_hash(known.get("ledger"), "knownHead.ledger"),
            size=_number(known, "size", 0, MAX, None),
            root=_hash(known.get("root"), "knownHead.root"),
        )
        if known.size is None:
            raise TrustFault("knownHead.size: a number")
    age = _number(value, "maxAgeSeconds", 1, MAX // 10**6, None)
    return SimpleNamespace(
        tenant=value["tenant"],
        root=_key(value.get("rootKey"), "rootKey"),
        keyset_version=_number(value, "keysetVersion", 1, MAX, 1),
        cosigners=[_key(k, "cosigners") for k in _list(value, "cosigners")]
        if "cosigners" in value
        else None,
        witnesses=[_key(w.get("key"), "witnesses") for w in witnesses],
        quorum=quorum,
        known=known,
        as_of_us=_time(value.get("asOf")),
        max_age_us=None if age is None else age * 10**6,
    )


def _unique(pairs):
    if len({k for k, _ in pairs}) < len(pairs):
        raise ValueError("a field stands twice")
    return dict(pairs)


def _object(value, allowed, where):
    if not isinstance(value, dict) or set(value) - allowed:
        raise TrustFault(f"{where}: an object of {', '.join(sorted(allowed))}")


def _list(value, name):
    found = value.get(name, [])
    if not isinstance(found, list):
        raise TrustFault(f"{name}: a list")
    return found


def _number(value, name, least, most, absent):
    if name not in value:
        return absent
    n = value[name]
    if type(n) is not int or not least <= n <= most:
        raise TrustFault(f"{name}: a number from {least} to {most}")
    return n


def _hash(text, where):
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{64}", text):
        raise TrustFault(f"{where}: 64 lower-case hex digits")
    return bytes.fromhex(text)


def _key(text, where):
    key = _hash(text, where)
    if crypto.key_fault(key):
        raise TrustFault(f"{where}: {crypto.key_fault(key)}")
    return key


def _time(text):
    if text is None:
        return None
    try:
        at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except (ValueError, TypeError):
        raise TrustFault("asOf: a time such as 2026-11-22T21:00:00Z") from None
    return int(at.timestamp()) * 10**6

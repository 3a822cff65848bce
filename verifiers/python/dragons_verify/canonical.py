"""Section 1: proto3 with exactly one encoding for each value, read from the bytes themselves."""

import re
from functools import lru_cache
from types import SimpleNamespace

from . import schema

MAX = 2**53 - 1


class Broken(Exception):
    """A check that failed. `check` and `index` are filled in by whoever knows them."""

    def __init__(self, code, detail="", check=None, index=None, suspect=None):
        super().__init__(code)
        self.code, self.detail, self.check = code, detail, check
        self.index, self.suspect = index, suspect


class Field:
    def __init__(self, name, kind, repeated, values):
        self.name, self.kind, self.repeated, self.values = name, kind, repeated, values


def _entries(text):
    """`name: …` and what follows it, up to the next name."""
    for entry in re.split(r"(?m)^(?=\w+: )", text)[1:]:
        name, _, body = entry.strip().partition(": ")
        yield name, body


def _parse():
    enums = {}
    for name, body in _entries(schema.ENUMS):
        enums[name] = {int(n): word for n, word in re.findall(r"(\d+)\s+(\w+)", body)}
    messages = {}
    for name, body in _entries(schema.MESSAGES + schema.ENVELOPES):
        fields = messages[name] = {}
        for number, field, kind in re.findall(r"(\d+)\s+(\w+)\s+([\w|\[\]]+)", body):
            inner = kind.strip("[]")
            values = enums.get(inner)
            if values is None and (inner.upper() == inner or "|" in inner):
                values = dict(enumerate(inner.split("|"), 1))
            fields[int(number)] = Field(field, inner, kind[0] == "[", values)
    return messages


MESSAGES = _parse()
LENGTHS = {"hash": 32, "signature64": 64}


def empty(name):
    """A message in which nothing is written: numbers 0, text and bytes empty, enums the empty word."""
    plain, own = _blank(name)
    out = SimpleNamespace(**plain)
    for f in own:
        setattr(out, f.name, _default(f))
    return out


@lru_cache(maxsize=None)
def _blank(name):
    """What may be shared between messages, and the fields of which each needs its own."""
    fields = MESSAGES[name].values()
    own = [f for f in fields if f.repeated or f.kind in MESSAGES]
    return {f.name: _default(f) for f in fields if f not in own}, own


def _default(f):
    if f.repeated:
        return []
    if f.values is not None or f.kind == "str":
        return ""
    if f.kind in ("u32", "u64"):
        return 0
    return empty(f.kind) if f.kind in MESSAGES else b""


def decode(name, data):
    fields, out, at, last = MESSAGES[name], empty(name), 0, 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        f = fields.get(number)
        if f is None:
            raise Broken("E_ENC_UNKNOWN_FIELD", f"{name} has no field {number}")
        scalar = f.values is not None or f.kind in ("u32", "u64")
        if wire != (0 if scalar else 2):
            raise Broken("E_ENC_WIRETYPE", f"{name}.{f.name}")
        if number < last or number == last and not f.repeated:
            raise Broken("E_ENC_ORDER", f"{name}.{f.name}")
        last = number
        value, at = _varint(data, at)
        if scalar:
            setattr(out, f.name, _number(name, f, value))
            continue
        if at + value > len(data):
            raise Broken("E_ENC_TRUNCATED", f"{name}.{f.name}")
        value, at = _bytes(name, f, data[at : at + value]), at + value
        if f.repeated:
            getattr(out, f.name).append(value)
        else:
            setattr(out, f.name, value)
    return out


def _varint(data, at):
    value = shift = 0
    start = at
    while True:
        if at == len(data):
            raise Broken("E_ENC_TRUNCATED", "inside a varint")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
        if at - start == 8:
            raise Broken("E_ENC_RANGE", "a varint of more than eight bytes")
    if byte == 0 and at - start > 1:
        raise Broken("E_ENC_VARINT", "more bytes than it needs")
    if value > MAX:
        raise Broken("E_ENC_RANGE", str(value))
    return value, at


def _number(name, f, value):
    if value == 0:
        raise Broken("E_ENC_DEFAULT", f"{name}.{f.name}")
    if f.values is not None:
        if value not in f.values:
            raise Broken("E_ENC_ENUM", f"{name}.{f.name}")
        return f.values[value]
    if f.kind == "u32" and value >= 2**32:
        raise Broken("E_ENC_RANGE", f"{name}.{f.name}")
    return value


def _bytes(name, f, data):
    if f.kind in LENGTHS and len(data) != LENGTHS[f.kind]:
        raise Broken("E_ENC_LENGTH", f"{name}.{f.name}")
    if not data and not f.repeated:
        raise Broken("E_ENC_DEFAULT", f"{name}.{f.name}")
    if f.kind in MESSAGES:
        return decode(f.kind, data)
    if f.kind != "str":
        return bytes(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Broken("E_ENC_UTF8", f"{name}.{f.name}") from None

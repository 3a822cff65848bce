"""Section 11: whether a claim is normal, and what the gate must have said to it."""

import re
from unicodedata import category
from functools import lru_cache

from . import conditions

UNLIMITED = 2**53 - 1
UNREADABLE = set(
    "TWICE NOT_TEXT TOO_LONG NOT_INT64 NOT_SCALAR NOT_JSON BAD_JSON BODY_TOO_LONG BODY_TOO_LATE"
    " BODY_BROKEN_OFF".split()
)
UUID7 = r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}"
GRPC_PATH = re.compile(r"/[A-Za-z_]\w*(\.[A-Za-z_]\w*)*/[A-Za-z_]\w*", re.ASCII)
TARGET = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+):([1-9][0-9]{0,4})")
UNRESERVED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
PLAIN = UNRESERVED | set("!$&'()*+,;=:@/")


def fault_of(claim):
    """None, or what of the claim is not normal."""
    if not _target(claim):
        return "target"
    if (claim.scheme == "") != (claim.protocol == "MCP"):
        return "scheme"
    if claim.protocol == "GRPC" and not GRPC_PATH.fullmatch(claim.path):
        return "path"
    if claim.protocol == "HTTP" and not _normal_path(claim.path):
        return "path"
    if claim.protocol == "OPAQUE":
        bare = (claim.verb, claim.path, claim.scheme) == ("", "", "HTTPS") and not claim.inputs
        return None if bare else "opaque"
    names = [i.name.encode() for i in claim.inputs]
    if any(a >= b for a, b in zip(names, names[1:])):
        return "inputs"
    read = [i for i in claim.inputs if not (claim.protocol == "MCP" and _trail(i))]
    return "inputs" if any(not _input(i) for i in read) else None


def _target(a):
    """Of a claim or a rule: `host:port`; of MCP a server's name."""
    if a.protocol == "MCP":
        return NAME.fullmatch(a.target) is not None
    port = TARGET.fullmatch(a.target)
    return port is not None and int(port.group(2)) <= 65535


def _normal_path(path):
    if not path.startswith("/") or "//" in path:
        return False
    if any(segment in (".", "..") for segment in path.split("/")):
        return False
    at = 0
    while at < len(path):
        if path[at] == "%":
            code = path[at + 1 : at + 3]
            if not re.fullmatch("[0-9A-F]{2}", code) or chr(int(code, 16)) in UNRESERVED:
                return False
            at += 3
        elif path[at] in PLAIN:
            at += 1
        else:
            return False
    return True


def is_id(prefix, text):
    return re.fullmatch(prefix + UUID7, text) is not None


def _trail(i):
    """The receipt that a message of MCP goes on from."""
    return i.name == "continues" and i.type == "STRING" and is_id("rcp_", i.value)


def _input(i):
    try:
        tree = conditions.parse(i.name if "." in i.name or "[" in i.name else "")
        name = tree[1][0][1][0][1]
    except (conditions.Malformed, TypeError, IndexError, KeyError):
        return False
    if name != i.name or name.startswith("path["):
        return False
    if i.type == "STRING":
        return conditions.utf16(i.value) <= 1024
    if i.type == "UNREADABLE":
        return i.value in UNREADABLE
    return i.type in ("INT", "BOOL") and conditions.spelled(i.type, i.value) is not None


@lru_cache(maxsize=4096)
def _pattern(pattern):
    """`*` is any run but `/` and `%2F`; `{a,b}` is either; everything else is itself."""
    out, depth = "", 0
    for c in pattern:
        if c == "*":
            out += r"(?:(?!%2F)[^/])*"
        elif c == "{":
            out, depth = out + "(?:", depth + 1
        elif c == "}" and depth:
            out, depth = out + ")", depth - 1
        elif c == "," and depth:
            out += "|"
        else:
            out += re.escape(c)
    return re.compile(out, re.DOTALL)


NAME = re.compile("[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SCOPE = re.compile("[a-z][a-z0-9-]*(?::[a-z0-9][a-z0-9._-]*)+")
TOKEN = r"[a-z0-9!#$%&'*+.^_`|~-]+"
HEADER = re.compile(r"header(?:\.[a-z0-9_]+|\[\"" + TOKEN + r"\"\])")
VERSION = re.compile("[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")


def printable(text, most=512, bad=("Cc", "Cf", "Zl", "Zp")):
    units = len(text.encode("utf-16-le")) // 2
    return units <= most and not any(category(c) in bad for c in text)


def manifest_fault(m):
    """None, or the field that is not as it is recorded."""
    names = [c.name for c in m.capabilities]
    if m.version != 1 or not NAME.fullmatch(m.name):
        return "name"
    if not VERSION.fullmatch(m.agent_version):
        return "agent_version"
    if not printable(m.runtime, 256):
        return "runtime"
    if any(_unsorted([f.path for f in files]) for files in (m.code, m.config)):
        return "files"
    files = m.code + m.config
    if any(set(f.path.split("/")) & {"", ".", ".."} or "\\" in f.path for f in files):
        return "path"
    if len(files) > 10_000 or not all(f.sha256 and printable(f.path, 4096, ("Cc",)) for f in files):
        return "files"
    if _unsorted(names) or not all(SCOPE.fullmatch(n) and len(n) <= 64 for n in names):
        return "capabilities"
    if len(names) > 64 or not all(1 <= len(c.rules) <= 128 for c in m.capabilities):
        return "rules"
    if len(m.servers) > 64 or _unsorted([s.name for s in m.servers]) or not all(map(_is_server, m.servers)):
        return "servers"
    if _unsorted(m.listens) or not set(m.listens) <= set(names):
        return "listens"
    return next((f for c in m.capabilities for f in map(_rule_fault, c.rules) if f), None)


def _is_server(s):
    port = TARGET.fullmatch(s.target)
    normal = port is not None and int(port.group(2)) <= 65535 and _normal_path(s.path)
    return NAME.fullmatch(s.name) is not None and s.scheme != "" and normal


def _unsorted(names):
    return any(a.encode() >= b.encode() for a, b in zip(names, names[1:]))


def _rule_fault(rule):
    if not _target(rule):
        return "target"
    if rule.protocol == "OPAQUE":
        bare = (rule.verb, rule.path, rule.when, rule.scheme) == ("", "", "", "HTTPS")
        return None if bare else "opaque"
    normal = {"GRPC": GRPC_PATH.fullmatch, "HTTP": _normal_path}.get(rule.protocol, lambda p: True)
    if not any(normal(path) for path in _examples(rule.path)):
        return "path"
    try:
        names = conditions.names(rule.when) if rule.when else {}
    except conditions.Malformed:
        return "when"
    return "when" if any(not HEADER.fullmatch(n) for n in names if n.startswith("header")) else None


def _examples(pattern):
    """Paths that a pattern matches: each of its alternatives, with every run empty, and with none."""
    m = re.search(r"\{([^{}]*)\}", pattern)
    if m is None:
        return [pattern.replace("*", run) for run in ("", "x")]
    rest = (pattern[: m.start()] + a + pattern[m.end() :] for a in m.group(1).split(","))
    return [path for one in rest for path in _examples(one)]


@lru_cache(maxsize=4096)
def _parsed(when):
    return conditions.parse(when)


def decide(claim, manifest, scopes):
    """(reason or None, scope). `scopes` are those of the lease, by name."""
    asked = []
    for capability in sorted(manifest.capabilities, key=lambda c: c.name.encode()):
        for rule in capability.rules if capability.name in scopes else []:
            if _greets(rule, claim):
                asked.append((capability.name, ""))
            elif _speaks_of(rule, claim):
                asked.append((capability.name, rule.when))
    asked.sort(key=lambda a: a[1] != "")
    inputs = {i.name: (i.type, i.value) for i in claim.inputs}
    first = None
    for scope, when in asked:
        outcome = "TRUE" if when == "" else conditions.evaluate(_parsed(when), claim.path, inputs)
        if outcome == "TRUE":
            return ("LIMIT_SPENT" if _spent(claim, scope) else None, scope)
        first = first or outcome
    return (f"CONDITION_{first}" if first else "SCOPE_NOT_GRANTED", "")


CONTROL = set(
    "initialize ping server/discover tools/list prompts/list resources/list resources/templates/list"
    " notifications/initialized notifications/cancelled notifications/progress"
    " notifications/roots/list_changed session/listen session/end".split()
)


def _greets(rule, claim):
    """Whoever may do anything at an MCP server may greet it, and ask what there is."""
    mcp = rule.protocol == claim.protocol == "MCP"
    return mcp and rule.target == claim.target and claim.verb in CONTROL and claim.path == ""


def _speaks_of(rule, claim):
    same = (rule.protocol, rule.target, rule.verb) == (claim.protocol, claim.target, claim.verb)
    scheme = rule.scheme in ("", claim.scheme)
    return same and scheme and _pattern(rule.path).fullmatch(claim.path) is not None


def _spent(claim, scope):
    return any(
        0 in (s.actions_left, s.bytes_left, s.concurrent_left, s.rate_left)
        for s in claim.limit_state
        if s.scope == scope
    )

"""Section 2: hashes, references, and Ed25519 by one rule, in integers.

Where `cryptography` is installed it checks the equation, which takes a tenth of the time. What libraries differ in is
judged here before it is asked: the key, S, and the identity as R. It then recomputes R and compares bytes, so that no
other spelling of R is taken, and none with torsion: no multiple of a key of prime order has any.
"""

from functools import lru_cache
from hashlib import sha256 as _sha256
from hashlib import sha512

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey as Library
except ImportError:
    Library = None

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
IDENTITY = (0, 1, 1, 0)


def sha256(*parts):
    return _sha256(b"".join(parts)).digest()


def pae(name, body):
    kind = f"application/vnd.dragons.{name}.v1+proto"
    return f"DSSEv1 {len(kind)} {kind} {len(body)} ".encode() + body


def ref(name, body):
    return sha256(f"dragons/v1/{name}-ref\n".encode(), pae(name, body))


def manifest_hash(data):
    return sha256(b"dragons/v1/manifest\n", data)


def commitment(field, ledger_id, intent_seq, receipt_id, salt, data):
    place = bytes([field]) + ledger_id + intent_seq.to_bytes(8, "big")
    return sha256(b"dragons/v1/field\n", place, receipt_id.encode(), salt, data)


def payload_hash(commitments):
    return sha256(b"dragons/v1/payload\n", *commitments)


def _add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _rows(point):
    """Row i: the point times 16^i, times 0 to 15, so that multiplying is looking up and adding."""
    rows = []
    for _ in range(64):
        row = [IDENTITY]
        for _ in range(15):
            row.append(_add(row[-1], point))
        rows.append(row)
        point = _add(row[-1], point)
    return rows


def _times(n, rows, out=IDENTITY):
    """out + n times the point of the rows."""
    for row in rows:
        if n & 15:
            out = _add(out, row[n & 15])
        n >>= 4
    return out


def _encode(p):
    z = pow(p[2], P - 2, P)
    x, y = p[0] * z % P, p[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decode(data):
    """The point, or None where these bytes are not its one encoding."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * ROOT % P
    if (v * x * x - u) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


BASE = _rows(_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")))


@lru_cache(maxsize=64)
def _minus(key):
    """Rows of the key's negative: a quarter of a megabyte, for the few keys that sign much."""
    x, y, z, t = _decode(key)
    return _rows((P - x, y, z, P - t))


@lru_cache(maxsize=1024)
def key_fault(key):
    """None for a sound key: canonical, of prime order, not the identity."""
    if len(key) != 32 or _decode(key) is None:
        return "E_KEY_NONCANONICAL"
    weak = _encode(_times(L, _minus(key))) != _encode(IDENTITY)
    return "E_KEY_WEAK" if weak or key == _encode(IDENTITY) else None


@lru_cache(maxsize=1024)
def _asked(key):
    return Library.from_public_bytes(key)


@lru_cache(maxsize=65536)
def _equation(key, r, s, k):
    """Cofactorless, and R as canonical as what it is compared with."""
    return _encode(_times(k, _minus(key), _times(s, BASE))) == r


def verify(key, message, signature):
    """S < L, R not the identity, and the equation."""
    if len(signature) != 64 or key_fault(key) is not None:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= L or r == _encode(IDENTITY):
        return False
    if Library is None:
        return _equation(key, r, s, int.from_bytes(sha512(r + key + message).digest(), "little") % L)
    try:
        _asked(key).verify(signature, message)
        return True
    except InvalidSignature:
        return False

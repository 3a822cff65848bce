"""A witness of transparency logs, written from C2SP's tlog-witness, tlog-checkpoint, tlog-cosignature and
signed-note: POST <prefix>/add-checkpoint, and GET <prefix>/<origin hash>/checkpoint. Only the curve is borrowed.

    python3 witness.py NAME SEED_HEX     serves on a free port of loopback, which it prints with its vkey

Which origins it knows, and by which key, is told to it on standard input, a line of JSON each:
{"origin": …, "key": hex}. It answers each with a line. It ends when standard input ends.
"""

import base64
import hashlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "verifiers" / "python"))
from dragons_verify import crypto  # noqa: E402


def sign(seed, message):
    """RFC 8032, 5.1.6."""
    digest = hashlib.sha512(seed).digest()
    a = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
    r = int.from_bytes(hashlib.sha512(digest[32:] + message).digest(), "little") % crypto.L
    point = crypto._encode(crypto._times(r, crypto.BASE))
    k = int.from_bytes(hashlib.sha512(point + public(seed) + message).digest(), "little")
    return point + ((r + k * a) % crypto.L).to_bytes(32, "little")


def public(seed):
    a = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little") & (2**254 - 8) | 2**254
    return crypto._encode(crypto._times(a, crypto.BASE))


def key_id(name, algorithm, key):
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:4]


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old_size, old_root, size, root, proof):
    """RFC 6962, 2.1.2: replays the recursion of PROOF, and rebuilds both roots on the way back."""
    proof = list(proof)

    def roots(m, n, whole):
        """The roots of the first m and of all n of a subtree."""
        if m == n:
            one = old_root if whole else proof.pop(0)
            return one, one
        k = 1 << (n - 1).bit_length() - 1
        if m <= k:
            old, new = roots(m, k, whole)
            return old, node(new, proof.pop(0))
        old, new = roots(m - k, n - k, False)
        left = proof.pop(0)
        return node(left, old), node(left, new)

    if old_size == 0 or old_size == size:
        return not proof and (old_size == 0 or old_root == root)
    try:
        return roots(old_size, size, True) == (old_root, root) and not proof
    except IndexError:
        return False


class Refused(Exception):
    def __init__(self, status, body="", kind="text/plain"):
        self.status, self.body, self.kind = status, body, kind


class Witness:
    def __init__(self, name, seed):
        self.name, self.seed, self.key = name, seed, public(seed)
        self.origins, self.latest, self.lock = {}, {}, threading.Lock()

    @property
    def vkey(self):
        material = base64.b64encode(b"\x04" + self.key).decode()
        return f"{self.name}+{key_id(self.name, 4, self.key).hex()}+{material}"

    def add_checkpoint(self, body):
        head, _, note = body.partition("\n\n")
        old, *lines = head.split("\n")
        match = re.fullmatch(r"old (0|[1-9][0-9]*)", old)
        if not match or len(lines) > 63:
            raise Refused(400)
        old_size, proof = int(match.group(1)), [base64.b64decode(x, validate=True) for x in lines]
        text, _, signatures = note.partition("\n\n")
        text += "\n"
        origin, size, root = text.split("\n")[:3]
        if origin not in self.origins:
            raise Refused(404)
        self.trusted(origin, text, signatures)
        if not re.fullmatch(r"0|[1-9][0-9]*", size) or old_size > int(size):
            raise Refused(400)
        size, root = int(size), base64.b64decode(root, validate=True)
        with self.lock:
            known_size, known_root, _ = self.latest.get(origin, (0, None, None))
            if known_size != old_size:
                raise Refused(409, f"{known_size}\n", "text/x.tlog.size")
            if size == 0 and root != hashlib.sha256().digest():
                raise Refused(422)
            if not consistent(old_size, known_root, size, root, proof):
                raise Refused(422)
            line = self.cosign(text)
            self.latest[origin] = (size, root, note + line)
        return line

    def trusted(self, origin, text, signatures):
        key, found = self.origins[origin], False
        for line in signatures.splitlines():
            name, blob = re.fullmatch(r"— (\S+) (\S+)", line).groups()
            raw = base64.b64decode(blob, validate=True)
            if name != origin or raw[:4] != key_id(origin, 1, key):
                continue
            if not crypto.verify(key, text.encode(), raw[4:]):
                raise Refused(403)
            found = True
        if not found:
            raise Refused(403)

    def cosign(self, text):
        now = int(time.time())
        signature = sign(self.seed, f"cosignature/v1\ntime {now}\n{text}".encode())
        raw = key_id(self.name, 4, self.key) + now.to_bytes(8, "big") + signature
        return f"— {self.name} {base64.b64encode(raw).decode()}\n"


def serve(witness):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            try:
                if not self.path.endswith("/add-checkpoint"):
                    raise Refused(404)
                self.answer(200, witness.add_checkpoint(body))
            except Refused as r:
                self.answer(r.status, r.body, r.kind)
            except (ValueError, AttributeError):
                self.answer(400)

        def do_GET(self):
            for origin, (_, _, note) in witness.latest.items():
                if self.path.endswith(f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"):
                    return self.answer(200, note)
            self.answer(404)

        def answer(self, status, body="", kind="text/plain; charset=utf-8"):
            data = body.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    witness = Witness(sys.argv[1], bytes.fromhex(sys.argv[2]))
    print(json.dumps({"port": serve(witness), "vkey": witness.vkey}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        witness.origins[told["origin"]] = bytes.fromhex(told["key"])
        print("{}", flush=True)


if __name__ == "__main__":
    main()

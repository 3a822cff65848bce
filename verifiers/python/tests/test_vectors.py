"""Against the golden vectors of test/vectors, and the text of docs/formats.md."""

import json
import unittest
from hashlib import sha512
from pathlib import Path
from unittest import mock

from dragons_verify import canonical, crypto, schema

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "test" / "vectors"
D1 = json.loads((VECTORS / "d1.json").read_text())
unhex = bytes.fromhex
ORDER_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"


class Text(unittest.TestCase):
    def test_the_messages_are_those_of_the_text(self):
        words = (ROOT / "docs" / "formats.md").read_text().split()
        text = " ".join(words)
        for part in (schema.MESSAGES, schema.ENUMS):
            for paragraph in part.strip().split("\n\n"):
                self.assertIn(" ".join(paragraph.split()), text)


class Golden(unittest.TestCase):
    def test_objects(self):
        names = ("keyset", "grant", "dock", "genesis", "lease", "heartbeat")
        for vector, name in (*((n, n) for n in names), ("keysetWithAuthorities", "keyset")):
            o = D1["objects"][vector]
            body, pae = unhex(o["body"]), unhex(o["pae"])
            canonical.decode(name, body)
            self.assertEqual(crypto.pae(name, body), pae)
            self.assertEqual(crypto.ref(name, body), unhex(o["ref"]))
            for s in o["signatures"]:
                self.assertTrue(crypto.verify(unhex(s["key"]), pae, unhex(s["value"])))

    def test_receipts_and_their_payloads(self):
        before = unhex(D1["objects"]["genesis"]["ref"])
        ledger_id = before
        for r in D1["receipts"]:
            header = canonical.decode("receipt", unhex(r["body"]))
            self.assertEqual(header.prev_hash, before)
            before = crypto.sha256(b"\0", unhex(r["pae"]))
            self.assertEqual(before, unhex(r["hash"]))
            for o, c in zip(r["openings"], r["commitments"]):
                place = (o["field"], ledger_id, header.intent_seq, header.receipt_id)
                made = crypto.commitment(*place, unhex(o["salt"]), unhex(o["data"]))
                self.assertEqual(made, unhex(c))
            self.assertEqual(
                crypto.payload_hash([unhex(c) for c in r["commitments"]]), header.payload_hash
            )


class Ed25519(unittest.TestCase):
    """By the integers of crypto.py, and by the library where there is one."""

    library = None

    def setUp(self):
        patch = mock.patch.object(crypto, "Library", self.library)
        patch.start()
        self.addCleanup(patch.stop)

    def test_wycheproof(self):
        groups = json.loads((VECTORS / "ed25519" / "wycheproof.json").read_text())["testGroups"]
        for group in groups:
            key = unhex(group["publicKey"]["pk"])
            for case in group["tests"]:
                good = crypto.verify(key, unhex(case["msg"]), unhex(case["sig"]))
                self.assertEqual(good, case["result"] == "valid", case["tcId"])

    def test_speccheck_is_refused_to_the_last_case(self):
        for case in json.loads((VECTORS / "ed25519" / "speccheck.json").read_text()):
            where = (unhex(case[k]) for k in ("pub_key", "message", "signature"))
            self.assertFalse(crypto.verify(*where))

    def test_a_torsion_that_the_signer_added_to_r_is_refused(self):
        torsion = crypto._decode(unhex(ORDER_8))
        a, nonce, message = 7, 12345, b"an action"
        key = crypto._encode(crypto._times(a, crypto.BASE))
        honest = crypto._times(nonce, crypto.BASE)
        shifted = honest
        for times in range(8):
            r = crypto._encode(shifted)
            k = int.from_bytes(sha512(r + key + message).digest(), "little")
            s = (nonce + k * a) % crypto.L
            self.assertEqual(crypto.verify(key, message, r + s.to_bytes(32, "little")), times == 0)
            shifted = crypto._add(shifted, torsion)


@unittest.skipIf(crypto.Library is None, "cryptography is not installed")
class Ed25519ByLibrary(Ed25519):
    library = crypto.Library


if __name__ == "__main__":
    unittest.main()

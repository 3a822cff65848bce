import { getPublicKey, hashes, Point, sign, verify } from "@noble/ed25519";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { toHex } from "./bytes.ts";
import type { Crypto } from "./crypto.ts";
import { keysRememberedMax } from "./limits.ts";
import { Recent } from "./recent.ts";

hashes.sha512 = sha512;

/** SHA-256 of what is too large to hold, piece by piece. */
export const sha256Stream = () => sha256.create();

type KeyVerdict = ReturnType<Crypto["keyProblem"]> | "OK";

/** A key's check multiplies a point; the same few keys come again and again. */
const verdicts = new Recent<KeyVerdict>(keysRememberedMax);

/** The portable implementation: browsers, and the reference that `native` is held against. */
export const noble: Crypto = {
  sha256(...parts) {
    if (parts.length === 1) return sha256(parts[0] as Uint8Array);
    const hash = sha256.create();
    for (const part of parts) hash.update(part);
    return hash.digest();
  },
  publicKey: (seed) => getPublicKey(seed),
  sign: (seed, message) => sign(message, seed),
  verify(publicKey, message, signature) {
    if (publicKey.length !== 32 || signature.length !== 64) return false;
    if (noble.keyProblem(publicKey) !== null) return false;
    const r = decodePoint(signature.subarray(0, 32));
    // The library's equation is cofactored: it forgives an R with torsion. With the key and R both
    // in the prime-order subgroup, the cofactored equation holds exactly when the other one does.
    if (r === null || r.is0() || !r.isTorsionFree()) return false;
    return verify(signature, message, publicKey, { zip215: false });
  },
  keyProblem(publicKey) {
    if (publicKey.length !== 32) return "E_KEY_NONCANONICAL";
    const verdict = verdicts.get(toHex(publicKey), () => judgeKey(publicKey));
    return verdict === "OK" ? null : verdict;
  },
};

function judgeKey(publicKey: Uint8Array): KeyVerdict {
  const point = decodePoint(publicKey);
  if (point === null) return "E_KEY_NONCANONICAL";
  return point.is0() || !point.isTorsionFree() ? "E_KEY_WEAK" : "OK";
}

/** Null unless the 32 bytes are the canonical encoding (RFC 8032 §5.1.3) of a point of the curve. */
function decodePoint(encoded: Uint8Array): Point | null {
  try {
    return Point.fromBytes(encoded, false);
  } catch {
    return null;
  }
}

import {
  createPrivateKey,
  createPublicKey,
  hash,
  type KeyObject,
  sign as nodeSign,
  verify as nodeVerify,
} from "node:crypto";
import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { keysRememberedMax } from "../domain/limits.ts";
import { problemOf } from "../domain/noble.ts";
import { Recent } from "../domain/recent.ts";
import { hasPrimeOrder } from "./prime-order.ts";
import { publicKeyOf } from "./public-key.ts";
import type { VerifyThread } from "./verify-thread.ts";

// DER around a raw Ed25519 key (RFC 8410): SubjectPublicKeyInfo and PKCS #8.
const SPKI = Buffer.from("302a300506032b6570032100", "hex");
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

const IDENTITY = new Uint8Array(32);
IDENTITY[0] = 1;

/** What is known of a public key. */
interface Known {
  readonly problem: KeyProblem | null;
  /** As OpenSSL takes it, most of a kilobyte: once a signature is to be checked by it. */
  key: KeyObject | null;
}

/** Judging a key, and making a KeyObject of it, costs as much as using it. */
const publicKeys = new Recent<Known>(keysRememberedMax);
const privateKeys = new Recent<KeyObject>(64);

/** Small inputs of several parts are joined here and hashed in one call, cheaper than a stream. */
const joined = new Uint8Array(16 * 1024);

/** node:crypto: the hot path. Bytes that it returns are plain `Uint8Array`s, never pooled. */
export const native: Crypto = {
  sha256(...parts) {
    if (parts.length === 1) return digest(parts[0] as Uint8Array);
    let length = 0;
    for (const part of parts) length += part.length;
    const into = length <= joined.length ? joined : new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      into.set(part, at);
      at += part.length;
    }
    return digest(into.subarray(0, length));
  },
  publicKey(seed) {
    const der = createPublicKey(privateKey(seed)).export({ type: "spki", format: "der" });
    return new Uint8Array(der.subarray(SPKI.length));
  },
  sign: (seed, message) => plain(nodeSign(null, message, privateKey(seed))),
  verify(publicKey, message, signature) {
    const key = keyToAsk(publicKey, signature);
    return key !== null && nodeVerify(null, message, key, signature);
  },
  verifyBeside: (publicKey, message, signature) => {
    const key = keyToAsk(publicKey, signature);
    if (key === null) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      nodeVerify(null, message, key, signature, (error, holds) =>
        error === null ? resolve(holds) : reject(error),
      );
    });
  },
  keyProblem: (publicKey) => keyOf(publicKey).problem,
};

/** `native`, but that a thread of its own finds out what is asked beside. */
export const nativeWith = (thread: Pick<VerifyThread, "holds">): Crypto => ({
  ...native,
  verifyBeside: async (publicKey, message, signature) =>
    toAsk(publicKey, signature) !== null && (await thread.holds(publicKey, message, signature)),
});

/** Signs by one key, which is made once: for whoever signs often. */
export function signerOf(seed: Uint8Array): (message: Uint8Array) => Uint8Array {
  const key = newPrivateKey(seed);
  return (message) => plain(nodeSign(null, message, key));
}

/** Told as text and unpacked: three times as fast as having node make a Buffer for 32 bytes. */
function digest(data: Uint8Array): Uint8Array {
  const binary = hash("sha256", data, "binary");
  const out = new Uint8Array(32);
  for (let i = 0; i < 32; i++) out[i] = binary.charCodeAt(i);
  return out;
}

/** A Buffer's `slice` is a view and its JSON differs: nothing downstream should meet one. */
const plain = (buffer: Buffer): Uint8Array =>
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);

type KeyProblem = NonNullable<ReturnType<Crypto["keyProblem"]>>;

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");

/** The key to ask OpenSSL by; null: the strict rule has refused already. */
function keyToAsk(publicKey: Uint8Array, signature: Uint8Array): KeyObject | null {
  const known = toAsk(publicKey, signature);
  if (known === null) return null;
  known.key ??= publicKeyOf(SPKI, publicKey);
  return known.key;
}

/** What is known of a key whose signature OpenSSL judges by the strict rule; null: that has refused it already. */
function toAsk(publicKey: Uint8Array, signature: Uint8Array): Known | null {
  if (signature.length !== 64) return null;
  const known = keyOf(publicKey);
  // OpenSSL refuses S ≥ L, recomputes R and compares bytes: given a key of prime order, that alone leaves
  // only canonical R in the prime-order subgroup. Whether it takes the identity depends on its version.
  if (known.problem !== null || equal(signature.subarray(0, 32), IDENTITY)) return null;
  return known;
}

const keyOf = (publicKey: Uint8Array): Known =>
  publicKeys.get(latin1(publicKey), () => {
    // What is wrong with a key is rare, and asked of the portable arithmetic, which is slow.
    const problem = hasPrimeOrder(publicKey) ? null : problemOf(publicKey);
    return { problem, key: null };
  });

// Kept under the seed's hash, so that no secret lies about as a map's key.
const privateKey = (seed: Uint8Array): KeyObject =>
  privateKeys.get(latin1(digest(seed)), () => newPrivateKey(seed));

function newPrivateKey(seed: Uint8Array): KeyObject {
  if (seed.length !== 32) throw new TypeError("a seed is 32 bytes");
  return createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });
}

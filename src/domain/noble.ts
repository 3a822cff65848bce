import { getPublicKey, hashes, Point, sign } from "@noble/ed25519";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { equal, toHex } from "./bytes.ts";
import type { Crypto } from "./crypto.ts";
import { keysRememberedMax, keyTablesMax } from "./limits.ts";
import { Recent } from "./recent.ts";

hashes.sha512 = sha512;

/** SHA-256 of what is too large to hold, piece by piece. */
export const sha256Stream = () => sha256.create();

type KeyVerdict = ReturnType<Crypto["keyProblem"]> | "OK";

/** A key's check multiplies a point; the same few keys come again and again. */
const keys = new Recent<Key>(keysRememberedMax);

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
    const key = keyOf(publicKey);
    const s = littleEndian(signature.subarray(32));
    if (key.verdict !== "OK" || s >= ORDER) return false;
    const r = signature.subarray(0, 32);
    const k = littleEndian(sha512.create().update(r).update(publicKey).update(message).digest());
    // R is computed, not decoded: the bytes can only be those of the one point that the cofactorless
    // equation asks for, in its canonical form, and of prime order since the key is.
    base ??= new Multiples(Point.BASE);
    const wanted = base.times(s).add(key.minusTimes(k % ORDER));
    return !wanted.is0() && equal(wanted.toBytes(), r);
  },
  verifyBeside: null,
  keyProblem(publicKey) {
    if (publicKey.length !== 32) return "E_KEY_NONCANONICAL";
    const { verdict } = keyOf(publicKey);
    return verdict === "OK" ? null : verdict;
  },
};

const ORDER = Point.CURVE().n;

/** What the strict rule says of a key; nothing is remembered. */
export const problemOf = (publicKey: Uint8Array): ReturnType<Crypto["keyProblem"]> => {
  const verdict = publicKey.length === 32 ? judge(decodePoint(publicKey)) : "E_KEY_NONCANONICAL";
  return verdict === "OK" ? null : verdict;
};

function judge(point: Point | null): KeyVerdict {
  if (point === null) return "E_KEY_NONCANONICAL";
  return point.is0() || !point.isTorsionFree() ? "E_KEY_WEAK" : "OK";
}

const keyOf = (publicKey: Uint8Array): Key => keys.get(toHex(publicKey), () => new Key(publicKey));

/** Uses of a key from which on a table of its multiples pays. */
const TABLE_FROM = 16;

/** A public key judged by the strict rule, and multiplied faster once it is used much. */
class Key {
  readonly verdict: KeyVerdict;
  readonly #bytes: Uint8Array;
  readonly #minus: Point;
  #uses = 0;

  constructor(publicKey: Uint8Array) {
    const point = decodePoint(publicKey);
    this.verdict = judge(point);
    this.#bytes = publicKey.slice();
    this.#minus = (point ?? Point.ZERO).negate();
  }

  /** −k times the key; `k` below the order. */
  minusTimes(k: bigint): Point {
    const name = toHex(this.#bytes);
    const table = tables.known(name);
    if (table !== null) return table.times(k);
    if (++this.#uses < TABLE_FROM) return this.#minus.multiply(k, false);
    // Where more keys take turns than have tables, each makes its own anew only when that pays again.
    this.#uses = 0;
    return tables.get(name, () => new Multiples(this.#minus)).times(k);
  }
}

/** Bits of a factor that are looked up at once. */
const WINDOW = 6;
const MASK = BigInt(2 ** WINDOW - 1);

/** A table of some 2,700 multiples of a point: of what is public alone, since looking up takes varying time. */
class Multiples {
  /** Row i: the point times 2^(i·WINDOW), times 1 to 2^WINDOW − 1. */
  readonly #rows: Point[][] = [];

  constructor(point: Point) {
    let base = point;
    for (let bits = 0; bits < 253; bits += WINDOW) {
      const row = [base];
      while (row.length < 2 ** WINDOW - 1) row.push((row.at(-1) as Point).add(base));
      this.#rows.push(row);
      base = (row.at(-1) as Point).add(base);
    }
  }

  times(k: bigint): Point {
    let sum = Point.ZERO;
    for (let row = 0, left = k; left > 0n; row++, left >>= BigInt(WINDOW)) {
      const digit = Number(left & MASK);
      if (digit > 0) sum = sum.add(this.#rows[row]?.[digit - 1] as Point);
    }
    return sum;
  }
}

/** Of keys that are used much, by their hex. */
const tables = new Recent<Multiples>(keyTablesMax);
let base: Multiples | null = null;

/** Null unless the 32 bytes are the canonical encoding (RFC 8032 §5.1.3) of a point of the curve. */
function decodePoint(encoded: Uint8Array): Point | null {
  try {
    return Point.fromBytes(encoded, false);
  } catch {
    return null;
  }
}

const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes.toReversed())}`);

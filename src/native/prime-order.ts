import { createPrivateKey, diffieHellman } from "node:crypto";
import { equal, toHex } from "../domain/bytes.ts";
import { publicKeyOf } from "./public-key.ts";

/** The field of Curve25519 and Ed25519, and the prime order of their subgroup. */
const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const SIGN = 1n << 255n;

// DER around a raw X25519 key (RFC 8410): SubjectPublicKeyInfo and PKCS #8.
const SPKI = Buffer.from("302a300506032b656e032100", "hex");
const PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex");

/** 5L − 1: a multiple of 8 between 2^254 and 2^255, which is what X25519 takes as it is. */
const SCALAR = createPrivateKey({
  key: Buffer.concat([PKCS8, littleEndian(5n * L - 1n)]),
  format: "der",
  type: "pkcs8",
});

/**
 * Whether 32 bytes are the canonical encoding of a point of Ed25519 of prime order, by one operation of
 * OpenSSL. True is certain; what is false is to be judged by arithmetic that can say why.
 *
 * The curve is also Curve25519's, by u = (1 + y) / (1 − y) (RFC 7748 §4.1), and X25519 tells u of a multiple
 * of a point of that or, where u has none, of its twist. A point of the curve is S + T, S of the subgroup of
 * order L and T one of eight. 5L − 1 is a multiple of 8 and −1 modulo L, so (5L − 1)(S + T) = −S, whose u is
 * that of S. If that is u again, S is S + T, and T is nothing; or S is −(S + T), then T is −2S, which has odd
 * order, and both are nothing, which is left out at the start. A point of the twist has an order that divides
 * four times another prime; neither 5L nor 5L − 2 has a divisor in common with that, so no multiple by 5L − 1
 * of it is itself or its negative.
 */
export function hasPrimeOrder(key: Uint8Array): boolean {
  if (key.length !== 32) return false;
  const encoded = BigInt(`0x${toHex(key.toReversed())}`);
  const y = encoded & (SIGN - 1n);
  // As many as p and more have another spelling; ±1 are the two points without an x.
  if (y >= P || y === 1n || y === P - 1n) return false;
  const u = littleEndian(((1n + y) * inverse(P + 1n - y)) % P);
  try {
    return equal(diffieHellman({ privateKey: SCALAR, publicKey: publicKeyOf(SPKI, u) }), u);
  } catch {
    // The multiple is nothing: OpenSSL refuses to agree on that.
    return false;
  }
}

/** Modulo P, by Euclid. In time that varies: of what is public alone. */
function inverse(n: bigint): bigint {
  let [a, b, x, y] = [n % P, P, 1n, 0n];
  while (a > 1n) {
    const q = b / a;
    [a, b] = [b - q * a, a];
    [x, y] = [y - q * x, x];
  }
  return x < 0n ? x + P : x;
}

function littleEndian(n: bigint): Uint8Array {
  const bytes = new Uint8Array(32);
  for (let i = 0, left = n; i < 32; i++, left >>= 8n) bytes[i] = Number(left & 255n);
  return bytes;
}

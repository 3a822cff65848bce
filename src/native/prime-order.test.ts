import { Point } from "@noble/ed25519";
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromHex } from "../domain/bytes.ts";
import { problemOf } from "../domain/noble.ts";
import { hasPrimeOrder } from "./prime-order.ts";

const { p, n: L } = Point.CURVE();
const TORSION = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa");

const encoded = (y: bigint): Uint8Array => fromHex(y.toString(16).padStart(64, "0")).toReversed();

/** By the definition: whether L times the point is nothing, and the point is not. */
const isPrime = (key: Uint8Array): boolean => problemOf(key) === null;

test("of a point and the seven beside it that differ by torsion, it takes the one of prime order", () => {
  const factors = fc.bigInt({ min: 1n, max: L - 1n });
  fc.assert(
    fc.property(factors, (factor) => {
      const point = Point.BASE.multiply(factor, false);
      for (let t = 0n; t < 8n; t++) {
        const key = point.add(TORSION.multiply(t, false)).toBytes();
        expect([t, hasPrimeOrder(key), isPrime(key)]).toEqual([t, t === 0n, t === 0n]);
      }
    }),
    { numRuns: 40 },
  );
});

test("it takes no point of small order, in any spelling", () => {
  for (let t = 0n; t < 8n; t++) {
    const { y } = TORSION.multiply(t, false).toAffine();
    for (const spelled of [y, y + p].filter((s) => s < 2n ** 255n)) {
      expect(hasPrimeOrder(encoded(spelled))).toBe(false);
      expect(hasPrimeOrder(encoded(spelled + 2n ** 255n))).toBe(false);
    }
  }
});

test("it takes the 32 bytes that the definition takes, on the curve, on its twist, and beyond the field", () => {
  const anything = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const edges = fc
    .tuple(fc.bigInt({ min: 0n, max: 38n }), fc.constantFrom(0n, p - 20n), fc.boolean())
    .map(([near, at, sign]) => encoded(at + near + (sign ? 2n ** 255n : 0n)));
  const seen = { taken: 0, refused: 0 };
  fc.assert(
    fc.property(fc.oneof(anything, edges), (key) => {
      expect(hasPrimeOrder(key)).toBe(isPrime(key));
      seen[isPrime(key) ? "taken" : "refused"]++;
    }),
    { numRuns: 400 },
  );
  expect(Math.min(seen.taken, seen.refused)).toBeGreaterThan(0);
});

test("what its proof says of the numbers holds: of the factor, of the twist's order", () => {
  const factor = 5n * L - 1n;
  expect([factor % 8n, factor % L]).toEqual([0n, L - 1n]);
  expect(factor >> 254n).toBe(1n);
  // By Hasse, the curve has 8L points and its twist the rest of 2p + 2.
  const twist = 2n * p + 2n - 8n * L;
  expect([twist % 4n, gcd(twist, factor + 1n), gcd(twist, factor - 1n)]).toEqual([0n, 1n, 1n]);
});

test("it takes nothing that is not of 32 bytes", () => {
  const key = Point.BASE.toBytes();
  expect(hasPrimeOrder(key)).toBe(true);
  for (const odd of [new Uint8Array(0), key.slice(1), new Uint8Array([...key, 0])]) {
    expect(hasPrimeOrder(odd)).toBe(false);
  }
});

const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? a : gcd(b, a % b));

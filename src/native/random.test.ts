import { expect, test } from "vitest";
import { toHex } from "../domain/bytes.ts";
import { random, randomU32 } from "./random.ts";

test("gives as many bytes as were asked for, none of them twice, and none that are not drawn", () => {
  const given = Array.from({ length: 2_000 }, (_, i) => random(i % 7 === 0 ? 4_100 : 32));
  expect(given.map((g) => g.length)).toEqual(given.map((_, i) => (i % 7 === 0 ? 4_100 : 32)));
  // Where 32 bytes are nothing but zeros, or the same again, they were not drawn.
  const pieces = given.flatMap((g) =>
    Array.from({ length: g.length >> 5 }, (_, i) => toHex(g.subarray(32 * i, 32 * i + 32))),
  );
  expect(new Set(pieces).size).toBe(pieces.length);
  expect(pieces).not.toContain("0".repeat(64));
});

test("what was given out is its holder's alone", () => {
  const [first, second] = [random(32), random(32)];
  const before = toHex(second);
  first.fill(0xff);
  expect(toHex(second)).toBe(before);
  expect(first.buffer).not.toBe(second.buffer);
});

test("integers fill their 32 bits evenly, and are none of the bytes that others were given", () => {
  const given: number[] = [];
  const others: number[] = [];
  // More than is drawn at once, so that some stand at either end of it.
  for (let i = 0; i < 4_000; i++) {
    given.push(randomU32());
    const [a = 0, b = 0, c = 0, d = 0] = random(4 + (i % 3));
    others.push(((a * 256 + b) * 256 + c) * 256 + d);
  }
  for (let bit = 0; bit < 32; bit++) {
    const set = given.filter((n) => Math.floor(n / 2 ** bit) % 2 === 1).length;
    // Ten standard deviations.
    expect(Math.abs(set - 2_000), `bit ${bit}`).toBeLessThan(320);
  }
  expect(given.every((n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32)).toBe(true);
  // Of 8,000 such numbers two are alike in one run of a hundred, and five pairs never.
  expect(new Set([...given, ...others]).size).toBeGreaterThan(7_995);
});

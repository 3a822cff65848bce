import { expect, test } from "vitest";
import { toHex } from "../domain/bytes.ts";
import { random } from "./random.ts";

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

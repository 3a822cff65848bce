import { expect, test } from "vitest";
import { Throttle } from "./rate.ts";

const SECOND_US = 1_000_000;
const times = (n: number, throttle: Throttle, caller: string, nowUs: number): number =>
  Array.from({ length: n }, () => throttle.take(caller, nowUs)).filter((wait) => wait === 0).length;

test("a burst passes at once, then as much as the rate gives, and no more is saved up", () => {
  const throttle = new Throttle({ burst: 5, perSecond: 2 }, 10);
  expect(times(9, throttle, "a", 0)).toBe(5);
  expect(throttle.take("a", 0)).toBe(SECOND_US / 2);
  expect(times(9, throttle, "a", SECOND_US)).toBe(2);
  expect(times(9, throttle, "a", 1000 * SECOND_US)).toBe(5);
});

test("whoever comes too often takes nothing from others", () => {
  const throttle = new Throttle({ burst: 1, perSecond: 1 }, 10);
  expect(times(9, throttle, "a", 0)).toBe(1);
  expect(throttle.take("b", 0)).toBe(0);
});

test("a clock that is set back gives nothing away, and takes nothing", () => {
  const throttle = new Throttle({ burst: 2, perSecond: 1 }, 10);
  expect(times(3, throttle, "a", 100 * SECOND_US)).toBe(2);
  expect(throttle.take("a", 0)).toBeGreaterThan(0);
  expect(throttle.take("a", SECOND_US)).toBe(0);
});

test("as many callers are remembered as it says; the longest unheard is forgotten", () => {
  const throttle = new Throttle({ burst: 1, perSecond: 1 }, 2);
  for (const caller of ["a", "b", "a", "c"]) throttle.take(caller, 0);
  expect(throttle.take("a", 0)).toBeGreaterThan(0);
  expect(throttle.take("b", 0)).toBe(0);
});

import { expect, test } from "vitest";
import { heartbeatDeclaredUsMax } from "../../src/domain/limits.ts";
import { attachAgainUs, pace } from "./pace.ts";

const TEN_S = 10_000_000;

test("a beat is a tenth early or late, by chance", () => {
  expect(pace(TEN_S, 0, 0)).toBe(9_000_000);
  expect(pace(TEN_S, 0, 0.5)).toBe(TEN_S);
  expect(pace(TEN_S, 0, 1)).toBe(11_000_000);
});

test("under load it takes up to twice as long, and no more", () => {
  expect(pace(TEN_S, 500_000, 0.5)).toBe(15_000_000);
  expect(pace(TEN_S, 1_000_000, 0.5)).toBe(20_000_000);
  expect(pace(TEN_S, 3_600_000_000, 0.5)).toBe(20_000_000);
});

test("nothing declares a beat later than silence may take to show", () => {
  expect(pace(heartbeatDeclaredUsMax, 3_600_000_000, 1)).toBe(heartbeatDeclaredUsMax);
});

test("whoever has least left of a lease is back first, and whoever has none comes with the others", () => {
  expect(attachAgainUs(TEN_S, 1, 0.5)).toBe(5_000_000);
  expect(attachAgainUs(TEN_S, 0.5, 0.5)).toBe(2_500_000);
  expect(attachAgainUs(TEN_S, 0.01, 1)).toBe(100_000);
  expect(attachAgainUs(TEN_S, 0, 1)).toBe(TEN_S);
  expect(attachAgainUs(TEN_S, 0, 0)).toBe(0);
});

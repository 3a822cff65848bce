import { expect, test } from "vitest";
import { heartbeatDeclaredUsMax } from "../../src/domain/limits.ts";
import { pace } from "./pace.ts";

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

import { expect, test } from "vitest";
import { count, isoOf, plural, span } from "./figures.ts";

test("times are told to the microsecond, and what is no time is told as a number", () => {
  expect(isoOf(1_795_000_000_000_123)).toBe("2026-11-18T11:06:40.000123Z");
  expect(isoOf(0)).toBe("1970-01-01T00:00:00.000000Z");
  expect(isoOf(Number.MAX_SAFE_INTEGER)).toMatch(/^2255-/);
  expect(isoOf(9e18)).toBe("9000000000000000000 µs");
});

test("numbers are grouped by narrow spaces, and nouns follow them", () => {
  expect([0, 999, 1000, 1_234_567].map(count)).toEqual([
    "0",
    "999",
    "1\u202f000",
    "1\u202f234\u202f567",
  ]);
  expect([plural(1, "receipt"), plural(0, "receipt")]).toEqual(["1 receipt", "0 receipts"]);
});

test("a span is told in the unit that says it shortest", () => {
  expect([30, 119, 120, 7200, 172_800].map((s) => span(s * 1_000_000))).toEqual([
    "30 s",
    "119 s",
    "2 minutes",
    "2 hours",
    "2 days",
  ]);
});

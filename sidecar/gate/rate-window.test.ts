import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RateWindow } from "./rate-window.ts";

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;

describe("the rate window", () => {
  test("counts an opening for a minute, and for less than a second more", () => {
    const window = new RateWindow(0, 0);
    window.add(999_999);
    expect(window.count(999_999 + MINUTE)).toBe(1);
    expect(window.count(999_999 + MINUTE + 1)).toBe(0);
  });

  test("begins with what is told of before, as if it had just been opened", () => {
    const window = new RateWindow(7, 5 * SECOND);
    expect(window.count(5 * SECOND)).toBe(7);
    expect(window.count(5 * SECOND + MINUTE)).toBe(7);
    expect(window.count(6 * SECOND + MINUTE)).toBe(0);
  });

  test("never counts less than there were, nor any that is a second past its minute", () => {
    const steps = fc.array(fc.integer({ min: 0, max: 90 * SECOND }), { maxLength: 60 });
    fc.assert(
      fc.property(steps, fc.nat(10 * SECOND), (gaps, from) => {
        const window = new RateWindow(0, from);
        const opened: number[] = [];
        let now = from;
        for (const gap of gaps) {
          now += gap;
          const within = (us: number) => opened.filter((at) => now - at < us).length;
          const counted = window.count(now);
          expect(counted).toBeGreaterThanOrEqual(within(MINUTE));
          expect(counted).toBeLessThanOrEqual(within(MINUTE + SECOND));
          expect(window.add(now)).toBe(counted + 1);
          opened.push(now);
        }
      }),
    );
  });
});

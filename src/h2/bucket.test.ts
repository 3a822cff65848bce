import { expect, test } from "vitest";
import { ManualClock } from "../native/clock.ts";
import { Bucket } from "./bucket.ts";

test("a bucket lets its burst through, and after it its rate", () => {
  const clock = new ManualClock(0);
  const bucket = new Bucket(clock, 10, 100);
  const through = (): number => {
    let count = 0;
    while (!bucket.spill()) count++;
    return count;
  };
  expect(through()).toBe(10);
  expect(through()).toBe(0);
  clock.advance(50_000);
  expect(through()).toBe(5);
  clock.advance(10_000_000);
  expect(through()).toBe(10);
});

import { expect, test } from "vitest";
import { someAtATime } from "./some-at-a-time.ts";

test.each([
  [0, [0]],
  [1, [1]],
  [3, [3]],
  [4, [3, 4]],
  [7, [3, 6, 7]],
])("%i things, three at once: each of them once, and then it is done", (count, seenAfterEach) => {
  const all = Array.from({ length: count }, (_, i) => i);
  const seen: number[] = [];
  const waiting: (() => void)[] = [];
  let done = 0;
  const ends = { later: (rest: () => void) => waiting.push(rest), done: () => done++ };
  someAtATime([...all], 3, (item) => seen.push(item), ends);
  const counted = [seen.length];
  for (let rest = waiting.shift(); rest !== undefined; rest = waiting.shift()) {
    expect(done).toBe(0);
    rest();
    counted.push(seen.length);
  }
  expect(counted).toEqual(seenAfterEach);
  expect(seen.sort((a, b) => a - b)).toEqual(all);
  expect(done).toBe(1);
});

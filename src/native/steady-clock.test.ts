import { beforeEach, expect, test } from "vitest";
import { ManualClock } from "./clock.ts";
import { type Jump, SteadyClock } from "./steady-clock.ts";

const SECOND = 1_000_000;
const HOUR = 3600 * SECOND;
const YEAR = 365 * 24 * HOUR;
const T0 = 1_800_000_000 * SECOND;

let machine: ManualClock;
let clock: SteadyClock;
let jumps: Jump[];

beforeEach(() => {
  machine = new ManualClock(T0);
  clock = new SteadyClock(machine);
  jumps = [];
  clock.onJump((jump) => jumps.push(jump));
});

test("it goes with the wall clock while that only goes on", () => {
  machine.advance(HOUR);
  expect(clock.nowUs()).toBe(T0 + HOUR);
  expect(jumps).toEqual([]);
});

test.each([
  ["an hour", HOUR],
  ["a year", YEAR],
])("set back by %s, time goes on from where it was", (_, by) => {
  machine.setWall(T0 - by);
  expect(clock.nowUs()).toBe(T0);
  machine.advance(10 * SECOND);
  expect(clock.nowUs()).toBe(T0 + 10 * SECOND);
  expect(jumps).toEqual([{ what: "set", byUs: -by }]);
});

test.each([
  ["an hour", HOUR],
  ["a year", YEAR],
])("set forward by %s, it is that late at once", (_, by) => {
  machine.setWall(T0 + by);
  expect(clock.nowUs()).toBe(T0 + by);
  expect(jumps).toEqual([{ what: "set", byUs: by }]);
});

test("what the machine slept has passed, also when the wall clock was set back by the same", () => {
  machine.suspend(HOUR);
  expect(clock.nowUs()).toBe(T0 + HOUR);
  expect(jumps).toEqual([{ what: "suspended", byUs: HOUR }]);

  machine.suspend(HOUR);
  machine.setWall(T0 + HOUR);
  clock.look();
  expect(clock.nowUs()).toBe(T0 + 2 * HOUR);
  expect(jumps.slice(1)).toEqual([
    { what: "suspended", byUs: HOUR },
    { what: "set", byUs: -HOUR },
  ]);
});

test("one absurd reading stays the time until somebody with better reason says otherwise", () => {
  machine.setWall(T0 + 100 * YEAR);
  clock.nowUs();
  machine.setWall(T0);
  expect(clock.nowUs()).toBe(T0 + 100 * YEAR);
  expect(clock.wallUs).toBe(T0);
  clock.resume();
  expect(clock.nowUs()).toBe(T0);
  // And is as steady as before.
  machine.setWall(T0 - HOUR);
  expect(clock.nowUs()).toBe(T0);
});

test("clocks that are slewed are followed, and nobody is told", () => {
  for (let i = 0; i < 100; i++) {
    machine.advance(SECOND);
    machine.setWall(machine.nowUs() + 600);
    clock.nowUs();
  }
  expect(clock.nowUs()).toBe(T0 + 100 * SECOND + 60_000);
  expect(jumps).toEqual([]);
});

test("it is at least as late as it was when something kept was signed", () => {
  clock.atLeast(T0 - HOUR);
  expect(clock.nowUs()).toBe(T0);
  clock.atLeast(T0 + HOUR);
  machine.advance(SECOND);
  expect(clock.nowUs()).toBe(T0 + HOUR + SECOND);
});

import { expect, test } from "vitest";
import { ManualClock } from "./clock.ts";
import { WaitingLine } from "./waiting-line.ts";

const SECOND = 1_000_000;

function line(perTurn: number) {
  const clock = new ManualClock(0);
  const said: string[] = [];
  let turns: (() => void)[] = [];
  const waiting = new WaitingLine<string>({
    perTurn,
    patienceUs: 10 * SECOND,
    clock,
    begin: (item) => said.push(`begin ${item}`),
    sendAway: (item) => said.push(`away ${item}`),
    nextTurn: (fn) => turns.push(fn),
  });
  return {
    clock,
    waiting,
    join: (...items: string[]) => {
      for (const item of items) waiting.join(item);
    },
    /** What is said in the next turn. */
    turn: (): string[] => {
      const due = turns;
      turns = [];
      for (const fn of due) fn();
      return said.splice(0);
    },
    said: () => said.splice(0),
  };
}

test("whoever comes alone begins at once", () => {
  const { join, said, turn } = line(2);
  join("a");
  expect(said()).toEqual(["begin a"]);
  turn();
  turn();
  join("b");
  expect(said()).toEqual(["begin b"]);
});

test("of many at once so many begin in a turn, in the order in which they came, and none is forgotten", () => {
  const { join, said, turn, waiting } = line(2);
  join("a", "b", "c", "d", "e");
  expect(said()).toEqual(["begin a"]);
  expect(turn()).toEqual(["begin b", "begin c"]);
  join("f");
  expect(turn()).toEqual(["begin d", "begin e"]);
  expect(turn()).toEqual(["begin f"]);
  expect(waiting.length).toBe(0);
});

test("who waited for too long is sent away, and takes nobody's turn", () => {
  const { clock, join, said, turn } = line(1);
  join("first", "late", "later");
  said();
  clock.advance(11 * SECOND);
  join("fresh");
  expect(turn()).toEqual(["away late", "away later", "begin fresh"]);
});

test("at the end those who wait are sent away, and nobody begins", () => {
  const { join, said, turn, waiting } = line(1);
  join("a", "b", "c");
  said();
  waiting.close();
  expect(said()).toEqual(["away b", "away c"]);
  expect(turn()).toEqual([]);
  expect(waiting.length).toBe(0);
});

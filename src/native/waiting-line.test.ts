import { expect, test } from "vitest";
import { ManualClock } from "./clock.ts";
import { WaitingLine } from "./waiting-line.ts";

const SECOND = 1_000_000;

function line(perTurn: number, atOnce = 100) {
  let places = Number.POSITIVE_INFINITY;
  const clock = new ManualClock(0);
  const said: string[] = [];
  let turns: (() => void)[] = [];
  const waiting = new WaitingLine<string>({
    perTurn,
    atOnce,
    slowUs: SECOND,
    patienceUs: 10 * SECOND,
    clock,
    hasPlace: () => places > 0,
    begin(item) {
      places--;
      said.push(`begin ${item}`);
      return !item.startsWith("gone");
    },
    sendAway: (item) => said.push(`away ${item}`),
    nextTurn: (fn) => turns.push(fn),
  });
  return {
    clock,
    waiting,
    /** There is a place for so many who begin. */
    leave: (count: number) => {
      places = count;
    },
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

test("so many are under way at once: the next one begins when one is done", () => {
  const { join, said, turn, waiting } = line(10, 2);
  join("a", "b", "c", "d", "e");
  expect([...said(), ...turn()]).toEqual(["begin a", "begin b"]);
  expect(turn()).toEqual([]);
  waiting.over("b");
  waiting.over("b");
  waiting.over("d");
  expect([...turn(), ...turn()]).toEqual(["begin c"]);
  waiting.over("a");
  waiting.over("c");
  expect([...turn(), ...turn()]).toEqual(["begin d", "begin e"]);
});

test("whoever dawdles holds nobody up, and who went while they waited takes no place", () => {
  const { clock, join, said, turn, waiting } = line(10, 2);
  join("a", "b", "gone c", "d", "e", "f");
  expect([...said(), ...turn()]).toEqual(["begin a", "begin b"]);
  expect([...turn(), ...turn()]).toEqual([]);
  clock.advance(SECOND);
  expect([...turn(), ...turn()]).toEqual(["begin gone c", "begin d", "begin e"]);
  // Who was slow is done at last: no place was theirs.
  waiting.over("a");
  expect([...turn(), ...turn()]).toEqual([]);
  waiting.over("d");
  expect([...turn(), ...turn()]).toEqual(["begin f"]);
});

test("where there is no place they wait, and begin when there is one, or are sent away in time", () => {
  const { clock, join, leave, said, turn, waiting } = line(10);
  leave(0);
  join("a", "b");
  expect([...said(), ...turn(), ...turn()]).toEqual([]);
  clock.advance(9 * SECOND);
  join("c");
  expect([...said(), ...turn()]).toEqual([]);
  clock.advance(2 * SECOND);
  expect([...said(), ...turn()]).toEqual(["away a", "away b"]);
  expect(waiting.length).toBe(1);
  leave(1);
  clock.advance(SECOND);
  expect([...said(), ...turn()]).toEqual(["begin c"]);
});

test("how long the next one has waited is known", () => {
  const { clock, join, turn, waiting } = line(1);
  join("a");
  expect(waiting.waitedUs).toBe(0);
  join("b");
  clock.advance(3);
  join("c");
  clock.advance(2);
  expect(waiting.waitedUs).toBe(5);
  turn();
  expect(waiting.waitedUs).toBe(2);
  turn();
  expect(waiting.waitedUs).toBe(0);
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

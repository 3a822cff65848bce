import { expect, test } from "vitest";
import { Queue, type Sink } from "./queue.ts";

/** Takes so many before it asks for a pause. */
class Taker implements Sink<number> {
  readonly got: (number | string)[] = [];
  room: number;
  onTake: (item: number) => void = () => {};

  constructor(room = Number.POSITIVE_INFINITY) {
    this.room = room;
  }

  take(item: number): boolean {
    this.got.push(item);
    this.onTake(item);
    return --this.room > 0;
  }

  over(failure: { readonly error: unknown } | null): void {
    this.got.push(failure === null ? "over" : `failed: ${String(failure.error)}`);
  }
}

test("what was pushed before flows first, and then each at once, its end last", () => {
  const queue = new Queue<number>(2);
  expect([queue.push(1), queue.push(2), queue.push(3)]).toEqual([true, true, false]);
  const taker = new Taker();
  queue.flow(taker);
  expect(taker.got).toEqual([1, 2]);
  queue.push(4);
  expect(taker.got).toEqual([1, 2, 4]);
  queue.end();
  queue.end();
  expect(queue.push(5)).toBe(false);
  expect(taker.got).toEqual([1, 2, 4, "over"]);
});

test("a sink without room is given nothing until it resumes, and the queue is as bounded as ever", () => {
  const queue = new Queue<number>(2);
  const taker = new Taker(1);
  queue.flow(taker);
  expect([1, 2, 3, 4].map((n) => queue.push(n))).toEqual([true, true, true, false]);
  queue.fail("broken");
  expect(taker.got).toEqual([1]);
  taker.room = 2;
  queue.resume();
  expect(taker.got).toEqual([1, 2, 3]);
  queue.resume();
  expect(taker.got).toEqual([1, 2, 3, "failed: broken"]);
});

test("what a sink pushes and ends while it takes comes after what it takes", () => {
  const queue = new Queue<number>(8);
  const taker = new Taker();
  taker.onTake = (item) => {
    if (item !== 1) return;
    queue.push(2);
    queue.push(3);
    queue.end();
    expect(taker.got).toEqual([1]);
  };
  queue.flow(taker);
  queue.push(1);
  expect(taker.got).toEqual([1, 2, 3, "over"]);
});

test("a reader that leaves ends the queue, is told nothing more, and nothing is kept for it", async () => {
  const queue = new Queue<number>(8);
  const taker = new Taker(1);
  queue.flow(taker);
  for (const n of [1, 2, 3]) queue.push(n);
  queue.leave();
  expect([queue.ended, queue.length, queue.push(4)]).toEqual([true, 0, false]);
  queue.resume();
  expect(taker.got).toEqual([1]);
  expect(await queue.next()).toEqual({ done: true, value: undefined });
});

test("who iterated it may let it flow from there on", async () => {
  const queue = new Queue<number>(8);
  const first = queue.next();
  queue.push(1);
  queue.push(2);
  expect(await first).toEqual({ done: false, value: 1 });
  const taker = new Taker();
  queue.flow(taker);
  expect(taker.got).toEqual([2]);
});

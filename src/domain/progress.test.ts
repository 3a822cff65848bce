import { createHmac } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { toHex } from "./bytes.ts";
import { fingerprintsMax, noveltyWindowParts, noveltyWindowUs } from "./limits.ts";
import { noble } from "./noble.ts";
import { type Finished, hmac, Progress } from "./progress.ts";

const T = 1_790_000_000_000_000;
const SECOND = 1_000_000;
const PART = noveltyWindowUs / noveltyWindowParts;
const fresh = () => new Progress(noble, new Uint8Array(32).fill(7));
const read: Finished = {
  scope: "read:payments",
  target: "grpc payments.internal:443",
  shape: "/payments.v1.Payments/List",
  request: "9f",
  requestBytes: 12,
  answer: "grpc-status: 0 a1",
  effect: false,
  completed: true,
};

test("HMAC is RFC 2104's, for keys shorter and longer than a block", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 130 }), fc.uint8Array({ maxLength: 200 }), (key, m) => {
      const expected = createHmac("sha256", key).update(m).digest("hex");
      expect(toHex(hmac(noble, key)(m))).toBe(expected);
    }),
  );
});

test("the first action is new at every level and is progress", () => {
  const progress = fresh();
  expect(progress.lastProgressUs).toBe(0);
  progress.record(read, T);
  expect(progress.novelty(T)).toEqual({
    targets: 1,
    shapes: 1,
    outcomes: 1,
    actions: 1,
    repeats: 0,
  });
  expect(progress.lastProgressUs).toBe(T);
});

test("the same again is activity, not progress", () => {
  const progress = fresh();
  for (let i = 0; i < 100; i++) progress.record(read, T + i);
  expect(progress.novelty(T + 99)).toEqual({
    targets: 1,
    shapes: 1,
    outcomes: 1,
    actions: 100,
    repeats: 0,
  });
  expect(progress.lastProgressUs).toBe(T);
});

test("an agent that swings between two actions makes progress twice and then no more", () => {
  const progress = fresh();
  for (let i = 0; i < 100; i++) {
    progress.record(i % 2 === 0 ? read : { ...read, shape: "/payments.v1.Payments/Get" }, T + i);
  }
  expect(progress.novelty(T + 99)).toEqual({
    targets: 1,
    shapes: 2,
    outcomes: 2,
    actions: 100,
    repeats: 0,
  });
  expect(progress.lastProgressUs).toBe(T + 1);
});

test("a new answer to an old question is progress at the level of outcomes alone", () => {
  const progress = fresh();
  progress.record(read, T);
  progress.record({ ...read, answer: "grpc-status: 0 b2" }, T + 5);
  expect(progress.novelty(T + 5)).toEqual({
    targets: 1,
    shapes: 1,
    outcomes: 2,
    actions: 2,
    repeats: 0,
  });
  expect(progress.lastProgressUs).toBe(T + 5);
});

test("what failed or was denied is new, and no progress", () => {
  const progress = fresh();
  progress.record({ ...read, completed: false }, T);
  expect(progress.novelty(T).outcomes).toBe(1);
  expect(progress.lastProgressUs).toBe(0);
});

test("fields do not run into each other", () => {
  const progress = fresh();
  progress.record({ ...read, scope: "ab", target: "c" }, T);
  progress.record({ ...read, scope: "a", target: "bc" }, T);
  expect(progress.novelty(T).targets).toBe(2);
});

test("counts leave with their part of the window; what was seen stays seen", () => {
  const progress = fresh();
  progress.record(read, T);
  progress.record(read, T + noveltyWindowUs - PART);
  expect(progress.novelty(T + noveltyWindowUs - PART).actions).toBe(2);
  expect(progress.novelty(T + noveltyWindowUs)).toMatchObject({
    outcomes: 0,
    actions: 1,
    repeats: 0,
  });
  progress.record(read, T + 2 * noveltyWindowUs);
  expect(progress.novelty(T + 2 * noveltyWindowUs)).toEqual({
    targets: 0,
    shapes: 0,
    outcomes: 0,
    actions: 1,
    repeats: 0,
  });
});

test("another agent begins with no counts, and is not new for doing what was done", () => {
  const progress = fresh();
  progress.record(read, T);
  progress.anew();
  expect(progress.novelty(T)).toMatchObject({ outcomes: 0, actions: 0 });
  progress.record(read, T + 1);
  expect(progress.novelty(T + 1)).toMatchObject({ outcomes: 0, actions: 1 });
  expect(progress.lastProgressUs).toBe(T);
});

test("a clock set back neither loses counts nor moves progress back", () => {
  const progress = fresh();
  progress.record(read, T);
  progress.record({ ...read, answer: "other" }, T - 3600 * SECOND);
  expect(progress.novelty(T).actions).toBe(2);
  expect(progress.lastProgressUs).toBe(T);
});

test("the longest unseen fingerprint is forgotten first, at the bound and not before", () => {
  const act = (progress: Progress, n: number) => progress.record({ ...read, answer: String(n) }, T);
  const within = fresh();
  for (let n = 0; n < fingerprintsMax; n++) act(within, n);
  act(within, 0);
  expect(within.novelty(T).outcomes).toBe(fingerprintsMax);
  act(within, -1);
  act(within, 0);
  expect(within.novelty(T).outcomes).toBe(fingerprintsMax + 1);
  act(within, 1);
  expect(within.novelty(T).outcomes).toBe(fingerprintsMax + 2);
});

test("another key gives the same counts and nothing of itself away", () => {
  const one = new Progress(noble, new Uint8Array(32).fill(1));
  const two = new Progress(noble, new Uint8Array(32).fill(2));
  for (const p of [one, two]) p.record(read, T);
  expect(one.novelty(T)).toEqual(two.novelty(T));
  expect(JSON.stringify(one)).toBe("{}");
});

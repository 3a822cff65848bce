import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteQueue } from "./byte-queue.ts";

test("bytes leave in the order they came, in whatever pieces", () => {
  const step = fc.oneof(
    fc.uint8Array({ maxLength: 1500 }).map((bytes) => ({ push: Buffer.from(bytes) })),
    fc.nat(2000).map((take) => ({ take })),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const queue = new ByteQueue();
      const came: Buffer[] = [];
      const left: Buffer[] = [];
      for (const s of steps) {
        if ("push" in s) {
          came.push(s.push);
          queue.push(s.push);
        } else if (queue.first !== null) {
          const bytes = Math.min(s.take, queue.first.length);
          left.push(Buffer.from(queue.first.subarray(0, bytes)));
          queue.advance(bytes);
        }
      }
      left.push(...queue.chunks());
      expect(Buffer.concat(left).equals(Buffer.concat(came))).toBe(true);
    }),
  );
});

test("bytes that come one by one do not make an object each", () => {
  const queue = new ByteQueue();
  for (let i = 0; i < 10_000; i++) queue.push(Buffer.from([i]));
  expect(queue.length).toBe(10_000);
  expect(queue.chunks().length).toBeLessThan(25);
});

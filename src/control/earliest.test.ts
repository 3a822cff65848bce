import { expect, test } from "vitest";
import { EarliestFirst } from "./earliest.ts";

test("what was asked for together is done by deadline, one at a time", async () => {
  const queue = new EarliestFirst();
  const done: number[] = [];
  let running = 0;
  const deadlines = Array.from({ length: 500 }, (_, i) => (i * 7919) % 1009);
  await Promise.all(
    deadlines.map((d) =>
      queue.run(d, async () => {
        expect(++running).toBe(1);
        await Promise.resolve();
        running--;
        done.push(d);
      }),
    ),
  );
  expect(done).toEqual([...deadlines].sort((a, b) => a - b));
});

test("what comes while others wait goes before them when it ends sooner; what fails holds up nobody", async () => {
  const queue = new EarliestFirst();
  const done: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = queue.run(5, () => gate.promise);
  const failing = queue.run(7, () => Promise.reject(new Error("no")));
  const late = queue.run(9, async () => void done.push("late"));
  await Promise.resolve();
  const urgent = queue.run(1, async () => void done.push("urgent"));
  gate.resolve();
  await expect(failing).rejects.toThrow("no");
  await Promise.all([first, late, urgent]);
  expect(done).toEqual(["urgent", "late"]);
});

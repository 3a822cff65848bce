import { expect, test } from "vitest";
import { ManualClock } from "../../src/native/clock.ts";
import { Committer } from "./committer.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function make(commit?: () => Promise<() => void>) {
  const clock = new ManualClock(1_000_000);
  const seen = { commits: 0, told: 0, late: 0, failed: [] as unknown[] };
  const committer = new Committer({
    clock,
    lazyUs: 20,
    deadlineUs: 1000,
    commit:
      commit ??
      (async () => {
        seen.commits += 1;
        return () => {
          seen.told += 1;
        };
      }),
    onLate: () => {
      seen.late += 1;
    },
    onFailed: (error) => seen.failed.push(error),
  });
  return { clock, committer, seen };
}

test("many requests of one turn are one commit", async () => {
  const { committer, seen } = make();
  for (let n = 0; n < 10; n++) committer.now();
  expect(seen.commits).toBe(0);
  await turn();
  expect(seen).toMatchObject({ commits: 1, told: 1 });
});

test("what nobody waits for goes after the linger time, or rides along", async () => {
  const { clock, committer, seen } = make();
  committer.soon();
  committer.soon();
  clock.advance(19);
  await turn();
  expect(seen.commits).toBe(0);
  clock.advance(1);
  await turn();
  expect(seen.commits).toBe(1);
  committer.soon();
  committer.now();
  await turn();
  expect(seen.commits).toBe(2);
});

test("one commit at a time; requests meanwhile share the next", async () => {
  const gates: PromiseWithResolvers<() => void>[] = [];
  const { committer } = make(() => {
    const gate = Promise.withResolvers<() => void>();
    gates.push(gate);
    return gate.promise;
  });
  committer.now();
  await turn();
  committer.now();
  committer.now();
  await turn();
  expect(gates).toHaveLength(1);
  gates[0]?.resolve(() => {});
  await turn();
  expect(gates).toHaveLength(2);
  gates[1]?.resolve(() => {});
  await turn();
  expect(gates).toHaveLength(2);
});

test("a failed commit is told, and nothing is begun after it", async () => {
  const fault = new Error("EIO");
  const { committer, seen } = make(async () => {
    throw fault;
  });
  committer.now();
  await turn();
  committer.now();
  await turn();
  expect(seen.failed).toEqual([fault]);
});

test("late is told once the oldest request has waited for the deadline, and ends with its commit", async () => {
  const gates: PromiseWithResolvers<() => void>[] = [];
  const { clock, committer, seen } = make(() => {
    const gate = Promise.withResolvers<() => void>();
    gates.push(gate);
    return gate.promise;
  });
  committer.now();
  await turn();
  clock.advance(600);
  committer.now();
  gates[0]?.resolve(() => {});
  await turn();
  // The second request began at 600, so its deadline is at 1600.
  clock.advance(999);
  expect(seen.late).toBe(0);
  clock.advance(1);
  expect(seen.late).toBe(1);
  expect(committer.late).toBe(true);
  gates[1]?.resolve(() => {});
  await turn();
  expect(committer.late).toBe(false);
  clock.advance(10_000);
  expect(seen.late).toBe(1);
});

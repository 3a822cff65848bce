import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../src/native/clock.ts";
import { type Attended, launchAgent } from "./agent/launch.ts";
import { SupervisedAgent } from "./agent/supervised.ts";
import type { WorkLedger } from "./ledger/work-ledger.ts";
import { Lifetime } from "./lifetime.ts";
import type { Governor } from "./tether/governor.ts";

/** An agent that nothing follows. */
const agent = (...command: string[]) =>
  new SupervisedAgent({
    start: () => launchAgent(command, process.env),
    policy: "never",
    clock: systemClock,
    report: () => {},
    changed: () => {},
  });

/** A lifetime over parts that do nothing but be ended. */
function begun(firstLease: "MEASURED" | "DRIFTED", acknowledgedSeq = 0) {
  const said: string[] = [];
  const lifetime = new Lifetime(
    (event) => void said.push(event),
    false,
    () => void said.push("closed"),
  );
  lifetime.begin({
    stack: { close: async () => void said.push("stack closed") },
    ledger: {
      failed: new Promise(() => {}),
      flushed: async () => {},
      head: () => ({ size: 3 }),
      acknowledgedSeq,
    } as unknown as WorkLedger,
    governor: {
      firstLease: Promise.resolve(firstLease),
      beatNow: () => {},
      stop: async () => void said.push("last word"),
    } as unknown as Governor,
    opened: new AsyncDisposableStack(),
  });
  return { lifetime, said };
}

test("an agent whose files changed before its start is not started: exit 78, and the centre hears", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifetime-"));
  const { lifetime, said } = begun("DRIFTED");
  await lifetime.launch(() => agent("touch", join(folder, "ran")));
  expect(await lifetime.done).toBe(78);
  expect(said).toEqual(["agent not started", "stack closed", "last word"]);
  expect(existsSync(join(folder, "ran"))).toBe(false);
  await rm(folder, { recursive: true });
});

test("an agent as measured is started, and its exit code is ours", async () => {
  const { lifetime } = begun("MEASURED");
  await lifetime.launch(() => agent("sh", "-c", "exit 7"));
  expect(await lifetime.done).toBe(7);
});

test("a ledger whose agent has ended is closed by that, once all of it is delivered", async () => {
  const said = [];
  for (const acknowledged of [2, 3]) {
    const begins = begun("MEASURED", acknowledged);
    await begins.lifetime.launch(() => agent("true"));
    said.push(begins.said);
  }
  const end = ["stack closed", "last word"];
  expect(said).toEqual([end, [...end, "closed"]]);
});

test("a ledger that fails ends it with 70, once the centre has heard, and its agent after that", async () => {
  const { lifetime, said } = begun("MEASURED");
  const ends = Promise.withResolvers<number>();
  lifetime.agent = { signal: (signal) => void said.push(signal) } as Attended;
  lifetime.storageFailed(new Error("EIO"));
  // Its agent ends meanwhile: that is not what ends the sidecar.
  const attended = lifetime.attend({
    exited: ends.promise,
    signal: (signal) => void said.push(signal),
  } as Attended);
  ends.resolve(0);
  expect(await lifetime.done).toBe(70);
  await attended;
  expect(said).toEqual(["ledger failed", "last word", "SIGTERM"]);
});

import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/native/clock.ts";
import { ask } from "./calls.ts";
import { World } from "./rig.ts";

const LEASE_US = 2_000_000;

let world: World;
beforeEach(async () => {
  world = await World.open({ leaseTtlUs: LEASE_US });
});
afterEach(() => world.close());

test("a process that was stopped for longer than its lease does nothing with it when it goes on", async () => {
  const sidecar = await world.sidecarProcess(await world.flags("one"));
  const { log, agent } = sidecar;
  await log.until("lease");
  expect(await ask(agent, "before")).toMatchObject({ code: 0 });

  process.kill(sidecar.process.pid, "SIGSTOP");
  // Whatever is asked waits in the kernel: it will be the first thing that is read.
  const first = ask(agent, "meanwhile");
  // A lease that was on its way has run out by then, too.
  await new Promise<void>((ended) => systemClock.after(LEASE_US * 1.25, ended));
  process.kill(sidecar.process.pid, "SIGCONT");
  expect(await first).toMatchObject({ code: 7, reason: "LEASE_EXPIRED" });

  // It heals by itself, and its evidence holds.
  await world.anchored(sidecar);
  expect(await ask(agent, "after")).toMatchObject({ code: 0 });
  const { ledgers, verdict } = await world.verdict(sidecar.admin);
  expect(verdict).toBe("ANCHORED");
  expect(ledgers[0]?.counts).toMatchObject({ completed: 2, denied: 1 });
});

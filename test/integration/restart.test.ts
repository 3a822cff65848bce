import { spawn } from "node:child_process";
import { afterEach, beforeEach, expect, test } from "vitest";
import { revokeLease } from "../../src/cli/actions/lease.ts";
import type { ReceiptHeader } from "../../src/domain/receipt.ts";
import { lacks } from "../skips.ts";
import { ask, openChat } from "./calls.ts";
import { receiptsOf, World } from "./rig.ts";

/** Makes a disk fail, where the machine has it and lets it. */
const STRACE = "strace";
let world: World;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 2_000_000 });
});
afterEach(() => world.close());

const kinds = (receipts: readonly ReceiptHeader[]): string[] =>
  receipts.map((r) => (r.kind === "LIFECYCLE" ? r.kind : r.verdict));

test("the same folder is the same instance: its ledger goes on, it is leased again, and all of it is anchored", async () => {
  const flags = await world.flags("one");
  const first = await world.sidecar(flags);
  await first.log.until("lease");
  expect(await ask(first.agent, "before")).toMatchObject({ code: 0 });
  await first.stop();

  const second = await world.sidecar(flags);
  expect(second.ready.instanceId).toBe(first.ready.instanceId);
  expect(second.ready.ledgerId).toBe(first.ready.ledgerId);
  await second.log.until("lease");
  expect(await ask(second.agent, "after")).toMatchObject({ code: 0 });
  const { verdict, ledgers } = await world.anchored(second);
  // Boot, a call, the end; begun again, another call.
  const receipts = await receiptsOf(second.admin);
  expect(kinds(receipts)).toEqual([
    "LIFECYCLE",
    "COMPLETED",
    "LIFECYCLE",
    "LIFECYCLE",
    "COMPLETED",
  ]);
  expect(receipts.map((r) => r.seq)).toEqual([1, 2, 3, 4, 5]);
  expect(verdict).toBe("ANCHORED");
  expect(ledgers[0]?.counts).toMatchObject({ completed: 2, indeterminate: 0 });
});

test("killed in the middle of calls: each open one is INDETERMINATE, once, and the pack verifies", async () => {
  const flags = await world.flags("one");
  const killed = await world.sidecarProcess(flags);
  await killed.log.until("lease");
  expect(await ask(killed.agent, "whole")).toMatchObject({ code: 0 });
  // Exporting waits until everything told is durable: what is not yet may be INDETERMINATE too.
  await world.verdict(killed.admin);
  const chats = await Promise.all([1, 2, 3].map(() => openChat(killed.agent)));
  killed.process.kill();
  expect(await killed.process.exited).toBe(137);
  for (const { ended } of chats) expect((await ended).code).toBe(14);

  // Twice, for what is recovered must not be recovered again.
  for (const life of [2, 3]) {
    const { process, log, admin, agent } = await world.sidecarProcess(flags);
    await log.until("lease");
    expect(await ask(agent, `life ${life}`)).toMatchObject({ code: 0 });
    const { verdict, broken, ledgers } = await world.anchored({ admin, log });
    expect({ verdict, broken }).toEqual({ verdict: "ANCHORED", broken: null });
    expect(ledgers[0]?.counts).toMatchObject({ completed: life, indeterminate: 3, cut: 0 });
    expect(ledgers[0]?.openIntents).toEqual([]);
    const receipts = await receiptsOf(admin);
    const lost = receipts.filter((r) => r.verdict === "INDETERMINATE");
    expect(new Set(lost.map((r) => r.intentSeq))).toEqual(new Set([2, 3, 4]));
    expect(lost).toHaveLength(3);
    process.terminate();
    expect(await process.exited).toBe(0);
  }
});

test("an instance whose key is gone does not begin anew", async () => {
  const flags = await world.flags("one");
  const first = await world.sidecar(flags);
  await first.stop();
  const keys = await world.hide("one.keys/ledger.key");
  await expect(world.sidecar(flags)).rejects.toThrow(
    /ledger\.key is gone; restore it, or begin a successor/,
  );
  await keys.restore();
  const again = await world.sidecar(flags);
  expect(again.ready.ledgerId).toBe(first.ready.ledgerId);
});

test("an agent that ends by itself is told finished at once, with every receipt of it", async () => {
  const flags = await world.flags("one");
  const { process, ready } = await world.sidecarProcess([...flags, "--", "true"]);
  const organism = world.watch(ready);
  expect(await process.exited).toBe(0);
  const { cause } = await organism.until("stopped", (o) => o.state === "STOPPED");
  expect(cause).toBe("FINISHED");
});

test.skipIf(lacks("strace"))(
  "a disk that does not keep a lease ends the sidecar with 70; it goes on from there",
  async () => {
    const flags = await world.flags("one");
    const { process, log } = await world.sidecarProcess(flags);
    await log.until("lease");
    await failingDisk(process.pid);
    expect(await process.exited).toBe(70);
    expect(process.said).toMatch(/"ledger failed","detail":"EIO/);
    const again = await world.sidecar(flags);
    await again.log.until("lease");
    expect(await ask(again.agent, "hello")).toMatchObject({ code: 0 });
    expect(await world.anchored(again)).toMatchObject({ verdict: "ANCHORED", broken: null });
  },
);

test.skipIf(lacks("strace"))(
  "a disk that does not keep a revocation does not outlive it",
  async () => {
    const flags = await world.flags("one");
    const { process, log, ready } = await world.sidecarProcess(flags);
    await log.until("lease");
    await failingDisk(process.pid);
    await revokeLease(world.operator, { which: ready.instanceId, reason: "at a bad moment" });
    expect(await process.exited).toBe(70);
  },
);

/** From when this resolves, every fsync of the process fails; ends with the process. */
function failingDisk(pid: number): Promise<void> {
  const strace = spawn(STRACE, ["-f", "-p", `${pid}`, "-e", "inject=fsync:error=EIO"]);
  return new Promise((resolve) => {
    strace.stderr.setEncoding("latin1").on("data", (said: string) => {
      if (said.includes("attached")) resolve();
    });
  });
}

import { cp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportFork, judgeFork } from "../../src/cli/actions/fork.ts";
import { release } from "../../src/cli/actions/organism.ts";
import { pages } from "../../src/cli/client.ts";
import { equal } from "../../src/domain/bytes.ts";
import { EquivocationBody } from "../../src/domain/equivocation.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { lacks } from "../skips.ts";
import { ask } from "./calls.ts";
import { World } from "./rig.ts";

let world: World;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 3_000_000 });
});
afterEach(() => world.close());

/** The same flags for a folder that somebody copied, secrets and all. */
async function copied(flags: readonly string[]): Promise<string[]> {
  const one = join(world.folder, "one");
  await cp(one, join(world.folder, "two"), { recursive: true });
  await cp(`${one}.keys`, join(world.folder, "two.keys"), { recursive: true });
  return flags.map((f) => (f.startsWith(one) ? f.replace(one, join(world.folder, "two")) : f));
}

async function ledgerKey(flags: readonly string[]) {
  const file = join(`${flags[flags.indexOf("--data") + 1]}.keys`, "ledger.key");
  return { file, publicKey: (await fileSigner(file)).publicKey };
}

test("a second process on one folder is refused and told who has it; the first is not disturbed", async () => {
  const flags = await world.flags("one");
  const first = await world.sidecarProcess(flags);
  await first.log.until("lease");
  const second = world.dragons("sidecar", ...flags);
  expect(await second.exited).toBe(75);
  expect(second.said).toBe(
    `dragons: ${join(world.folder, "one")} is held by process ${first.process.pid}\n`,
  );
  expect(await ask(first.agent, "hello")).toMatchObject({ code: 0 });
});

test("of two first starts on one folder one founds the instance, and it can be started again", async () => {
  const flags = await world.flags("one");
  const both = [world.dragons("sidecar", ...flags), world.dragons("sidecar", ...flags)] as const;
  const lost = await Promise.race(both.map((p) => p.exited));
  expect(lost).toBe(75);
  const won = await Promise.race(both.map((p) => p.log.until("lease").then(() => p)));
  won.terminate();
  expect(await won.exited).toBe(0);
  const again = await world.sidecar(flags);
  await again.log.until("lease");
});

test("a copied folder, both running: the older session is superseded, the fork is proven and both heads are kept", async () => {
  const flags = await world.flags("one");
  const before = await world.sidecar(flags);
  await before.log.until("lease");
  await before.stop();
  const copy = await copied(flags);

  const original = await world.sidecar(flags);
  await original.log.until("lease");
  const organism = world.watch(original.ready);
  const thief = await world.sidecar(copy);
  await original.log.until("detached", { where: (f) => /superseded/.test(String(f.why)) });

  const { conditions } = await organism.until("quarantined", (o) => o.state === "QUARANTINED");
  expect(conditions.map((c) => c.type)).toContain("FORK");
  // Whoever attaches again hears of it in a directive; whose ledger is by then the shorter one may not.
  for (const { agent, log } of [thief, original]) {
    await Promise.race([
      log.until("directive", { where: (f) => f.kind === "QUARANTINE" }),
      log.until("not attached", { where: (f) => /receipts, and \d+ are held/.test(String(f.why)) }),
    ]);
    expect(await ask(agent, "hello")).toMatchObject({ code: 7, reason: "QUARANTINED" });
  }

  const [proof] = await equivocations();
  expect(proof?.kind).toBe("HEADS");
  const [one, other] = [proof?.first, proof?.second].map((signed) =>
    HeartbeatBody.decode(signed?.body ?? new Uint8Array(0)),
  );
  expect(one?.size).toBe(other?.size);
  expect(equal(one?.root ?? new Uint8Array(0), other?.root ?? new Uint8Array(0))).toBe(false);

  // What was kept is a file that anybody can judge, far from here.
  const file = join(world.folder, "fork.dragons");
  const { instanceId } = original.ready;
  await exportFork(world.operator, instanceId, file);
  expect(await judgeFork(file, world.trust)).toMatchObject({
    verdict: "FORKED",
    kind: "HEADS",
    ledger: original.ready.ledgerId,
    index: one?.size,
  });

  // No word of an operator makes one history of two.
  await expect(
    release(world.operator, { instanceId, reason: "never mind", conditions: ["FORK"] }),
  ).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
});

test("a copy that was left behind is not attached: its ledger is shorter than what is held", async () => {
  const flags = await world.flags("one");
  const before = await world.sidecar(flags);
  await before.log.until("lease");
  await before.stop();
  const copy = await copied(flags);
  const original = await world.sidecar(flags);
  await original.log.until("lease");
  for (const word of ["one", "two", "three"]) await ask(original.agent, word);
  // Its end is synced, so that all of this is held.
  await original.stop();

  const thief = await world.sidecar(copy);
  const { facts } = await thief.log.until("not attached");
  expect(facts.why).toMatch(/this ledger has \d+ receipts, and \d+ are held/);
  expect(await ask(thief.agent, "hello")).toMatchObject({ code: 7, reason: "QUARANTINED" });
  const history = await world.history(thief.ready.instanceId);
  expect(history.at(-1)).toMatchObject({ to: "QUARANTINED", condition: "REGRESS" });
});

test("a ledger restored from a backup is succeeded by operators' leave, as the same instance", async () => {
  const flags = await world.flags("one");
  const before = await world.sidecar(flags);
  await before.log.until("lease");
  await before.stop();
  const copy = await copied(flags);
  const original = await world.sidecar(flags);
  await original.log.until("lease");
  expect(await ask(original.agent, "lost to the backup")).toMatchObject({ code: 0 });
  await original.stop();

  // Its key is not asked: the successor has one of its own.
  const key = await ledgerKey(copy);
  await rm(key.file);
  await expect(world.sidecar(copy)).rejects.toThrow(/ledger\.key is gone; .*--succeed/);
  // The token that opened the ledger is no leave to open another.
  await expect(world.sidecar([...copy, "--succeed"])).rejects.toThrow(/ask for a new one/);
  const fresh = [...copy, "--token", await world.token(), "--succeed"];
  const successor = await world.sidecar(fresh);
  await successor.log.until("lease");
  expect(successor.ready.instanceId).toBe(original.ready.instanceId);
  expect(successor.ready.ledgerId).not.toBe(original.ready.ledgerId);
  expect(await ask(successor.agent, "hello")).toMatchObject({ code: 0 });
  expect(await world.anchored(successor)).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect((await ledgerKey(copy)).publicKey).not.toEqual(key.publicKey);
  const kept = `ledger.${original.ready.ledgerId.slice(0, 16)}`;
  expect(await readdir(successor.data)).toContain(kept);

  // Said again, nothing is succeeded twice.
  await successor.stop();
  const again = await world.sidecar(fresh);
  expect(again.ready.ledgerId).toBe(successor.ready.ledgerId);
  await again.log.until("lease");
});

test("one that attached before it was succeeded is quarantined, and goes on when operators release it", async () => {
  const flags = await world.flags("one");
  const before = await world.sidecar(flags);
  await before.log.until("lease");
  await before.stop();
  const copy = await copied(flags);
  const original = await world.sidecar(flags);
  await original.log.until("lease");
  expect(await ask(original.agent, "lost to the backup")).toMatchObject({ code: 0 });
  await original.stop();
  const restored = await world.sidecar(copy);
  await restored.log.until("not attached");
  await restored.stop();

  const successor = await world.sidecar([...copy, "--token", await world.token(), "--succeed"]);
  await successor.log.until("no lease");
  expect(await ask(successor.agent, "hello")).toMatchObject({ code: 7, reason: "QUARANTINED" });
  const { instanceId } = successor.ready;
  const conditions = ["REGRESS"] as const;
  await release(world.operator, {
    instanceId,
    reason: "we restored it",
    conditions: [...conditions],
  });
  await successor.log.until("lease");
  expect(await ask(successor.agent, "hello")).toMatchObject({ code: 0 });
});

/** Proofs of two histories in the tenant's record. */
async function equivocations() {
  const found: ReturnType<typeof EquivocationBody.decode>[] = [];
  const { audit } = world.operator;
  for await (const { records } of pages((pageToken) => audit.listRecords({ pageToken }))) {
    for (const { what, artifact } of records) {
      if (what === "equivocation") found.push(EquivocationBody.decode(artifact));
    }
  }
  return found;
}

test("a grant that asks for a launched agent is nothing to one that was not: refused at once, with the reason", async () => {
  const token = await world.token(undefined, await world.grant({ measureMin: "LAUNCHED" }));
  await expect(world.sidecar(world.flagsOf("advisory", token))).rejects.toThrow(
    "the grant asks for an agent that is measured as LAUNCHED, and this one is as FILES: seal it",
  );
});

test.skipIf(lacks("netns"))(
  "the beats of a gateway say that its agent cannot go round",
  async () => {
    const flags = await world.flags("gateway", undefined, "--gateway", "127.15.0.1:15001");
    const { log, ready } = await world.sidecar(flags);
    await log.until("lease");
    expect(await world.beat(ready.instanceId)).toMatchObject({ enforcement: "GATEWAY" });
  },
);

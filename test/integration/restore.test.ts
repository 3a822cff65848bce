import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { revokeLease } from "../../src/cli/actions/lease.ts";
import { resumeTenant } from "../../src/cli/actions/tenant.ts";
import { WatchEvent } from "../../src/gen/dragons/v1/organism_pb.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { ask } from "./calls.ts";
import { World } from "./rig.ts";

/** A control plane that comes back from a backup: older than its sidecars, and revives nothing. */

let world: World;
let data: string;
let file: string;
beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 3_000_000 });
  data = world.control.ready.data;
  file = join(world.folder, "backup");
});
afterEach(() => world.close());

async function dragons(...words: string[]): Promise<{ code: number; said: string }> {
  const process = world.dragons(...words);
  return { code: await process.exited, said: process.said };
}

test("what was revoked after a backup stays so after its restore, and nobody is taken for a fork", async () => {
  const [kept, revoked] = [
    await world.sidecar(await world.flags("kept")),
    await world.sidecar(await world.flags("revoked")),
  ];
  for (const sidecar of [kept, revoked]) {
    await sidecar.log.until("lease");
    expect(await ask(sidecar.agent, "before")).toMatchObject({ code: 0 });
  }
  // While it runs.
  expect(await dragons("control", "backup", file, "--data", data)).toMatchObject({ code: 0 });

  // What the backup does not know: leases, receipts, sessions and a revocation.
  await world.anchored(kept);
  expect(await ask(kept.agent, "after")).toMatchObject({ code: 0 });
  await revokeLease(world.operator, { which: revoked.ready.instanceId, reason: "stolen" });
  await revoked.log.until("revocation");
  const last = kept.log.said.findLast((s) => s.event === "lease");
  await world.stopControl();
  await rename(data, `${data}.lost`);
  expect(await dragons("control", "restore", file, "--data", data)).toMatchObject({ code: 0 });

  const from = kept.log.now;
  const gone = revoked.log.now;
  await world.startControl();
  // It knows what it does not know.
  const { facts } = await kept.log.until("no lease", { from });
  expect(facts.detail).toMatch(/restored from a backup.*dragons tenant resume/);
  // Whom a revocation does not concern may not have heard of it yet when the lost one ended.
  await revoked.log.until("attached", { from: gone });

  const signers = [await fileSigner(join(world.folder, "keys", "grant.key"))];
  const { epoch } = await resumeTenant(world.operator, signers, {
    reason: "all sidecars are back",
  });
  // The lost one was handed back by the sidecars that knew it.
  expect(epoch).toBe(2);
  const { facts: next } = await kept.log.until("lease", { from });
  expect(Number(next.seq)).toBeGreaterThan(Number(last?.facts.seq));
  expect(await ask(kept.agent, "restored")).toMatchObject({ code: 0 });
  expect(await world.anchored(kept)).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(await ask(revoked.agent, "restored")).toMatchObject({ code: 7, reason: "LEASE_REVOKED" });

  for (const { ready } of [kept, revoked]) {
    const history = await world.history(ready.instanceId);
    expect(history.map((t) => t.to)).not.toContain("QUARANTINED");
  }
});

test("a sidecar that docked after the backup docks again by its genesis, and is let be once all are back", async () => {
  // Its dock was open already.
  const flags = await world.flags("late");
  expect(await dragons("control", "backup", file, "--data", data)).toMatchObject({ code: 0 });
  const late = await world.sidecar(flags);
  await late.log.until("lease");
  await world.stopControl();
  await rename(data, `${data}.lost`);
  expect(await dragons("control", "restore", file, "--data", data)).toMatchObject({ code: 0 });
  const from = late.log.now;
  await world.startControl();
  await late.log.until("attached", { from });
  const signers = [await fileSigner(join(world.folder, "keys", "grant.key"))];
  await resumeTenant(world.operator, signers, { reason: "all sidecars are back" });
  await late.log.until("lease", { from });
  expect(await ask(late.agent, "restored")).toMatchObject({ code: 0 });
  expect(await world.anchored(late)).toMatchObject({ verdict: "ANCHORED", broken: null });
});

test("where a watch goes on before a restore, none does after it: what was there is another history", async () => {
  const token = async () => (await world.operator.organisms.listOrganisms({})).resumeToken;
  const first = async (resumeToken: string) => {
    for await (const { event } of world.operator.organisms.watch({ resumeToken })) return event;
    throw new Error("the watch ended");
  };
  const before = await token();
  expect(await dragons("control", "backup", file, "--data", data)).toMatchObject({ code: 0 });
  const tokens = [before];
  // The same backup twice: as two machines would, from one loss.
  for (const lost of [`${data}.lost`, `${data}.again`]) {
    await world.stopControl();
    await rename(data, lost);
    expect(await dragons("control", "restore", file, "--data", data)).toMatchObject({ code: 0 });
    await world.startControl();
    for (const known of tokens) {
      await expect(first(known)).rejects.toMatchObject({
        code: "OUT_OF_RANGE",
        reason: "TOKEN_EXPIRED",
      });
    }
    tokens.push(await token());
    expect(await first(tokens.at(-1) as string)).toBe(WatchEvent.SYNCED);
  }
});

test("a backup holds no key, and is refused where it is not whole or has no place", async () => {
  const sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
  expect((await dragons("control", "backup", file, "--data", data)).code).toBe(0);
  const bytes = await readFile(file);
  const secrets = await readdir(`${data}.keys`, { recursive: true, withFileTypes: true });
  for (const entry of secrets.filter((e) => e.isFile())) {
    const secret = await readFile(join(entry.parentPath, entry.name));
    expect(bytes.includes(secret)).toBe(false);
    const hex = /^[0-9a-f]{64}$/.exec(secret.toString("latin1").trim())?.[0];
    if (hex !== undefined) expect(bytes.includes(Buffer.from(hex, "hex"))).toBe(false);
  }

  const empty = join(world.folder, "empty");
  const into = (name: string) => dragons("control", "restore", name, "--data", empty);
  expect(await into(file)).toMatchObject({
    code: 78,
    said: expect.stringMatching(/empty\.keys.*no backup holds keys/),
  });
  await mkdir(join(`${empty}.keys`, "tenants"), { recursive: true });
  await writeFile(`${file}.short`, bytes.subarray(0, -40));
  await writeFile(`${file}.bad`, bytes.fill(bytes.readUInt8(5000) ^ 1, 5000, 5001));
  for (const bad of [`${file}.short`, `${file}.bad`, join(world.folder, "agent", "agent.py")]) {
    expect(await into(bad)).toMatchObject({
      code: 78,
      said: expect.stringMatching(/no whole backup/),
    });
  }
  expect(await dragons("control", "restore", file, "--data", data)).toMatchObject({ code: 78 });
});

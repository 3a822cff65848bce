import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sidecarStatus } from "../../src/cli/actions/evidence.ts";
import { revokeLease } from "../../src/cli/actions/lease.ts";
import { quarantine, release, stop } from "../../src/cli/actions/organism.ts";
import { listEntries } from "../../src/cli/actions/receipt.ts";
import type { OrganismWatch } from "../../src/cli/dev/organism-watch.ts";
import { equal } from "../../src/domain/bytes.ts";
import { DirectiveBody } from "../../src/domain/directive.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { ask, openChat } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

let world: World;
let sidecar: RunningSidecar;
let organism: OrganismWatch;
let instanceId: string;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 4_000_000 });
  sidecar = await world.sidecar(await world.flags("one"));
  organism = world.watch(sidecar.ready);
  ({ instanceId } = sidecar.ready);
  await sidecar.log.until("lease");
  await organism.until("a first beat under a lease", (o) => o.state === "RUNNING");
});
afterEach(() => world.close());

const allowed = async (): Promise<void> =>
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });

const denied = async (reason: string): Promise<void> =>
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7, reason });

test("a revoked lease is pushed: streams are cut, and no other comes by itself", async () => {
  await allowed();
  const chat = await openChat(sidecar.agent);
  await revokeLease(world.operator, { which: instanceId, reason: "a test of brakes" });
  expect(await chat.ended).toMatchObject({ code: 7, reason: "LEASE_REVOKED" });
  await denied("LEASE_REVOKED");
  const { conditions } = await organism.until("lease at zero", (o) => o.state === "DEGRADED");
  expect(conditions.map((c) => c.type)).toContain("LEASE_ZERO");
  await sidecar.log.until("no lease", { where: (f) => f.reason === "LEASE_REVOKED" });
  // Only an operator's word brings it back.
  await release(world.operator, { instanceId, reason: "brakes work", conditions: [] });
  await organism.until("running again", (o) => o.state === "RUNNING");
  await allowed();
});

test("a quarantine denies everything and cuts streams; a release with a reason gives authority back", async () => {
  // Nothing is asked of the agent, and it does nothing: its stream is cut where it stands.
  const chat = await openChat(sidecar.agent);
  await quarantine(world.operator, { instanceId, reason: "odd hours" });
  const { code, reason, receipt, details } = await chat.ended;
  expect({ code, reason }).toEqual({ code: 7, reason: "QUARANTINED" });
  await denied("QUARANTINED");
  const directiveId = await cutBy(receipt, "QUARANTINED");
  expect(details).toContain(directiveId);
  const { publicKey: actor } = await fileSigner(join(world.folder, "keys", "login.key"));
  const said = { kind: "QUARANTINE", reason: "odd hours", instanceId, actor };
  expect(await recorded(directiveId)).toMatchObject(said);
  await organism.until("quarantined", (o) => o.state === "QUARANTINED");
  expect((await sidecarStatus(sidecar.admin)).standing).toBe("QUARANTINED");

  const from = sidecar.log.now;
  await release(world.operator, { instanceId, reason: "it was the night shift", conditions: [] });
  await sidecar.log.until("lease", { from });
  await organism.until("running again", (o) => o.state === "RUNNING");
  await allowed();
  const history = await world.history(instanceId);
  expect(history.map((t) => `${t.from} ${t.to} ${t.reason}`)).toEqual([
    "DOCKED RUNNING ",
    "RUNNING QUARANTINED odd hours",
    "QUARANTINED DEGRADED it was the night shift",
    "DEGRADED RUNNING ",
  ]);
});

test("a quarantine that came while the sidecar was away is told it when it comes back", async () => {
  const flags = await world.flags("two");
  const away = await world.sidecar(flags);
  await away.log.until("lease");
  await away.stop();
  await quarantine(world.operator, { instanceId: away.ready.instanceId, reason: "while away" });
  const back = await world.sidecar(flags);
  await back.log.until("directive", { where: (f) => f.kind === "QUARANTINE" });
  expect((await sidecarStatus(back.admin)).standing).toBe("QUARANTINED");
  expect(back.log.said.some((s) => s.event === "lease")).toBe(false);
});

test("a stop ends it for good, here and at the centre", async () => {
  const chat = await openChat(sidecar.agent);
  await stop(world.operator, { instanceId, reason: "no longer needed" });
  const { code, receipt } = await chat.ended;
  expect(code).toBe(7);
  const said = { kind: "STOP", reason: "no longer needed", instanceId };
  expect(await recorded(await cutBy(receipt, "STOPPED"))).toMatchObject(said);
  await denied("STOPPED");
  await organism.until("stopped", (o) => o.state === "STOPPED");
  await expect(
    release(world.operator, { instanceId, reason: "changed my mind", conditions: [] }),
  ).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  await denied("STOPPED");
});

test("a file that changed denies at once and quarantines; put back and released, it goes on", async () => {
  await allowed();
  const file = join(world.agentFolder, "agent.py");
  const was = await readFile(file);
  await writeFile(file, "print('something else')\n");
  await sidecar.log.until("drift");
  await denied("MANIFEST_DRIFT");
  const { conditions } = await organism.until("quarantined", (o) => o.state === "QUARANTINED");
  expect(conditions.map((c) => c.type)).toContain("DRIFT");
  // A release alone changes nothing: what runs is still not what was granted.
  const { revision } = await release(world.operator, {
    instanceId,
    reason: "looks harmless",
    conditions: ["DRIFT"],
  });
  const again = (o: { state: string; revision: number }) =>
    o.state === "QUARANTINED" && o.revision > revision;
  await organism.until("out, and at once in again", again);
  await denied("MANIFEST_DRIFT");

  await writeFile(file, was);
  await heardOf(world.measured.hash);
  const from = sidecar.log.now;
  await release(world.operator, { instanceId, reason: "put back", conditions: ["DRIFT"] });
  await sidecar.log.until("lease", { from });
  await organism.until("running again", (o) => o.state === "RUNNING");
  await allowed();
});

/** The directive that a receipt says its action was cut by, in flight. */
async function cutBy(receiptId: string, reason: string): Promise<string> {
  // It is durable a moment after the agent was told: by the next beat at the latest.
  for await (const _ of world.operator.organisms.watchPulse({ instanceId })) {
    for await (const { header, contents } of listEntries(sidecar.admin)) {
      if (header.receiptId !== receiptId) continue;
      expect(header).toMatchObject({ kind: "ACTION", verdict: "CUT", reason });
      return /dir_[0-9a-f]{32}/.exec(contents.outcome?.status ?? "")?.[0] ?? "";
    }
  }
  throw new Error(`no receipt ${receiptId}`);
}

/** A directive as the tenant's ledger has it, and the login key of the operator who asked for it. */
async function recorded(directiveId: string) {
  const { records } = await world.operator.audit.listRecords({ pageSize: 1000 });
  for (const { what, artifact, actor } of records) {
    if (what !== "directive") continue;
    const body = DirectiveBody.decode(SignedBytes.decode(artifact).body);
    if (body.directiveId === directiveId) return { ...body, actor };
  }
  throw new Error(`no directive ${directiveId}`);
}

/** Resolves when the centre has heard a beat by which this is what runs. */
async function heardOf(manifestHash: Uint8Array): Promise<void> {
  for await (const { pulse } of world.operator.organisms.watchPulse({ instanceId })) {
    const beat = HeartbeatBody.decode(pulse?.heartbeat?.body ?? new Uint8Array(0));
    if (equal(beat.manifestHash, manifestHash)) return;
  }
}

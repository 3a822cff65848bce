import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { getOrganism } from "../../src/cli/actions/organism.ts";
import { listReceipts } from "../../src/cli/actions/receipt.ts";
import type { OrganismWatch } from "../../src/cli/dev/organism-watch.ts";
import { lacks } from "../skips.ts";
import { ask, openChat } from "./calls.ts";
import { type RunningSidecar, type SidecarProcess, World } from "./rig.ts";

/**
 * Real faults, put right without anybody's help; beside each of them lives one to whom nothing happens,
 * and to whom nothing is done. A stall is one of a second here, and is treated after two.
 */
const SECOND_US = 1_000_000;

/** Processes start slowly where there are many. */
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 });

let world: World;
let bystander: RunningSidecar;
let patient: SidecarProcess;
let flags: string[];
let organism: OrganismWatch;
let patients = 0;

beforeAll(async () => {
  world = await World.open({
    // Longer than anything here takes, on however slow a machine.
    leaseTtlUs: 60 * SECOND_US,
    liveness: { stallDegradedUs: SECOND_US, stallAutohealUs: 2 * SECOND_US },
  });
  bystander = await world.sidecar(await world.flags("bystander"));
  await bystander.log.until("lease");
});
afterAll(async () => {
  const states = (await world.history(bystander.ready.instanceId)).map((t) => t.to);
  await world.close();
  for (const state of ["AUTOHEALING", "QUARANTINED", "STOPPED"])
    expect(states).not.toContain(state);
});
beforeEach(async () => {
  flags = await world.flags(`patient-${++patients}`);
  patient = await world.sidecarProcess([...flags, "--restart", "always", "--", "sleep", "600"]);
  organism = world.watch(patient.ready);
  await organism.until("a first beat under a lease", (o) => o.state === "RUNNING");
});
afterEach(async () => {
  patient.process.terminate();
  await patient.process.exited;
  organism.close();
});

/** The pid of the agent that was started last, once there have been so many. */
async function agentPid(starts = 1, log = patient.log): Promise<number> {
  let from = 0;
  for (let n = 1; n < starts; n++) {
    await log.until("agent started", { from });
    from = log.said.findIndex((s, i) => i >= from && s.event === "agent started") + 1;
  }
  const { facts } = await log.until("agent started", { from });
  const pid = Number(facts.pid);
  // A signal to 0 would be one to ourselves.
  if (!(pid > 1)) throw new Error("the agent has no pid");
  return pid;
}

/** How its state changed, each following from what it cites. */
const path = async (instanceId = patient.ready.instanceId): Promise<string[]> => {
  const all = await world.history(instanceId);
  return all.map((t) => `${t.to} ${t.condition === "UNSPECIFIED" ? t.cause : t.condition}`);
};
const HEALED = [
  "RUNNING FIRST_BEAT",
  "DEGRADED STALLED",
  "AUTOHEALING STALLED",
  "RUNNING RECOVERED",
];

test("an agent that was killed is started again, and keeps running; one that hangs is restarted, and runs by proof", async () => {
  process.kill(await agentPid(), "SIGKILL");
  const hung = await agentPid(2);
  expect(await path()).toEqual(["RUNNING FIRST_BEAT"]);
  process.kill(hung, "SIGSTOP");
  await organism.until("a remedy", (o) => o.state === "AUTOHEALING");
  await organism.until("recovery", (o) => o.state === "RUNNING");
  expect(await agentPid(3)).not.toBe(hung);
  expect(await path()).toEqual(HEALED);
});

test.skipIf(lacks("cage"))(
  "a sealed agent that was killed or hangs is started again, in a cage of its own that the same sidecar serves",
  async () => {
    const [data, manifest] = [join(world.folder, "sealed"), join(world.agentFolder, "dragon.yaml")];
    // A grant that no other agent could be started by.
    const token = await world.token(undefined, await world.grant({ measureMin: "LAUNCHED" }));
    const own = ["--data", data, "--keys", `${data}.keys`, "--token", token];
    const others = ["--orphans", world.folder];
    const measured = ["--manifest", manifest, "--folder", world.agentFolder];
    const agent = "echo > /dev/tcp/agent-$RANDOM.test/80; exec sleep 600";
    const words = [
      ...own,
      ...others,
      ...measured,
      "--restart",
      "always",
      "--",
      "/bin/bash",
      "-c",
      agent,
    ];
    const { log } = world.dragons("keeper", ...words);
    const started = async (starts: number): Promise<number> => {
      const from = log.now;
      const pid = await agentPid(starts, log);
      // What it dials by name comes to the sidecar.
      await log.until("denied", { from });
      return pid;
    };
    const first = await started(1);
    const { facts } = await log.until("accepting calls");
    const instanceId = `${facts.instance}`;
    process.kill(first, "SIGKILL");
    const hung = await started(2);
    process.kill(hung, "SIGSTOP");
    expect(await started(3)).not.toBe(hung);
    expect(log.said.filter(({ event }) => event === "accepting calls")).toHaveLength(1);
    const healed = world.watch({ instanceId });
    await healed.until("recovery", (o) => o.state === "RUNNING");
    healed.close();
    expect(await path(instanceId)).toEqual(HEALED);
    expect(await world.beat(instanceId)).toMatchObject({ enforcement: "SEALED" });
  },
);

test("an agent that does two things by turns for ever is restarted", async () => {
  const looping = await agentPid();
  // Once each is work; what follows is more of the same.
  for (let i = 0; i < 30; i++) await ask(patient.agent, i % 2 === 0 ? "a" : "b");
  await organism.until("a remedy", (o) => o.state === "AUTOHEALING");
  await organism.until("recovery", (o) => o.state === "RUNNING");
  expect(await agentPid(2)).not.toBe(looping);
  expect(await path()).toEqual(HEALED);
});

test("a sidecar that was killed runs again by proof; a control plane that restarts finds it as it was", async () => {
  const orphan = await agentPid();
  patient.process.kill();
  // What outlives a sidecar that is killed is its agent.
  process.kill(orphan, "SIGKILL");
  await patient.process.exited;
  await organism.until("its end", (o) => o.state === "DEGRADED");
  patient = await world.sidecarProcess([...flags, "--", "sleep", "600"]);
  await organism.until("recovery", (o) => o.state === "RUNNING");
  const healed = ["RUNNING FIRST_BEAT", "DEGRADED SILENT", "RUNNING CONDITIONS_CLEARED"];
  expect(await path()).toEqual(healed);

  const from = patient.log.now;
  organism.close();
  await world.stopControl();
  await world.startControl();
  organism = world.watch(patient.ready);
  await patient.log.until("lease", { from });
  expect(await path()).toEqual(healed);
});

test("a ledger that a crash left open is closed by a sidecar that comes later, and nobody's else", async () => {
  const chat = await openChat(patient.agent);
  const orphan = await agentPid();
  patient.process.kill();
  process.kill(orphan, "SIGKILL");
  await Promise.all([chat.ended, patient.process.exited]);

  const more = await world.flags("later", undefined, "--orphans", world.folder);
  const later = await world.sidecar(more);
  const { facts } = await later.log.until("ledger closed", {
    where: (f) => f.instance === patient.ready.instanceId,
  });
  await organism.until("closed", (o) => o.state === "STOPPED");
  expect(await path()).toEqual(["RUNNING FIRST_BEAT", "STOPPED FAILED"]);
  const { pulse } = await getOrganism(world.operator, patient.ready.instanceId);
  expect(pulse).toMatchObject({ inFlight: 0, heldSize: Number(facts.receipts) });
  const { ledgerId } = patient.ready;
  const left = listReceipts(world.operator, { ledgerId, verdict: "INDETERMINATE" });
  expect((await left.next()).value).toMatchObject({ reason: "CRASHED" });
  // Whoever lives was let be, and what is closed is not opened again.
  expect(later.log.said.filter((s) => s.event === "orphan not closed")).toEqual([]);
  const again = world.dragons("sidecar", "--close", "--data", join(world.folder, "bystander"));
  expect(await again.exited).toBe(75);
  expect(again.said).toMatch(/bystander is held by process/);
  await later.stop();
});

test("an agent whose upstream is dead stalls, is restarted, and runs", async () => {
  world.echo.close();
  expect((await ask(patient.agent, "anybody?")).code).toBe(14);
  await organism.until("a remedy", (o) => o.state === "AUTOHEALING");
  await organism.until("recovery", (o) => o.state === "RUNNING");
  expect(await path()).toEqual(HEALED);
});

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from "vitest";
import { getOrganism, watchOrganisms } from "../../src/cli/actions/organism.ts";
import { listReceipts } from "../../src/cli/actions/receipt.ts";
import type { OrganismWatch } from "../../src/cli/dev/organism-watch.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { type Clock, systemClock } from "../../src/native/clock.ts";
import { lacks } from "../skips.ts";
import { Cable } from "./cable.ts";
import { ask, openChat } from "./calls.ts";
import { type EventLog, type RunningSidecar, type SidecarProcess, World } from "./rig.ts";

/**
 * Real faults, put right without anybody's help; beside each of them lives one to whom nothing happens,
 * and to whom nothing is done. A stall is one of a second here, and is treated after two; where ten minutes must
 * pass, a clock says that they have.
 */
const SECOND_US = 1_000_000;

/** Processes start slowly where there are many; most of the time here is waited for something. */
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000, maxConcurrency: 4 });

let world: World;
let bystander: RunningSidecar;

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

const SUPERVISED = ["--restart", "always", "--", "sleep", "600"];

/** One to whom something is about to happen. */
class Patient {
  readonly flags: readonly string[];
  organism!: OrganismWatch;
  #sidecar!: SidecarProcess;

  private constructor(flags: readonly string[]) {
    this.flags = flags;
  }

  /** Aboard, and running. Its agent ends with the test. */
  static async born(
    { onTestFinished }: TestContext,
    name: string,
    cable?: Cable,
  ): Promise<Patient> {
    const ca = readFileSync(world.control.ready.controlCa, "utf8");
    const door = cable && { address: cable.address, ca };
    const patient = new Patient(await world.flags(name, door));
    await patient.start();
    patient.organism = world.watch(patient.ready);
    onTestFinished(async () => {
      patient.#sidecar.process.terminate();
      await patient.#sidecar.process.exited;
      patient.organism.close();
    });
    await patient.is("RUNNING");
    return patient;
  }

  /** Its sidecar, for the first time or once more. */
  async start(): Promise<void> {
    this.#sidecar = await world.sidecarProcess([...this.flags, ...SUPERVISED]);
  }

  get process() {
    return this.#sidecar.process;
  }
  get ready() {
    return this.#sidecar.ready;
  }
  get log() {
    return this.#sidecar.log;
  }
  get agent() {
    return this.#sidecar.agent;
  }
  get admin() {
    return this.#sidecar.admin;
  }

  is(state: string) {
    return this.organism.until(state, (o) => o.state === state);
  }

  /** As a power cut would: of a sidecar that is killed, what outlives it is its agent. */
  async kill(): Promise<void> {
    const orphan = await agentPid(this.log);
    this.process.kill();
    process.kill(orphan, "SIGKILL");
    await this.process.exited;
  }

  path(): Promise<string[]> {
    return path(this.ready.instanceId);
  }
}

/** The pid of the agent that was started last, once there have been so many. */
async function agentPid(log: EventLog, starts = 1): Promise<number> {
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
const path = async (instanceId: string): Promise<string[]> => {
  const all = await world.history(instanceId);
  return all.map((t) => `${t.to} ${t.condition === "UNSPECIFIED" ? t.cause : t.condition}`);
};
const BORN = "RUNNING FIRST_BEAT";
const HEALED = [BORN, "DEGRADED STALLED", "AUTOHEALING STALLED", "RUNNING RECOVERED"];
const WAS_SILENT = ["DEGRADED SILENT", "RUNNING CONDITIONS_CLEARED"];

describe.concurrent("of one", () => {
  test("an agent that was killed is started again, and keeps running; one that hangs is restarted, and runs by proof", async (context) => {
    const patient = await Patient.born(context, "hung");
    process.kill(await agentPid(patient.log), "SIGKILL");
    const hung = await agentPid(patient.log, 2);
    expect(await patient.path()).toEqual([BORN]);
    process.kill(hung, "SIGSTOP");
    await patient.is("AUTOHEALING");
    await patient.is("RUNNING");
    expect(await agentPid(patient.log, 3)).not.toBe(hung);
    expect(await patient.path()).toEqual(HEALED);
  });

  test.skipIf(lacks("cage"))(
    "a sealed agent that was killed or hangs is started again, in a cage of its own that the same sidecar serves",
    async () => {
      const data = join(world.folder, "sealed");
      const manifest = join(world.agentFolder, "dragon.yaml");
      // A grant that no other agent could be started by.
      const token = await world.token(undefined, await world.grant({ measureMin: "LAUNCHED" }));
      const own = ["--data", data, "--keys", `${data}.keys`, "--token", token];
      const others = ["--orphans", data, "--mcp-lists", "all"];
      const measured = ["--manifest", manifest, "--folder", world.agentFolder];
      const agent = "echo > /dev/tcp/agent-$RANDOM.test/80; exec sleep 600";
      const words = [...own, ...others, ...measured, "--restart", "always"];
      const { log } = world.dragons("keeper", ...words, "--", "/bin/bash", "-c", agent);
      const started = async (starts: number): Promise<number> => {
        const from = log.now;
        const pid = await agentPid(log, starts);
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

  test("an agent that does two things by turns for ever is restarted", async (context) => {
    const patient = await Patient.born(context, "looping");
    const looping = await agentPid(patient.log);
    // Once each is work; what follows is more of the same.
    for (let i = 0; i < 30; i++) await ask(patient.agent, i % 2 === 0 ? "a" : "b");
    await patient.is("AUTOHEALING");
    await patient.is("RUNNING");
    expect(await agentPid(patient.log, 2)).not.toBe(looping);
    expect(await patient.path()).toEqual(HEALED);
  });

  test("a sidecar that was killed runs again by proof", async (context) => {
    const patient = await Patient.born(context, "killed");
    await patient.kill();
    await patient.is("DEGRADED");
    await patient.start();
    await patient.is("RUNNING");
    expect(await patient.path()).toEqual([BORN, ...WAS_SILENT]);
  });

  test("a ledger that a crash left open is closed by a sidecar that comes later, and nobody's else", async (context) => {
    const patient = await Patient.born(context, "left/open");
    const { instanceId, ledgerId } = patient.ready;
    const chat = await openChat(patient.agent);
    await patient.kill();
    await chat.ended;

    const others = ["--orphans", join(world.folder, "left")];
    const later = await world.sidecar(await world.flags("left/later", undefined, ...others));
    const { facts } = await later.log.until("ledger closed");
    expect(facts.instance).toBe(instanceId);
    await patient.is("STOPPED");
    expect((await patient.path()).at(-1)).toBe("STOPPED FAILED");
    const { pulse } = await getOrganism(world.operator, instanceId);
    expect(pulse).toMatchObject({ inFlight: 0, heldSize: Number(facts.receipts) });
    const left = listReceipts(world.operator, { ledgerId, verdict: "INDETERMINATE" });
    expect((await left.next()).value).toMatchObject({ reason: "CRASHED" });
    // Where somebody lives nothing is closed.
    const other = world.dragons("sidecar", "--close", "--data", join(world.folder, "bystander"));
    expect(await other.exited).toBe(75);
    expect(other.said).toMatch(/bystander is held by process/);
    await later.stop();
  });

  test("a ledger that is full lets nothing through and ends its sidecar; with room again it goes on, whole", async (context) => {
    const patient = await Patient.born(context, "full");
    // From now on the kernel lets this process make no file longer: EFBIG, as of a quota.
    spawnSync("prlimit", [`--pid=${patient.process.pid}`, "--fsize=1"]);
    expect((await ask(patient.agent, "too much")).code).not.toBe(0);
    expect(await patient.process.exited).toBe(70);
    expect(patient.process.said).toContain("EFBIG");
    // It has said so before it ended.
    await patient.is("DEGRADED");
    await patient.start();
    await patient.is("RUNNING");
    expect(await patient.path()).toEqual([
      BORN,
      "DEGRADED LEDGER_FAULT",
      "RUNNING CONDITIONS_CLEARED",
    ]);
    // What was told is all there, and the call that was refused left nothing.
    const { broken, ledgers } = await world.verdict(patient.admin);
    expect(broken).toBeNull();
    expect(ledgers[0]?.counts).toMatchObject({ completed: 0, indeterminate: 0 });
  });

  test("a network that refuses, or swallows everything, takes nothing from the agent, and heals by itself", async (context) => {
    const cable = await Cable.lay(world.control.ready.control);
    context.onTestFinished(() => cable.cut());
    const patient = await Patient.born(context, "cut", cable);
    cable.cut();
    await patient.is("DEGRADED");
    expect(await ask(patient.agent, "alone")).toMatchObject({ code: 0 });
    await cable.mend();
    await patient.is("RUNNING");
    cable.swallow(true);
    await patient.is("DEGRADED");
    expect(await ask(patient.agent, "alone again")).toMatchObject({ code: 0 });
    cable.swallow(false);
    await patient.is("RUNNING");
    expect(await patient.path()).toEqual([BORN, ...WAS_SILENT, ...WAS_SILENT]);
  });
});

describe("of what all share", () => {
  test("a control plane that restarts finds everybody as they were; an agent whose upstream is dead is restarted, and runs", async (context) => {
    const patient = await Patient.born(context, "shared");
    const from = patient.log.now;
    patient.organism.close();
    await world.stopControl();
    await world.startControl();
    patient.organism = world.watch(patient.ready);
    await patient.log.until("lease", { from });
    expect(await patient.path()).toEqual([BORN]);

    world.echo.close();
    expect((await ask(patient.agent, "anybody?")).code).toBe(14);
    await patient.is("AUTOHEALING");
    await patient.is("RUNNING");
    expect(await patient.path()).toEqual(HEALED);
  });
});

describe("of ten minutes", () => {
  const CALLERS = 32;
  const CALLS = 3_000;

  test("an agent that loops and may not be restarted is quarantined where its grant says so, and operators are called", async ({
    onTestFinished,
  }) => {
    const clock = new PassingClock();
    const own = await World.open({
      clock,
      leaseTtlUs: 60 * SECOND_US,
      liveness: { quarantineStalled: "YES" },
    });
    onTestFinished(() => own.close());
    const more = ["--restart", "never", "--", "sleep", "600"];
    const { agent, log, ready } = await own.sidecar([...(await own.flags("loops")), ...more]);
    await log.until("agent started");
    const passed = async (seconds: number): Promise<void> => {
      clock.pass(seconds * SECOND_US);
      await twoBeats(own, ready.instanceId);
    };
    // Whatever it does first is new, and counts as that for ten minutes.
    expect(await ask(agent, "again")).toMatchObject({ code: 0 });
    // The agent knows of its answer a moment before the sidecar has it counted.
    await twoBeats(own, ready.instanceId);
    // The lease that comes next answers a beat from before, and is used up; the one after it holds.
    for (const seconds of [601, 21]) await passed(seconds);
    const organism = own.watch(ready);
    const called = firstAlarm(own);
    await organism.until("well", (o) => o.state === "RUNNING" && o.conditions.length === 0);
    const turns = Array.from({ length: CALLERS }, async () => {
      for (let n = 0; n < CALLS / CALLERS; n++) await ask(agent, "again");
    });
    await Promise.all(turns);
    await organism.until("looping", (o) => o.conditions.some((c) => c.type === "LOOPING"));
    // For half a minute it may pass by itself; in steps by which no lease runs out.
    for (const seconds of [16, 16]) await passed(seconds);
    await organism.until("quarantined", (o) => o.state === "QUARANTINED");
    const history = await own.history(ready.instanceId);
    expect(history.slice(-3).map((t) => `${t.to} ${t.cause} ${t.condition}`)).toEqual([
      "DEGRADED CONDITION LOOPING",
      "AUTOHEALING REMEDY_STARTED LOOPING",
      "QUARANTINED REMEDIES_SPENT LOOPING",
    ]);
    const refused = { outcome: "IGNORED", detail: "its policy is never to restart" };
    const { directiveResults } = await own.beat(ready.instanceId);
    expect(directiveResults).toContainEqual(expect.objectContaining(refused));
    expect(await called).toMatch(/LOOPING/);
    expect(await ask(agent, "again")).toMatchObject({ code: 7, reason: "QUARANTINED" });
  });
});

/** Resolves when two more were heard: a lease counts from the beat before the last. */
async function twoBeats({ operator }: World, instanceId: string): Promise<void> {
  let first: number | null = null;
  for await (const { pulse } of operator.organisms.watchPulse({ instanceId })) {
    const { counter } = HeartbeatBody.decode(pulse?.heartbeat?.body ?? new Uint8Array(0));
    first ??= counter;
    if (counter >= first + 2) return;
  }
}

/** What operators are called for first, even those who watch somebody else. */
async function firstAlarm({ operator }: World): Promise<string> {
  for await (const seen of watchOrganisms(operator, { name: "somebody else" })) {
    if (seen.event === "ALARM") return seen.alarm;
  }
  throw new Error("nobody was called");
}

/**
 * The machine's clock, and time that passes at once when a test says so. It begins an hour behind: certificates
 * are judged by the machine's own, and what is issued later must be valid by both.
 */
class PassingClock implements Clock {
  #passedUs = 0;
  readonly #behindUs = 3600 * SECOND_US;
  suspendedUs = () => systemClock.suspendedUs();
  after = (us: number, fn: () => void) => systemClock.after(us, fn);
  nowUs = () => systemClock.nowUs() - this.#behindUs + this.#passedUs;
  monotonicUs = () => systemClock.monotonicUs() + this.#passedUs;
  pass(us: number): void {
    this.#passedUs += us;
  }
}

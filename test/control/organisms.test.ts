import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { Organisms } from "../../src/control/organisms.ts";
import type { Tenant } from "../../src/control/tenant.ts";
import { toHex } from "../../src/domain/bytes.ts";
import { DirectiveBody } from "../../src/domain/directive.ts";
import { EquivocationBody } from "../../src/domain/equivocation.ts";
import { verifyGenesis } from "../../src/domain/genesis.ts";
import { GrantBody } from "../../src/domain/grant.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { retrace } from "../../src/domain/history.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { firstBeatUs } from "../../src/domain/limits.ts";
import { refOf } from "../../src/domain/signing.ts";
import { TransitionBody, verifyTransition } from "../../src/domain/transition.ts";
import { AlarmKind, ConditionType, OrganismState } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { AuditService, ManifestService } from "../../src/gen/dragons/v1/authority_pb.ts";
import {
  OrganismService,
  WatchEvent,
  type WatchResponse,
} from "../../src/gen/dragons/v1/organism_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { fromWire } from "../../src/wire/artifacts.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  genesis,
  grantBody,
  type House,
  hashOf,
  makeHouse,
  manifest,
  manifestBytes,
  random32,
  refusalOf,
  requestId,
  startWorld,
  type World,
} from "./world.ts";

const SECOND_US = 1_000_000;
let world: World;
let house: House;
let berth: Berth;
let sidecar: SimSidecar;
let a: Attachment;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `organisms-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  a = await sidecar.attach();
});

/** Whatever a test did to it: its history follows from what it cites, as anybody decides it again. */
afterEach(async () => {
  const viewer = await house.as("VIEWER");
  const { instanceId } = sidecar;
  const answer = await organisms().listTransitions({ instanceId, pageSize: 1000 }, viewer);
  const beats = new Map(
    answer.heartbeats.map(({ body }) => {
      return [toHex(refOf(native, "heartbeat", body)), HeartbeatBody.decode(body)];
    }),
  );
  const { manifestHash, liveness } = GrantBody.decode(
    answer.grants.at(-1)?.body ?? new Uint8Array(0),
  );
  const { moments, whole } = retrace({
    transitions: answer.transitions.map((t) => TransitionBody.decode(t.body)),
    beat: (ref) => beats.get(toHex(ref)) ?? null,
    origin: () => ({ manifestHash, liveness }),
  });
  expect(moments.filter((m) => m.agreement !== "AGREES").map((m) => m.why)).toEqual([]);
  expect(whole).toBe(true);
});

const organisms = () => world.client(OrganismService);
const get = async () => {
  const { instanceId } = sidecar;
  const answer = await organisms().getOrganism({ instanceId }, await house.as("VIEWER"));
  if (answer.organism === undefined) throw new Error("no organism");
  return { ...answer.organism, pulse: answer.pulse };
};
const transitions = async (): Promise<TransitionBody[]> => {
  const { instanceId } = sidecar;
  const viewer = await house.as("VIEWER");
  const bodies: TransitionBody[] = [];
  for (let pageToken = ""; ; ) {
    const page = await organisms().listTransitions({ instanceId, pageSize: 2, pageToken }, viewer);
    bodies.push(...page.transitions.map((t) => TransitionBody.decode(t.body)));
    pageToken = page.nextPageToken;
    if (pageToken === "") return bodies;
  }
};
const path = async () => (await transitions()).map((t) => `${t.to} ${t.cause} ${t.condition}`);

/** Time passes second by second, as the control plane's own timer sees it. */
async function pass(seconds: number, each: (second: number) => Promise<unknown> = async () => {}) {
  for (let second = 1; second <= seconds; second++) {
    world.clock.advance(SECOND_US);
    await each(second);
  }
  await world.running.tenants.settled();
}
/** A beat every ten seconds, heard: then the lease that the one before earned is given. */
const beatingWith = (more: object) => async (second: number) => {
  if (second % 10 !== 0) return;
  await a.beat(more);
  await a.next("heartbeatAck");
  await world.running.tenants.settled();
};
const beating = beatingWith({});
const FULL = { ledgerHealth: "FULL" };
async function running(): Promise<void> {
  await a.earn();
  await a.beat();
  await a.next("heartbeatAck");
  expect((await get()).state).toBe(OrganismState.RUNNING);
}
const command = async (more: object = {}) => ({
  request: { requestId: requestId(), instanceId: sidecar.instanceId, reason: "looks odd", ...more },
  operator: await house.as("OPERATOR"),
});
test("docked, then running with its first beat under a lease; each transition signed", async () => {
  expect(await get()).toMatchObject({ state: OrganismState.DOCKED, name: "reconciler" });
  await running();
  expect(await path()).toEqual(["RUNNING FIRST_BEAT UNSPECIFIED"]);
  const tenant = world.running.tenants.get(house.tenantId);
  const signed = fromWire((await get()).transition, "transition");
  if (tenant === null || isInvalid(signed)) throw new Error("nothing to verify");
  const judged = verifyTransition(native, signed, tenant.keyset(), world.clock.nowUs());
  if (isInvalid(judged)) throw new Error(judged.detail);
  expect(judged.body.ledgerId).toEqual(sidecar.ledgerId);
});

test("silence degrades, the end of its lease is told, and a beat with a lease brings it back", async () => {
  await running();
  await a.leave();
  await pass(90);
  expect((await get()).state).toBe(OrganismState.DEGRADED);
  const [, degraded] = await transitions();
  expect(degraded).toMatchObject({ to: "DEGRADED", cause: "CONDITION", condition: "SILENT" });
  // What it was judged by stands in it, for anybody to judge again.
  expect(degraded?.observerUp.length).toBeGreaterThan(0);
  expect((degraded?.atUs ?? 0) - (degraded?.dueUs ?? 0)).toBeGreaterThanOrEqual(
    degraded?.thresholdUs ?? Infinity,
  );
  a = await sidecar.attach();
  await a.earn();
  await pass(30, beating);
  expect((await path()).at(-1)).toBe("RUNNING CONDITIONS_CLEARED UNSPECIFIED");
});

test("the control plane's own absence is never an organism's silence", async () => {
  const liveness = {
    ...grantBody(world, house).liveness,
    silentBeyondLease: "STOP" as const,
  };
  sidecar = await SimSidecar.dock(world, house, await makeBerth(world, house, { liveness }));
  a = await sidecar.attach();
  await running();
  // Minutes in which nobody listened; it is back for less than the time to connect again.
  world.clock.setWall(world.clock.nowUs() + 300 * SECOND_US);
  await world.restart();
  await pass(20);
  const silences = (await path()).filter((p) => p.includes("SILENT"));
  expect(silences).toEqual([]);
  // Once it has listened for longer than that, silence is silence.
  await pass(120);
  expect((await path()).at(-1)).toBe("STOPPED UNCONFIRMED SILENT");
});

test("after a restart, however short, everybody has the time to connect", async () => {
  // Since when it listens is written with the first look at the clock.
  await pass(1);
  await running();
  await a.leave();
  await world.restart(SECOND_US);
  await pass(45);
  expect((await path()).filter((p) => p.includes("SILENT"))).toEqual([]);
  await pass(30);
  expect((await path()).filter((p) => p.includes("SILENT"))).toEqual(["DEGRADED CONDITION SILENT"]);
});

test("while others wait long at the door nobody is known to be silent; its lease ends all the same", async () => {
  await running();
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  // A second pair of eyes, which alone sees time pass.
  const known = await Organisms.open(tenant);
  const conditions = () => known.view(sidecar.instanceId).conditions.map((c) => c.type);
  const look = (seconds: number, listens: boolean): void => {
    for (let second = 1; second <= seconds; second++) {
      world.clock.setWall(world.clock.nowUs() + SECOND_US);
      known.tick(world.clock.nowUs(), listens);
    }
  };
  look(2, true);
  look(50, false);
  expect(conditions()).toEqual([]);
  look(20, false);
  expect(conditions()).toEqual(["LEASE_ZERO"]);
  look(25, true);
  expect(conditions()).toEqual(["LEASE_ZERO"]);
  look(35, true);
  expect(conditions()).toEqual(["SILENT", "LEASE_ZERO"]);
  await tenant.settled();
});

/** Docks one under a grant that allows no other beside it. */
async function takeTheOnlyPlace(): Promise<void> {
  berth = await makeBerth(world, house, { instancesMax: 1 });
  sidecar = await SimSidecar.dock(world, house, berth);
}
const another = () => SimSidecar.dock(world, house, berth);

/** It has its place for as long as a first beat may take from now on, and no longer. */
async function losesPlaceWithoutBeat(): Promise<void> {
  await pass(firstBeatUs / SECOND_US - 1);
  expect(await refusalOf(another())).toMatchObject({ reason: "QUOTA_REACHED" });
  // It is listened to from the first look at the clock.
  await pass(2);
  await losesPlace();
}

/** Another is leased in its place; should it come after all, it is aboard, and without authority. */
async function losesPlace(): Promise<void> {
  const next = await another();
  const b = await next.attach();
  await b.earn();
  a = await sidecar.attach();
  await a.beat();
  expect((await a.next("leaseWithheld")).detail).toMatch(/1 instances at once/);
}

test("one that is gone keeps no other out of its grant, once it can hold nothing", async () => {
  await takeTheOnlyPlace();
  a = await sidecar.attach();
  await pass(1);
  await running();
  await a.leave();
  // Silent, and it may still believe in its lease.
  await pass(40);
  expect((await path()).at(-1)).toBe("DEGRADED CONDITION SILENT");
  expect(await refusalOf(another())).toMatchObject({ reason: "QUOTA_REACHED" });
  await pass(90);
  await losesPlace();
});

test("one that docked and never beat keeps no other out of its grant for longer than it may take to", async () => {
  await takeTheOnlyPlace();
  await losesPlaceWithoutBeat();
});

test("nobody has to beat while the control plane is away", async () => {
  await takeTheOnlyPlace();
  await world.restart(firstBeatUs);
  expect(await refusalOf(another())).toMatchObject({ reason: "QUOTA_REACHED" });
  await losesPlaceWithoutBeat();
});

test("one that is there and has yet to beat keeps its place", async () => {
  await takeTheOnlyPlace();
  a = await sidecar.attach();
  await pass(firstBeatUs / SECOND_US);
  expect(await refusalOf(another())).toMatchObject({ reason: "QUOTA_REACHED" });
});

test("while it beats, time alone changes nothing", async () => {
  await running();
  await pass(300, beating);
  expect(await path()).toEqual(["RUNNING FIRST_BEAT UNSPECIFIED"]);
});

test("what persists is treated; what then works brings it back", async () => {
  await running();
  await pass(40, beatingWith(FULL));
  expect((await get()).state).toBe(OrganismState.AUTOHEALING);
  expect(DirectiveBody.decode((await a.take("directive")).body).kind).toBe("RESYNC");
  await pass(40, beating);
  expect(await path()).toEqual([
    "RUNNING FIRST_BEAT UNSPECIFIED",
    "DEGRADED CONDITION LEDGER_FAULT",
    "AUTOHEALING REMEDY_STARTED LEDGER_FAULT",
    "RUNNING RECOVERED UNSPECIFIED",
  ]);
});

/** The next that a watch tells, after its first answer, beside how far it has come. */
async function alarmOf(told: AsyncIterator<WatchResponse>): Promise<WatchResponse | undefined> {
  for (;;) {
    const { value, done } = await told.next();
    if (done === true) return undefined;
    if (value.event !== WatchEvent.BOOKMARK) return value;
  }
}

test("what no remedy cures, and is unsafe to leave, is quarantined", async () => {
  await running();
  // Whoever watches something else is called all the same, once, and by a token that resumes behind it.
  const elsewhere = organisms().watch({ name: "somebody else" }, await house.as("VIEWER"));
  const told = elsewhere[Symbol.asyncIterator]();
  await told.next();
  await pass(170, beatingWith(FULL));
  const [resync, reattach] = [await a.take("directive"), await a.take("directive")];
  expect(DirectiveBody.decode(resync.body).kind).toBe("RESYNC");
  expect(DirectiveBody.decode(reattach.body).kind).toBe("REATTACH");
  expect(DirectiveBody.decode((await a.take("directive")).body).kind).toBe("QUARANTINE");
  expect((await path()).at(-1)).toBe("QUARANTINED REMEDIES_SPENT LEDGER_FAULT");
  // It cites what was tried in vain.
  const { basis, artifacts } = (await transitions()).at(-1) as TransitionBody;
  const tried = [resync, reattach].map(({ body }) => refOf(native, "directive", body));
  expect(basis.directives).toEqual(tried);
  expect(artifacts).toEqual(expect.arrayContaining(tried));
  const call = await alarmOf(told);
  expect(call).toMatchObject({ event: WatchEvent.ALARM, alarm: { version: 1 } });
  expect(call?.alarm?.kind).toBe(AlarmKind.REMEDIES_SPENT);
  expect(call?.alarm?.transition).toEqual((await get()).transition);
  const resumed = organisms().watch(
    { name: "somebody else", resumeToken: call?.resumeToken ?? "" },
    await house.as("VIEWER"),
  );
  expect((await resumed[Symbol.asyncIterator]().next()).value?.event).toBe(WatchEvent.SYNCED);
});

test("what was unsafe to leave and is over quarantines nobody, whatever else remains", async () => {
  await running();
  await pass(40, beatingWith(FULL));
  expect((await path()).at(-1)).toBe("AUTOHEALING REMEDY_STARTED LEDGER_FAULT");
  await pass(20, beatingWith({ ledgerHealth: "OK", syncLag: 60_000 }));
  const last = (await transitions()).at(-1);
  expect(last).toMatchObject({ to: "DEGRADED", cause: "CONDITION", condition: "SYNC_LAG" });
  const remaining = last?.conditions.map((c) => c.type);
  expect(remaining).toContain("SYNC_LAG");
  expect(remaining).not.toContain("LEDGER_FAULT");
});

test("what comes to its end just as a remedy is sent is recorded behind that", async () => {
  await running();
  await pass(40, beatingWith(FULL));
  expect((await path()).at(-1)).toBe("AUTOHEALING REMEDY_STARTED LEDGER_FAULT");
  const { request, operator } = await command();
  await organisms().stop(request, operator);
  const tenant = world.running.tenants.get(house.tenantId) as Tenant;
  // A second pair of eyes, which alone sees that all that it held has run out.
  const known = await Organisms.open(tenant);
  world.clock.setWall(world.clock.nowUs() + 300 * SECOND_US);
  expect(await known.sendRemedy(sidecar.instanceId)).not.toBe("");
  await tenant.exclusive(async () => {});
  await tenant.settled();
  expect((await path()).at(-1)).toBe("STOPPED OPERATOR UNSPECIFIED");
  const records = await tenant.records(1, tenant.durableSize);
  const last = records.map((r) => r.record.what).filter((what) => what !== "heartbeat");
  expect(last.slice(-3)).toEqual(["directive", "transition", "directive"]);
});

test("what no remedy cures, and is safe to leave, goes back to degraded; operators are called all the same", async () => {
  await running();
  const elsewhere = organisms().watch({ name: "somebody else" }, await house.as("VIEWER"));
  const told = elsewhere[Symbol.asyncIterator]();
  await told.next();
  await pass(170, beatingWith({ syncLag: 50_000 }));
  expect((await path()).slice(1)).toEqual([
    "DEGRADED CONDITION SYNC_LAG",
    "AUTOHEALING REMEDY_STARTED SYNC_LAG",
    "DEGRADED REMEDIES_SPENT SYNC_LAG",
  ]);
  const call = await alarmOf(told);
  expect(call).toMatchObject({ event: WatchEvent.ALARM, alarm: { version: 1 } });
  expect(call?.alarm?.kind).toBe(AlarmKind.REMEDIES_SPENT);
  expect(call?.alarm?.transition).toEqual((await get()).transition);
});

test("an operator's quarantine takes the lease back and tells the sidecar; a release gives it back", async () => {
  await running();
  const { request, operator } = await command();
  const held = await organisms().quarantine(request, operator);
  expect(held.organism).toMatchObject({ state: OrganismState.QUARANTINED });
  // In this order: what is cut is cut by the word that says why.
  expect(DirectiveBody.decode((await a.next("directive")).body)).toMatchObject({
    kind: "QUARANTINE",
    sessionEpoch: 1,
    reason: "looks odd",
  });
  await a.next("revocation");
  // The same request again is the same answer, and no second transition.
  expect((await organisms().quarantine(request, operator)).organism).toEqual(held.organism);
  expect((await get()).revision).toBe(held.organism?.revision);
  expect(await path()).toHaveLength(2);
  await a.beat();
  await a.next("leaseWithheld");

  const other = await command({ conditions: [ConditionType.DRIFT] });
  expect(await refusalOf(organisms().release(other.request, operator))).toMatchObject({
    code: "FAILED_PRECONDITION",
    metadata: { refusal: "NOT_HELD" },
  });
  const mild = await command({ conditions: [ConditionType.HELD], reason: "it was us" });
  world.clock.advance(SECOND_US);
  const released = await organisms().release(mild.request, operator);
  expect(released.organism).toMatchObject({ state: OrganismState.DEGRADED });
  expect(DirectiveBody.decode((await a.next("directive")).body).kind).toBe("RELEASE");
  await a.earn();
  await pass(30, beating);
  expect((await get()).state).toBe(OrganismState.RUNNING);
  const actors = (await transitions()).filter((t) => t.cause === "OPERATOR");
  expect(actors.map((t) => t.reason)).toEqual(["looks odd", "it was us"]);
});

test("a quarantined sidecar that attaches again is told again, and so is a released one", async () => {
  await running();
  const { request, operator } = await command();
  await organisms().quarantine(request, operator);
  a = await sidecar.attach();
  expect(a.attached.state).toBe(OrganismState.QUARANTINED);
  expect(DirectiveBody.decode((await a.next("directive")).body)).toMatchObject({
    kind: "QUARANTINE",
    sessionEpoch: 2,
  });
  const mild = await command({ conditions: [ConditionType.HELD] });
  await organisms().release(mild.request, operator);
  a = await sidecar.attach();
  expect(DirectiveBody.decode((await a.next("directive")).body)).toMatchObject({
    kind: "RELEASE",
    sessionEpoch: 3,
  });
});

test("a fork is never released", async () => {
  await a.beat();
  await a.next("heartbeatAck");
  await a.beat({ intentsHead: new Uint8Array(32).fill(9) });
  await a.next("directive");
  const { request, operator } = await command({ conditions: [ConditionType.FORK] });
  expect(await refusalOf(organisms().release(request, operator))).toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "FORK_NOT_RELEASABLE",
  });
});

test("a fork of a ledger without a receipt is proven by its genesis", async () => {
  await a.beat({ root: random32() });
  await a.next("directive");
  const { records } = await world
    .client(AuditService)
    .listRecords({ pageSize: 1000 }, await house.as("VIEWER"));
  const [proof] = records
    .filter(({ what }) => what === "equivocation")
    .map(({ artifact }) => EquivocationBody.decode(artifact));
  expect(proof?.kind).toBe("ROOT");
  expect(refOf(native, "genesis", proof?.first.body ?? new Uint8Array(0))).toEqual(
    sidecar.ledgerId,
  );
});

test("a revocation keeps no more of the lease that it takes back than its ref", async () => {
  await a.earn();
  await a.beat();
  await a.next("heartbeatAck");
  const { request, operator } = await command();
  await organisms().quarantine(request, operator);
  const [revocation] = world.running.tenants.get(house.tenantId)?.revocations() ?? [];
  expect(revocation?.body.target).toEqual(sidecar.leaseRef);
  expect(revocation?.body.target.buffer.byteLength).toBe(32);
});

test("a beat that comes twice is recorded once beneath what rests on it", async () => {
  await a.earn();
  const signed = await a.beat();
  await a.next("heartbeatAck");
  const { request, operator } = await command();
  await organisms().quarantine(request, operator);
  a.up.push({ message: { case: "heartbeat", value: signed } });
  await a.next("heartbeatAck");
  const release = await command({ conditions: [ConditionType.HELD] });
  await organisms().release(release.request, operator);
  const { instanceId } = sidecar;
  const { heartbeats, transitions } = await organisms().listTransitions({ instanceId }, operator);
  expect(transitions).toHaveLength(3);
  expect(heartbeats.map(({ body }) => refOf(native, "heartbeat", body))).toEqual([
    refOf(native, "heartbeat", signed.body),
  ]);
});

test("a history tells what each ledger was born from, oldest first, also after a restart", async () => {
  const { instanceId, ledgerId: predecessor } = sidecar;
  const successor = await SimSidecar.dock(world, house, berth, { instanceId, predecessor });
  const born = async (): Promise<Uint8Array[]> => {
    const { geneses } = await organisms().listTransitions({ instanceId }, await house.as("VIEWER"));
    return geneses.map(({ body }) => refOf(native, "genesis", body));
  };
  expect(await born()).toEqual([sidecar.ledgerId, successor.ledgerId]);
  await world.restart();
  expect(await born()).toEqual([sidecar.ledgerId, successor.ledgerId]);
});

test("a successor goes on by its own grant and manifest, also where we ended before that took effect", async () => {
  const { instanceId, ledgerId: predecessor } = sidecar;
  const tenant = world.running.tenants.get(house.tenantId) as Tenant;
  const operator = await house.as("OPERATOR");
  const other = manifest({ agentVersion: "v8" });
  await world
    .client(ManifestService)
    .recordManifest({ requestId: requestId(), manifest: manifestBytes(other) }, operator);
  const manifestHash = hashOf(other);
  const liveness = { ...grantBody(world, house).liveness, quarantineStalled: "YES" as const };
  const next = await makeBerth(world, house, { manifestHash, liveness });
  await running();
  const more = { instanceId, predecessor, manifestHash };
  const born = await genesis(world, house, next.dockRef, next.join, more);
  const dock = tenant.dock(next.dockRef);
  const verified = dock && verifyGenesis(native, born.signed, dock.artifact);
  if (!verified || isInvalid(verified)) throw new Error("no genesis");
  const durable = tenant.record({ entries: [{ what: "genesis", artifact: verified }] });
  // As it is stored now: nobody was told of the successor yet.
  const known = await Organisms.open(tenant);
  expect(known.view(instanceId)).toMatchObject({ liveness, manifestHash });
  await durable;
  await tenant.settled();
});

test("a successor under another manifest runs by that one", async () => {
  await running();
  const { instanceId, ledgerId: predecessor } = sidecar;
  const other = manifest({ agentVersion: "v8" });
  await world
    .client(ManifestService)
    .recordManifest(
      { requestId: requestId(), manifest: manifestBytes(other) },
      await house.as("OPERATOR"),
    );
  const manifestHash = hashOf(other);
  const next = await makeBerth(world, house, { manifestHash });
  sidecar = await SimSidecar.dock(world, house, next, { instanceId, predecessor, manifestHash });
  // The one before is no other for that.
  await a.beat();
  await a.next("heartbeatAck");
  a = await sidecar.attach();
  await pass(30, beatingWith({ manifestHash }));
  expect((await path()).filter((p) => p.includes("DRIFT"))).toEqual([]);
});

test("an agent that ended by itself: the directive says how, and no condition where there is none", async () => {
  await running();
  await a.beat({ child: "EXITED", childExit: 1 });
  const { kind, reason } = DirectiveBody.decode((await a.next("directive")).body);
  expect({ kind, reason }).toEqual({ kind: "STOP", reason: "FINISHED" });
});

test("what happens while others decide takes a lease back once: epochs stay one chain", async () => {
  await running();
  const tenant = world.running.tenants.get(house.tenantId) as Tenant;
  const busy = Promise.withResolvers<void>();
  const others = tenant.exclusive(() => busy.promise);
  // Quarantined by the first beat and stopped by the second, before either can be recorded.
  await a.beat({ manifestHash: native.sha256(new Uint8Array(1)) });
  await a.next("heartbeatAck");
  await a.beat({ child: "EXITED", childExit: 1 });
  await a.next("heartbeatAck");
  busy.resolve();
  await others;
  // Behind all who waited.
  await tenant.exclusive(async () => {});
  await tenant.settled();
  expect((await path()).slice(1)).toEqual([
    "QUARANTINED CONDITION DRIFT",
    "STOPPED FINISHED UNSPECIFIED",
  ]);
  expect(tenant.revocations().map((r) => r.body.epoch)).toEqual([1]);
});

test("a stop takes its authority at once, and is final when it is seen to have ended", async () => {
  await running();
  const { request, operator } = await command({ reason: "done with it" });
  await organisms().stop(request, operator);
  expect(DirectiveBody.decode((await a.next("directive")).body).kind).toBe("STOP");
  await a.next("revocation");
  await a.beat({ child: "EXITED", childExit: 1 });
  await a.next("directive");
  expect((await path()).at(-1)).toBe("STOPPED OPERATOR UNSPECIFIED");
  const again = await command();
  expect(await refusalOf(organisms().stop(again.request, operator))).toMatchObject({
    code: "FAILED_PRECONDITION",
  });
});

test("a stopped one that comes back is told so, delivers what it still has, and is leased nothing", async () => {
  await running();
  await a.beat({ child: "EXITED", childExit: 1, inFlight: 1, syncLag: 1 });
  await a.next("heartbeatAck");
  await a.leave();
  await pass(30);
  expect((await path()).at(-1)).toBe("STOPPED FINISHED UNSPECIFIED");
  const before = await transitions();

  await sidecar.work(1);
  await world.restart();
  a = await sidecar.attach();
  expect(DirectiveBody.decode((await a.next("directive")).body).kind).toBe("STOP");
  await a.beat({ child: "RUNNING" });
  await a.next("heartbeatAck");
  await a.syncAll();
  expect((await a.take("leaseWithheld")).detail).toMatch(/ended/);
  expect((await a.take("cosigned")).note.split("\n")[1]).toBe("1");
  const { state, pulse } = await get();
  expect(state).toBe(OrganismState.STOPPED);
  expect(pulse?.heldSize).toBe(1n);
  expect(HeartbeatBody.decode(pulse?.heartbeat?.body ?? new Uint8Array(0)).inFlight).toBe(0);
  expect(await transitions()).toEqual(before);
});

test("state, conditions and the last beat outlive a restart", async () => {
  await running();
  const { request, operator } = await command();
  await organisms().quarantine(request, operator);
  const before = await get();
  await world.restart();
  const after = await get();
  expect({ ...after, pulse: undefined }).toEqual({ ...before, pulse: undefined });
  expect(after.pulse?.heartbeat).toEqual(before.pulse?.heartbeat);
  expect(after.pulse?.attached).toBe(false);
  a = await sidecar.attach();
  expect(DirectiveBody.decode((await a.next("directive")).body).kind).toBe("QUARANTINE");
  await a.beat();
  await a.next("leaseWithheld");
});

test("a beat heard just before a stop is known after it", async () => {
  await running();
  await pass(10, beating);
  const { pulse } = await get();
  await world.restart();
  expect((await get()).pulse?.heartbeat).toEqual(pulse?.heartbeat);
});

test("everything decided stands in the tenant ledger, in the order in which it was decided", async () => {
  await running();
  const { request, operator } = await command();
  await organisms().quarantine(request, operator);
  const audit = world.client(AuditService);
  const { records } = await audit.listRecords({ pageSize: 1000 }, await house.as("VIEWER"));
  const what = records.map((r) => `${r.what}`);
  expect(what.slice(what.indexOf("genesis"))).toEqual([
    "genesis",
    "head",
    "lease",
    "heartbeat",
    "transition",
    "transition",
    "directive",
    "revocation",
  ]);
});

test("a command needs a reason, the right role, and an organism of one's own", async () => {
  const { request, operator } = await command({ reason: "" });
  expect(await refusalOf(organisms().quarantine(request, operator))).toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  const viewer = await house.as("VIEWER");
  expect(
    await refusalOf(organisms().quarantine({ ...request, reason: "mine now" }, viewer)),
  ).toMatchObject({ code: "PERMISSION_DENIED" });
  const stranger = await makeHouse(world, `stranger-${houses}`);
  const theirs = await stranger.as("ADMIN");
  const { instanceId } = sidecar;
  for (const call of [
    organisms().quarantine({ ...request, reason: "mine now" }, theirs),
    organisms().stop({ ...request, reason: "mine now" }, theirs),
    organisms().getOrganism({ instanceId }, theirs),
    organisms().listTransitions({ instanceId }, theirs),
    organisms().watchPulse({ instanceId }, theirs)[Symbol.asyncIterator]().next(),
  ]) {
    expect((await refusalOf(call as Promise<unknown>)).code).toBe("NOT_FOUND");
  }
  expect((await organisms().listOrganisms({}, theirs)).organisms).toEqual([]);
});

test("an organism is known from the moment that its ledger is decided on", async () => {
  const tenant = world.running.tenants.get(house.tenantId);
  const dock = tenant?.dock(berth.dockRef);
  if (!tenant || !dock) throw new Error("nothing to dock at");
  const known = await Organisms.open(tenant);
  const born = await genesis(world, house, berth.dockRef, berth.join);
  const verified = verifyGenesis(native, born.signed, dock.artifact);
  if (isInvalid(verified)) throw new Error(verified.detail);
  const durable = tenant.record({ entries: [{ what: "genesis", artifact: verified }] });
  expect(known.view(born.body.instanceId).state).toBe("DOCKED");
  await durable;
  expect([...known.all()].filter((o) => o.instanceId === born.body.instanceId)).toHaveLength(1);
});

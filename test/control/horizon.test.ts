import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Organisms } from "../../src/control/organisms.ts";
import type { Tenant } from "../../src/control/tenant.ts";
import { verifyGenesis } from "../../src/domain/genesis.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { TransitionBody } from "../../src/domain/transition.ts";
import { AuditService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { OrganismService } from "../../src/gen/dragons/v1/organism_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { StorageFailed, type Store } from "../../src/storage/store.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import { genesis, type House, makeHouse, random32, startWorld, type World } from "./world.ts";

/** The disk of this control plane: it can be made to hang, and to lose what it hung on. */
const disk = vi.hoisted(() => ({ gate: null as PromiseWithResolvers<void> | null }));

vi.mock("../../src/storage/lmdb.ts", async (original) => {
  const real = await original<typeof import("../../src/storage/lmdb.ts")>();
  const slow = (store: Store): Store => ({
    get: (key) => store.get(key),
    range: (range) => store.range(range),
    close: () => store.close(),
    async commit(writes) {
      await disk.gate?.promise;
      await store.commit(writes);
    },
  });
  return { ...real, openLmdb: (folder: string) => slow(real.openLmdb(folder)) };
});

const SECOND_US = 1_000_000;
let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());

/** An instance under its first lease. */
async function leased(name: string) {
  const house = await makeHouse(world, name);
  const berth = await makeBerth(world, house);
  const sidecar = await SimSidecar.dock(world, house, berth);
  await sidecar.work(1);
  const attached = await sidecar.attach();
  await attached.syncAll();
  expect((await attached.earn()).leaseSeq).toBe(1);
  await attached.take("cosigned");
  await world.running.tenants.settled();
  return { house, sidecar, attached };
}

function tenantOf({ tenantId }: House): Tenant {
  const tenant = world.running.tenants.get(tenantId);
  if (tenant === null) throw new Error("no tenant");
  return tenant;
}

/** The disk fails: when it listened is to be written by then, and that ends the control plane. */
async function crash(): Promise<void> {
  disk.gate = Promise.withResolvers();
  disk.gate.promise.catch(() => {});
  disk.gate.reject(new StorageFailed("no such luck"));
  world.clock.advance(11 * SECOND_US);
  await world.running.failed;
  disk.gate = null;
}

test("a renewal waits for no disk, and the one after it waits until the first is recorded", async () => {
  const { attached } = await leased("hanging");
  disk.gate = Promise.withResolvers();
  world.clock.advance(21 * SECOND_US);
  expect((await attached.earn()).leaseSeq).toBe(2);

  world.clock.advance(21 * SECOND_US);
  await attached.beat();
  await attached.next("heartbeatAck");
  expect(attached.skipped.filter((m) => m.case === "lease")).toEqual([]);
  disk.gate.resolve();
  expect(LeaseBody.decode((await attached.next("lease")).body).leaseSeq).toBe(3);
  await attached.leave();
});

test("what a crash loses its holder hands back, and until then its time counts as held", async () => {
  const { house, sidecar, attached } = await leased("crashed");
  disk.gate = Promise.withResolvers();
  disk.gate.promise.catch(() => {});
  world.clock.advance(21 * SECOND_US);
  await attached.beat();
  const lost = await attached.next("lease");
  expect(LeaseBody.decode(lost.body).leaseSeq).toBe(2);
  disk.gate.reject(new StorageFailed("no such luck"));
  await world.running.failed;
  disk.gate = null;
  await world.restart();

  // Nobody remembers lease 2; until when something like it may be held is known.
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  expect(tenant.instance(sidecar.instanceId)?.lease?.artifact.body.leaseSeq).toBe(1);
  const { facts } = (await Organisms.open(tenant)).view(sidecar.instanceId);
  expect(facts.leaseHorizonUs).toBeGreaterThanOrEqual(LeaseBody.decode(lost.body).notAfterUs);

  const again = await sidecar.attach({ lease: lost });
  await again.syncAll();
  const next = await again.earn({ leaseRef: sidecar.leaseRef });
  expect(next.leaseSeq).toBeGreaterThan(2);
  await again.leave();
});

test("a crash that forgets the last beats forgets no lease that was recorded: nobody is told of its end", async () => {
  const { house, sidecar, attached } = await leased("behind");
  const path = async (): Promise<string[]> => {
    const { instanceId } = sidecar;
    const { transitions } = await world
      .client(OrganismService)
      .listTransitions({ instanceId }, await house.as("VIEWER"));
    return transitions.map(({ body }) => TransitionBody.decode(body).to);
  };
  await attached.beat();
  await attached.next("heartbeatAck");
  world.clock.advance(21 * SECOND_US);
  const { notAfterUs } = await attached.earn();
  await world.running.tenants.settled();
  expect(await path()).toEqual(["RUNNING"]);

  await crash();
  // The lease before the last would have run out by now.
  await world.restart(32 * SECOND_US);
  world.clock.advance(SECOND_US);
  expect(world.clock.nowUs()).toBeLessThan(notAfterUs);
  await world.running.tenants.settled();
  expect(await path()).toEqual(["RUNNING"]);
  world.clock.advance(60 * SECOND_US);
  await world.running.tenants.settled();
  expect(await path()).toEqual(["RUNNING", "DEGRADED"]);
});

test("a crash that forgets who was attached gives no number of a session twice", async () => {
  const { sidecar, attached } = await leased("numbered");
  const numbers = [attached.attached.sessionEpoch];
  for (let times = 0; times < 2; times++) {
    const { sessionEpoch } = (await sidecar.attach()).attached;
    numbers.push(sessionEpoch);
    await crash();
    await world.restart();
  }
  numbers.push((await sidecar.attach()).attached.sessionEpoch);
  expect(new Set(numbers).size).toBe(4);
  expect(numbers).toEqual([...numbers].sort((a, b) => Number(a - b)));
});

test("a genesis that is on the disk waits for nothing else to be written: a fork counts at once", async () => {
  const { house, sidecar, attached } = await leased("forked");
  await attached.leave();
  const tenant = tenantOf(house);
  const berth = await makeBerth(world, house);
  const empty = await SimSidecar.dock(world, house, berth);
  const session = await empty.attach();
  await tenant.settled();
  disk.gate = Promise.withResolvers();
  const pending = tenant.record({ entries: [], writes: [{ key: "x", value: new Uint8Array(1) }] });

  const record = tenant.ledger(sidecar.ledgerId);
  if (record === null) throw new Error("no ledger");
  expect((await tenant.genesis(record)).ref).toEqual(sidecar.ledgerId);
  const faulted = Promise.withResolvers<void>();
  const input = Reflect.get(Organisms.prototype, "input");
  const told = vi.spyOn(Organisms.prototype, "input").mockImplementation(function (
    this: Organisms,
    ...args
  ) {
    if (args[1].kind === "fault") faulted.resolve();
    return Reflect.apply(input, this, args);
  });
  await session.beat({ root: random32() });
  await faulted.promise;
  told.mockRestore();
  disk.gate.resolve();
  disk.gate = null;
  await pending;
  await session.leave();
});

test("a genesis is told once it is on the disk, to whoever asks before", async () => {
  const house = await makeHouse(world, "born");
  const berth = await makeBerth(world, house);
  const tenant = tenantOf(house);
  const { signed } = await genesis(world, house, berth.dockRef, berth.join);
  const dock = tenant.dock(berth.dockRef);
  if (dock === null) throw new Error("no dock");
  const verified = verifyGenesis(native, signed, dock.artifact);
  if (isInvalid(verified)) throw new Error(verified.detail);
  disk.gate = Promise.withResolvers();
  const durable = tenant.record({ entries: [{ what: "genesis", artifact: verified }] });
  const record = tenant.ledger(verified.ref);
  if (record === null) throw new Error("no ledger");
  const asked = tenant.genesis(record);
  disk.gate.resolve();
  disk.gate = null;
  expect((await asked).ref).toEqual(verified.ref);
  await durable;
});

test("a head is told as countersigned once that is on the disk, and not before", async () => {
  const { sidecar, attached } = await leased("noted");
  await sidecar.work(1);
  await attached.syncAll();
  disk.gate = Promise.withResolvers();
  for (const _ of ["with the head", "after it"]) {
    await attached.beat();
    await attached.next("heartbeatAck");
  }
  expect(attached.skipped.filter((m) => m.case === "cosigned")).toEqual([]);
  disk.gate.resolve();
  disk.gate = null;
  expect((await attached.next("cosigned")).note).toContain("\n2\n");
  await attached.leave();
});

test("an operator is shown nothing that is not on the disk: by Get, by List, by a watch", async () => {
  const { house, sidecar, attached } = await leased("shown");
  const viewer = await house.as("VIEWER");
  const tenant = tenantOf(house);
  disk.gate = Promise.withResolvers();
  const pending = tenant.record({ entries: [], writes: [{ key: "x", value: new Uint8Array(1) }] });
  const organisms = world.client(OrganismService);
  const { instanceId } = sidecar;
  const shown: string[] = [];
  const abort = new AbortController();
  const answers = [
    organisms.getOrganism({ instanceId }, viewer).then(() => shown.push("get")),
    organisms.listOrganisms({}, viewer).then(() => shown.push("list")),
    organisms
      .watch({}, { ...viewer, signal: abort.signal })
      [Symbol.asyncIterator]()
      .next()
      .then(() => shown.push("watch")),
  ];
  // What waits for no disk goes there and back meanwhile, on a call that came after.
  await world.client(AuditService).listRecords({}, viewer);
  await attached.beat();
  await attached.next("heartbeatAck");
  expect(shown).toEqual([]);
  disk.gate.resolve();
  disk.gate = null;
  await Promise.all(answers);
  abort.abort();
  await pending;
  await attached.leave();
});

import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Organisms } from "../../src/control/organisms.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { StorageFailed, type Store } from "../../src/storage/store.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import { makeHouse, startWorld, type World } from "./world.ts";

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

test("a renewal waits for no disk, and the one after it waits until the first is recorded", async () => {
  const { attached } = await leased("hanging");
  disk.gate = Promise.withResolvers();
  world.clock.advance(21 * SECOND_US);
  expect((await attached.earn()).leaseSeq).toBe(2);
  // The same head again: it was durable long ago.
  await attached.take("cosigned");

  world.clock.advance(21 * SECOND_US);
  await attached.beat();
  await attached.next("heartbeatAck");
  await attached.next("cosigned");
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

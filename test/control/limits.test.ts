import { afterAll, beforeAll, expect, test } from "vitest";
import { type Limits, NO_LIMITS, type ScopeGrant } from "../../src/domain/grant.ts";
import type { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import { type House, makeHouse, refusalOf, startWorld, type World } from "./world.ts";

const SCOPE = "read:payments";
const SECOND_US = 1_000_000;
const of = (limits: Partial<Limits>): ScopeGrant[] => [
  { name: SCOPE, limits: { ...NO_LIMITS, ...limits } },
];

let world: World;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());

async function aboard(limits: Partial<Limits>) {
  const house = await makeHouse(world, `limits-${++houses}`);
  const berth = await makeBerth(world, house, { scopes: of(limits) });
  return { house, berth, sidecar: await SimSidecar.dock(world, house, berth) };
}

const succeed = (house: House, berth: Berth, before: SimSidecar) =>
  SimSidecar.dock(world, house, berth, {
    instanceId: before.instanceId,
    predecessor: before.ledgerId,
  });

const spent = (actions: number, bytes = 0): Pick<HeartbeatBody, "spent"> => ({
  spent: [{ scope: SCOPE, actions, bytes }],
});
const actionsIn = (lease: LeaseBody): number | undefined => lease.scopes[0]?.limits.maxActions;

/** Time passes until a lease is to be renewed anyway. */
const due = (): void => world.clock.advance(30 * SECOND_US);

test("a lease holds one slab more than was spent, and the last one holds the rest", async () => {
  const { sidecar } = await aboard({ maxActions: 10_000, maxBytes: 500_000_000 });
  const a = await sidecar.attach();
  expect((await a.earn()).scopes).toEqual(of({ maxActions: 1000, maxBytes: 50_000_000 }));
  due();
  const second = await a.earn(spent(700, 9_000_000));
  expect(second.scopes).toEqual(of({ maxActions: 1700, maxBytes: 59_000_000 }));
  due();
  expect(actionsIn(await a.earn(spent(9800)))).toBe(10_000);
  due();
  expect(actionsIn(await a.earn(spent(10_000)))).toBe(10_000);
});

test("a slab that is half spent is renewed at once, and one that is not waits", async () => {
  const { sidecar } = await aboard({ maxActions: 10_000 });
  const a = await sidecar.attach();
  expect(actionsIn(await a.earn())).toBe(1000);
  await a.beat(spent(499));
  await a.next("heartbeatAck");
  expect(actionsIn(await a.earn(spent(500)))).toBe(1500);
  expect(a.skipped.filter((m) => m.case === "lease")).toEqual([]);
});

test("a beat from before the last lease arrived asks for no further slab", async () => {
  const { sidecar } = await aboard({ maxActions: 10_000 });
  const a = await sidecar.attach();
  await a.earn();
  const before = sidecar.leaseRef;
  expect(actionsIn(await a.earn(spent(600)))).toBe(1600);
  // Made under the first, and heard after the second was cut.
  await a.beat({ ...spent(1500), leaseRef: before });
  await a.next("heartbeatAck");
  await a.beat(spent(700));
  await a.next("heartbeatAck");
  expect(a.skipped.filter((m) => m.case === "lease")).toEqual([]);
});

test("a ledger that was put back earns nothing, whatever it says was spent", async () => {
  const { sidecar } = await aboard({ maxActions: 1000 });
  await sidecar.work(4);
  const a = await sidecar.attach();
  await a.syncAll();
  await a.earn(spent(4));
  await a.leave();
  sidecar.restore(2);
  expect(await refusalOf(sidecar.attach())).toMatchObject({ reason: "REGRESS" });
});

test("a lease that was lost, cut twice, or earned by a stale beat hands out nothing twice", async () => {
  const { sidecar } = await aboard({ maxActions: 1000 });
  const a = await sidecar.attach();
  await a.beat(spent(0));
  // The lease of that beat never arrives; the session is lost with it.
  await a.leave();
  const b = await sidecar.attach();
  expect(actionsIn(await b.earn(spent(0)))).toBe(100);
  due();
  expect(actionsIn(await b.earn(spent(60)))).toBe(160);
  due();
  expect(actionsIn(await b.earn(spent(10)))).toBe(160);
  due();
  expect(actionsIn(await b.earn({ spent: [] }))).toBe(160);
});

test("neither a restart of the sidecar nor one of the control plane refills", async () => {
  const { sidecar } = await aboard({ maxActions: 1000 });
  const a = await sidecar.attach();
  expect(actionsIn(await a.earn(spent(0)))).toBe(100);
  await a.leave();
  const b = await sidecar.attach();
  expect(actionsIn(await b.earn(spent(100)))).toBe(200);
  await world.restart();
  const c = await sidecar.attach();
  expect(actionsIn(await c.earn(spent(100)))).toBe(200);
  due();
  expect(actionsIn(await c.earn(spent(1000)))).toBe(1000);
});

test("a ledger that was lost keeps what it was given: its successor gets the rest", async () => {
  const { house, berth, sidecar } = await aboard({ maxActions: 1000, maxConcurrent: 4 });
  const a = await sidecar.attach();
  await a.earn(spent(0));
  due();
  expect(actionsIn(await a.earn(spent(850)))).toBe(950);
  await a.leave();

  const second = await succeed(house, berth, sidecar);
  const b = await second.attach();
  // Its predecessor may still be acting: what holds at any moment is lent to one of the two.
  const first = await b.earn(spent(0));
  expect(first.scopes).toEqual(of({ maxActions: 50, maxConcurrent: 0 }));
  world.clock.advance(70 * SECOND_US);
  expect((await b.earn(spent(0))).scopes).toEqual(of({ maxActions: 50, maxConcurrent: 4 }));
  due();
  expect(actionsIn(await b.earn(spent(50)))).toBe(50);

  const third = await succeed(house, berth, second);
  const c = await third.attach();
  expect(actionsIn(await c.earn(spent(0)))).toBe(0);
});

test("limits are each instance's own", async () => {
  const { house, berth, sidecar } = await aboard({ maxActions: 100, maxConcurrent: 2 });
  const both = of({ maxActions: 100, maxConcurrent: 2 });
  const a: Attachment = await sidecar.attach();
  expect((await a.earn(spent(0))).scopes).toEqual(both);
  const other = await SimSidecar.dock(world, house, berth);
  const b = await other.attach();
  expect((await b.earn(spent(0))).scopes).toEqual(both);
});

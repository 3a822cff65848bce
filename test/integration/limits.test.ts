import { afterEach, expect, test } from "vitest";
import { sidecarStatus } from "../../src/cli/actions/evidence.ts";
import { getOrganism } from "../../src/cli/actions/organism.ts";
import { ask } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

let world: World;
afterEach(() => world.close());

/** Asks, eight at a time, until `enough` were permitted or somebody says that nothing is left. */
async function askFor(sidecar: RunningSidecar, enough: number): Promise<number> {
  let permitted = 0;
  let spent = false;
  const asker = async () => {
    while (!spent && permitted < enough) {
      permitted++;
      const { code, reason } = await ask(sidecar.agent, "hello");
      if (code === 0) continue;
      permitted--;
      expect(reason).toBe("LIMIT_SPENT");
      spent = true;
    }
  };
  await Promise.all(Array.from({ length: 8 }, asker));
  return permitted;
}

test("an agent gets every action of its grant, slab by slab, over a restart, and not one more", async () => {
  world = await World.open({ limits: { maxActions: 350 } });
  const flags = await world.flags("one");
  let sidecar = await world.sidecar(flags);
  await sidecar.log.until("lease");
  // More than two slabs of a hundred: the next one is here before this one is spent, or soon after.
  let permitted = 0;
  while (permitted < 250) {
    const from = sidecar.log.now;
    const more = await askFor(sidecar, 250 - permitted);
    permitted += more;
    if (permitted < 250) await sidecar.log.until("lease", { from });
  }
  await sidecar.stop();
  sidecar = await world.sidecar(flags);
  await sidecar.log.until("lease");
  while (permitted < 350) {
    const from = sidecar.log.now;
    permitted += await askFor(sidecar, 1000);
    if (permitted < 350) await sidecar.log.until("lease", { from });
  }
  expect(permitted).toBe(350);
  expect(await askFor(sidecar, 10)).toBe(0);
  expect((await sidecarStatus(sidecar.admin)).left).toMatchObject([{ actions: 0, bytes: null }]);
  const verdict = await world.anchored(sidecar);
  expect(verdict).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(verdict.checks.find((c) => c.name === "LIMITS")).toMatchObject({ status: "PASS" });
});

test("what a slab leaves is told by the sidecar, and to operators by its beats", async () => {
  world = await World.open({ limits: { maxActions: 100_000 }, leaseTtlUs: 60_000_000 });
  const sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
  const before = await sidecarStatus(sidecar.admin);
  // A tenth of the grant is what it may spend unheard of.
  expect(before.left).toMatchObject([{ actions: 10_000 }]);
  expect(await askFor(sidecar, 20)).toBe(20);
  const organism = world.watch(sidecar.ready);
  await organism.until("a first beat under a lease", (o) => o.state === "RUNNING");
  const { pulse } = await getOrganism(world.operator, sidecar.ready.instanceId);
  expect(pulse?.left).toMatchObject([{ atOnce: null, bytes: null }]);
  expect(pulse?.autonomyLeftUs).toBeGreaterThan(0);
  await world.stopControl();
  await sidecar.log.until("detached");
  const after = await sidecarStatus(sidecar.admin);
  expect(after.left).toMatchObject([{ actions: 9980 }]);
  expect(after.standing).toBeNull();
});

test("offline it works to the end of its slab and stops, though its lease goes on, and heals", async () => {
  world = await World.open({ limits: { maxActions: 110 }, leaseTtlUs: 60_000_000 });
  const sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
  await world.stopControl();
  await sidecar.log.until("detached");
  expect(await askFor(sidecar, 1000)).toBe(100);
  const status = await sidecarStatus(sidecar.admin);
  expect(status).toMatchObject({ standing: null, left: [{ actions: 0 }] });
  expect(status.autonomyLeftUs).toBeGreaterThan(0);
  const from = sidecar.log.now;
  await world.startControl();
  await sidecar.log.until("lease", { from });
  expect(await askFor(sidecar, 1000)).toBe(10);
});

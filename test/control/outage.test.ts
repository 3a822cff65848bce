import { afterEach, beforeEach, expect, test } from "vitest";
import { OrganismState } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { OrganismService } from "../../src/gen/dragons/v1/organism_pb.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import { type House, makeHouse, requestId, startWorld, type World } from "./world.ts";

/** A control plane that was away: what its absence takes from its organisms is time, and nothing else. */

const SECOND_US = 1_000_000;
const DAY_US = 24 * 3600 * SECOND_US;

let world: World;
let house: House;
let sidecars: SimSidecar[];

beforeEach(async () => {
  world = await startWorld();
  house = await makeHouse(world, "away");
  const notAfterUs = world.clock.nowUs() + 30 * DAY_US;
  const berth = await makeBerth(world, house, { instancesMax: 4, notAfterUs });
  sidecars = await Promise.all([1, 2, 3, 4].map(() => SimSidecar.dock(world, house, berth)));
});
afterEach(() => world.end());

const organism = async ({ instanceId }: SimSidecar) => {
  const client = world.client(OrganismService);
  const { organism } = await client.getOrganism({ instanceId }, await house.as("VIEWER"));
  if (organism === undefined) throw new Error("no organism");
  return organism;
};
const epochs = () => world.running.tenants.get(house.tenantId)?.revocationEpoch();

/** Attaches and earns a lease, as often as it takes to be seen running under one. */
async function live(sidecar: SimSidecar): Promise<number> {
  const attached = await sidecar.attach();
  const lease = await attached.earn();
  await attached.beat();
  await attached.next("heartbeatAck");
  return lease.leaseSeq;
}

test.each([
  ["the length of a lease", 61 * SECOND_US],
  ["a day", DAY_US - 3600 * SECOND_US],
])(
  "after %s without it everybody is leased again, and nothing was revoked, quarantined or stopped",
  async (_, away) => {
    const [held, ...others] = sidecars as [SimSidecar, ...SimSidecar[]];
    for (const sidecar of sidecars) await live(sidecar);
    await world
      .client(OrganismService)
      .quarantine(
        { requestId: requestId(), instanceId: held.instanceId, reason: "looks odd" },
        await house.as("OPERATOR"),
      );
    const before = epochs();
    await world.restart(away);

    for (const sidecar of others) expect(await live(sidecar)).toBeGreaterThan(1);
    // Time passes for it as for everybody, now that it listens again.
    for (let second = 0; second < 30; second++) world.clock.advance(SECOND_US);
    expect(epochs()).toBe(before);
    for (const sidecar of others) {
      const { state } = await organism(sidecar);
      expect([OrganismState.RUNNING, OrganismState.DEGRADED]).toContain(state);
    }
    // What an operator decided outlives it, too.
    const refused = await held.attach();
    await refused.beat();
    expect((await refused.next("leaseWithheld")).detail).toMatch(/quarantined/);
    expect((await organism(held)).state).toBe(OrganismState.QUARANTINED);
  },
);

test("a sidecar that knows how it stands is told nothing again, and fills no ledger by attaching", async () => {
  const [sidecar] = sidecars as [SimSidecar];
  await live(sidecar);
  await world
    .client(OrganismService)
    .quarantine(
      { requestId: requestId(), instanceId: sidecar.instanceId, reason: "looks odd" },
      await house.as("OPERATOR"),
    );
  const tenant = world.running.tenants.get(house.tenantId);
  const size = async (): Promise<number> => {
    await tenant?.settled();
    return tenant?.controlHead().size ?? 0;
  };
  const before = await size();
  for (let n = 0; n < 3; n++) {
    const attached = await sidecar.attach({ quarantined: true });
    await attached.beat();
    await attached.next("leaseWithheld");
    await attached.leave();
  }
  expect(await size()).toBe(before);
  // Whoever does not know it is told.
  const unaware = await sidecar.attach({ quarantined: false });
  await unaware.next("directive");
  expect(await size()).toBe(before + 1);
});

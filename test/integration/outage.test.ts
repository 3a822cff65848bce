import { afterEach, beforeEach, expect, test } from "vitest";
import { sidecarStatus } from "../../src/cli/actions/evidence.ts";
import { ask, openChat } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

const LEASE_US = 3_000_000;
/** The wall clock is read in milliseconds, and the lease is counted by another. */
const MILLISECONDS_US = 5_000;

let world: World;
let sidecar: RunningSidecar;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: LEASE_US });
  sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterEach(() => world.close());

test("without its control plane a sidecar works until its lease runs out, denies, and heals by itself", async () => {
  const organism = world.watch(sidecar.ready);
  await organism.until("a first beat under a lease", (o) => o.state === "RUNNING");
  const chat = await openChat(sidecar.agent);
  const awayUs = Date.now() * 1000;
  await world.stopControl();
  await sidecar.log.until("detached");

  // Nobody is asked, and nothing is different.
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  expect(await chat.say("still there?")).toBe("still there?");
  const askedUs = Date.now() * 1000;
  const { autonomyLeftUs } = await sidecarStatus(sidecar.admin);
  const answeredUs = Date.now() * 1000;
  expect(autonomyLeftUs).toBeGreaterThan(0);
  expect(autonomyLeftUs).toBeLessThanOrEqual(LEASE_US);

  // The stream ends with the lease, not before and not much after.
  expect(await chat.ended).toMatchObject({ code: 7, reason: "LEASE_EXPIRED" });
  const cutUs = Date.now() * 1000;
  expect(cutUs).toBeGreaterThanOrEqual(askedUs + autonomyLeftUs - MILLISECONDS_US);
  expect(cutUs).toBeLessThan(answeredUs + autonomyLeftUs + 1_000_000);
  const refused = await ask(sidecar.agent, "hello");
  expect(refused).toMatchObject({ code: 7, reason: "LEASE_EXPIRED" });
  expect(refused.receipt).toMatch(/^rcp_/);

  const from = sidecar.log.now;
  await world.startControl();
  await sidecar.log.until("lease", { from });
  const backUs = Date.now() * 1000;
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  await organism.until("running again", (o) => o.state === "RUNNING");
  // Everything done meanwhile is in the chain, under a head that is countersigned anew.
  expect(await world.anchored(sidecar)).toMatchObject({ verdict: "ANCHORED", broken: null });

  // Its own absence was nobody's silence.
  const { instanceId } = sidecar.ready;
  const history = await world.history(instanceId);
  expect(history.map((t) => t.to)).not.toContain("QUARANTINED");
  // A machine that is busy may make a sidecar late before it and after: that is another's silence.
  const meanwhile = history.filter(({ atUs }) => atUs >= awayUs && atUs <= backUs);
  expect(meanwhile.map((t) => t.condition)).not.toContain("SILENT");
});

test("a sidecar that starts while its control plane is away waits for it, and denies meanwhile", async () => {
  const flags = await world.flags("two");
  const first = await world.sidecar(flags);
  await first.log.until("lease");
  await first.stop();
  await world.stopControl();
  const again = await world.sidecar(flags);
  expect(again.ready.ledgerId).toBe(first.ready.ledgerId);
  expect(await ask(again.agent, "hello")).toMatchObject({ code: 7, reason: "NO_LEASE" });
  await world.startControl();
  await again.log.until("lease");
  expect(await ask(again.agent, "hello")).toMatchObject({ code: 0 });
});

import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { quarantine, release } from "../../src/cli/actions/organism.ts";
import { OPERATOR, type RunningSidecar, TENANT, World } from "./rig.ts";
import { Stranger, type Told } from "./stranger.ts";

let world: World;
let sidecar: RunningSidecar;
let stranger: Stranger;

beforeAll(async () => {
  world = await World.open();
  sidecar = await world.sidecar(await world.flags("one"));
  const organism = world.watch(sidecar.ready);
  await organism.until("a first beat under a lease", (o) => o.state === "RUNNING");
  const { control, controlCa, audience } = world.control.ready;
  stranger = new Stranger({
    // The name in its certificate: TLS knows no server names that are addresses.
    address: control.replace(/^127\.0\.0\.1/, "localhost"),
    caFile: controlCa,
    audience,
    tenant: TENANT,
    operator: OPERATOR,
    loginKeyFile: join(world.folder, "keys/login.key"),
  });
});
afterAll(async () => {
  stranger.close();
  await world.close();
});

const stateOf = ({ organism, event }: Told): string => organism?.state ?? event;
const is = (state: string) => (event: Told) => stateOf(event) === `ORGANISM_STATE_${state}`;
const synced = (event: Told): boolean => event.event === "WATCH_EVENT_SYNCED";

test("a stranger with nothing but the proto files sees what is there, then each change, across a reconnect", async () => {
  const { instanceId } = sidecar.ready;
  const whole = stranger.watch({});
  const snapshot = await whole.events.upTo(synced);
  expect(snapshot.map(stateOf)).toEqual(["ORGANISM_STATE_RUNNING", "WATCH_EVENT_SYNCED"]);
  expect(snapshot[0]?.organism).toMatchObject({ instanceId, name: "echoer", agentVersion: "v1" });

  const first = stranger.watch({});
  const seen = await first.events.upTo(synced);
  await quarantine(world.operator, { instanceId, reason: "seen live" });
  seen.push(...(await first.events.upTo(is("QUARANTINED"))));
  first.close();

  // Nobody watches here; nothing of it may be lost.
  await release(world.operator, { instanceId, reason: "while away", conditions: [] });
  const away = world.watch(sidecar.ready);
  await away.until("running again", (o) => o.state === "RUNNING");

  const second = stranger.watch({ resumeToken: seen.at(-1)?.resumeToken ?? "" });
  seen.push(...(await second.events.upTo(is("RUNNING"))));
  await quarantine(world.operator, { instanceId, reason: "seen again" });
  seen.push(...(await second.events.upTo(is("QUARANTINED"))));

  const changes = [
    ...snapshot,
    ...(await whole.events.upTo(is("QUARANTINED"))),
    ...(await whole.events.upTo(is("RUNNING"))),
    ...(await whole.events.upTo(is("QUARANTINED"))),
  ];
  const told = (events: readonly Told[]) =>
    events
      .filter((e) => e.event === "WATCH_EVENT_ORGANISM")
      .map((e) => `${e.revision} ${stateOf(e)}`);
  expect(told(seen)).toEqual(told(changes));
  const revisions = changes.slice(snapshot.length).map((e) => Number(e.revision));
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
  whole.close();
  second.close();
});

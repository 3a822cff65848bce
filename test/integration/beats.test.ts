import { afterEach, beforeEach, expect, test } from "vitest";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { ask, openChat } from "./calls.ts";
import { type SidecarProcess, World } from "./rig.ts";

/** Microseconds. What the grant asks for; a beat may be put off to twice as long, and a tenth of chance. */
const INTERVAL_US = 500_000;
const DECLARED_US_MAX = 2 * INTERVAL_US * 1.1;
/** Beats that each of an agent's ways is watched for. */
const BEATS = 4;
const CALLERS = 64;

let world: World;
let sidecar: SidecarProcess;
beforeEach(async () => {
  world = await World.open({ liveness: { heartbeatIntervalUs: INTERVAL_US } });
  sidecar = await world.sidecarProcess(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterEach(() => world.close());

/** Beats as an operator hears of them, for as long as they are asked for. */
async function* heard(): AsyncGenerator<HeartbeatBody> {
  const { instanceId } = sidecar.ready;
  for await (const { pulse } of world.operator.organisms.watchPulse({ instanceId })) {
    const { body } = pulse?.heartbeat ?? {};
    if (body !== undefined && body.length > 0) yield HeartbeatBody.decode(body);
  }
}

/** So many more are numbered by the last one than by the first, and none was put off for long. */
async function beatsGoOn(): Promise<void> {
  let first: number | null = null;
  for await (const beat of heard()) {
    expect(beat.nextDueUs - beat.wallUs).toBeLessThanOrEqual(DECLARED_US_MAX);
    first ??= beat.counter;
    if (beat.counter >= first + BEATS) return;
  }
  throw new Error("nothing more is heard");
}

test("an agent that does nothing thins no beats", async () => {
  await beatsGoOn();
});

test("an agent that floods its sidecar with calls, granted and refused, thins no beats", async () => {
  let over = false;
  let calls = 0;
  const callers = Array.from({ length: CALLERS }, async (_, i) => {
    while (!over) {
      await ask(sidecar.agent, "more", i % 2 === 0 ? {} : { path: "/nobody.granted/This" });
      calls++;
    }
  });
  await beatsGoOn();
  over = true;
  await Promise.all(callers);
  expect(calls).toBeGreaterThan(CALLERS);
});

test("an agent that holds a stream open and says nothing thins no beats", async () => {
  const chat = await openChat(sidecar.agent);
  await beatsGoOn();
  chat.close();
});

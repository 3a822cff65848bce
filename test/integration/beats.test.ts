import { afterEach, beforeEach, expect, test } from "vitest";
import { quarantine } from "../../src/cli/actions/organism.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { ask, openChat, openSilence } from "./calls.ts";
import { type SidecarProcess, World } from "./rig.ts";

/** Microseconds. What the grant asks for; a beat may be put off to twice as long, and a tenth of chance. */
const INTERVAL_US = 500_000;
const DECLARED_US_MAX = 2 * INTERVAL_US * 1.1;
/** A beat is made by its time, or by so much later: a flood and two busy cores take less, an agent must not take more. */
const LATE_US_MAX = 2_000_000;
/** Beats that each of an agent's ways is watched for. */
const BEATS = 4;
const CALLERS = 64;

let world: World;
let sidecar: SidecarProcess;
beforeEach(async () => {
  world = await World.open({ listens: true, liveness: { heartbeatIntervalUs: INTERVAL_US } });
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

/** So many more are numbered by the last one than by the first; none was put off for long, and none came late. */
async function beatsGoOn(): Promise<void> {
  let first: number | null = null;
  let last: HeartbeatBody | null = null;
  for await (const beat of heard()) {
    expect(beat.nextDueUs - beat.wallUs).toBeLessThanOrEqual(DECLARED_US_MAX);
    if (last !== null) {
      // Of those that came close together only the last is shown: each declared another one in its turn.
      const unseen = Math.max(beat.counter - last.counter - 1, 0);
      const lateUs = beat.wallUs - last.nextDueUs - unseen * DECLARED_US_MAX;
      expect(lateUs).toBeLessThanOrEqual(LATE_US_MAX);
    }
    last = beat;
    first ??= beat.counter;
    if (beat.counter >= first + BEATS) return;
  }
  throw new Error("nothing more is heard");
}

/** The first beat by which something is so. */
async function heardThat(isSo: (beat: HeartbeatBody) => boolean): Promise<HeartbeatBody> {
  for await (const beat of heard()) if (isSo(beat)) return beat;
  throw new Error("nothing more is heard");
}

test("a beat tells of the call that is open, and how old it is; and then what became of a directive", async () => {
  const chat = await openChat(sidecar.agent);
  const aged = await heardThat((b) => b.inFlight > 0 && b.oldestInFlightUs > 0);
  expect(aged).toMatchObject({ inFlight: 1, intentsOpened: 1, directiveResults: [] });
  const older = await heardThat((b) => b.oldestInFlightUs > INTERVAL_US);
  // Since when it is open is the same moment in every beat.
  const openedAtUs = (b: HeartbeatBody) => b.monotonicUs - b.oldestInFlightUs;
  expect(openedAtUs(older)).toBe(openedAtUs(aged));
  chat.close();
  await heardThat((b) => b.inFlight === 0 && b.oldestInFlightUs === 0);
  const { instanceId } = sidecar.ready;
  await quarantine(world.operator, { instanceId, reason: "to see it answered" });
  const { directiveResults } = await heardThat((b) => b.directiveResults.length > 0);
  const directiveId = expect.stringMatching(/^dir_/);
  expect(directiveResults).toEqual([{ directiveId, outcome: "DONE", detail: "" }]);
});

test("what is merely listened to is in flight and has no age, whatever else is open beside it", async () => {
  const hangUp = await openSilence(sidecar.agent);
  const listening = { inFlight: 1, oldestInFlightUs: 0 };
  expect(await heardThat((b) => b.inFlight > 0)).toMatchObject(listening);
  const chat = await openChat(sidecar.agent);
  const both = await heardThat((b) => b.inFlight > 1);
  expect(both.oldestInFlightUs).toBeGreaterThan(0);
  chat.close();
  expect(await heardThat((b) => b.inFlight < 2)).toMatchObject(listening);
  hangUp();
  await heardThat((b) => b.inFlight === 0);
});

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

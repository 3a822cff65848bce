import { expect, test } from "vitest";
import { LivenessPolicy } from "../../src/domain/grant.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { step } from "../../src/domain/lifecycle.ts";
import { noble } from "../../src/domain/noble.ts";
import { born, type Input } from "../../src/domain/organism.ts";
import { type Finished, Progress } from "../../src/domain/progress.ts";
import { MANIFEST, MINUTE, SECOND, START } from "./organism-histories.ts";

/**
 * What agents do, labelled: each trace has the outcome that it must have. Observed as a sidecar does
 * it, told in beats of ten seconds, and judged by the machine under a grant that says nothing else.
 */
interface Act extends Partial<Finished> {
  /** When it began and ended, microseconds from the start; it is in flight in between. */
  readonly fromUs: number;
  readonly untilUs?: number;
  readonly listens?: boolean;
}

const ACT: Finished = {
  scope: "write:payments",
  target: "HTTP api.internal:443",
  shape: "POST /v1/payments content-type",
  request: "a1",
  requestBytes: 120,
  answer: "200 b1",
  effect: true,
  completed: true,
};
const read = (answer: string): Partial<Finished> => ({
  shape: "GET /v1/status accept",
  request: "",
  requestBytes: 0,
  answer,
  effect: false,
});
const think = (n: number): Partial<Finished> => ({
  target: "HTTP model.internal:443",
  shape: "POST /v1/messages content-type",
  request: `context ${n}`,
  requestBytes: 2_000 + 300 * n,
  answer: `200 thought ${n}`,
});

/** So many acts, each so long after the one before. */
const every = (us: number, count: number, act: (n: number) => Partial<Finished>): Act[] =>
  Array.from({ length: count }, (_, n) => ({ fromUs: n * us, ...act(n) }));

/** What became of it: each move with its minute, and how many minutes ago it last progressed at the end. */
function watched(acts: readonly Act[], minutes: number, lid = { fromUs: 0, untilUs: 0 }) {
  /** How much of the time until then its machine slept. */
  const slept = (us: number) => Math.max(Math.min(us, lid.untilUs) - lid.fromUs, 0);
  const progress = new Progress(noble, new Uint8Array(32).fill(3));
  const liveness = LivenessPolicy.empty();
  let view = born(MANIFEST, liveness, START);
  const moves: string[] = [];
  const sums = { completed: 0, failed: 0, denied: 0 };
  const ended = acts
    .map((act) => ({ ...ACT, ...act, endUs: act.untilUs ?? act.fromUs }))
    .sort((a, b) => a.endUs - b.endUs);
  let next = 0;
  for (let us = 10 * SECOND; us <= minutes * MINUTE; us += 10 * SECOND) {
    if (us > lid.fromUs && us < lid.untilUs) continue;
    const nowUs = START + us;
    for (; (ended[next]?.endUs ?? Number.POSITIVE_INFINITY) <= us; next++) {
      const act = ended[next] as (typeof ended)[number];
      progress.record(act, START + act.endUs);
      sums[act.completed ? "completed" : "failed"]++;
    }
    const underWay = ended.filter((a) => a.fromUs <= us && a.endUs > us);
    const ages = underWay
      .filter((a) => a.listens !== true)
      .map((a) => us - a.fromUs - slept(us) + slept(a.fromUs));
    const body: HeartbeatBody = {
      ...HeartbeatBody.empty(),
      ledgerId: MANIFEST,
      sessionEpoch: 1,
      counter: us / SECOND,
      wallUs: nowUs,
      nextDueUs: nowUs + 10 * SECOND,
      child: "RUNNING",
      inFlight: underWay.length,
      suspendedUs: slept(us),
      oldestInFlightUs: Math.max(0, ...ages),
      size: us,
      root: MANIFEST.map((b) => (b + us / SECOND) % 256),
      intentsOpened: us,
      intentsHead: MANIFEST,
      scopes: [{ scope: "write:payments", ...sums }],
      novelty: progress.novelty(nowUs),
      lastProgressUs: progress.lastProgressUs,
      leaseRef: MANIFEST,
      autonomyLeftUs: 50 * SECOND,
      manifestHash: MANIFEST,
      ledgerHealth: "OK",
    };
    const ref = MANIFEST.map((b) => b ^ ((us / SECOND) % 256));
    const signed = { body: ref, signatures: [] };
    const inputs: Input[] = [
      { kind: "lease", ref: MANIFEST, untilUs: nowUs + 60 * SECOND },
      { kind: "beat", beat: { body, ref, signed } },
    ];
    for (const input of inputs) {
      const taken = step(view, input, nowUs);
      view = taken.view;
      for (const t of taken.transitions) {
        if (t.from === "DOCKED") continue;
        moves.push(`${Math.round(us / MINUTE)} min ${t.to} ${t.condition}`);
      }
    }
  }
  const agoUs = START + minutes * MINUTE - progress.lastProgressUs;
  return { moves, progressed: Math.floor(agoUs / MINUTE) };
}

test("A/B loop, as fast as it can: looping within the window", () => {
  const acts = every(SECOND / 10, 12_000, (n) => ({ request: n % 2 === 0 ? "a" : "b" }));
  expect(watched(acts, 20)).toEqual({ moves: ["10 min DEGRADED LOOPING"], progressed: 19 });
});

test("A/B loop, six and a half actions a minute for an hour and a half: stalled after half an hour", () => {
  const acts = every(9.2 * SECOND, 613, (n) => ({ request: n % 2 === 0 ? "a" : "b" }));
  const { moves, progressed } = watched(acts, 94);
  expect(moves).toEqual(["33 min DEGRADED STALLED"]);
  expect(progressed).toBe(93);
});

test("a loop whose model is asked with an ever longer context: stalled, whatever the model says", () => {
  const acts = every(5 * SECOND, 1_200, (n) => (n % 2 === 0 ? { request: "same" } : think(n)));
  const { moves } = watched(acts, 90);
  expect(moves).toEqual(["33 min DEGRADED STALLED"]);
});

test("work whose model is asked with an ever longer context: progress", () => {
  const acts = every(5 * SECOND, 1_200, (n) =>
    n % 2 === 0 ? { request: `step ${n}`, answer: `200 result ${n}` } : think(n),
  );
  expect(watched(acts, 90)).toEqual({ moves: [], progressed: 0 });
});

test("talk that grows, with nothing done beside it: progress, and no loop", () => {
  expect(watched(every(20 * SECOND, 270, think), 90)).toEqual({ moves: [], progressed: 0 });
});

test("one action with a nonce each time: no progress; fast, it is looping", () => {
  const nonce = (n: number): Partial<Finished> => ({ request: `nonce ${n}` });
  expect(watched(every(10 * SECOND, 540, nonce), 90)).toEqual({ moves: [], progressed: 89 });
  const fast = watched(every(SECOND / 10, 12_000, nonce), 20);
  expect(fast).toEqual({ moves: ["10 min DEGRADED LOOPING"], progressed: 19 });
});

test("bulk work with one answer to everything: progress, since what is sent differs in more", () => {
  const acts = every(2 * SECOND, 2_700, (n) => ({
    request: `record ${n}`,
    requestBytes: 100 + ((n * 7919) % 61),
  }));
  expect(watched(acts, 90)).toEqual({ moves: [], progressed: 0 });
});

test("polling: no progress, no stall, no loop; the answer that it waited for is progress", () => {
  const acts = every(5 * SECOND, 1_080, (n) => read(n < 960 ? "200 pending" : "200 done"));
  expect(watched(acts, 79)).toEqual({ moves: [], progressed: 79 });
  expect(watched(acts, 90)).toEqual({ moves: [], progressed: 10 });
});

test("polling by something that might change things, and a sign of life: idle all the same", () => {
  expect(
    watched(
      every(5 * SECOND, 1_080, () => ({})),
      90,
    ),
  ).toEqual({ moves: [], progressed: 90 });
});

test("pagination: every page is progress", () => {
  const acts = every(SECOND / 5, 6_000, (n) => read(`200 page ${n}`));
  expect(watched(acts, 20)).toEqual({ moves: [], progressed: 0 });
});

test("back-off from an upstream that is down for 20 minutes: waited out", () => {
  const failed = { answer: "503", completed: false };
  const waits = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300];
  let at = 0;
  const acts = waits.map((s) => {
    at += s * SECOND;
    return { fromUs: at, ...failed };
  });
  acts.push({ fromUs: at + 60 * SECOND, answer: "200", completed: true });
  expect(watched(acts, 60).moves).toEqual([]);
});

test("an upstream that is down for good: stalled after half an hour of trying", () => {
  const acts = every(60 * SECOND, 90, () => ({ answer: "503", completed: false }));
  expect(watched(acts, 90).moves).toEqual(["31 min DEGRADED STALLED"]);
});

test("a call of 20 minutes: nothing is wrong", () => {
  const acts = [{ fromUs: 5 * SECOND, untilUs: 20 * MINUTE }];
  expect(watched(acts, 60)).toEqual({ moves: [], progressed: 40 });
});

test("a hung call: stalled once it is older than a call may be, and no sooner", () => {
  const acts = [{ fromUs: 5 * SECOND, untilUs: 5_000 * MINUTE }];
  expect(watched(acts, 90).moves).toEqual(["45 min DEGRADED STALLED"]);
});

test("an agent that asks its person between two calls, and waits for an hour: idle", () => {
  const acts = [{ fromUs: 5 * SECOND, answer: "200 asks" }, { fromUs: 65 * MINUTE }];
  expect(watched(acts, 70)).toEqual({ moves: [], progressed: 5 });
});

test("an agent that asks its person within an open call: stalled by the call's age, until it is answered", () => {
  const acts = [{ fromUs: 5 * SECOND, untilUs: 65 * MINUTE }];
  expect(watched(acts, 70).moves).toEqual([
    "45 min DEGRADED STALLED",
    "65 min RUNNING UNSPECIFIED",
  ]);
});

test("the lid closed in the middle of a call: running; a hung one stalls by what it was awake", () => {
  const lid = { fromUs: MINUTE, untilUs: 61 * MINUTE };
  const call = { fromUs: 5 * SECOND, untilUs: 100 * MINUTE };
  expect(watched([call], 110, lid)).toEqual({ moves: [], progressed: 10 });
  const hung = { ...call, untilUs: 5_000 * MINUTE };
  expect(watched([hung], 150, lid).moves).toEqual(["105 min DEGRADED STALLED"]);
});

test("a stream that is listened to, a WebSocket: idle; who hangs beside it stalls all the same", () => {
  const stream = { fromUs: 5 * SECOND, untilUs: 5_000 * MINUTE, listens: true };
  expect(watched([stream], 240).moves).toEqual([]);
  const hung = { fromUs: 60 * MINUTE, untilUs: 5_000 * MINUTE };
  expect(watched([stream, hung], 150).moves).toEqual(["105 min DEGRADED STALLED"]);
});

test("nothing at all: idle", () => {
  expect(watched([], 90).moves).toEqual([]);
});

/**
 * What heartbeats cost at one a second, and whether a flood of calls holds them up: a real sidecar
 * process under a real control plane, idle and then flooded.
 *
 *     npm run bench:heartbeat -- [--seconds 20] [--callers 64]
 *
 * The cost is what a beat a second takes more than one in ten seconds. Linux only. Ends with 1 above one
 * per cent of a core, where a beat of the flooded sidecar comes more than a second past its declared time, or
 * where fewer than two of them come. Docs: docs/performance.md.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { HeartbeatBody } from "../src/domain/heartbeat.ts";
import { ask } from "../test/integration/calls.ts";
import { World } from "../test/integration/rig.ts";

const SECOND_US = 1_000_000;
const SHARE_MAX = 0.01;
/** Some tens are usual. Whoever shares the machine may take a turn of the scheduler more, and no flood does. */
const LATEST_MS_MAX = 1_000;
const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "20" },
    callers: { type: "string", default: "64" },
  },
});
const seconds = Number(values.seconds);
const TICKS = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** CPU seconds that a process has used, by proc_pid_stat(5). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const [, , , , , , , , , , , user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(user) + Number(system)) / TICKS;
}
const pass = (): Promise<void> => new Promise((done) => void setTimeout(done, seconds * 1000));

/** A world whose sidecar beats so often, and renews its lease every 20 s in any case. */
async function beating(heartbeatIntervalUs: number) {
  const world = await World.open({ leaseTtlUs: 60 * SECOND_US, liveness: { heartbeatIntervalUs } });
  const sidecar = await world.sidecarProcess(await world.flags("one"));
  await sidecar.log.until("lease");
  const { instanceId } = sidecar.ready;
  const beats: HeartbeatBody[] = [];
  const stop = new AbortController();
  const pulses = (async () => {
    const options = { signal: stop.signal };
    for await (const { pulse } of world.operator.organisms.watchPulse({ instanceId }, options)) {
      const body = HeartbeatBody.decode(pulse?.heartbeat?.body ?? new Uint8Array(0));
      if (body.counter !== beats.at(-1)?.counter) beats.push(body);
    }
  })().catch(() => {});
  const close = async () => {
    stop.abort();
    await pulses;
    await world.close();
  };
  return { sidecar, beats, close };
}

/** What happened to beats meanwhile: how many, the longest wait past the declared time, the worst lag. */
async function during({ sidecar, beats }: Beating, work: () => Promise<void>) {
  beats.length = 0;
  const before = cpuSeconds(sidecar.process.pid);
  await work();
  const cpu = cpuSeconds(sidecar.process.pid) - before;
  const late = beats.slice(1).map((b, i) => b.wallUs - (beats[i] as HeartbeatBody).nextDueUs);
  return {
    beats: beats.length,
    share: cpu / seconds,
    latestMs: Math.max(0, ...late) / 1000,
    lagMs: Math.max(0, ...beats.map((b) => b.loopLagUs)) / 1000,
  };
}

type Beating = Awaited<ReturnType<typeof beating>>;

const seldom = await beating(10 * SECOND_US);
const rare = await during(seldom, pass);
await seldom.close();
const often = await beating(SECOND_US);
const idle = await during(often, pass);
let calls = 0;
const flooded = await during(often, async () => {
  let over = false;
  const callers = Array.from({ length: Number(values.callers) }, async () => {
    while (!over) {
      await ask(often.sidecar.agent, "more");
      calls++;
    }
  });
  await pass();
  over = true;
  await Promise.all(callers);
});
await often.close();

const told = (what: string, m: Awaited<ReturnType<typeof during>>): void =>
  console.log(
    `${what}: ${m.beats} beats in ${seconds} s, ${(100 * m.share).toFixed(2)} % of a core, ` +
      `at most ${m.latestMs.toFixed(0)} ms past the declared time, loop late by ${m.lagMs.toFixed(1)} ms at most`,
  );
told("idle, a beat in ten seconds", rare);
told("idle, a beat a second", idle);
told(`flooded, ${Math.round(calls / seconds)} calls a second`, flooded);
const perBeat = ((idle.share - rare.share) * seconds) / (idle.beats - rare.beats);
const isCheap = perBeat <= SHARE_MAX;
// One beat alone has none before it that declared it.
const isPunctual = flooded.beats >= 2 && flooded.latestMs <= LATEST_MS_MAX;
const judged = (passed: boolean): string => (passed ? "passed" : "MISSED");
console.log(
  `a beat a second costs ${(100 * perBeat).toFixed(2)} % of a core, at most ${100 * SHARE_MAX} %: ${judged(isCheap)}`,
);
console.log(
  `flooded: at most ${flooded.latestMs.toFixed(0)} ms past the declared time of ${flooded.beats} beats, ` +
    `at most ${LATEST_MS_MAX} ms: ${judged(isPunctual)}`,
);
process.exit(isCheap && isPunctual ? 0 : 1);

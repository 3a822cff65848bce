/**
 * Whether silence is noticed, and how often it is imagined: the failure detector beside a fixed timeout
 * and plain φ-accrual (threshold 8, a window of 1,000 gaps, deviations of 100 ms and more, no pause), over
 * generated traces of beats, with every kill and every gap judged as the control plane does, once a second.
 *
 *     npm run bench:detector -- [--days 10000] [--kills 5000] [--seed 1] [-o results.json]
 *
 * `--days` organism-days of the normal trace, a tenth of it of each other one. Ends with 1 where a pass
 * mark is missed. Docs: docs/liveness.md.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { pace } from "../sidecar/tether/pace.ts";
import { heartbeatIntervalUs, observeEveryUs } from "../src/domain/limits.ts";
import { barUs, dueUs, heard, Rhythm } from "../src/domain/suspicion.ts";

const SECOND = 1_000_000;
const BEATS_A_DAY = 86_400 * (SECOND / heartbeatIntervalUs);
/** Pass marks. */
const DETECTED_US = 3 * heartbeatIntervalUs + 2 * SECOND;
const MISTAKES_PER_10_000_DAYS = 1;

const { values } = parseArgs({
  options: {
    days: { type: "string", default: "10000" },
    kills: { type: "string", default: "5000" },
    seed: { type: "string", default: "1" },
    output: { type: "string", short: "o" },
  },
});

/** xorshift32: fast, and the same for everybody. */
let word = Number(values.seed) | 1;
function chance(): number {
  word ^= word << 13;
  word ^= word >>> 17;
  word ^= word << 5;
  return (word >>> 0) / 2 ** 32;
}
const normal = (): number =>
  Math.sqrt(-2 * Math.log(1 - chance())) * Math.cos(2 * Math.PI * chance());
const logNormal = (medianUs: number, sigma: number): number =>
  medianUs * Math.exp(sigma * normal());
const between = (fromUs: number, toUs: number): number => fromUs + chance() * (toUs - fromUs);

/** How late a beat arrives after it was due, microseconds; null: it never does. */
type Trace = () => number | null;
const network = (): number => logNormal(5_000, 1);
function pauses(): number {
  const draw = chance();
  if (draw < 1e-5) return between(SECOND, 5 * SECOND);
  return draw < 1e-3 ? between(50_000, 500_000) : 0;
}
function lostInARow(): number {
  let n = 0;
  while (chance() < 0.05) n++;
  return n;
}
const TRACES: Readonly<Record<string, Trace>> = {
  normal: () => network() + pauses(),
  /** TCP sends again, after 200 ms, and twice as long each time. */
  "5% of packets lost": () => network() + pauses() + 200_000 * (2 ** lostInARow() - 1),
  "5% of beats lost": () => (chance() < 0.05 ? null : network() + pauses()),
  "ten-fold jitter": () => 10 * (logNormal(5_000, 1) + pauses()) + between(0, 2 * SECOND),
  "GC pauses": () => network() + (chance() < 0.01 ? between(SECOND, 8 * SECOND) : 0),
  "slow network": () => logNormal(2 * SECOND, 0.5),
};

interface Detector {
  readonly name: string;
  /** A beat arrived, that declares the next one; as many before it never did. */
  heard(atUs: number, declaredUs: number, missed: number): void;
  /** When silence is judged to be one, if nothing more arrives. */
  silentUs(): number;
}

class Ours implements Detector {
  readonly name = "ours";
  #rhythm = Rhythm.empty();
  heard(receivedUs: number, declaredUs: number, missed: number): void {
    this.#rhythm = heard(this.#rhythm, {
      receivedUs,
      declaredUs,
      sameSession: true,
      slept: false,
      missed,
    });
  }
  silentUs(): number {
    return dueUs(this.#rhythm) + barUs(this.#rhythm);
  }
}

class Fixed implements Detector {
  readonly name: string;
  readonly #us: number;
  #lastUs = 0;
  constructor(us: number) {
    this.#us = us;
    this.name = `fixed ${us / SECOND} s`;
  }
  heard(atUs: number): void {
    this.#lastUs = atUs;
  }
  silentUs(): number {
    return this.#lastUs + this.#us;
  }
}

class Phi implements Detector {
  readonly name = "plain φ-accrual";
  /** Of the normal distribution: 10⁻⁸ lies beyond so many deviations. */
  readonly #deviations = 5.612;
  readonly #gaps = new Float64Array(1_000);
  #count = 0;
  #sum = 0;
  #squares = 0;
  #lastUs = 0;
  heard(atUs: number): void {
    if (this.#lastUs > 0) {
      const gap = atUs - this.#lastUs;
      const at = this.#count++ % this.#gaps.length;
      const gone = this.#gaps[at] ?? 0;
      this.#gaps[at] = gap;
      this.#sum += gap - gone;
      this.#squares += gap * gap - gone * gone;
    }
    this.#lastUs = atUs;
  }
  silentUs(): number {
    const n = Math.min(this.#count, this.#gaps.length);
    if (n < 2) return this.#lastUs + 3 * heartbeatIntervalUs;
    const mean = this.#sum / n;
    const deviation = Math.sqrt(Math.max(this.#squares / n - mean * mean, 0));
    return this.#lastUs + mean + this.#deviations * Math.max(deviation, 100_000);
  }
}

const detectors = (): Detector[] => [new Ours(), new Fixed(3 * heartbeatIntervalUs), new Phi()];

interface Measured {
  readonly trace: string;
  readonly detector: string;
  readonly days: number;
  readonly mistakes: number;
  readonly mistakesADay: number;
  readonly mistakeSeconds: number;
  readonly detectedP50: number;
  readonly detectedP99: number;
}

/** One organism that beats until it is killed. Arrivals are never out of order: one stream carries them. */
function live(trace: Trace, beats: number, watching: readonly Watching[]): void {
  let sentUs = SECOND;
  let arrivedUs = 0;
  let missed = 0;
  for (let n = 0; n < beats; n++) {
    const declaredUs = pace(heartbeatIntervalUs, 0, chance());
    const late = trace();
    if (late === null) missed++;
    else {
      arrivedUs = Math.max(arrivedUs, Math.floor(sentUs + late));
      for (const w of watching) w.arrival(arrivedUs, declaredUs, missed);
      missed = 0;
    }
    sentUs += declaredUs;
  }
  // It dies at any time until its next beat; the look that finds it is up to a second late.
  const diedUs = sentUs - chance() * heartbeatIntervalUs;
  for (const w of watching) w.death(Math.max(diedUs, arrivedUs));
}

class Watching {
  readonly detector: Detector;
  readonly detected: number[] = [];
  mistakes = 0;
  mistakenUs = 0;
  #first = true;
  constructor(detector: Detector) {
    this.detector = detector;
  }
  arrival(atUs: number, declaredUs: number, missed: number): void {
    if (!this.#first) {
      const silentUs = this.detector.silentUs() + chance() * observeEveryUs;
      if (atUs > silentUs) {
        this.mistakes++;
        this.mistakenUs += atUs - silentUs;
      }
    }
    this.#first = false;
    this.detector.heard(atUs, declaredUs, missed);
  }
  death(diedUs: number): void {
    const silentUs = this.detector.silentUs() + chance() * observeEveryUs;
    this.detected.push(Math.max(silentUs - diedUs, 0));
  }
}

const share = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)] ?? 0;

function measure(name: string, trace: Trace, days: number, kills: number): Measured[] {
  const beats = Math.max(Math.round((days * BEATS_A_DAY) / kills), 200);
  const totals = detectors().map((d) => ({
    detector: d.name,
    mistakes: 0,
    mistakenUs: 0,
    detected: [] as number[],
  }));
  for (let k = 0; k < kills; k++) {
    const watching = detectors().map((d) => new Watching(d));
    live(trace, beats, watching);
    watching.forEach((w, i) => {
      const total = totals[i] as (typeof totals)[number];
      total.mistakes += w.mistakes;
      total.mistakenUs += w.mistakenUs;
      total.detected.push(...w.detected);
    });
  }
  const lived = (beats * kills) / BEATS_A_DAY;
  return totals.map((t) => {
    const detected = t.detected.sort((a, b) => a - b);
    return {
      trace: name,
      detector: t.detector,
      days: Math.round(lived),
      mistakes: t.mistakes,
      mistakesADay: t.mistakes / lived,
      mistakeSeconds: t.mistakes === 0 ? 0 : t.mistakenUs / t.mistakes / SECOND,
      detectedP50: share(detected, 0.5) / SECOND,
      detectedP99: share(detected, 0.99) / SECOND,
    };
  });
}

const results = Object.entries(TRACES).flatMap(([name, trace]) => {
  const days = Number(values.days) * (name === "normal" ? 1 : 1 / 10);
  return measure(name, trace, days, Number(values.kills));
});
console.table(
  results.map((r) => ({
    trace: r.trace,
    detector: r.detector,
    days: r.days,
    "mistakes a day": r.mistakesADay.toPrecision(2),
    "each, s": r.mistakeSeconds.toFixed(1),
    "found, p50 s": r.detectedP50.toFixed(1),
    "p99 s": r.detectedP99.toFixed(1),
  })),
);
const ours = results.filter((r) => r.detector === "ours");
const [normally] = ours as [Measured];
const mistakes = (normally.mistakes / normally.days) * 10_000;
const slowest = Math.max(...ours.map((r) => r.detectedP99));
const passed = slowest * SECOND <= DETECTED_US && mistakes <= MISTAKES_PER_10_000_DAYS;
console.log(
  `normal: ${mistakes} mistakes in 10,000 organism-days (at most ${MISTAKES_PER_10_000_DAYS}); ` +
    `any: found in ${slowest.toFixed(1)} s at p99 (at most ${DETECTED_US / SECOND}): ${passed ? "passed" : "MISSED"}`,
);
if (values.output !== undefined) writeFileSync(values.output, JSON.stringify(results, null, 2));
process.exit(passed ? 0 : 1);

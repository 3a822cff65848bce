import { message, u64 } from "./canonical.ts";
import {
  fleetReconnectUs,
  heartbeatDeclaredUsMax,
  observerGapUs,
  observerIntervalsMax,
  pauseUs,
  silenceBarUsMax,
  silenceBarUsMin,
} from "./limits.ts";
import type { Interval } from "./transition.ts";

/**
 * How sure we may be that an organism has fallen silent, judged by its own arrivals alone.
 *
 *     beat heard ──declared──▶ due ──────bar──────▶ silent
 *                                └ the bar: one more beat, a pause, and this organism's own lateness;
 *                                  two more, where of this organism's beats some never arrive
 *
 * Suspicion accrues only while the control plane listens: time in which it was down or suspended
 * counts for nobody, and after it came back everybody gets the time to connect again.
 */
export const Rhythm = message("rhythm", {
  /** When the last beat arrived, by our clock; 0: none yet. */
  heardUs: u64(1),
  /** How long after it the next one was declared, bounded. */
  declaredUs: u64(2),
  /** Smoothed lateness against the declared time, and its mean deviation. */
  latenessUs: u64(3),
  deviationUs: u64(4),
  /** Smoothed declared time. */
  usualUs: u64(5),
  /** Which part of its beats never arrived, in millionths, smoothed: their numbers have gaps. */
  missedPpm: u64(6),
});
export type Rhythm = ReturnType<typeof Rhythm.decode>;

/** Beats over which the part that never arrives is smoothed; and how many of one gap count. */
const MISSED_OVER = 128;
const MISSED_AT_ONCE = 4;
/** Where one in a thousand is lost, so are two in a row some day: one lost beat is remembered for 269. */
const MISSED_PPM = 1_000;

interface Arrival {
  readonly receivedUs: number;
  readonly declaredUs: number;
  readonly sameSession: boolean;
  /** Its machine slept since the beat before it. */
  readonly slept: boolean;
  /** Beats of this session between it and the one before that never arrived. */
  readonly missed: number;
}

/**
 * Takes an arrival into account. A beat that opens a session says nothing about lateness: what was
 * before it was an absence, not a rhythm; nor does the first after a sleep. Nor does one that comes
 * after others that were lost: they were due, and not it.
 */
export function heard(rhythm: Rhythm, arrival: Arrival): Rhythm {
  const next = {
    ...rhythm,
    heardUs: Math.max(arrival.receivedUs, rhythm.heardUs),
    declaredUs: Math.min(Math.max(arrival.declaredUs, 0), heartbeatDeclaredUsMax),
  };
  if (rhythm.usualUs === 0) next.usualUs = next.declaredUs;
  else next.usualUs = Math.floor((7 * rhythm.usualUs + next.declaredUs) / 8);
  if (rhythm.heardUs === 0 || !arrival.sameSession) return next;
  next.missedPpm = missed(rhythm.missedPpm, arrival.missed);
  if (arrival.missed > 0 || arrival.slept) return next;
  // Smoothed as TCP does its round-trip times (RFC 6298), in whole microseconds. One late arrival
  // counts at most as the bar it would have tripped.
  const late = Math.min(Math.max(arrival.receivedUs - dueUs(rhythm), 0), barUs(rhythm));
  const off = Math.abs(late - rhythm.latenessUs);
  next.deviationUs = Math.floor((3 * rhythm.deviationUs + off) / 4);
  next.latenessUs = Math.floor((7 * rhythm.latenessUs + late) / 8);
  return next;
}

function missed(ppm: number, count: number): number {
  let next = ppm;
  for (let i = 0; i < Math.min(count, MISSED_AT_ONCE); i++) {
    next += Math.floor((1_000_000 - next) / MISSED_OVER);
  }
  return next - Math.floor(next / MISSED_OVER);
}

/** When the next beat is due by our clock; 0: none was heard yet. */
export const dueUs = (rhythm: Rhythm): number =>
  rhythm.heardUs === 0 ? 0 : rhythm.heardUs + rhythm.declaredUs;

/** How much silence after the due time is too much for this organism, in microseconds. */
export function barUs(rhythm: Rhythm): number {
  const more = rhythm.missedPpm < MISSED_PPM ? rhythm.declaredUs : 2 * rhythm.usualUs;
  const bar = more + pauseUs + rhythm.latenessUs + 4 * rhythm.deviationUs;
  return Math.min(Math.max(bar, silenceBarUsMin), silenceBarUsMax);
}

export interface Silence {
  readonly silent: boolean;
  /** Silence heard over silence allowed, in thousandths. Silent from 1000. */
  readonly suspicion: number;
  readonly dueUs: number;
  readonly thresholdUs: number;
  /** When we listened since the last beat; what the judgement rests on. */
  readonly observerUp: Interval[];
}

/** Judges the silence up to now. `up`: when we listened, oldest first, as `observing` keeps it. */
export function silence(rhythm: Rhythm, up: readonly Interval[]): Silence {
  const due = dueUs(rhythm);
  const observerUp = up
    .filter((i) => i.untilUs > rhythm.heardUs)
    .map((i) => ({ fromUs: Math.max(i.fromUs, rhythm.heardUs), untilUs: i.untilUs }));
  const current = observerUp.at(-1);
  const returned = current !== undefined && current.fromUs > rhythm.heardUs;
  const thresholdUs = barUs(rhythm) + (returned ? fleetReconnectUs : 0);
  // Only the stretch we are in counts: before it the organism may have called into the void.
  const heardNothingUs =
    current === undefined || due === 0
      ? 0
      : Math.max(current.untilUs - Math.max(due, current.fromUs), 0);
  const suspicion = Math.floor((heardNothingUs / thresholdUs) * 1000);
  return { silent: heardNothingUs >= thresholdUs, suspicion, dueUs: due, thresholdUs, observerUp };
}

/**
 * A sign of our own life at `nowUs`: prolongs the current stretch or, after a gap, begins another.
 * Call it at least once a second. A clock set back changes nothing.
 */
export function observing(up: readonly Interval[], nowUs: number): Interval[] {
  const last = up.at(-1);
  if (last === undefined || nowUs - last.untilUs > observerGapUs) return observingAnew(up, nowUs);
  return [...up.slice(0, -1), { fromUs: last.fromUs, untilUs: Math.max(nowUs, last.untilUs) }];
}

/** Begins another stretch: nobody who was connected before is connected now, however short it was. */
export function observingAnew(up: readonly Interval[], nowUs: number): Interval[] {
  const fromUs = Math.max(nowUs, up.at(-1)?.untilUs ?? 0);
  return [...up, { fromUs, untilUs: fromUs }].slice(-observerIntervalsMax);
}

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  fleetReconnectUs,
  heartbeatDeclaredUsMax,
  observerGapUs,
  observerIntervalsMax,
  silenceBarUsMax,
  silenceBarUsMin,
} from "./limits.ts";
import { barUs, dueUs, heard, observing, Rhythm, silence } from "./suspicion.ts";

const SECOND = 1_000_000;
const T = 1_790_000_000 * SECOND;
const never = Rhythm.empty();
const beat = (rhythm: Rhythm, receivedUs: number, declaredUs = 10 * SECOND, sameSession = true) =>
  heard(rhythm, { receivedUs, declaredUs, sameSession, slept: false, missed: 0 });
/** A beat in time, after `missed` others that never came. */
const beatAfter = (rhythm: Rhythm, missed: number, sameSession = true) => {
  const declaredUs = 10 * SECOND;
  return heard(rhythm, {
    receivedUs: dueUs(rhythm) + missed * declaredUs,
    declaredUs,
    sameSession,
    slept: false,
    missed,
  });
};
/** Beats at the given lateness, in microseconds, each 10 s after it was due. */
const beats = (late: readonly number[]) =>
  late.reduce((r, l) => beat(r, dueUs(r) + l), beat(never, T));
const upTo = (untilUs: number, fromUs = T - SECOND) => [{ fromUs, untilUs }];

describe("the bar", () => {
  test("of a regular organism is one more beat and a pause after the due time", () => {
    expect(barUs(beats([0, 0, 0]))).toBe(11 * SECOND);
  });

  test("is never under its floor, however short the declared interval", () => {
    expect(barUs(beat(never, T, 1))).toBe(silenceBarUsMin);
  });

  test("grows with this organism's own lateness and settles again", () => {
    const uneven = beats([0, 3 * SECOND, 0, 3 * SECOND, 0, 3 * SECOND]);
    expect(barUs(uneven)).toBeGreaterThan(14 * SECOND);
    let calm = uneven;
    for (let i = 0; i < 40; i++) calm = beat(calm, dueUs(calm));
    expect(barUs(calm)).toBeLessThan(11.1 * SECOND);
  });

  test("one absence of an hour raises it no more than one bar of lateness would", () => {
    expect(barUs(beats([0, 3600 * SECOND]))).toBe(barUs(beats([0, 11 * SECOND])));
  });

  test("an absence between two sessions raises it not at all", () => {
    const before = beats([0, 0]);
    const after = beat(before, dueUs(before) + 3600 * SECOND, 10 * SECOND, false);
    expect(barUs(after)).toBe(barUs(before));
  });

  test("a nap within a session raises it not at all", () => {
    const before = beats([0, 0]);
    const receivedUs = dueUs(before) + 3600 * SECOND;
    const declaredUs = 10 * SECOND;
    const after = heard(before, {
      receivedUs,
      declaredUs,
      sameSession: true,
      slept: true,
      missed: 0,
    });
    expect(barUs(after)).toBe(barUs(before));
    expect(barUs(beat(after, dueUs(after) + 3 * SECOND))).toBeGreaterThan(barUs(before));
  });

  test("grows by one beat where one was lost, which says nothing of lateness, for three quarters of an hour", () => {
    let lossy = beatAfter(beats([0, 0, 0]), 1);
    expect(lossy).toMatchObject({ latenessUs: 0, deviationUs: 0 });
    for (let i = 0; i < 269; i++) {
      // However far the next beat is declared: it is the usual that lies between those after it.
      expect(barUs(lossy)).toBe(21 * SECOND);
      lossy = beatAfter(lossy, 0);
    }
    expect(barUs(lossy)).toBe(11 * SECOND);
  });

  test("grows by no more than that, whatever is lost: a death shows in three intervals and two seconds", () => {
    let lossy = beats([0, 0, 0]);
    for (let i = 0; i < 1000; i++) lossy = beatAfter(lossy, 1_000_000);
    expect(dueUs(lossy) + barUs(lossy) - lossy.heardUs).toBe(31 * SECOND);
    expect(lossy.missedPpm).toBeLessThanOrEqual(1_000_000);
  });

  test("no gap between two sessions is a loss: they count anew", () => {
    expect(barUs(beatAfter(beats([0]), 5, false))).toBe(11 * SECOND);
  });

  test("an early beat is not late", () => {
    const r = beats([0]);
    expect(barUs(beat(r, T + 11 * SECOND))).toBe(11 * SECOND);
  });

  test("nobody declares silence away", () => {
    const sly = beat(never, T, Number.MAX_SAFE_INTEGER - T);
    expect(dueUs(sly)).toBe(T + heartbeatDeclaredUsMax);
    let slow = beat(never, T, heartbeatDeclaredUsMax);
    for (let i = 0; i < 100; i++) {
      slow = beat(slow, dueUs(slow) + barUs(slow), heartbeatDeclaredUsMax);
      expect(barUs(slow)).toBeLessThanOrEqual(silenceBarUsMax);
    }
    expect(barUs(slow)).toBe(silenceBarUsMax);
  });

  test("stays whole, positive and bounded over any arrivals", () => {
    const arrival = fc.record({
      receivedUs: fc.maxSafeNat(),
      declaredUs: fc.maxSafeInteger(),
      sameSession: fc.boolean(),
      slept: fc.boolean(),
      missed: fc.maxSafeNat(),
    });
    fc.assert(
      fc.property(fc.array(arrival), (arrivals) => {
        let r = never;
        for (const a of arrivals) {
          const next = heard(r, a);
          expect(next.heardUs).toBeGreaterThanOrEqual(r.heardUs);
          r = next;
          expect(Rhythm.decode(Rhythm.encode(r))).toEqual(r);
          expect(barUs(r)).toBeGreaterThanOrEqual(silenceBarUsMin);
          expect(barUs(r)).toBeLessThanOrEqual(silenceBarUsMax);
        }
      }),
    );
  });
});

describe("silence", () => {
  const regular = beats([0, 0]);
  const due = dueUs(regular);

  test("begins at the bar, and not a microsecond before", () => {
    const bar = barUs(regular);
    expect(silence(regular, upTo(due + bar - 1))).toMatchObject({ silent: false, suspicion: 999 });
    expect(silence(regular, upTo(due + bar))).toMatchObject({ silent: true, suspicion: 1000 });
  });

  test("is found within three intervals and two seconds of a death", () => {
    // Dead right after a beat is the longest wait.
    expect(due + barUs(regular) - regular.heardUs).toBeLessThanOrEqual(32 * SECOND);
  });

  test("accrues with time and starts from the declared next beat", () => {
    expect(silence(regular, upTo(due)).suspicion).toBe(0);
    let last = 0;
    for (let s = 1; s < 60; s++) {
      const { suspicion } = silence(regular, upTo(due + s * SECOND));
      expect(suspicion).toBeGreaterThan(last);
      last = suspicion;
    }
  });

  test("nobody is silent who has not been heard, or while nobody listened", () => {
    expect(silence(never, upTo(T + 3600 * SECOND)).silent).toBe(false);
    expect(silence(regular, []).silent).toBe(false);
    expect(silence(regular, upTo(due))).toMatchObject({ silent: false });
  });

  test("our own absence is not the organism's: after it, everybody gets time to connect", () => {
    const back = due + 3600 * SECOND;
    const away = upTo(due + 1);
    const enough = barUs(regular) + fleetReconnectUs;
    const judged = (us: number) =>
      silence(regular, [...away, { fromUs: back, untilUs: back + us }]);
    expect(judged(0).suspicion).toBe(0);
    expect(judged(enough - 1).silent).toBe(false);
    expect(judged(enough)).toMatchObject({ silent: true, thresholdUs: enough });
  });

  test("says what it rests on: when we listened since the last beat", () => {
    const at = regular.heardUs;
    const up = [
      { fromUs: at - 100, untilUs: at - 50 },
      { fromUs: at - 10, untilUs: at + 20 },
      { fromUs: at + 90, untilUs: at + 95 },
    ];
    expect(silence(regular, up).observerUp).toEqual([
      { fromUs: at, untilUs: at + 20 },
      { fromUs: at + 90, untilUs: at + 95 },
    ]);
  });
});

describe("observing", () => {
  test("one stretch while looks are close, another after a gap", () => {
    const one = observing(observing([], T), T + observerGapUs);
    expect(one).toEqual([{ fromUs: T, untilUs: T + observerGapUs }]);
    expect(observing(one, T + 2 * observerGapUs + 1)).toEqual([
      ...one,
      { fromUs: T + 2 * observerGapUs + 1, untilUs: T + 2 * observerGapUs + 1 },
    ]);
  });

  test("a clock set back takes nothing away", () => {
    const one = upTo(T + SECOND);
    expect(observing(one, T - 3600 * SECOND)).toEqual(one);
  });

  test("remembers the latest stretches up to its bound", () => {
    let up = observing([], T);
    for (let i = 1; i <= 40; i++) up = observing(up, T + i * 3600 * SECOND);
    expect(up).toHaveLength(observerIntervalsMax);
    expect(up.at(-1)?.untilUs).toBe(T + 40 * 3600 * SECOND);
  });
});

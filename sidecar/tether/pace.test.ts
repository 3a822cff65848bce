import { expect, test } from "vitest";
import { heartbeatDeclaredUsMax } from "../../src/domain/limits.ts";
import { Random } from "../../test/fuzz/random.ts";
import { attachAgainUs, pace } from "./pace.ts";

const TEN_S = 10_000_000;

test("a beat is a tenth early or late, by chance", () => {
  expect(pace(TEN_S, 0, 0)).toBe(9_000_000);
  expect(pace(TEN_S, 0, 0.5)).toBe(TEN_S);
  expect(pace(TEN_S, 0, 1)).toBe(11_000_000);
});

test("under load beats are left out by chance, up to every other one, and none is moved by it", () => {
  expect(pace(TEN_S, 500_000, 0.25)).toBe(20_000_000);
  expect(pace(TEN_S, 500_000, 0.75)).toBe(TEN_S);
  for (const lagUs of [1_000_000, 3_600_000_000]) {
    expect(pace(TEN_S, lagUs, 0)).toBe(18_000_000);
    expect(pace(TEN_S, lagUs, 0.5)).toBe(20_000_000);
    expect(pace(TEN_S, lagUs, 1)).toBe(22_000_000);
  }
});

test("a fleet that was kept waiting together does not come down together", () => {
  const [fleet, seconds, stallMs, stallEachMs] = [2000, 240, 400, 11_000];
  const answersInMs = 10_000 / fleet / 1.45;
  const random = new Random(1);
  const chance = (): number => random.below(1_000_000) / 1_000_000;
  const due = Array.from({ length: seconds * 1000 }, (): number[] => []);
  for (let one = 0; one < fleet; one++) due[random.below(10_000)]?.push(one);
  const lagMs = new Float64Array(fleet);
  const heard = new Uint32Array(seconds);
  let freeMs = 0;
  for (const [ms, beating] of due.entries()) {
    if (ms % stallEachMs === 0) freeMs = Math.max(freeMs, ms) + stallMs;
    const second = Math.floor(ms / 1000);
    heard[second] = (heard[second] ?? 0) + beating.length;
    for (const one of beating) {
      const nextMs = pace(TEN_S, (lagMs[one] ?? 0) * 1000, chance()) / 1000;
      freeMs = Math.max(freeMs, ms) + answersInMs;
      lagMs[one] = freeMs - ms;
      due[ms + Math.round(nextMs)]?.push(one);
    }
  }
  const settled = heard.slice(60);
  expect(Math.min(...settled)).toBeGreaterThan((0.7 * fleet) / 10);
  expect(Math.max(...settled)).toBeLessThan((1.3 * fleet) / 10);
});

test("nothing declares a beat later than silence may take to show", () => {
  expect(pace(heartbeatDeclaredUsMax, 3_600_000_000, 1)).toBe(heartbeatDeclaredUsMax);
});

test("whoever has least left of a lease is back first, and whoever has none comes with the others", () => {
  expect(attachAgainUs(TEN_S, 1, 1, 1)).toBe(TEN_S);
  expect(attachAgainUs(TEN_S, 1, 1, 0)).toBe(5_000_000);
  expect(attachAgainUs(TEN_S, 2 / 3, 0.5, 1)).toBe(2_500_000);
  expect(attachAgainUs(TEN_S, 0.5, 0.5, 1)).toBe(2_500_000);
  expect(attachAgainUs(TEN_S, 0.1, 0.1, 1)).toBe(500_000);
  expect(attachAgainUs(TEN_S, 1, 0, 1)).toBe(TEN_S);
  expect(attachAgainUs(TEN_S, 1, 0, 0)).toBe(0);
});

test("the end of a lease is not run up to ever faster", () => {
  const [leaseUs, random] = [60_000_000, new Random(1)];
  let tries = 0;
  for (let [leftUs, backoffUs] = [40_000_000, 250_000]; leftUs > 0; tries++) {
    const [left, chance] = [leftUs / leaseUs, random.below(1_000_000) / 1_000_000];
    // A try that is refused at once takes a millisecond.
    leftUs -= attachAgainUs(backoffUs, 2 / 3, left, chance) + 1_000;
    backoffUs = Math.min(2 * backoffUs, TEN_S);
  }
  expect(tries).toBeLessThan(100);
  for (const left of [1e-9, 0.01]) expect(attachAgainUs(TEN_S, left, left, 0.5)).toBe(250_000);
});

test("of a fleet that is served one by one nobody's lease runs out, though serving all takes nearly one lease", () => {
  const [fleet, leaseUs, backoffUs, servingUs] = [2000, 60_000_000, 5_000_000, 50_000_000];
  const random = new Random(1);
  const chance = (): number => random.below(1_000_000) / 1_000_000;
  const lapsed = (comesAfterUs: (left: number) => number): number => {
    const coming = Array.from({ length: fleet }, () => {
      const left = 2 / 3 + chance() / 3;
      return { leftUs: left * leaseUs, comesUs: comesAfterUs(left) };
    }).sort((a, b) => a.comesUs - b.comesUs);
    return coming.filter(({ leftUs }, n) => (n / fleet) * servingUs > leftUs).length;
  };
  expect(lapsed((left) => attachAgainUs(backoffUs, left, left, chance()))).toBe(0);
  expect(lapsed(() => chance() * backoffUs)).toBeGreaterThan(fleet / 20);
});

import { describe, expect, test } from "vitest";
import { type Clearing, derive, Facts, hear, type Policy, policyOf, proof } from "./conditions.ts";
import { LivenessPolicy } from "./grant.ts";
import { HeartbeatBody } from "./heartbeat.ts";
import { barUs, silence } from "./suspicion.ts";
import type { Condition } from "./transition.ts";

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;
const T = 1_790_000_000 * SECOND;
/** The sidecar's clock is ahead of ours by this much. */
const AHEAD = 3600 * SECOND;
const fill = (n: number) => new Uint8Array(32).fill(n);
const policy = policyOf(LivenessPolicy.empty());

/** An organism whose facts are told beat by beat; `raised` are its conditions. */
class Patient {
  facts: Facts = { ...Facts.empty(), leaseRef: fill(9), leaseUntilUs: Number.MAX_SAFE_INTEGER };
  conditions: readonly Condition[] = [];
  nowUs = T;
  readonly policy: Policy;
  constructor(p = policy) {
    this.policy = p;
  }

  /** A beat `afterUs` after the last; counts are of the one scope `s`. */
  beat(afterUs: number, change: Partial<HeartbeatBody> & { counts?: number[] } = {}): Clearing[] {
    this.nowUs += afterUs;
    const { counts, ...fields } = change;
    const [completed = 0, failed = 0, denied = 0] = counts ?? [];
    const last = this.facts.beat;
    const body: HeartbeatBody = {
      ...HeartbeatBody.empty(),
      ledgerId: fill(1),
      sessionEpoch: 1,
      counter: last.counter + 1,
      wallUs: this.nowUs + AHEAD,
      nextDueUs: this.nowUs + AHEAD + 10 * SECOND,
      child: "RUNNING",
      ledgerHealth: "OK",
      autonomyLeftUs: 30 * SECOND,
      lastProgressUs: last.lastProgressUs,
      scopes: counts ? [{ scope: "s", completed, failed, denied }] : last.scopes,
      ...fields,
    };
    const ref = fill(body.counter % 256);
    const signed = { body: new Uint8Array(0), signatures: [] };
    this.facts = hear(this.facts, { body, ref, signed }, this.nowUs);
    return this.look();
  }

  look(silent: ReturnType<typeof silence> | null = null): Clearing[] {
    this.conditions = derive(this.conditions, this.facts, this.policy, this.nowUs, silent);
    return this.conditions.map((c) => c.type as Clearing);
  }

  /** Beats until `us` have passed: idle, with a call whose age is given, or with young ones. */
  every(stepUs: number, us: number, change: Partial<HeartbeatBody> = {}): Clearing[] {
    let types: Clearing[] = [];
    for (let done = 0; done < us; done += stepUs) {
      const { inFlight = 0 } = change;
      const oldestInFlightUs =
        change.oldestInFlightUs === undefined ? Math.min(inFlight, 1) : done + stepUs;
      types = this.beat(stepUs, { ...change, oldestInFlightUs });
    }
    return types;
  }
}

const novelty = (actions: number, fresh = 0) => ({
  targets: 0,
  shapes: 0,
  outcomes: fresh,
  actions,
  repeats: 0,
});

test("a healthy organism has no conditions, and an unchanged set is the same array", () => {
  const p = new Patient();
  expect(p.beat(0)).toEqual([]);
  const before = p.conditions;
  p.beat(10 * SECOND);
  expect(p.conditions).toBe(before);
});

describe("policyOf", () => {
  test("fills in the defaults: 10 s, 30 and 60 minutes, silence waited out", () => {
    expect(policy).toMatchObject({
      intervalUs: 10 * SECOND,
      stallDegradedUs: 30 * MINUTE,
      stallAutohealUs: 60 * MINUTE,
      silentBeyondLease: "STAY",
      quarantineStalled: false,
    });
  });

  test("healing never comes before degrading", () => {
    const odd = { ...LivenessPolicy.empty(), stallDegradedUs: 9, stallAutohealUs: 3 };
    expect(policyOf(odd).stallAutohealUs).toBe(9);
  });
});

describe("STALLED", () => {
  test("idle is not stalled, for however long", () => {
    const p = new Patient();
    expect(p.every(10 * MINUTE, 24 * 60 * MINUTE)).toEqual([]);
  });

  test("a day of idleness is not held against the first call after it", () => {
    const p = new Patient();
    p.beat(0, { lastProgressUs: T + AHEAD });
    p.every(10 * MINUTE, 24 * 60 * MINUTE);
    expect(p.beat(10 * SECOND, { inFlight: 1, oldestInFlightUs: SECOND })).toEqual([]);
  });

  test("a call of 20 minutes is work; a hung one stalls at its age cap, 45 minutes", () => {
    const p = new Patient();
    const call = { inFlight: 1, oldestInFlightUs: 0 };
    expect(p.every(MINUTE, 20 * MINUTE, call)).toEqual([]);
    const q = new Patient();
    expect(q.every(MINUTE, 44 * MINUTE, call)).toEqual([]);
    expect(q.every(MINUTE, 46 * MINUTE, call)).toEqual(["STALLED"]);
  });

  test("what is merely listened to is nothing in hand, for however long; a call beside it is", () => {
    const p = new Patient();
    const listening = { inFlight: 1, oldestInFlightUs: 0 };
    for (let minute = 0; minute < 120; minute++) expect(p.beat(MINUTE, listening)).toEqual([]);
    expect(p.facts.busySinceUs).toBe(0);
    const call = { inFlight: 2, oldestInFlightUs: 0 };
    expect(p.every(MINUTE, 44 * MINUTE, call)).toEqual([]);
    expect(p.every(MINUTE, 46 * MINUTE, call)).toEqual(["STALLED"]);
  });

  test("many short calls without anything new stall at 30 minutes, and progress clears it", () => {
    const p = new Patient();
    const busy = { inFlight: 3, novelty: novelty(50) };
    expect(p.every(MINUTE, 30 * MINUTE, busy)).toEqual([]);
    expect(p.every(MINUTE, 2 * MINUTE, busy)).toEqual(["STALLED"]);
    // The next young call does not excuse a stall that was seen.
    expect(p.beat(MINUTE, { inFlight: 1, oldestInFlightUs: 20 * MINUTE })).toEqual(["STALLED"]);
    const young = { inFlight: 3, oldestInFlightUs: SECOND };
    expect(p.beat(MINUTE, { ...young, lastProgressUs: p.nowUs + AHEAD })).toEqual([]);
  });

  test("an agent that only fails, and goes on trying, is stalled; one that gave up is idle", () => {
    const trying = new Patient();
    trying.beat(0, { counts: [0, 0, 0] });
    let failed = 0;
    let types: Clearing[] = [];
    for (let m = 0; m <= 31; m++) {
      types = trying.beat(MINUTE, { counts: [0, ++failed, 0], novelty: novelty(10) });
    }
    expect(types).toEqual(["STALLED"]);
    expect(trying.beat(MINUTE, { novelty: novelty(0) })).toEqual([]);
  });

  test("quiet polling with good answers is idle", () => {
    const p = new Patient();
    let completed = 0;
    for (let m = 0; m < 120; m++) {
      const types = p.beat(MINUTE, { counts: [++completed, 0, 0], novelty: novelty(10) });
      expect(types).toEqual([]);
    }
  });

  test("a suspended agent is not idle", () => {
    const p = new Patient();
    expect(p.every(MINUTE, 29 * MINUTE, { child: "STOPPED" })).toEqual([]);
    expect(p.every(MINUTE, 2 * MINUTE, { child: "STOPPED" })).toEqual(["STALLED"]);
  });
});

describe("what the machine slept", () => {
  const HOUR = 60 * MINUTE;
  /** Beats of a call that began `ageUs` ago. */
  const call = (ageUs: number) => ({ inFlight: 1, oldestInFlightUs: ageUs });

  test("is no standstill: of a call nor of an agent that tries, and what was one before counts on", () => {
    const p = new Patient();
    p.beat(0, call(MINUTE));
    expect(p.beat(HOUR, { ...call(2 * MINUTE), suspendedUs: HOUR - MINUTE })).toEqual([]);
    const q = new Patient();
    q.beat(0, { counts: [0, 0, 0] });
    const trying = { counts: [0, 1, 0], novelty: novelty(10) };
    q.every(MINUTE, 20 * MINUTE, trying);
    const slept = { ...trying, suspendedUs: HOUR };
    expect(q.beat(HOUR, slept)).toEqual([]);
    expect(q.every(MINUTE, 10 * MINUTE, slept)).toEqual([]);
    expect(q.every(MINUTE, 2 * MINUTE, slept)).toEqual(["STALLED"]);
  });

  test("is not taken off twice where something was done after the beat before it, or after it", () => {
    const p = new Patient();
    const young = { inFlight: 3, suspendedUs: 0 };
    p.every(MINUTE, 29 * MINUTE, young);
    const busy = { ...young, oldestInFlightUs: 1 };
    const doneUs = p.nowUs + AHEAD + SECOND;
    p.beat(HOUR + 2 * SECOND, { ...busy, suspendedUs: HOUR, lastProgressUs: doneUs });
    expect(p.facts.busySinceUs).toBe(doneUs + HOUR);
    const wokeUs = p.nowUs + AHEAD;
    p.beat(HOUR + MINUTE, { ...busy, suspendedUs: 2 * HOUR, lastProgressUs: wokeUs + HOUR });
    expect(p.facts.busySinceUs).toBe(p.facts.beat.wallUs);
  });

  test("is not learned as lateness, and what is told to hundredths is no sleep", () => {
    const p = new Patient();
    p.beat(0);
    const { rhythm } = p.facts;
    p.beat(HOUR, { suspendedUs: HOUR - 10 * SECOND });
    expect(barUs(p.facts.rhythm)).toBe(barUs(rhythm));
    p.beat(13 * SECOND, { suspendedUs: HOUR - 10 * SECOND + 9_000 });
    expect(barUs(p.facts.rhythm)).toBeGreaterThan(barUs(rhythm));
  });

  test("by another ledger's machine is nobody's sleep", () => {
    const p = new Patient();
    p.beat(0, call(MINUTE));
    p.every(MINUTE, 20 * MINUTE, call(0));
    const { busySinceUs } = p.facts;
    p.beat(MINUTE, { ...call(22 * MINUTE), ledgerId: fill(2), suspendedUs: HOUR });
    expect(p.facts.busySinceUs).toBe(busySinceUs);
  });
});

describe("bars with a lower one for clearing", () => {
  test("SYNC_LAG", () => {
    const p = new Patient();
    expect(p.beat(0, { syncLag: 49_999 })).toEqual([]);
    expect(p.beat(SECOND, { syncLag: 50_000 })).toEqual(["SYNC_LAG"]);
    expect(p.beat(SECOND, { syncLag: 25_000 })).toEqual(["SYNC_LAG"]);
    expect(p.beat(SECOND, { syncLag: 24_999 })).toEqual([]);
  });

  test("LOOPING: many actions and nothing new at any level", () => {
    const p = new Patient();
    expect(p.beat(0, { novelty: novelty(2_999) })).toEqual([]);
    expect(p.beat(SECOND, { novelty: novelty(3_000, 1) })).toEqual([]);
    expect(p.beat(SECOND, { novelty: novelty(3_000) })).toEqual(["LOOPING"]);
    expect(p.beat(SECOND, { novelty: novelty(1_500) })).toEqual(["LOOPING"]);
    expect(p.beat(SECOND, { novelty: novelty(1_499) })).toEqual([]);
  });

  test("DENIAL_STORM: 300 in a burst, worked off in a minute", () => {
    const p = new Patient();
    p.beat(0, { counts: [0, 0, 1_000] });
    expect(p.look()).toEqual([]);
    expect(p.beat(SECOND, { counts: [0, 0, 1_299] })).toEqual([]);
    expect(p.beat(SECOND, { counts: [0, 0, 1_310] })).toEqual(["DENIAL_STORM"]);
    expect(p.beat(20 * SECOND)).toEqual(["DENIAL_STORM"]);
    expect(p.beat(20 * SECOND)).toEqual([]);
  });

  test("a denial now and then is no storm, for however long", () => {
    const p = new Patient();
    p.beat(0, { counts: [0, 0, 0] });
    for (let i = 1; i < 500; i++) {
      expect(p.beat(SECOND, { counts: [i, 0, 4 * i] })).toEqual([]);
    }
  });

  test("the counts of a successor ledger start again without a storm", () => {
    const p = new Patient();
    p.beat(0, { counts: [0, 0, 0] });
    expect(p.beat(SECOND, { ledgerId: fill(2), counts: [0, 0, 900] })).toEqual([]);
  });
});

test.each([
  ["OK", []],
  ["SLOW", []],
  ["FULL", ["LEDGER_FAULT"]],
  ["FAILED", ["LEDGER_FAULT"]],
] as const)("a ledger that is %s gives %j", (ledgerHealth, expected) => {
  expect(new Patient().beat(0, { ledgerHealth })).toEqual(expected);
});

describe("LEASE_ZERO", () => {
  test("holds from the very microsecond at which the lease ends", () => {
    const p = new Patient();
    p.beat(0);
    p.facts = { ...p.facts, leaseUntilUs: p.nowUs + 5 };
    p.nowUs += 4;
    expect(p.look()).toEqual([]);
    p.nowUs += 1;
    expect(p.look()).toEqual(["LEASE_ZERO"]);
    expect(p.conditions[0]).toEqual({ type: "LEASE_ZERO", sinceUs: p.nowUs, artifact: fill(9) });
  });

  test("holds too when the sidecar could not take up what we granted", () => {
    const p = new Patient();
    p.facts = { ...p.facts, leaseGrantedUs: T };
    expect(p.beat(4 * SECOND, { autonomyLeftUs: 0 })).toEqual([]);
    expect(p.beat(2 * SECOND, { autonomyLeftUs: 0 })).toEqual(["LEASE_ZERO"]);
    expect(p.beat(SECOND)).toEqual([]);
  });
});

test("SILENT begins with a judgement, keeps its since, and another look does not lift it", () => {
  const p = new Patient();
  p.beat(0);
  const at = (s: number) => silence(p.facts.rhythm, [{ fromUs: T, untilUs: T + s * SECOND }]);
  expect(p.look(at(20))).toEqual([]);
  p.nowUs += 21 * SECOND;
  expect(p.look(at(21))).toEqual(["SILENT"]);
  const [silent] = p.conditions;
  p.nowUs += SECOND;
  expect(p.look()).toEqual(["SILENT"]);
  p.look(at(30));
  expect(p.conditions[0]).toBe(silent);
});

test("proof: drift, fork and regress are read off a beat", () => {
  const p = new Patient();
  const head = { size: 5, root: fill(1), intentsOpened: 5, intentsHead: fill(2) };
  p.beat(0, { ...head, manifestHash: fill(7) });
  const next = { ...p.facts.beat, counter: 99 };
  expect(proof(p.facts, next, fill(7))).toBeNull();
  expect(proof(p.facts, next, fill(8))).toBe("DRIFT");
  expect(proof(p.facts, { ...next, root: fill(3) }, fill(7))).toBe("FORK");
  expect(proof(p.facts, { ...next, size: 4 }, fill(7))).toBe("REGRESS");
  expect(proof(Facts.empty(), { ...next, size: 4 }, fill(7))).toBeNull();
});

import { describe, expect, test } from "vitest";
import { LivenessPolicy } from "./grant.ts";
import { HeartbeatBody } from "./heartbeat.ts";
import { remediesFor } from "./intake.ts";
import { DRAIN_US, FINAL_SYNC_US, restsUntilUs, step } from "./lifecycle.ts";
import { clockSkewMaxUs, releaseCrossingUs } from "./limits.ts";
import { born, conditionsOf, holdsAuthority, type Input, mayBeLeased } from "./organism.ts";
import { observing } from "./suspicion.ts";
import type { ConditionType, Interval } from "./transition.ts";

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;
const T = 1_790_000_000 * SECOND;
const fill = (n: number) => new Uint8Array(32).fill(n);
const NONE = new Uint8Array(0);
const LEASE = fill(0x1e);
const order = (reason = "because") => ({ actor: fill(0xee), reason, artifact: fill(0xed) });

/** One organism and the clock; beats every 10 s under 60 s leases, as configured by default. */
class Story {
  view;
  nowUs = T;
  up: readonly Interval[] = observing([], T);
  #beats = 0;
  constructor(liveness: Partial<LivenessPolicy> = {}) {
    this.view = born(fill(1), { ...LivenessPolicy.empty(), ...liveness }, T);
    this.take({ kind: "session", epoch: 1, attached: true });
    this.beat({ leaseRef: NONE, autonomyLeftUs: 0 });
    this.lease();
  }

  step(input: Input) {
    const result = step(this.view, input, this.nowUs);
    this.view = result.view;
    return result;
  }
  /** What came of an input: the transitions as `STATE cause`, or the refusal. */
  take(input: Input): string {
    const { transitions, refused } = this.step(input);
    return refused ?? transitions.map((t) => `${t.to} ${t.cause}`).join(", ");
  }
  beat(change: Partial<HeartbeatBody> = {}): string {
    return this.take(this.beatInput(change));
  }
  beatInput(change: Partial<HeartbeatBody> = {}): Input {
    this.#beats++;
    const { leaseUntilUs } = this.view.facts;
    const body: HeartbeatBody = {
      ...HeartbeatBody.empty(),
      ledgerId: fill(9),
      sessionEpoch: this.view.facts.sessionEpoch,
      counter: this.#beats,
      wallUs: this.nowUs,
      nextDueUs: this.nowUs + 10 * SECOND,
      child: "RUNNING",
      ledgerHealth: "OK",
      root: fill(2),
      intentsHead: fill(3),
      manifestHash: fill(1),
      leaseRef: LEASE,
      autonomyLeftUs: Math.max(leaseUntilUs - this.nowUs, 0),
      ...change,
    };
    const signed = { body: NONE, signatures: [] };
    return { kind: "beat", beat: { body, ref: fill(this.#beats), signed } };
  }
  lease(forUs = 60 * SECOND): string {
    return this.take({ kind: "lease", ref: LEASE, untilUs: this.nowUs + forUs });
  }
  tick(): string {
    return this.take({ kind: "tick", up: this.up });
  }
  detach(): string {
    return this.take({ kind: "session", epoch: this.view.facts.sessionEpoch, attached: false });
  }
  release(releases: ConditionType[], reason = "looked at it"): string {
    return this.take({ kind: "release", releases, order: order(reason) });
  }
  treat(condition: ConditionType): string {
    return this.take({ kind: "remedy", outcome: "STARTED", condition });
  }
  remedy(outcome: "SENT" | "SUCCEEDED" | "EXHAUSTED"): string {
    return this.take(
      outcome === "SENT"
        ? { kind: "remedy", outcome, directive: fill(0xd0 + this.view.directives.length) }
        : { kind: "remedy", outcome },
    );
  }
  /** All that there is for what is treated, until it is used up; what came of it all. */
  exhaust(): string {
    for (const _ of remediesFor(this.view.treated)) expect(this.remedy("SENT")).toBe("");
    return this.remedy("EXHAUSTED");
  }
  /** Time passes; each second we look, up to the end of the story. What happened meanwhile. */
  wait(us: number): string {
    const what: string[] = [];
    for (const end = this.nowUs + us; this.nowUs < end && this.view.state !== "STOPPED"; ) {
      this.nowUs += SECOND;
      this.up = observing(this.up, this.nowUs);
      what.push(this.tick());
    }
    return what.filter((w) => w !== "").join(", ");
  }
  /** Beats and renewals for so long. */
  live(us: number, change: Partial<HeartbeatBody> = {}): string {
    const what: string[] = [];
    for (const end = this.nowUs + us; this.nowUs < end; ) {
      what.push(this.wait(10 * SECOND), this.lease(), this.beat(change));
    }
    return what.filter((w) => w !== "").join(", ");
  }
  running(): this {
    this.live(10 * SECOND);
    expect(this.view.state).toBe("RUNNING");
    return this;
  }
}

describe("birth", () => {
  test("docked until the first beat under a lease", () => {
    const s = new Story();
    expect(s.view.state).toBe("DOCKED");
    expect(s.beat({ leaseRef: NONE, autonomyLeftUs: 0 })).toBe("");
    expect(s.beat()).toBe("RUNNING FIRST_BEAT");
  });

  test("an agent of two seconds is seen to have run and finished", () => {
    const s = new Story();
    s.nowUs += 2 * SECOND;
    expect(s.beat({ child: "EXITED", childExit: 1 })).toBe("RUNNING FIRST_BEAT, STOPPED FINISHED");
  });
});

describe("rest", () => {
  test("whose lease runs out while nobody listens is not looked at until somebody does", () => {
    const s = new Story().running();
    s.detach();
    s.nowUs += 61 * SECOND;
    expect(s.tick()).toBe("DEGRADED CONDITION");
    expect(conditionsOf(s.view).map((c) => c.type)).toEqual(["LEASE_ZERO"]);
    expect(restsUntilUs(s.view, false)).toBe(Number.POSITIVE_INFINITY);
    // It is silent for too long by then, as a look would tell.
    expect(restsUntilUs(s.view, true)).toBe(0);
  });

  test("who is back and has proven itself is looked at when it may run again, and not before", () => {
    const s = new Story().running();
    expect(s.wait(21 * SECOND)).toBe("DEGRADED CONDITION");
    const { sinceUs } = s.view;
    s.nowUs += SECOND;
    s.beat();
    expect(restsUntilUs(s.view, true)).toBe(sinceUs + 10 * SECOND);
  });

  test("whoever is ill, and told of something that passes by itself, is looked at each second", () => {
    const s = new Story().running();
    const scopes = [{ scope: "a", completed: 0, failed: 0, denied: 400 }];
    expect(s.beat({ scopes })).toBe("DEGRADED CONDITION");
    expect(restsUntilUs(s.view, true)).toBe(0);
  });
});

describe("silence", () => {
  test("degrades, with the evidence that it rests on, and a beat proves recovery", () => {
    const s = new Story().running();
    const heardUs = s.nowUs;
    expect(s.wait(20 * SECOND)).toBe("");
    s.nowUs += SECOND;
    s.up = observing(s.up, s.nowUs);
    const { transitions } = s.step({ kind: "tick", up: s.up });
    expect(transitions).toMatchObject([
      {
        from: "RUNNING",
        to: "DEGRADED",
        cause: "CONDITION",
        condition: "SILENT",
        atUs: heardUs + 21 * SECOND,
        desired: "RUN",
        conditions: [{ type: "SILENT", sinceUs: heardUs + 21 * SECOND }],
        lastBeatUs: heardUs,
        dueUs: heardUs + 10 * SECOND,
        thresholdUs: 11 * SECOND,
        observerUp: [{ fromUs: heardUs, untilUs: heardUs + 21 * SECOND }],
        actor: NONE,
        reason: "",
      },
    ]);
    expect(transitions[0]?.artifacts).toEqual([fill(2), LEASE]);
    // Back at once, but a state is not left sooner than the dwell time.
    s.nowUs += SECOND;
    expect(s.beat()).toBe("");
    expect(s.wait(8 * SECOND)).toBe("");
    expect(s.wait(SECOND)).toBe("RUNNING CONDITIONS_CLEARED");
  });

  test("of a closed laptop lasts for days and quarantines nobody; authority is freed", () => {
    const s = new Story().running();
    s.detach();
    expect(holdsAuthority(s.view, s.nowUs)).toBe(true);
    expect(s.wait(3 * MINUTE)).toBe("DEGRADED CONDITION");
    expect(holdsAuthority(s.view, s.nowUs)).toBe(false);
    s.nowUs += 3 * 24 * 60 * MINUTE;
    expect(s.wait(MINUTE)).toBe("");
    expect(conditionsOf(s.view).map((c) => c.type)).toEqual(["SILENT", "LEASE_ZERO"]);
    s.take({ kind: "session", epoch: 2, attached: true });
    expect(s.beat({ counter: 1 })).toBe("");
    s.lease();
    expect(s.beat({ counter: 2 })).toBe("RUNNING CONDITIONS_CLEARED");
  });

  test("while we were away ourselves is no silence", () => {
    const s = new Story().running();
    s.nowUs += 60 * MINUTE;
    s.up = observing(s.up, s.nowUs);
    // The lease ran out meanwhile: that is a fact, and another one than silence.
    expect(s.tick()).toBe("DEGRADED CONDITION");
    expect(conditionsOf(s.view).map((c) => c.type)).toEqual(["LEASE_ZERO"]);
    expect(s.wait(40 * SECOND)).toBe("");
    expect(conditionsOf(s.view).map((c) => c.type)).toEqual(["LEASE_ZERO"]);
    s.wait(2 * SECOND);
    expect(conditionsOf(s.view).map((c) => c.type)).toEqual(["SILENT", "LEASE_ZERO"]);
  });

  test("past the lease horizon stops or quarantines where the grant says so", () => {
    const stops = new Story({ silentBeyondLease: "STOP" }).running();
    stops.detach();
    expect(stops.wait(3 * MINUTE)).toBe("DEGRADED CONDITION, STOPPED UNCONFIRMED");
    const holds = new Story({ silentBeyondLease: "QUARANTINE" }).running();
    holds.detach();
    expect(holds.wait(3 * MINUTE)).toBe("DEGRADED CONDITION, QUARANTINED UNCONFIRMED");
    // A release is not undone by the same silence.
    expect(holds.release(["SILENT"])).toBe("DEGRADED OPERATOR");
    expect(holds.wait(10 * MINUTE)).toBe("");
  });

  test("with a session still open is waited for, whatever the grant says", () => {
    const s = new Story({ silentBeyondLease: "STOP" }).running();
    expect(s.wait(10 * MINUTE)).toBe("DEGRADED CONDITION");
  });
});

describe("lease at zero", () => {
  test("degrades when the lease ends; a new one is not yet recovery, a beat under it is", () => {
    const s = new Story().running();
    s.wait(9 * SECOND);
    expect(s.lease(0)).toBe("DEGRADED CONDITION");
    expect(s.view.conditions.map((c) => c.type)).toEqual(["LEASE_ZERO"]);
    s.nowUs += 20 * SECOND;
    s.beat({ leaseRef: NONE, autonomyLeftUs: 0 });
    expect(s.lease()).toBe("");
    expect(s.beat()).toBe("RUNNING CONDITIONS_CLEARED");
  });
});

describe("stall", () => {
  const hung = { inFlight: 1, oldestInFlightUs: 46 * MINUTE };
  const stalled = (liveness: Partial<LivenessPolicy> = {}) => {
    const s = new Story(liveness).running();
    expect(s.live(31 * MINUTE, hung)).toBe("DEGRADED CONDITION");
    expect(s.view.conditions.map((c) => c.type)).toEqual(["STALLED"]);
    return s;
  };

  test("degrades after 30 minutes and stays there with no remedy; progress recovers", () => {
    const s = stalled();
    expect(s.live(3 * 60 * MINUTE, hung)).toBe("");
    const moved = { inFlight: 1, lastProgressUs: s.nowUs + SECOND };
    expect(s.live(10 * SECOND, moved)).toBe("RUNNING CONDITIONS_CLEARED");
  });

  test("may be healed after 60 minutes in all, not before", () => {
    const s = stalled();
    expect(s.treat("STALLED")).toBe("REMEDY_OUT_OF_TURN");
    s.live(30 * MINUTE, hung);
    expect(s.treat("STALLED")).toBe("AUTOHEALING REMEDY_STARTED");
    expect(s.live(10 * SECOND, { inFlight: 0 })).toBe("");
    expect(s.remedy("SUCCEEDED")).toBe("");
    expect(s.live(10 * SECOND)).toBe("RUNNING RECOVERED");
  });

  test.each([
    ["NO", "DEGRADED REMEDIES_SPENT"],
    ["YES", "QUARANTINED REMEDIES_SPENT"],
  ] as const)("that remedies do not cure, quarantineStalled %s: %s", (quarantineStalled, end) => {
    const s = stalled({ quarantineStalled });
    s.live(30 * MINUTE, hung);
    s.treat("STALLED");
    expect(s.exhaust()).toBe(end);
  });

  test("that stood before its machine slept is not healed before it has stood for 60 minutes awake", () => {
    const s = stalled();
    // A lid is closed for a night.
    s.detach();
    s.wait(8 * 60 * MINUTE);
    s.take({ kind: "session", epoch: 2, attached: true });
    const woken = { ...hung, suspendedUs: 8 * 60 * MINUTE };
    s.lease();
    s.beat(woken);
    expect(s.view.conditions.map((c) => c.type)).toEqual(["STALLED"]);
    expect(s.treat("STALLED")).toBe("REMEDY_OUT_OF_TURN");
    s.live(30 * MINUTE, woken);
    expect(s.treat("STALLED")).toBe("AUTOHEALING REMEDY_STARTED");
  });

  test("is not healed without a sidecar to heal it", () => {
    const s = stalled();
    s.live(30 * MINUTE, hung);
    s.detach();
    expect(s.treat("STALLED")).toBe("REMEDY_OUT_OF_TURN");
  });
});

test.each([
  ["DENIAL_STORM", "QUARANTINED REMEDIES_SPENT"],
  ["LEDGER_FAULT", "QUARANTINED REMEDIES_SPENT"],
  ["SYNC_LAG", "DEGRADED REMEDIES_SPENT"],
] as const)("remedies used up for %s: %s", (type, end) => {
  const s = new Story().running();
  s.beat({ ledgerHealth: "FULL", syncLag: 90_000 });
  s.beat({ ledgerHealth: "FULL", syncLag: 90_000, scopes: [DENIED] });
  expect(s.treat(type)).toBe("AUTOHEALING REMEDY_STARTED");
  expect(s.exhaust()).toBe(end);
});
test("remedies are not used up before each was sent, and no more are sent than there are", () => {
  const s = new Story().running();
  s.beat({ syncLag: 90_000 });
  expect(s.remedy("SENT")).toBe("REMEDY_OUT_OF_TURN");
  s.treat("SYNC_LAG");
  s.remedy("SENT");
  expect(s.remedy("EXHAUSTED")).toBe("REMEDY_OUT_OF_TURN");
  s.remedy("SENT");
  expect(s.remedy("SENT")).toBe("REMEDY_OUT_OF_TURN");
  expect(s.remedy("SUCCEEDED")).toBe("REMEDY_OUT_OF_TURN");
  const { transitions } = s.step({ kind: "remedy", outcome: "EXHAUSTED" });
  expect(transitions[0]?.basis.directives).toEqual([fill(0xd0), fill(0xd1)]);
  expect(transitions[0]?.artifacts).toEqual(expect.arrayContaining([fill(0xd0), fill(0xd1)]));
  expect(s.view).toMatchObject({ remedy: "UNSPECIFIED", treated: "UNSPECIFIED", directives: [] });
});
test("a storm of denials that has just passed is neither treated nor held against anybody", () => {
  const storm = () => {
    const s = new Story().running();
    s.beat({ scopes: [DENIED] });
    return s;
  };
  const untreated = storm();
  untreated.nowUs += MINUTE;
  expect(untreated.treat("DENIAL_STORM")).toBe("REMEDY_OUT_OF_TURN");
  const s = storm();
  expect(s.treat("DENIAL_STORM")).toBe("AUTOHEALING REMEDY_STARTED");
  const unsent = { ...s.view };
  expect(s.remedy("SENT")).toBe("");
  s.nowUs += MINUTE;
  expect(s.remedy("EXHAUSTED")).toBe("REMEDY_OUT_OF_TURN");
  s.view = unsent;
  expect(s.remedy("SENT")).toBe("REMEDY_OUT_OF_TURN");
});
test("what a remedy was for is over and something else stands: degraded, for whatever remains", () => {
  const s = new Story().running();
  s.beat({ ledgerHealth: "FULL", syncLag: 90_000 });
  s.treat("LEDGER_FAULT");
  s.beat({ syncLag: 90_000 });
  expect(s.remedy("SUCCEEDED")).toBe("DEGRADED CONDITION");
  expect(conditionsOf(s.view).map((c) => c.type)).toEqual(["SYNC_LAG"]);
});
test("what falls ill again while it waits to prove a remedy: degraded, to be treated anew", () => {
  const s = new Story().running();
  s.beat({ syncLag: 90_000 });
  s.treat("SYNC_LAG");
  s.beat();
  expect(s.remedy("SUCCEEDED")).toBe("");
  expect(s.beat({ syncLag: 90_000 })).toBe("DEGRADED CONDITION");
});
test.each(["SILENT", "HELD", "DRIFT"] as const)("there is no remedy for %s", (type) => {
  const s = new Story().running();
  s.wait(5 * MINUTE);
  expect(s.treat(type)).toBe("REMEDY_OUT_OF_TURN");
});

const DENIED = { scope: "s", completed: 0, failed: 0, denied: 400 };

describe("quarantine", () => {
  test("drift, at once; it holds when the files are back, until released, and then needs proof", () => {
    const s = new Story().running();
    expect(s.beat({ manifestHash: fill(0xbad) })).toBe("QUARANTINED CONDITION");
    expect(mayBeLeased(s.view)).toBe(false);
    expect(s.live(MINUTE)).toBe("");
    expect(s.release(["DRIFT"])).toBe("DEGRADED OPERATOR");
    expect(s.wait(9 * SECOND)).toBe("");
    expect(s.live(20 * SECOND)).toBe("RUNNING CONDITIONS_CLEARED");
  });

  test("drift that goes on after a release quarantines again", () => {
    const s = new Story().running();
    s.beat({ manifestHash: fill(0xbad) });
    s.release(["DRIFT"]);
    s.nowUs += releaseCrossingUs;
    expect(s.beat({ manifestHash: fill(0xbad) })).toBe("QUARANTINED CONDITION");
  });

  test("a beat that crossed the release does not take it back, whatever else it drifted to does", () => {
    const s = new Story().running();
    s.beat({ manifestHash: fill(0xbad) });
    s.release(["DRIFT"]);
    s.nowUs += releaseCrossingUs - 1;
    expect(s.beat({ manifestHash: fill(0xbad) })).toBe("");
    expect(s.view.state).toBe("DEGRADED");
    expect(s.beat({ manifestHash: fill(0xbae) })).toBe("QUARANTINED CONDITION");
  });

  test("a fork is for good: no release, however worded", () => {
    const s = new Story().running();
    const last = s.view.facts;
    expect(s.beat({ root: fill(0xf) })).toBe("QUARANTINED CONDITION");
    // The beat that proves it is evidence, not news.
    expect(s.view.facts).toBe(last);
    expect(s.release(["FORK"])).toBe("FORK_IS_FINAL");
    s.take({ kind: "hold", order: order() });
    expect(s.release(["FORK", "HELD"])).toBe("FORK_IS_FINAL");
    expect(s.release(["HELD"])).toBe("QUARANTINED OPERATOR");
    expect(s.view.desired).toBe("RUN");
  });

  test("an undeclared regress", () => {
    const s = new Story().running();
    s.beat({ size: 5, root: fill(5) });
    expect(s.beat({ size: 4, root: fill(4) })).toBe("QUARANTINED CONDITION");
  });

  test("a key where it may not be, as the control plane saw it", () => {
    const s = new Story().running();
    const fault = { kind: "fault", type: "KEY_MISUSE", artifact: fill(0xaf) } as const;
    const { transitions } = s.step(fault);
    expect(transitions).toMatchObject([
      { to: "QUARANTINED", cause: "CONDITION", condition: "KEY_MISUSE", desired: "RUN" },
    ]);
    expect(transitions[0]?.artifacts).toContainEqual(fill(0xaf));
  });

  test("an operator's hold, with name and reason", () => {
    const s = new Story().running();
    expect(s.take({ kind: "hold", order: order("") })).toBe("NO_REASON");
    const { transitions } = s.step({ kind: "hold", order: order("audit") });
    expect(transitions).toMatchObject([
      { to: "QUARANTINED", cause: "OPERATOR", desired: "HOLD", actor: fill(0xee), reason: "audit" },
    ]);
  });

  test("a revoked lease comes back only by a release that names just that, with a reason", () => {
    const s = new Story().running();
    s.take({ kind: "lease", ref: fill(0xcc), untilUs: s.nowUs });
    s.tick();
    expect(s.view.state).toBe("DEGRADED");
    expect(s.release(["HELD"])).toBe("NOT_QUARANTINED");
    expect(s.release(["LEASE_ZERO"], "")).toBe("NO_REASON");
    expect(s.release(["LEASE_ZERO"])).toBe("");
    expect(s.view.releasedUs).toBe(s.nowUs);
  });

  test("a release names what it releases: all of it, nothing else, and why", () => {
    const s = new Story().running();
    expect(s.release(["HELD"])).toBe("NOT_QUARANTINED");
    s.take({ kind: "hold", order: order() });
    s.beat({ manifestHash: fill(0xbad) });
    expect(s.release([])).toBe("NOT_HELD");
    expect(s.release(["REGRESS"])).toBe("NOT_HELD");
    expect(s.release(["DRIFT"], "")).toBe("NO_REASON");
    expect(s.release(["DRIFT"])).toBe("QUARANTINED OPERATOR");
    expect(s.view).toMatchObject({ state: "QUARANTINED", desired: "HOLD" });
    expect(s.release(["HELD"])).toBe("DEGRADED OPERATOR");
    expect(s.view.desired).toBe("RUN");
  });
});

describe("the end", () => {
  const exited = { child: "EXITED" } as const;

  test("exit 0 finishes and any other fails, once the last receipts are here", () => {
    const s = new Story().running();
    expect(s.beat({ ...exited, childExit: 1, syncLag: 3 })).toBe("");
    expect(s.beat({ ...exited, childExit: 1 })).toBe("STOPPED FINISHED");
    const f = new Story().running();
    expect(f.beat({ ...exited, childExit: 1 + 137 })).toBe("STOPPED FAILED");
  });

  test("the final sync is waited for, but not for ever", () => {
    const s = new Story().running();
    s.beat({ ...exited, childExit: 1, syncLag: 3 });
    s.detach();
    expect(s.wait(FINAL_SYNC_US - SECOND)).toBe("DEGRADED CONDITION");
    expect(s.wait(SECOND)).toBe("STOPPED FINISHED");
  });

  test("an operator's stop waits until neither lease nor egress is seen", () => {
    const s = new Story().running();
    expect(s.take({ kind: "stop", order: order("") })).toBe("NO_REASON");
    expect(s.take({ kind: "stop", order: order("retired") })).toBe("");
    expect(s.view).toMatchObject({ state: "RUNNING", desired: "STOP" });
    expect(mayBeLeased(s.view)).toBe(false);
    expect(s.lease(0)).toBe("DEGRADED CONDITION");
    s.nowUs += SECOND;
    expect(s.beat({ leaseRef: NONE, autonomyLeftUs: 0, inFlight: 1 })).toBe("");
    s.nowUs += SECOND;
    const { transitions } = s.step(s.beatInput({ leaseRef: NONE, autonomyLeftUs: 0 }));
    expect(transitions).toMatchObject([{ to: "STOPPED", cause: "OPERATOR", reason: "retired" }]);
  });

  test("one that is gone is stopped when everything it could hold has run out", () => {
    const s = new Story().running();
    const horizonUs = s.view.facts.leaseHorizonUs;
    s.detach();
    s.take({ kind: "stop", order: order() });
    const outUs = horizonUs + clockSkewMaxUs + DRAIN_US;
    expect(s.wait(outUs - SECOND - s.nowUs)).toBe("DEGRADED CONDITION");
    expect(s.wait(SECOND)).toBe("STOPPED OPERATOR");
  });

  test("stopped is final", () => {
    const s = new Story().running();
    s.beat({ ...exited, childExit: 1 });
    const last = s.view;
    expect([s.lease(), s.tick(), s.release(["HELD"])]).toEqual(Array(3).fill("STOPPED"));
    expect(s.take({ kind: "hold", order: order() })).toBe("STOPPED");
    expect(s.view).toBe(last);
    expect(holdsAuthority(s.view, s.nowUs)).toBe(false);
  });

  test("a stopped one's ledger may still be brought to its end: it is known, and nothing follows from it", () => {
    const s = new Story().running();
    s.beat({ ...exited, childExit: 1, inFlight: 1, syncLag: 2 });
    s.wait(FINAL_SYNC_US);
    s.take({ kind: "session", epoch: 2, attached: true });
    expect(s.beat({ ...exited, manifestHash: new Uint8Array(32).fill(7) })).toBe("");
    expect(s.view.state).toBe("STOPPED");
    expect(s.view.facts).toMatchObject({ attached: true, beat: { inFlight: 0, syncLag: 0 } });
    expect(holdsAuthority(s.view, s.nowUs)).toBe(false);
  });
});

describe("what is not news", () => {
  test("a beat twice, or from a session that another replaced", () => {
    const s = new Story().running();
    const { counter } = s.view.facts.beat;
    expect(s.beat({ counter })).toBe("STALE_BEAT");
    s.take({ kind: "session", epoch: 2, attached: true });
    expect(s.beat({ sessionEpoch: 1 })).toBe("OLD_SESSION");
    const late = { kind: "session", epoch: 1, attached: false } as const;
    expect(s.take(late)).toBe("OLD_SESSION");
    expect(s.view.facts.attached).toBe(true);
  });

  test("a look that changes nothing gives back the same view", () => {
    const s = new Story().running();
    const before = s.view;
    s.wait(5 * SECOND);
    expect(s.view).toBe(before);
  });

  test("a clock set back: nothing happens earlier than what happened before", () => {
    const s = new Story().running();
    const { latestUs } = s.view;
    s.nowUs -= 60 * MINUTE;
    const { transitions } = s.step({ kind: "hold", order: order() });
    expect(transitions[0]?.atUs).toBe(latestUs);
  });
});

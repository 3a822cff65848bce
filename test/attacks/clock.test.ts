import { expect, test } from "vitest";
import { AuthorityHolder, type Decide } from "../../sidecar/gate/authority.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { SteadyClock } from "../../src/native/steady-clock.ts";
import { leaseFrom, MINUTE_US } from "../datapath/harness.ts";
import { claimOf } from "../fixtures/authority.ts";

/**
 * Whoever may set the machine's clock, stop the process or put the machine to sleep gains no action:
 * whatever happens to the clocks while a lease is held, it ends when its length has passed, or before.
 */

const NOW = 1_800_000_000_000_000;
const SECOND = 1_000_000;
const HOUR = 3600 * SECOND;
const YEAR = 365 * 24 * HOUR;

const within: Decide = ({ lease, overdue }, _, nowUs) =>
  lease !== null && !overdue && nowUs >= lease.body.notBeforeUs && nowUs < lease.body.notAfterUs
    ? { allowed: true, scope: "use:echo", rule: null, named: false, wouldDeny: null }
    : {
        allowed: false,
        reason: "LEASE_EXPIRED",
        scope: "",
        detail: "",
        remedy: "",
        rule: null,
        needs: null,
      };
const CLAIM = claimOf("/payments.v1.Payments/Get");

interface Happening {
  readonly name: string;
  readonly happen: (machine: ManualClock) => void;
  /** Microseconds that truly pass by it. */
  readonly passes: number;
}

const set = (name: string, by: number): Happening => ({
  name: `the wall clock is set ${name}`,
  happen: (m) => m.setWall(m.nowUs() + by),
  passes: 0,
});

const HAPPENINGS: Happening[] = [
  set("back an hour", -HOUR),
  set("back a year", -YEAR),
  set("forward an hour", HOUR),
  set("forward a year", YEAR),
  set("a second back, as NTP may", -SECOND),
  {
    name: "one reading is of the far future",
    happen: (m) => {
      const before = m.nowUs();
      m.setWall(NOW + 100 * YEAR);
      m.advance(0);
      m.setWall(before);
    },
    passes: 0,
  },
  {
    name: "the machine sleeps for less than the lease",
    happen: (m) => m.suspend(20 * SECOND),
    passes: 20 * SECOND,
  },
  { name: "the machine sleeps for an hour", happen: (m) => m.suspend(HOUR), passes: HOUR },
  {
    name: "the machine sleeps, and its clock is set back by the same",
    happen: (m) => {
      m.suspend(50 * SECOND);
      m.setWall(m.nowUs() - 50 * SECOND + 1);
    },
    passes: 50 * SECOND,
  },
  {
    name: "it is set back while the process is stopped",
    happen: (m) => {
      m.advance(50 * SECOND);
      m.setWall(NOW - HOUR);
    },
    passes: 50 * SECOND,
  },
];

/** In every second asks whether it may act, as an agent would; returns at which true second it could. */
function actionsAfter(happening: Happening | null): number[] {
  const machine = new ManualClock(NOW);
  const clock = new SteadyClock(machine);
  const holder = new AuthorityHolder(clock, within);
  holder.set({ manifestRecorded: true });
  holder.adopt(leaseFrom(NOW));
  const could: number[] = [];
  let passed = 0;
  for (let second = 0; second < 200; second++) {
    if (holder.decide(CLAIM).allowed) could.push(passed / SECOND);
    if (second === 10 && happening !== null) {
      happening.happen(machine);
      passed += happening.passes;
      clock.look();
      if (holder.decide(CLAIM).allowed) could.push(passed / SECOND);
    }
    machine.advance(SECOND);
    passed += SECOND;
  }
  holder.close();
  return could;
}

test("left alone, a lease is good for its length", () => {
  expect(actionsAfter(null)).toHaveLength(MINUTE_US / SECOND);
});

test.each(HAPPENINGS.map((h) => [h.name, h] as const))(
  "no action is gained when %s",
  (_, happening) => {
    const could = actionsAfter(happening);
    expect(could.filter((second) => second >= MINUTE_US / SECOND)).toEqual([]);
  },
);

test.each([
  ["back an hour", -HOUR],
  ["back a year", -YEAR],
])("set %s, the lease goes on for just what is left of it", (_, by) => {
  const could = new Set(actionsAfter(set("", by)));
  expect(could.size).toBe(MINUTE_US / SECOND);
});

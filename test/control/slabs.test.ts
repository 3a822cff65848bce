import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  areCounted,
  ceilings,
  handsOutMore,
  runsLow,
  type SlabAccount,
} from "../../src/control/slabs.ts";
import { type Limits, type ScopeGrant, UNLIMITED } from "../../src/domain/grant.ts";
import { slabActionsMin, slabBytesMin } from "../../src/domain/limits.ts";

const SCOPE = "read:payments";
const NOW_US = 1_800_000_000_000_000;
const FREE: Limits = {
  maxActions: UNLIMITED,
  maxBytes: UNLIMITED,
  ratePerMinute: UNLIMITED,
  maxConcurrent: UNLIMITED,
};
const of = (limits: Partial<Limits>): ScopeGrant[] => [
  { name: SCOPE, limits: { ...FREE, ...limits } },
];
const spent = (actions: number, bytes = 0) => [{ scope: SCOPE, actions, bytes }];
const account = (over: Partial<SlabAccount> = {}): SlabAccount => ({
  granted: of({ maxActions: 10_000 }),
  last: [],
  others: [],
  spent: [],
  nowUs: NOW_US,
  ...over,
});
/** The last lease of another ledger. */
const other = (limits: Partial<Limits>, notAfterUs = 0) => ({ scopes: of(limits), notAfterUs });
const actions = (a: SlabAccount): number | undefined => ceilings(a)[0]?.limits.maxActions;

describe("the ceiling of a lease", () => {
  test("is what was spent and one slab, a tenth of the grant", () => {
    expect(actions(account())).toBe(1000);
    expect(actions(account({ spent: spent(2345) }))).toBe(3345);
    expect(actions(account({ spent: spent(9500) }))).toBe(10_000);
  });

  test("gives a small grant in one piece, and none of none", () => {
    const small = of({ maxActions: slabActionsMin, maxBytes: slabBytesMin });
    expect(ceilings(account({ granted: small }))).toEqual(small);
    const none = of({ maxActions: 0, maxBytes: 0, ratePerMinute: 0, maxConcurrent: 0 });
    expect(ceilings(account({ granted: none }))).toEqual(none);
    expect(ceilings(account({ granted: of({}), spent: spent(5) }))).toEqual(of({}));
  });

  test("passes rate and concurrency on: they are not used up", () => {
    const granted = of({ ratePerMinute: 60, maxConcurrent: 4 });
    expect(ceilings(account({ granted }))).toEqual(granted);
  });

  test("never falls, so a beat that came late takes nothing back", () => {
    const last = of({ maxActions: 3000 });
    expect(actions(account({ last, spent: spent(100) }))).toBe(3000);
    expect(actions(account({ last, spent: [] }))).toBe(3000);
  });

  test("leaves to another ledger of the instance what it was given", () => {
    const others = [other({ maxActions: 9500 })];
    expect(actions(account({ others }))).toBe(500);
    expect(actions(account({ others: [...others, other({ maxActions: 600 })] }))).toBe(0);
  });

  test("lends rate and concurrency to one ledger of an instance at a time", () => {
    const granted = of({ ratePerMinute: 60, maxConcurrent: 4 });
    const limits = { ratePerMinute: 60, maxConcurrent: 4 };
    const during = account({ granted, others: [other(limits, NOW_US + 1)] });
    expect(ceilings(during)).toEqual(of({ ratePerMinute: 0, maxConcurrent: 0 }));
    expect(ceilings(account({ granted, others: [other(limits, NOW_US)] }))).toEqual(granted);
    const free = account({ granted: of({}), others: [other({}, NOW_US + 1)] });
    expect(ceilings(free)).toEqual(of({}));
  });
});

test("a lease hands out more where it counts up to more, and not where it only lasts longer", () => {
  const last = of({ maxActions: 100 });
  expect(handsOutMore(last, last)).toBe(false);
  expect(handsOutMore(last, of({ maxActions: 101 }))).toBe(true);
  expect(handsOutMore(last, of({ maxActions: 99 }))).toBe(false);
  expect(handsOutMore(of({}), of({}))).toBe(false);
  expect(handsOutMore([], of({ maxActions: 1 }))).toBe(true);
  expect(handsOutMore(of({ maxConcurrent: 1 }), of({ maxConcurrent: 2 }))).toBe(false);
});

test("nothing is counted where nothing is limited, whatever the rate", () => {
  expect(areCounted([])).toBe(false);
  expect(areCounted(of({ ratePerMinute: 5, maxConcurrent: 1 }))).toBe(false);
  expect(areCounted(of({ maxActions: 0 }))).toBe(true);
  expect(areCounted([...of({}), ...of({ maxBytes: 5 })])).toBe(true);
});

describe("a slab that runs low", () => {
  test("is one of which half is spent, where there is more", () => {
    const last = of({ maxActions: 1000 });
    expect(runsLow(account({ last, spent: spent(499) }))).toBe(false);
    expect(runsLow(account({ last, spent: spent(500) }))).toBe(true);
    expect(runsLow(account({ last: of({ maxActions: 10_000 }), spent: spent(10_000) }))).toBe(
      false,
    );
    expect(runsLow(account({ granted: of({}), last: of({}), spent: spent(5) }))).toBe(false);
  });

  test("is renewed some twenty times over a whole grant, not at every action", () => {
    let last = ceilings(account());
    let renewals = 0;
    for (let n = 0; n <= 10_000; n++) {
      const now = account({ last, spent: spent(n) });
      if (!runsLow(now)) continue;
      last = ceilings(now);
      renewals++;
    }
    expect(last).toEqual(of({ maxActions: 10_000 }));
    expect(renewals).toBeLessThanOrEqual(20);
  });
});

/**
 * The model: an instance spends one at a time, only what the lease in hand leaves by the counter of
 * the ledger that it has. Everything that may go wrong between the two does.
 */
describe("whatever happens to leases, beats and ledgers", () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant("act"), times: fc.integer({ min: 1, max: 400 }) }),
    },
    { weight: 4, arbitrary: fc.constant({ do: "renew" }) },
    { weight: 2, arbitrary: fc.constant({ do: "renew and lose the lease" }) },
    { weight: 2, arbitrary: fc.constant({ do: "renew by the beat before" }) },
    { weight: 1, arbitrary: fc.constant({ do: "restart" }) },
    { weight: 1, arbitrary: fc.constant({ do: "lose the ledger" }) },
  );

  test("an instance never spends more than it was granted", () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.integer({ min: 0, max: 5000 }),
        (steps, n) => {
          const granted = of({ maxActions: n });
          const ledgers: { given: ScopeGrant[]; inHand: ScopeGrant[]; counter: number }[] = [];
          let all = 0;
          let told = 0;
          const begin = () => ledgers.push({ given: [], inHand: [], counter: 0 });
          const renew = (counter: number) => {
            const here = ledgers.at(-1) as (typeof ledgers)[number];
            const others = ledgers.slice(0, -1).map((l) => ({ scopes: l.given, notAfterUs: 0 }));
            here.given = ceilings({
              granted,
              last: here.given,
              others,
              spent: spent(counter),
              nowUs: NOW_US,
            });
            return here;
          };
          begin();
          for (const what of steps) {
            const here = ledgers.at(-1) as (typeof ledgers)[number];
            if (what.do === "act") {
              const ceiling = here.inHand[0]?.limits.maxActions ?? 0;
              const done = Math.min(
                (what as { times: number }).times,
                Math.max(0, ceiling - here.counter),
              );
              here.counter += done;
              all += done;
            } else if (what.do === "renew") {
              told = here.counter;
              const { given } = renew(told);
              here.inHand = given;
            } else if (what.do === "renew and lose the lease") {
              renew(here.counter);
            } else if (what.do === "renew by the beat before") {
              here.inHand = renew(told).given;
            } else if (what.do === "restart") {
              here.inHand = [];
            } else {
              begin();
              told = 0;
            }
            expect(all).toBeLessThanOrEqual(n);
            const given = ledgers.reduce((sum, l) => sum + (l.given[0]?.limits.maxActions ?? 0), 0);
            expect(given).toBeLessThanOrEqual(n);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

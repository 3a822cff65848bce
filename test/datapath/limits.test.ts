import { describe, expect, test } from "vitest";
import type { ActionRequest, Denial, Ending } from "../../sidecar/adapters/exchange.ts";
import { AuthorityHolder } from "../../sidecar/gate/authority.ts";
import { Gate, type RunFacts } from "../../sidecar/gate/gate.ts";
import type { Permit } from "../../sidecar/gate/permit.ts";
import { spentUnder } from "../../sidecar/tether/spent.ts";
import { GrantBody, type Limits, NO_LIMITS } from "../../src/domain/grant.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { check, GatedStore, headersIn, NOW_US, start } from "../ledger/fixture.ts";
import { decide, leaseFrom, MINUTE_US } from "./harness.ts";

const GRANT_REF = leaseFrom(0).body.grantRef;
const SCOPE = "use:echo";
const SECOND_US = 1_000_000;
const ALL = { from: Uint8Array.of(0), below: Uint8Array.of(255), limit: Number.MAX_SAFE_INTEGER };

const REQUEST: ActionRequest = {
  claim: {
    version: 1,
    protocol: "GRPC",
    target: "127.0.0.1:443",
    verb: "",
    path: "/test.Echo/Unary",
    scheme: "UNSPECIFIED",
    inputs: [],
    limitState: [],
  },
  traceparent: "",
  deadlineUs: 0,
  inputs: () => [],
};

const FACTS: RunFacts = {
  manifestHash: new Uint8Array(32).fill(2),
  purpose: "test",
  goal: "",
  measure: "FILES",
  servers: [],
  listens: [],
  enforcement: "ADVISORY",
};

const passage = (bodyBytes: number) => ({
  headerNames: [],
  trailerNames: [],
  bodySha256: new Uint8Array(32),
  bodyBytes,
  messages: 1,
});
const ending = (bytes = 0): Ending => ({
  verdict: "COMPLETED",
  reason: "UNSPECIFIED",
  status: "grpc-status: 0",
  querySha256: new Uint8Array(),
  request: passage(bytes),
  response: passage(0),
  dialled: "",
  peerCertificate: new Uint8Array(0),
  firstByteUs: 0,
  egressLastUs: 0,
});

const lease = (clock: ManualClock, leaseSeq: number, limits: Partial<Limits>) =>
  leaseFrom(clock.nowUs(), {
    leaseSeq,
    scopes: [{ name: SCOPE, limits: { ...NO_LIMITS, ...limits } }],
  });

/** The gate over a ledger that keeps, under a lease with these limits. */
async function gateOver(
  store: GatedStore,
  limits: Partial<Limits>,
  clock = new ManualClock(NOW_US),
) {
  const { ledger } = await start({ store, clock });
  const authority = new AuthorityHolder(clock, decide);
  const low: string[] = [];
  const gate = new Gate(ledger, authority, clock, FACTS, {
    denied() {},
    observed() {},
    finished() {},
    low: (scope) => void low.push(scope),
  });
  authority.set({ manifestRecorded: true });
  authority.adopt(lease(clock, 2, limits));
  const admit = () => gate.admit(REQUEST);
  /** Time passes once everything under way is signed and written, which takes none of it. */
  const pass = async (us: number) => {
    await ledger.flushed();
    clock.advance(us);
  };
  return { authority, ledger, clock, admit, gate, low, pass };
}

async function copyOf(store: GatedStore): Promise<GatedStore> {
  const copy = memoryStore();
  await copy.commit(store.range(ALL));
  return new GatedStore(copy);
}

const denied = (answer: Permit | Denial): answer is Denial => "denied" in answer;
const given = (answers: readonly (Permit | Denial)[]): Permit[] =>
  answers.filter((a): a is Permit => !denied(a));

describe("1,000 calls at once", () => {
  test("against max_actions of 100 give exactly 100, and the rest say LIMIT_SPENT", async () => {
    const { admit, ledger, gate } = await gateOver(new GatedStore(), { maxActions: 100 });
    const answers = await Promise.all(Array.from({ length: 1000 }, admit));
    expect(given(answers)).toHaveLength(100);
    expect(new Set(answers.filter(denied).map((d) => d.reason))).toEqual(new Set(["LIMIT_SPENT"]));
    const lefts = given(answers).map((p) => p.facts.claim.limitState[0]?.actionsLeft);
    expect(lefts).toEqual(Array.from({ length: 100 }, (_, i) => 100 - i));
    for (const permit of given(answers)) gate.settle(permit, ending());
    await gate.idle();
    expect(denied(await admit())).toBe(true);
    expect(ledger.spent(GRANT_REF, SCOPE).actions).toBe(100);
  });

  test("against max_concurrent, rate and bytes give what each allows, and no more", async () => {
    const three = async (limits: Partial<Limits>) => {
      const { admit } = await gateOver(new GatedStore(), limits);
      return given(await Promise.all(Array.from({ length: 1000 }, admit))).length;
    };
    expect(await three({ maxConcurrent: 7 })).toBe(7);
    expect(await three({ ratePerMinute: 60 })).toBe(60);
    // Each reserves a block before it passes anything: ten blocks are all there is.
    expect(await three({ maxBytes: 40_960 })).toBe(10);
  });
});

describe("nothing is refilled", () => {
  test("by a restart, nor by a crash", async () => {
    const store = new GatedStore();
    const first = await gateOver(store, { maxActions: 5 });
    const permits = given(await Promise.all([first.admit(), first.admit(), first.admit()]));
    first.gate.settle(permits[0] as Permit, ending());
    const second = await gateOver(await copyOf(store), { maxActions: 5 });
    const answers = [await second.admit(), await second.admit(), await second.admit()];
    expect(answers.map(denied)).toEqual([false, false, true]);
  });

  test("by a renewal: the next lease's number is the same ceiling", async () => {
    const { admit, authority, clock } = await gateOver(new GatedStore(), { maxActions: 2 });
    expect([await admit(), await admit(), await admit()].map(denied)).toEqual([false, false, true]);
    authority.adopt(lease(clock, 3, { maxActions: 2 }));
    expect(denied(await admit())).toBe(true);
    authority.adopt(lease(clock, 4, { maxActions: 3 }));
    expect([await admit(), await admit()].map(denied)).toEqual([false, true]);
    // A lease that allows less than was spent allows nothing, and breaks nothing.
    authority.adopt(lease(clock, 5, { maxActions: 1 }));
    expect(denied(await admit())).toBe(true);
  });

  test("by the wall clock, wherever it is set", async () => {
    const clock = new ManualClock(NOW_US);
    const { admit, authority, pass } = await gateOver(
      new GatedStore(),
      { ratePerMinute: 2 },
      clock,
    );
    await admit();
    await admit();
    for (const jump of [3600 * SECOND_US, -3600 * SECOND_US, 365 * 86_400 * SECOND_US]) {
      clock.setWall(NOW_US + jump);
      authority.adopt(lease(clock, 3, { ratePerMinute: 2 }));
      expect(denied(await admit())).toBe(true);
    }
    await pass(MINUTE_US + SECOND_US);
    authority.adopt(lease(clock, 4, { ratePerMinute: 2 }));
    expect(denied(await admit())).toBe(false);
  });

  test("by a restart within the minute, whatever the clocks say afterwards", async () => {
    const store = new GatedStore();
    const first = await gateOver(store, { ratePerMinute: 2 });
    await first.admit();
    await first.admit();
    const later = new ManualClock(NOW_US + 3600 * SECOND_US);
    const second = await gateOver(await copyOf(store), { ratePerMinute: 2 }, later);
    expect(denied(await second.admit())).toBe(true);
    await second.pass(MINUTE_US + SECOND_US);
    second.authority.adopt(lease(later, 3, { ratePerMinute: 2 }));
    expect([await second.admit(), await second.admit(), await second.admit()].map(denied)).toEqual([
      false,
      false,
      true,
    ]);
  });

  test("by a lease for another number of actions at once, while they go on", async () => {
    const { admit, authority, clock, gate } = await gateOver(new GatedStore(), {
      maxConcurrent: 2,
    });
    const [a] = given([await admit(), await admit()]);
    authority.adopt(lease(clock, 3, { maxConcurrent: 2 }));
    expect(denied(await admit())).toBe(true);
    gate.settle(a as Permit, ending());
    expect(denied(await admit())).toBe(false);
  });
});

describe("bytes", () => {
  test("that were reserved when the sidecar was killed are spent", async () => {
    const store = new GatedStore();
    const first = await gateOver(store, { maxBytes: 10_000 });
    const [permit] = given([await first.admit()]);
    expect(await permit?.spend(5000)).toBe(true);
    const crashed = await copyOf(store);
    const second = await gateOver(crashed, { maxBytes: 10_000 });
    const { bytes } = second.ledger.spent(GRANT_REF, SCOPE);
    expect(bytes).toBeGreaterThanOrEqual(5000);
    const receipt = headersIn(second.ledger).find((h) => h.verdict === "INDETERMINATE");
    expect(receipt?.spentBytes).toBe(bytes);
    expect(second.gate.left()[0]?.bytesLeft).toBe(10_000 - bytes);
    expect(check(crashed)).toBeNull();
  });

  test("come out of the next lease's slab, so that a stream goes on over a renewal", async () => {
    const { admit, authority, clock } = await gateOver(new GatedStore(), { maxBytes: 100 });
    const [permit] = given([await admit()]);
    expect(permit?.spend(100)).toBe(true);
    authority.adopt(lease(clock, 3, { maxBytes: 200 }));
    expect(await permit?.spend(100)).toBe(true);
    expect(await permit?.spend(1)).toBe(false);
    expect(permit?.cutBy).toMatchObject({ reason: "LIMIT_SPENT", scope: SCOPE });
  });

  test("end with the action when the ledger cannot take the next block", async () => {
    const clock = new ManualClock(NOW_US);
    const store = new GatedStore();
    const { admit } = await gateOver(store, { maxBytes: 1_000_000 }, clock);
    const [permit] = given([await admit()]);
    store.hold();
    const leave = permit?.spend(500_000);
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(SECOND_US);
    expect(await leave).toBe(false);
    expect(permit?.cutBy).toMatchObject({ reason: "LEDGER_UNAVAILABLE" });
    store.release();
  });

  test("0 is none, of anything", async () => {
    for (const limit of ["maxActions", "maxBytes", "ratePerMinute", "maxConcurrent"] as const) {
      const { admit } = await gateOver(new GatedStore(), { [limit]: 0 });
      expect(await admit()).toMatchObject({ reason: "LIMIT_SPENT" });
    }
  });
});

describe("a slab that runs low", () => {
  test("is told of when half of it is gone, and then half of that, but not at every try", async () => {
    const clock = new ManualClock(NOW_US);
    const { admit, authority, low } = await gateOver(new GatedStore(), { maxActions: 16 }, clock);
    const at: number[] = [];
    for (let n = 1; n <= 40; n++) {
      const before = low.length;
      await admit();
      if (low.length > before) at.push(n);
    }
    expect(at).toEqual([8, 12, 14, 15, 16]);
    authority.adopt(lease(clock, 3, { maxActions: 32 }));
    for (let n = 1; n <= 8; n++) await admit();
    expect(low.slice(at.length)).toEqual([SCOPE]);
  });

  test("bytes that are merely reserved do not earn the next one", async () => {
    const limits = { ...NO_LIMITS, maxBytes: 1_000_000 };
    const { admit, gate, ledger } = await gateOver(new GatedStore(), limits);
    const grant = {
      ref: GRANT_REF,
      body: { ...GrantBody.empty(), scopes: [{ name: SCOPE, limits }] },
    };
    const told = () => spentUnder(grant, ledger, (s) => gate.passing(s))[0]?.bytes;
    const [first, second] = given(await Promise.all([admit(), admit(), admit()]));
    expect(ledger.spent(GRANT_REF, SCOPE).bytes).toBeGreaterThan(100_000);
    expect(told()).toBe(0);
    await first?.spend(700);
    expect(told()).toBe(700);
    gate.settle(second as Permit, ending(0));
    gate.settle(first as Permit, ending(700));
    await new Promise((resolve) => setImmediate(resolve));
    expect(told()).toBe(700);
  });
});

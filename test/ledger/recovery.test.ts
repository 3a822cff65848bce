import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LedgerBroken, startLedger } from "../../sidecar/ledger/open-ledger.ts";
import type { OpenIntent } from "../../sidecar/ledger/work-ledger.ts";
import { concat, u64be } from "../../src/domain/bytes.ts";
import { isId } from "../../src/domain/ids.ts";
import { IntentBody } from "../../src/domain/intent.ts";
import { recoveryTail } from "../../src/domain/limits.ts";
import { ActionBody, PayloadRow } from "../../src/domain/payload.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { LedgerState, ledgerStore } from "../../src/storage/ledger-store.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import type { Row, Store } from "../../src/storage/store.ts";
import {
  check,
  closing,
  countedRefusals,
  denial,
  draft,
  GatedStore,
  GRANT,
  headerOf,
  headersIn,
  IDENTITY,
  inlineSigner,
  NOW_US,
  start,
  turn,
} from "./fixture.ts";

const EVERYTHING = {
  from: Uint8Array.of(0),
  below: Uint8Array.of(255),
  limit: Number.MAX_SAFE_INTEGER,
};

async function copyOf(store: Store): Promise<GatedStore> {
  const copy = memoryStore();
  await copy.commit(store.range(EVERYTHING));
  return new GatedStore(copy);
}

const verbs = (store: Store): string[] =>
  ledgerStore(store)
    .receipts(1, 1000)
    .filter((row) => headerOf(row).kind === "LIFECYCLE")
    .map(({ row }) => {
      const [, action] = PayloadRow.decode(row).openings;
      return ActionBody.decode(action?.data as Uint8Array).verb;
    });

describe("a start after a crash", () => {
  test("closes what was left open, once, in opening order, before it says so", async () => {
    const { ledger, store } = await start();
    const intents = await Promise.all([1, 2, 3, 4].map(() => ledger.open(draft())));
    ledger.close(intents[1] as OpenIntent, closing());
    await ledger.flushed();
    const crashed = await copyOf(store);

    const second = await start({ store: crashed });
    expect(headersIn(second.ledger).slice(2)).toMatchObject([
      { kind: "ACTION", verdict: "INDETERMINATE", reason: "CRASHED", intentSeq: 1 },
      { kind: "ACTION", verdict: "INDETERMINATE", reason: "CRASHED", intentSeq: 3 },
      { kind: "ACTION", verdict: "INDETERMINATE", reason: "CRASHED", intentSeq: 4 },
      { kind: "LIFECYCLE", intentsOpened: 4 },
    ]);
    expect(headersIn(second.ledger)[2]?.receiptId).toBe(intents[0]?.receiptId);
    expect(second.ledger.openIntents()).toEqual([]);
    expect(check(crashed)).toBeNull();

    const third = await start({ store: await copyOf(crashed) });
    expect(headersIn(third.ledger)).toHaveLength(7);
    expect(third.ledger.head().intentsHead).toEqual(second.ledger.head().intentsHead);
  });

  test("says how it began: boot, restart, recovery", async () => {
    const { ledger, store } = await start();
    await ledger.shutdown();
    const second = await start({ store });
    await second.ledger.open(draft());
    await start({ store });
    expect(verbs(store)).toEqual(["boot", "shutdown", "restart", "recovery"]);
    expect(check(store)).toBeNull();
  });

  test("an outcome that was signed but not yet written is INDETERMINATE", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft());
    const crashed = await copyOf(store);
    ledger.close(intent, closing());
    await ledger.flushed();
    const { ledger: next } = await start({ store: crashed });
    expect(headersIn(next)[1]).toMatchObject({
      receiptId: intent.receiptId,
      verdict: "INDETERMINATE",
    });
  });

  test("what was spent and counted goes on", async () => {
    const { ledger, store } = await start();
    for (let n = 0; n < 3; n++) ledger.close(await ledger.open(draft()), closing());
    ledger.record(denial());
    await ledger.flushed();
    await ledger.open(draft());
    const { ledger: next } = await start({ store: await copyOf(store) });
    expect(next.spent(GRANT, "payments")).toMatchObject({ actions: 4, bytes: 30 });
    expect(next.spent(GRANT, "other")).toMatchObject({ actions: 0, bytes: 0 });
    expect(next.stats().scopes).toEqual([
      { scope: "payments", completed: 3, failed: 1, denied: 1 },
    ]);
  });

  test("what is spent shows before it is durable", async () => {
    const { ledger, store } = await start();
    store.hold();
    const opening = ledger.open(draft());
    expect(ledger.spent(GRANT, "payments")).toMatchObject({ actions: 1 });
    store.release();
    await opening;
  });

  test("ids go on above the last, even if the clock has fallen", async () => {
    const { ledger, store } = await start();
    const last = await ledger.open(draft());
    const earlier = new ManualClock(NOW_US - 3_600_000_000);
    const next = await start({ store: await copyOf(store), clock: earlier });
    const { receiptId } = await next.ledger.open(draft());
    expect(isId("rcp", receiptId)).toBe(true);
    expect(receiptId > last.receiptId).toBe(true);
  });

  test("what the control plane acknowledged is remembered, and never goes back", async () => {
    const { ledger, store } = await start();
    for (let n = 0; n < 3; n++) ledger.close(await ledger.open(draft()), closing());
    await ledger.flushed();
    expect(ledger.stats().unacknowledged).toBe(4);
    ledger.acknowledged(3);
    ledger.acknowledged(2);
    expect(ledger.stats().unacknowledged).toBe(1);
    ledger.acknowledged(5);
    expect(ledger.acknowledgedSeq).toBe(3);
    await ledger.flushed();
    const { ledger: next } = await start({ store: await copyOf(store) });
    expect(next.acknowledgedSeq).toBe(3);
  });
});

describe("a start refuses what it cannot continue", () => {
  async function storeWithHistory(): Promise<GatedStore> {
    const { ledger, store } = await start();
    await ledger.open(draft());
    for (let n = 0; n < 3; n++) ledger.close(await ledger.open(draft()), closing());
    await ledger.shutdown();
    return store;
  }

  test("another genesis, another tenant, another key", async () => {
    const store = ledgerStore(await storeWithHistory());
    const means = {
      clock: new ManualClock(NOW_US),
      store,
      signer: inlineSigner(),
      refusals: countedRefusals(),
      release: async () => {},
    };
    const other = new Uint8Array(32).fill(1);
    await expect(startLedger({ ...IDENTITY, ledgerId: other }, means)).rejects.toThrow(/genesis/);
    await expect(startLedger({ ...IDENTITY, tenantId: "evil" }, means)).rejects.toThrow(/genesis/);
    const signer = { ...inlineSigner(), publicKey: other };
    await expect(startLedger(IDENTITY, { ...means, signer })).rejects.toThrow(/ledger key/);
  });

  test("any byte of any receipt or payload row changed", async () => {
    const store = await storeWithHistory();
    const tables = [3, 4];
    const rows = store.range(EVERYTHING).filter(({ key }) => tables.includes(key[0] as number));
    expect(rows).toHaveLength(10);
    for (const { key, value } of rows) {
      for (let at = 0; at < value.length; at += 7) {
        const changed = Uint8Array.from(value);
        changed[at] = (changed[at] as number) ^ 0x01;
        const tampered = await copyOf(store);
        await tampered.inner.commit([{ key, value: changed }]);
        expect(check(tampered), `row ${key.join(".")} byte ${at}`).not.toBeNull();
      }
    }
  });

  test("an open intent whose promise was changed", async () => {
    const store = await storeWithHistory();
    const body = IntentBody.decode(store.get(intentKey(1)) as Uint8Array);
    const other = new Uint8Array(32).fill(1);
    for (const change of [
      { claim: Uint8Array.of(1) },
      { claimSalt: other },
      { claimSalt: new Uint8Array(0) },
      { leaseRef: other },
      { openedAtUs: body.openedAtUs + 1 },
      { receiptId: body.receiptId.replace(/.$/, (c) => (c === "0" ? "1" : "0")) },
      { intentSeq: 2 },
    ]) {
      const tampered = await copyOf(store);
      const value = IntentBody.encode({ ...body, ...change });
      await tampered.inner.commit([{ key: intentKey(1), value }]);
      expect(check(tampered), Object.keys(change)[0]).not.toBeNull();
    }
  });

  test("a state row that does not fit the rows", async () => {
    const store = await storeWithHistory();
    const state = ledgerStore(store).state() as LedgerState;
    const other = new Uint8Array(32).fill(1);
    for (const change of [
      { version: 2 },
      { size: state.size - 1 },
      { size: state.size + 1 },
      { lastHash: other },
      { frontier: [] },
      { frontier: state.frontier.map(() => other) },
      { intentsOpened: state.intentsOpened - 1 },
      { intentsOpened: state.intentsOpened + 1 },
      { intentsHead: other },
      { lastId: "" },
      { lastId: "rcp_0" },
      { acknowledgedSeq: state.size + 1 },
      { tenantId: "" },
      { ledgerId: other },
    ]) {
      const tampered = await copyOf(store);
      const value = LedgerState.encode({ ...state, ...change });
      await tampered.inner.commit([{ key: Uint8Array.of(1), value }]);
      await expect(outcomeOf(tampered), JSON.stringify(change)).resolves.toBe("LedgerBroken");
    }
  });

  test("a state row that does not decode", async () => {
    const store = await storeWithHistory();
    await store.inner.commit([{ key: Uint8Array.of(1), value: Uint8Array.of(0xff, 1) }]);
    await expect(outcomeOf(store)).resolves.toBe("LedgerBroken");
  });

  test("a row that is missing, doubled or too many", async () => {
    const store = await storeWithHistory();
    const receipts = store.range({
      ...EVERYTHING,
      from: Uint8Array.of(3),
      below: Uint8Array.of(4),
    });
    const [first, second] = receipts as [Row, Row];
    const last = receipts.at(-1) as Row;
    const beyond = Uint8Array.from(last.key);
    beyond[8] = (beyond[8] as number) + 1;
    for (const writes of [
      [{ key: first.key, value: null }],
      [{ key: second.key, value: null }],
      [{ key: last.key, value: null }],
      [{ key: second.key, value: first.value }],
      [{ key: beyond, value: last.value }],
      [{ key: Uint8Array.of(1), value: null }],
      [{ key: intentKey(1), value: null }],
      [{ key: intentKey(2), value: store.get(intentKey(1)) }],
    ]) {
      const tampered = await copyOf(store);
      await tampered.inner.commit(writes);
      const what = `row ${writes[0]?.key.join(".")}`;
      await expect(outcomeOf(tampered), what).resolves.toBe("LedgerBroken");
    }
  });

  const outcomeOf = (store: GatedStore): Promise<string> =>
    start({ store }).then(
      () => "started",
      (error: Error) => error.name,
    );

  test("the error says where", async () => {
    const store = await storeWithHistory();
    await store.inner.commit([{ key: receiptKey(2), value: null }]);
    await expect(start({ store })).rejects.toThrow(LedgerBroken);
    await expect(start({ store })).rejects.toThrow(/receipt 2: missing/);
  });
});

const intentKey = (seq: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, seq);
const receiptKey = (seq: number): Uint8Array => concat(Uint8Array.of(3), u64be(seq));

test("a start looks at the tail alone, and sees there what it can", async () => {
  const { ledger, store } = await start();
  for (let n = 0; n < recoveryTail + 5; n++) ledger.record(denial({ claim: u64be(n) }));
  await ledger.open(draft());
  await ledger.flushed();
  const damaged = async (seq: number): Promise<string> => {
    const copy = await copyOf(store);
    const value = Uint8Array.from(copy.get(receiptKey(seq)) as Uint8Array);
    value[60] = (value[60] as number) ^ 1;
    await copy.inner.commit([{ key: receiptKey(seq), value }]);
    return start({ store: copy }).then(
      () => "started",
      (error: Error) => error.name,
    );
  };
  expect(await damaged(3)).toBe("started");
  expect(await damaged(7)).toBe("LedgerBroken");
  expect(await damaged(recoveryTail + 6)).toBe("LedgerBroken");
  expect(check(store)).toBeNull();
});

describe("a crash at any commit leaves a ledger that can go on", () => {
  type Op = { do: "open" | "close" | "deny" | "turn" | "flush"; which: number };
  const ops: fc.Arbitrary<Op[]> = fc.array(
    fc.record({
      do: fc.constantFrom("open", "open", "close", "close", "deny", "turn", "flush"),
      which: fc.nat(20),
    }),
    { maxLength: 40 },
  );

  test("no promise lost, every intent closed exactly once, the chain holds", async () => {
    await fc.assert(
      fc.asyncProperty(ops, async (script) => {
        const { ledger, store } = await start();
        /** What was durable, and what had been promised, after each commit. */
        const moments: { store: Promise<GatedStore>; promised: number }[] = [];
        let promised = 0;
        const commit = store.inner.commit.bind(store.inner);
        store.inner.commit = async (writes) => {
          await commit(writes);
          moments.push({ store: copyOf(store.inner), promised });
        };
        const open: OpenIntent[] = [];
        const openings: Promise<unknown>[] = [];
        for (const op of script) {
          if (op.do === "open") {
            openings.push(
              ledger.open(draft()).then((intent) => {
                promised = Math.max(promised, intent.intentSeq);
                open.push(intent);
              }),
            );
          } else if (op.do === "close" && open.length > 0) {
            const [intent] = open.splice(op.which % open.length, 1);
            ledger.close(intent as OpenIntent, closing());
          } else if (op.do === "deny") ledger.record(denial());
          else if (op.do === "flush") await ledger.flushed();
          else await turn();
        }
        await Promise.all(openings);
        await ledger.flushed();
        moments.push({ store: copyOf(store.inner), promised });
        for (const moment of moments) {
          const crashed = await moment.store;
          const { ledger: next } = await start({ store: crashed });
          expect(check(crashed)).toBeNull();
          const closes = headersIn(next).map((h) => h.intentSeq);
          const closed = closes.filter((n) => n > 0).toSorted((a, b) => a - b);
          expect(closed).toEqual(closed.map((_, i) => i + 1));
          expect(closed.length).toBe(next.head().intentsOpened);
          expect(closed.length).toBeGreaterThanOrEqual(moment.promised);
          expect(next.openIntents()).toEqual([]);
        }
      }),
      { numRuns: 40 },
    );
  });
});

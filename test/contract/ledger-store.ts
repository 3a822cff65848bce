import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LedgerState, LedgerStep, LedgerStore } from "../../src/storage/ledger-store.ts";

const hash = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const bytes = (...b: number[]): Uint8Array => Uint8Array.from(b);

const state = (over: Partial<LedgerState> = {}): LedgerState => ({
  version: 1,
  ledgerId: hash(1),
  tenantId: "acme",
  size: 0,
  lastHash: hash(1),
  frontier: [],
  intentsOpened: 0,
  intentsHead: hash(1),
  lastId: "",
  acknowledgedSeq: 0,
  ...over,
});

const step = (over: Partial<LedgerStep> = {}): LedgerStep => ({
  opened: [],
  receipts: [],
  counts: [],
  spent: [],
  state: state(),
  ...over,
});

const intent = (intentSeq: number) => ({ intentSeq, body: bytes(intentSeq % 256) });
const receipt = (seq: number, closes = 0) => ({
  seq,
  signed: bytes(1, seq % 256),
  row: bytes(2, seq % 256),
  closes,
  rewrites: null,
});

/** What `LedgerStore` promises, for each implementation. `make` gives an empty one. */
export function ledgerStoreContract(name: string, make: () => Promise<LedgerStore>): void {
  describe(`${name} keeps the ledger store contract`, () => {
    let store: LedgerStore;
    beforeEach(async () => {
      store = await make();
    });
    afterEach(() => store.close());

    test("a new store has nothing", () => {
      expect(store.state()).toBeNull();
      expect(store.receipts(1, 10)).toEqual([]);
      expect(store.intents()).toEqual([]);
      expect(store.counts()).toEqual([]);
      expect(store.spent()).toEqual([]);
    });

    test("a step reads back whole", async () => {
      const written = state({ size: 1, frontier: [hash(7)], intentsOpened: 2, lastId: "rcp_9" });
      const counts = [{ scope: "payments", completed: 1, failed: 0, denied: 0 }];
      const spent = [{ grantRef: hash(4), scope: "payments", actions: 2, bytes: 10, recent: 1 }];
      await store.commit(
        step({
          opened: [intent(1), intent(2)],
          receipts: [receipt(1)],
          counts,
          spent,
          state: written,
        }),
      );
      expect(store.state()).toEqual(written);
      expect(store.intents()).toEqual([intent(1), intent(2)]);
      expect(store.receipts(1, 10)).toEqual([{ seq: 1, signed: bytes(1, 1), row: bytes(2, 1) }]);
      expect(store.counts()).toEqual(counts);
      expect(store.spent()).toEqual(spent);
    });

    test("a receipt takes its intent away in the same step, and no other", async () => {
      await store.commit(step({ opened: [intent(1), intent(2), intent(3)] }));
      await store.commit(step({ receipts: [receipt(1, 2), receipt(2)] }));
      expect(store.intents().map((i) => i.intentSeq)).toEqual([1, 3]);
    });

    test("an intent's row is replaced, and one replaced and closed within one step is gone", async () => {
      await store.commit(step({ opened: [intent(1), intent(2)] }));
      const more = { intentSeq: 1, body: bytes(7, 7) };
      await store.commit(step({ opened: [more, intent(2)], receipts: [receipt(1, 2)] }));
      expect(store.intents()).toEqual([more]);
    });

    test("an intent opened and closed within one step is gone", async () => {
      await store.commit(step({ opened: [intent(1)], receipts: [receipt(1, 1)] }));
      expect(store.intents()).toEqual([]);
      expect(store.receipts(1, 10)).toHaveLength(1);
    });

    test("receipts and intents come in the order of their numbers, beyond 2^32 too", async () => {
      const numbers = [1, 255, 256, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
      for (const n of numbers.toReversed()) {
        await store.commit(step({ opened: [intent(n)], receipts: [receipt(n)] }));
      }
      expect(store.receipts(0, 100).map((r) => r.seq)).toEqual(numbers);
      expect(store.intents().map((i) => i.intentSeq)).toEqual(numbers);
      expect(store.receipts(256, 2).map((r) => r.seq)).toEqual([256, 65_536]);
      expect(store.receipts(257, 1).map((r) => r.seq)).toEqual([65_536]);
    });

    test("counts and spendings are replaced by name", async () => {
      const row = (scope: string, completed: number) => ({
        scope,
        completed,
        failed: 0,
        denied: 0,
      });
      const spent = (byte: number, scope: string, actions: number) => ({
        grantRef: hash(byte),
        scope,
        actions,
        bytes: 0,
        recent: 0,
      });
      await store.commit(
        step({ counts: [row("b", 1), row("", 1), row("a", 1)], spent: [spent(1, "a", 1)] }),
      );
      await store.commit(
        step({
          counts: [row("a", 2)],
          spent: [spent(1, "a", 2), spent(2, "a", 1), spent(1, "b", 1)],
        }),
      );
      expect(store.counts()).toEqual([row("", 1), row("a", 2), row("b", 1)]);
      expect(store.spent()).toEqual([spent(1, "a", 2), spent(1, "b", 1), spent(2, "a", 1)]);
    });
  });
}

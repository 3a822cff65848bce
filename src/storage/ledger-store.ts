import { concat, utf8 } from "../domain/bytes.ts";
import type { Infer } from "../domain/canonical.ts";
import { bytes, message, repeated, str, u32, u64 } from "../domain/canonical.ts";
import { ScopeCount } from "../domain/heartbeat.ts";
import { StorageFailed, type Store, type Write } from "./store.ts";

/**
 * What a ledger keeps. Durability, concurrency and failure are those of `Store`: one `commit` is all
 * or nothing and durable once it resolves.
 *
 * A commit is a step of the whole ledger: intents opened, receipts (each with its payload row; the
 * intent it closes goes away with it), and the state after both. So whatever survives a crash is a
 * state that the ledger was in.
 */
export interface LedgerStore {
  /** null: nothing was ever committed. */
  state(): LedgerState | null;
  commit(step: LedgerStep): Promise<void>;
  /** Receipts with seq ≥ fromSeq, ascending. */
  receipts(fromSeq: number, limit: number): ReceiptRow[];
  /** The same without their payload rows: what may leave the tenant. */
  signed(fromSeq: number, limit: number): SignedRow[];
  /** All intents without a receipt, in opening order. */
  intents(): IntentRow[];
  /** Sorted by scope. */
  counts(): ScopeCounted[];
  spent(): SpentRow[];
  close(): Promise<void>;
}

/** Where the ledger stands: one row, written with every step. */
export const LedgerState = message("ledger", {
  version: u32(1),
  ledgerId: bytes(2, 32),
  tenantId: str(3),
  size: u64(4),
  lastHash: bytes(5, 32),
  frontier: repeated(bytes(6, 32)),
  intentsOpened: u64(7),
  intentsHead: bytes(8, 32),
  /** The greatest id stored, so that a restart goes on above it. */
  lastId: str(9),
  /** The control plane holds everything up to here. */
  acknowledgedSeq: u64(10),
});
export type LedgerState = Infer<typeof LedgerState>;

export type ScopeCounted = Infer<typeof ScopeCount>;

/** What was spent under a grant in one scope, since the ledger began. */
export const SpentRow = message("spent", {
  grantRef: bytes(1, 32),
  scope: str(2),
  actions: u64(3),
  /** Charged, and reserved for what is open. */
  bytes: u64(4),
  /** Openings of the minute that ended with the last one, where the lease limits their rate. */
  recent: u64(5),
});
export type SpentRow = Infer<typeof SpentRow>;

export interface IntentRow {
  readonly intentSeq: number;
  /** Encoded IntentBody. */
  readonly body: Uint8Array;
}

export interface SignedRow {
  readonly seq: number;
  /** Encoded SignedBytes. */
  readonly signed: Uint8Array;
}

export interface ReceiptRow extends SignedRow {
  /** Encoded PayloadRow. */
  readonly row: Uint8Array;
}

export interface LedgerStep {
  /** New ones, and open ones whose row changed. */
  readonly opened: readonly IntentRow[];
  /** `closes` is the intent_seq that goes away with it; 0: none. */
  readonly receipts: readonly (ReceiptRow & { readonly closes: number })[];
  /** Rows that changed. */
  readonly counts: readonly ScopeCounted[];
  readonly spent: readonly SpentRow[];
  readonly state: LedgerState;
}

/** First byte of every key; numbers follow as eight bytes, big-endian, so that they sort. */
const TABLE = { state: 1, intent: 2, receipt: 3, payload: 4, count: 5, spent: 6 } as const;

const STATE_KEY = Uint8Array.of(TABLE.state);
const ALL = Number.MAX_SAFE_INTEGER;

const table = (first: number) => ({
  from: Uint8Array.of(first),
  below: Uint8Array.of(first + 1),
  limit: ALL,
});

/** Written four times an action, hence without detours. */
function numbered(first: number, n: number): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = first;
  const high = Math.floor(n / 0x1_0000_0000);
  for (let i = 0; i < 4; i++) {
    const shift = 24 - 8 * i;
    key[1 + i] = high >>> shift;
    key[5 + i] = n >>> shift;
  }
  return key;
}

/** Lays a ledger out over rows of bytes. */
export function ledgerStore(store: Store): LedgerStore {
  const signed = (fromSeq: number, limit: number): SignedRow[] =>
    store
      .range({
        from: numbered(TABLE.receipt, fromSeq),
        below: Uint8Array.of(TABLE.receipt + 1),
        limit,
      })
      .map(({ key, value }) => ({ seq: numberIn(key), signed: value }));
  return {
    state() {
      const row = store.get(STATE_KEY);
      return row === null ? null : LedgerState.decode(row);
    },
    commit: (step) => store.commit(writesOf(step)),
    signed,
    receipts: (fromSeq, limit) =>
      signed(fromSeq, limit).map((receipt) => {
        const row = store.get(numbered(TABLE.payload, receipt.seq));
        if (row === null) {
          throw new StorageFailed(`receipt ${receipt.seq} has lost its payload row`);
        }
        return { ...receipt, row };
      }),
    intents: () =>
      store
        .range(table(TABLE.intent))
        .map(({ key, value }) => ({ intentSeq: numberIn(key), body: value })),
    counts: () => store.range(table(TABLE.count)).map(({ value }) => ScopeCount.decode(value)),
    spent: () => store.range(table(TABLE.spent)).map(({ value }) => SpentRow.decode(value)),
    close: () => store.close(),
  };
}

function writesOf({ opened, receipts, counts, spent, state }: LedgerStep): Write[] {
  const writes: Write[] = [];
  for (const { intentSeq, body } of opened) {
    writes.push({ key: numbered(TABLE.intent, intentSeq), value: body });
  }
  for (const { seq, signed, row, closes } of receipts) {
    writes.push({ key: numbered(TABLE.receipt, seq), value: signed });
    writes.push({ key: numbered(TABLE.payload, seq), value: row });
    if (closes !== 0) writes.push({ key: numbered(TABLE.intent, closes), value: null });
  }
  for (const row of counts) {
    writes.push({
      key: concat(Uint8Array.of(TABLE.count), utf8(row.scope)),
      value: ScopeCount.encode(row),
    });
  }
  for (const row of spent) {
    writes.push({
      key: concat(Uint8Array.of(TABLE.spent), row.grantRef, utf8(row.scope)),
      value: SpentRow.encode(row),
    });
  }
  writes.push({ key: STATE_KEY, value: LedgerState.encode(state) });
  return writes;
}

const numberIn = (key: Uint8Array): number => {
  const view = new DataView(key.buffer, key.byteOffset, key.length);
  return view.getUint32(1) * 0x1_0000_0000 + view.getUint32(5);
};

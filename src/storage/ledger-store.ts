import { concat, utf8 } from "../domain/bytes.ts";
import type { Infer } from "../domain/canonical.ts";
import { bytes, message, repeated, str, u32, u64 } from "../domain/canonical.ts";
import { ScopeCount } from "../domain/heartbeat.ts";
import { isSealed, type PayloadKeys, slotOf } from "./payload-keys.ts";
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
  /** Whether the payload of a receipt can be redacted: it is not kept in the clear. */
  isSealed(seq: number): boolean;
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

/** What a redaction leaves of an earlier receipt's row. */
export interface Rewritten {
  /** Of the receipt that is redacted. */
  readonly seq: number;
  /** Encoded PayloadRow: all five commitments, and the openings that stay. */
  readonly row: Uint8Array;
}

export interface LedgerStep {
  /** New ones, and open ones whose row changed. */
  readonly opened: readonly IntentRow[];
  /** `closes` is the intent_seq that goes away with it; 0: none. */
  readonly receipts: readonly (ReceiptRow & {
    readonly closes: number;
    readonly rewrites: Rewritten | null;
  })[];
  /** Rows that changed. */
  readonly counts: readonly ScopeCounted[];
  readonly spent: readonly SpentRow[];
  readonly state: LedgerState;
}

/** First byte of every key; numbers follow as eight bytes, big-endian, so that they sort. */
const TABLE = {
  state: 1,
  intent: 2,
  receipt: 3,
  payload: 4,
  count: 5,
  spent: 6,
  /** Slots whose keys are to be erased: written with the redaction, gone once it is done. */
  erasing: 7,
} as const;

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

/** Five commitments, as every PayloadRow begins: they stay when what was committed to goes. */
const COMMITMENTS_BYTES = 5 * (2 + 32);

/** Whose key seals an intent and the receipt that closes it; a receipt without one; what a redaction leaves. */
const slotOfIntent = (intentSeq: number): number => 3 * intentSeq;
const slotOfReceipt = (seq: number): number => 3 * seq + 1;
const slotOfRewritten = (redactionSeq: number): number => 3 * redactionSeq + 2;

/**
 * Lays a ledger out over rows of bytes.
 * @param keys what payloads and intents are sealed by; null: they stand in the clear, as where nothing is
 *   kept on a disk, and nothing can be redacted.
 */
export function ledgerStore(store: Store, keys: PayloadKeys | null = null): LedgerStore {
  const rows = new PayloadRows(store, keys);
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
    commit: (step) => rows.commit(step),
    signed,
    receipts: (fromSeq, limit) =>
      signed(fromSeq, limit).map((receipt) => {
        const row = store.get(numbered(TABLE.payload, receipt.seq));
        if (row === null) {
          throw new StorageFailed(`receipt ${receipt.seq} has lost its payload row`);
        }
        return { ...receipt, row: rows.open(row, receipt.seq) };
      }),
    intents: () =>
      store
        .range(table(TABLE.intent))
        .map(({ key, value }) => ({ intentSeq: numberIn(key), body: rows.openIntent(value) })),
    counts: () => store.range(table(TABLE.count)).map(({ value }) => ScopeCount.decode(value)),
    spent: () => store.range(table(TABLE.spent)).map(({ value }) => SpentRow.decode(value)),
    isSealed: (seq) => isSealed(store.get(numbered(TABLE.payload, seq)) ?? new Uint8Array(0)),
    async close() {
      keys?.close();
      await store.close();
    },
  };
}

/** Seals what is written, opens what is read, and erases keys once what they sealed was redacted. */
class PayloadRows {
  readonly #store: Store;
  readonly #keys: PayloadKeys | null;
  /** Slots that are erased, and stand in the store as still to be. */
  #done: number[];

  constructor(store: Store, keys: PayloadKeys | null) {
    this.#store = store;
    this.#keys = keys;
    // What a crash left half done is done before anything is read.
    this.#done = store.range(table(TABLE.erasing)).map(({ key }) => numberIn(key));
    for (const slot of this.#done) keys?.erase(slot);
  }

  /** Resolves when the step is durable, and what it redacts is gone. */
  async commit(step: LedgerStep): Promise<void> {
    const done = this.#done;
    const erased = step.receipts.flatMap(({ rewrites }) =>
      rewrites ? [this.#slot(rewrites)] : [],
    );
    await this.#store.commit([
      ...done.map((slot) => ({ key: numbered(TABLE.erasing, slot), value: null })),
      ...erased.map((slot) => ({ key: numbered(TABLE.erasing, slot), value: new Uint8Array(0) })),
      ...writesOf(this.#sealed(step)),
    ]);
    for (const slot of erased) this.#keys?.erase(slot);
    this.#done = erased;
  }

  #slot({ seq }: Rewritten): number {
    const row = this.#store.get(numbered(TABLE.payload, seq));
    if (row === null || !isSealed(row)) throw new TypeError(`receipt ${seq} is not sealed`);
    return slotOf(row);
  }

  open(value: Uint8Array, seq: number): Uint8Array {
    if (!isSealed(value)) return value;
    const from = value.length - COMMITMENTS_BYTES;
    const opened = this.#opener().open(value.subarray(0, from));
    // A crash between a redaction and the erasing of its key leaves the row that is rewritten, never this.
    if (opened === null) throw new StorageFailed(`the key of receipt ${seq} is gone`);
    return concat(value.subarray(from), opened);
  }

  openIntent(value: Uint8Array): Uint8Array {
    if (!isSealed(value)) return value;
    const opened = this.#opener().open(value);
    if (opened === null) throw new StorageFailed("the key of an open intent is gone");
    return opened;
  }

  #opener(): PayloadKeys {
    if (this.#keys === null) throw new StorageFailed("sealed, and there are no keys");
    return this.#keys;
  }

  #sealed(step: LedgerStep): LedgerStep {
    const keys = this.#keys;
    if (keys === null) return step;
    return {
      ...step,
      opened: step.opened.map(({ intentSeq, body }) => ({
        intentSeq,
        body: keys.seal(slotOfIntent(intentSeq), body),
      })),
      receipts: step.receipts.map((receipt) => {
        const { seq, row, closes, rewrites } = receipt;
        const slot = closes > 0 ? slotOfIntent(closes) : slotOfReceipt(seq);
        return {
          ...receipt,
          row: seal(keys, slot, row),
          rewrites: rewrites && {
            ...rewrites,
            row: seal(keys, slotOfRewritten(seq), rewrites.row),
          },
        };
      }),
    };
  }
}

/** The openings sealed, the commitments behind them in the clear. */
const seal = (keys: PayloadKeys, slot: number, row: Uint8Array): Uint8Array =>
  concat(keys.seal(slot, row.subarray(COMMITMENTS_BYTES)), row.subarray(0, COMMITMENTS_BYTES));

function writesOf({ opened, receipts, counts, spent, state }: LedgerStep): Write[] {
  const writes: Write[] = [];
  for (const { intentSeq, body } of opened) {
    writes.push({ key: numbered(TABLE.intent, intentSeq), value: body });
  }
  for (const { seq, signed, row, closes, rewrites } of receipts) {
    writes.push({ key: numbered(TABLE.receipt, seq), value: signed });
    writes.push({ key: numbered(TABLE.payload, seq), value: row });
    if (rewrites !== null)
      writes.push({ key: numbered(TABLE.payload, rewrites.seq), value: rewrites.row });
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

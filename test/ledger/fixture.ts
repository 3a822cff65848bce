import { type LedgerMeans, startLedger } from "../../sidecar/ledger/open-ledger.ts";
import type { Refusals } from "../../sidecar/ledger/refusals.ts";
import type { BatchSigner } from "../../sidecar/ledger/signer.ts";
import type {
  Closing,
  IntentDraft,
  RecordDraft,
  StoredReceipt,
  WorkLedger,
} from "../../sidecar/ledger/work-ledger.ts";
import type { Claim } from "../../src/domain/claim.ts";
import { GoalBody } from "../../src/domain/payload.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { Seed } from "../../src/native/keys.ts";
import { checkLedger } from "../../src/storage/ledger-check.ts";
import { ledgerStore } from "../../src/storage/ledger-store.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { PayloadKeys } from "../../src/storage/payload-keys.ts";
import type { Store, Write } from "../../src/storage/store.ts";

export const NOW_US = 1_780_000_000_000_000;
const filled = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

export const LEDGER_ID = filled(0xa1);
const MANIFEST = filled(0xb2);
const LEASE = filled(0xc3);
export const GRANT = filled(0xd4);
const SEED_BYTES = filled(0x5e);
export const seed = new Seed(SEED_BYTES);
const LEDGER_KEY = native.publicKey(SEED_BYTES);
export const IDENTITY = { ledgerId: LEDGER_ID, tenantId: "acme", manifestHash: MANIFEST };
const NOTHING = new Uint8Array(0);

export const claimOf = (path: string): Claim => ({
  version: 1,
  protocol: "GRPC",
  target: "payments.internal:443",
  verb: "",
  path,
  inputs: [],
  limitState: [{ scope: "payments", actionsLeft: 9, bytesLeft: 9, concurrentLeft: 9, rateLeft: 9 }],
  scheme: "HTTPS",
});

const GOAL = GoalBody.encode({
  version: 1,
  purpose: "settle invoices",
  goal: "",
  traceparent: "",
});

export const draft = (over: Partial<IntentDraft> = {}): IntentDraft => ({
  claim: claimOf("/payments.v1.Payments/Get"),
  listens: false,
  goal: GOAL,
  grantRef: GRANT,
  leaseRef: LEASE,
  manifestHash: MANIFEST,
  scope: "payments",
  wouldDeny: "UNSPECIFIED",
  openedAtUs: NOW_US,
  reservedBytes: 0,
  recent: 0,
  ...over,
});

export const closing = (over: Partial<Closing> = {}): Closing => ({
  verdict: "COMPLETED",
  reason: "UNSPECIFIED",
  closedAtUs: NOW_US + 5000,
  egressLastUs: NOW_US + 1000,
  spentBytes: 10,
  action: Uint8Array.of(1),
  evidence: Uint8Array.of(2),
  outcome: Uint8Array.of(3),
  ...over,
});

export const denial = (over: Partial<RecordDraft> = {}): RecordDraft => ({
  kind: "DENIAL",
  reason: "SCOPE_NOT_GRANTED",
  scope: "payments",
  leaseRef: LEASE,
  manifestHash: MANIFEST,
  claim: Uint8Array.of(9),
  goal: GOAL,
  action: NOTHING,
  evidence: NOTHING,
  outcome: NOTHING,
  openedAtUs: NOW_US,
  ...over,
});

/** Signs on this thread, so that a test decides by itself when things happen. */
export const inlineSigner = (): BatchSigner => ({
  publicKey: LEDGER_KEY,
  sign: async (messages) => messages.map((m) => native.sign(SEED_BYTES, m)),
  close: async () => {},
});

export function countedRefusals(): Refusals {
  let count = 0;
  return {
    get count() {
      return count;
    },
    add() {
      count += 1;
    },
    told(n) {
      count -= n;
    },
    close: () => {},
  };
}

/** A store whose commits wait at a gate, or fail, when a test says so. */
export class GatedStore implements Store {
  readonly inner: Store;
  /** Each commit that reached the store, in order. */
  readonly commits: (readonly Write[])[] = [];
  failWith: Error | null = null;
  #gate: PromiseWithResolvers<void> | null = null;

  constructor(inner: Store = memoryStore()) {
    this.inner = inner;
  }

  /** From now on commits wait until `release`. */
  hold(): void {
    this.#gate ??= Promise.withResolvers<void>();
  }

  release(): void {
    this.#gate?.resolve();
    this.#gate = null;
  }

  async commit(writes: readonly Write[]): Promise<void> {
    this.commits.push(writes);
    await this.#gate?.promise;
    if (this.failWith !== null) throw this.failWith;
    await this.inner.commit(writes);
  }

  get = (key: Uint8Array): Uint8Array | null => this.inner.get(key);
  range = (range: Parameters<Store["range"]>[0]) => this.inner.range(range);
  /** The rows outlive the ledger that had them, as a disk does. */
  close = async (): Promise<void> => {};
}

export interface Started {
  readonly ledger: WorkLedger;
  readonly store: GatedStore;
  readonly clock: ManualClock;
  readonly refusals: Refusals;
}

export async function start(
  over: Partial<Omit<LedgerMeans, "store" | "clock">> & {
    readonly store?: GatedStore;
    readonly clock?: ManualClock;
  } = {},
): Promise<Started> {
  const store = over.store ?? new GatedStore();
  const clock = over.clock ?? new ManualClock(NOW_US);
  const refusals = over.refusals ?? countedRefusals();
  const ledger = await startLedger(IDENTITY, {
    signer: inlineSigner(),
    release: async () => {},
    ...over,
    refusals,
    clock,
    store: ledgerStore(store),
  });
  return { ledger, store, clock, refusals };
}

/** Everything that is due in this turn of the event loop has happened: commits, signatures. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const headerOf = ({ signed }: Pick<StoredReceipt, "signed">): ReceiptHeader =>
  ReceiptHeader.decode(SignedBytes.decode(signed).body);

export const headersIn = (ledger: WorkLedger): ReceiptHeader[] =>
  ledger.read(1, 100_000).map(headerOf);

/** null: every receipt, link, commitment and the tree hold. `folder`: where the keys of its payloads are. */
export function check(store: Store, folder?: string) {
  const keys = folder === undefined ? null : PayloadKeys.open(folder);
  const identity = { ledgerId: LEDGER_ID, ledgerKey: LEDGER_KEY };
  try {
    return checkLedger(native, ledgerStore(store, keys), identity, 1);
  } finally {
    keys?.close();
  }
}

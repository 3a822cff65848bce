import type { ChainState } from "../../src/domain/chain.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { Frontier } from "../../src/domain/merkle.ts";
import { Numbered } from "../../src/domain/numbered.ts";
import { type Broken, checkSteps } from "../../src/storage/ledger-check.ts";
import type { LedgerStore } from "../../src/storage/ledger-store.ts";
import type { Intent } from "./intent.ts";
import type { Receipt } from "./receipt-maker.ts";
import type { LedgerHead, StoredHeader, StoredReceipt } from "./work-ledger.ts";

/**
 * The ledger as it may be spoken of: what is durable and signed, all of one moment. The store may
 * already show a commit whose news has not arrived; nothing of it shows here.
 */
export class DurableView {
  readonly #crypto: Crypto;
  readonly #store: LedgerStore;
  readonly #ledgerKey: Uint8Array;
  /** Durable, and without a durable receipt; in opening order. */
  readonly #open = new Numbered<Intent>();
  #state: ChainState;
  #head: LedgerHead | null = null;
  #lastReceiptId = "";

  constructor(crypto: Crypto, store: LedgerStore, ledgerKey: Uint8Array, state: ChainState) {
    this.#crypto = crypto;
    this.#store = store;
    this.#ledgerKey = ledgerKey;
    this.#state = state;
  }

  /** As the last durable receipt and the last durable intent leave the chain. */
  get state(): ChainState {
    return this.#state;
  }

  get lastReceiptId(): string {
    return this.#lastReceiptId;
  }

  /** An intent that a crash left in the store. */
  reopen(intent: Intent): void {
    this.#open.add(intent.intentSeq, intent);
  }

  /** A step is durable. */
  advance(after: ChainState, opened: readonly Intent[], receipts: readonly Receipt[]): void {
    this.#state = after;
    this.#head = null;
    for (const intent of opened) this.#open.add(intent.intentSeq, intent);
    for (const { header } of receipts) {
      this.#lastReceiptId = header.receiptId;
      this.#open.delete(header.intentSeq);
    }
  }

  head(): LedgerHead {
    if (this.#head === null) {
      const { size, frontier, intentsOpened, intentsHead } = this.#state;
      const root = new Frontier(this.#crypto, size, frontier).root();
      this.#head = { size, root, intentsOpened, intentsHead };
    }
    return this.#head;
  }

  read(fromSeq: number, limit: number): StoredReceipt[] {
    return this.#store.receipts(fromSeq, this.#within(fromSeq, limit));
  }

  headers(fromSeq: number, limit: number): StoredHeader[] {
    return this.#store.signed(fromSeq, this.#within(fromSeq, limit));
  }

  /** Whether a durable receipt's payload can be redacted. */
  isSealed(seq: number): boolean {
    return seq >= 1 && seq <= this.#state.size && this.#store.isSealed(seq);
  }

  #within(fromSeq: number, limit: number): number {
    return Math.max(0, Math.min(limit, this.#state.size - fromSeq + 1));
  }

  openIntents(): Uint8Array[] {
    return this.#open.values().map((intent) => intent.row().body);
  }

  async check(): Promise<Broken | null> {
    const identity = { ledgerId: this.#state.ledgerId, ledgerKey: this.#ledgerKey };
    const steps = checkSteps(this.#crypto, this.#store, identity, 1);
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

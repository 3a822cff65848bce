import { equal } from "../domain/bytes.ts";
import { type IntentLink, nextIntentsHead } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";
import { openIntentsMax } from "../domain/limits.ts";
import { type Break, broken, type CheckCode } from "./checks.ts";
import type { Flags } from "./flags.ts";

/** A head of the intent chain that something signed has stated. */
interface Stated {
  readonly head: Uint8Array;
  readonly code: CheckCode;
  readonly index: number;
  readonly who: string;
}

/** An intent as far as it is shown: without its claim's commitment, I is unknown from there on. */
export type ShownIntent = Omit<IntentLink, "claimCommitment"> & {
  readonly claimCommitment: Uint8Array | null;
};

/**
 * Recomputes the intent chain from what closes, in whatever order it closes: a link waits until all
 * before it are known, a stated head until the chain has come that far.
 */
export class Intents {
  readonly #crypto: Crypto;
  readonly #flags: Flags;
  readonly #waiting = new Map<number, ShownIntent>();
  readonly #stated = new Map<number, Stated[]>();
  /** Intents opened before the range that is shown, and closed in it. */
  readonly #earlier = new Set<number>();
  readonly #start: number;
  #known: number;
  /** null: a commitment before here is not shown. */
  #head: Uint8Array | null;
  #proven = 0;
  #lastId = "";
  #lastOpenedUs = 0;
  #lastLease: Uint8Array = new Uint8Array(0);
  /** Receipts that came with their payload's row, and without it. */
  #rows = 0;
  #bare = 0;

  /** `opened` and `head`: where the chain stood before the first receipt that is shown. */
  constructor(crypto: Crypto, flags: Flags, opened: number, head: Uint8Array) {
    this.#crypto = crypto;
    this.#flags = flags;
    this.#start = opened;
    this.#known = opened;
    this.#head = head;
  }

  /** Something signed says that I at `opened` is `head`. False: it lies before what is shown. */
  state(opened: number, stated: Stated): boolean {
    if (opened < this.#known) return false;
    const list = this.#stated.get(opened) ?? [];
    const alike = list.filter((s) => s.code === stated.code);
    // Receipts that close while one call stays open all state the same head; one of them will do. Of
    // two that differ one is wrong, and more of them only cost time.
    if (alike.length < 2 && !alike.some((s) => equal(s.head, stated.head))) {
      this.#stated.set(opened, [...list, stated]);
    }
    return true;
  }

  /** Of each receipt: whether its payload's row came with it. */
  came(withRow: boolean): void {
    if (withRow) this.#rows++;
    else this.#bare++;
  }

  /** An intent's link, from the receipt that closes it or from the row of one still open. */
  link(intentSeq: number, link: ShownIntent, index: number): Break | null {
    if (intentSeq <= this.#start) {
      if (this.#earlier.has(intentSeq)) return this.#twice(intentSeq, index);
      this.#earlier.add(intentSeq);
      return null;
    }
    if (intentSeq <= this.#known || this.#waiting.has(intentSeq))
      return this.#twice(intentSeq, index);
    this.#waiting.set(intentSeq, link);
    return null;
  }

  #twice(intentSeq: number, index: number): Break {
    return broken("INTENT", "E_INTENT_DUP", index, `intent ${intentSeq} is closed a second time`);
  }

  /** Carries the chain as far as it is known, and holds it against what was stated. */
  advance(index: number): Break | null {
    for (;;) {
      for (const { head, code, index: at, who } of this.#stated.get(this.#known) ?? []) {
        if (this.#head !== null && !equal(head, this.#head)) {
          const what = `${who} states another head of the intent chain at intent ${this.#known}`;
          const differing = { expected: head, found: this.#head };
          return broken("INTENT_CHAIN", code, at, what, { differing });
        }
      }
      this.#stated.delete(this.#known);
      const next = this.#waiting.get(this.#known + 1);
      if (next === undefined) return null;
      if (next.receiptId <= this.#lastId) {
        return broken(
          "INTENT_CHAIN",
          "E_ID_ORDER",
          index,
          `${next.receiptId} is not above ${this.#lastId}`,
        );
      }
      if (next.openedAtUs < this.#lastOpenedUs) {
        // Time that falls under one lease would stretch it; between two it was the clock that was set.
        if (equal(next.leaseRef, this.#lastLease)) {
          const what = `intent ${this.#known + 1} opened before the intent that it follows`;
          return broken("INTENT_CHAIN", "E_TIME_BACKWARDS", index, what);
        }
        this.#flags.raise("CLOCK_SET_BACK", index);
      }
      this.#lastId = next.receiptId;
      this.#lastOpenedUs = next.openedAtUs;
      this.#lastLease = next.leaseRef;
      const { claimCommitment } = next;
      if (this.#head === null || claimCommitment === null) this.#head = null;
      else {
        this.#head = nextIntentsHead(this.#crypto, this.#head, { ...next, claimCommitment });
        this.#proven++;
      }
      this.#waiting.delete(this.#known + 1);
      this.#known += 1;
    }
  }

  /** The chain is known without a gap up to here. */
  get known(): number {
    return this.#known;
  }

  /** How many links were recomputed here. */
  get proven(): number {
    return this.#proven;
  }

  /** The lowest intent that something states or that stands beyond a gap; null: none is missing. */
  missing(): number | null {
    return this.#waiting.size > 0 || this.#stated.size > 0 ? this.#known + 1 : null;
  }

  /**
   * Of a ledger that is shown without its payloads' rows: intents that were opened, up to `opened` and to what
   * is stated, and have no end here. null: rows are shown, so those of open intents are owed; or there are
   * more than can be open at once.
   */
  unclosed(opened: number): number[] | null {
    if (this.#rows > 0 || this.#bare === 0) return null;
    let most = opened;
    for (const k of this.#stated.keys()) most = Math.max(most, k);
    for (const k of this.#waiting.keys()) most = Math.max(most, k);
    if (most - this.#known - this.#waiting.size > openIntentsMax) return null;
    const open: number[] = [];
    for (let k = this.#known + 1; k <= most; k++) if (!this.#waiting.has(k)) open.push(k);
    return open;
  }
}

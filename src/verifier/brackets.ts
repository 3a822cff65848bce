import type { ReceiptHeader } from "../domain/receipt.ts";
import type { CosignedHead } from "./checkpoints.ts";
import type { Flags } from "./flags.ts";

/** How far a receipt's own clock may run ahead of the cosigner's before it is told. */
const leewayUs = 60_000_000;

/**
 * Between which times, by clocks of others than the ledger, receipts were made: not before the issuer signed
 * the first lease that one of them cites, and not after the first countersignature over them.
 */
export interface Bracket {
  readonly fromSeq: number;
  readonly toSeq: number;
  /** By the issuer's clock; 0: none of them cites a lease. */
  readonly afterUs: number;
  /** By the cosigner's clock; 0: by witnesses alone, or by nobody. */
  readonly beforeUs: number;
}

/** Follows receipts in their order, and closes a bracket at each countersigned head. */
export class Brackets {
  readonly #heads: readonly { readonly size: number; readonly atUs: number }[];
  readonly #flags: Flags;
  readonly #closed: Bracket[] = [];
  #next = 0;
  #from: number;
  #last: number;
  #afterUs = 0;

  constructor(heads: readonly CosignedHead[], flags: Flags, firstSeq: number) {
    this.#heads = earliest(heads);
    this.#flags = flags;
    this.#from = firstSeq;
    this.#last = firstSeq - 1;
  }

  /** The next receipt; `issuedAtUs` of the lease that it cites, 0: it cites none. */
  take({ seq, closedAtUs }: ReceiptHeader, issuedAtUs: number): void {
    while (this.#next < this.#heads.length && this.#head().size < seq) this.#close();
    if (this.#afterUs === 0 || (issuedAtUs > 0 && issuedAtUs < this.#afterUs))
      this.#afterUs = issuedAtUs;
    this.#last = seq;
    const before = this.#heads[this.#next]?.atUs ?? 0;
    if (before > 0 && closedAtUs > before + leewayUs) this.#flags.raise("AFTER_COSIGNATURE", seq);
  }

  #head(): { readonly size: number; readonly atUs: number } {
    return this.#heads[this.#next] as { size: number; atUs: number };
  }

  #close(): void {
    const { size, atUs } = this.#head();
    const toSeq = Math.min(size, this.#last);
    if (toSeq >= this.#from) {
      this.#closed.push({ fromSeq: this.#from, toSeq, afterUs: this.#afterUs, beforeUs: atUs });
      this.#from = toSeq + 1;
      this.#afterUs = 0;
    }
    this.#next++;
  }

  /** All brackets; the last one may be open upwards. */
  all(): readonly Bracket[] {
    const { size = 0, atUs = 0 } = this.#heads[this.#next] ?? {};
    const rest = {
      fromSeq: this.#from,
      toSeq: this.#last,
      afterUs: this.#afterUs,
      beforeUs: size >= this.#last ? atUs : 0,
    };
    return rest.toSeq < rest.fromSeq ? this.#closed : [...this.#closed, rest];
  }
}

/** Ascending sizes, each with the earliest countersignature of a head of that size or more. */
function earliest(heads: readonly CosignedHead[]) {
  const timed = heads.filter((h) => h.cosignedAtUs > 0).sort((a, b) => a.size - b.size);
  let atUs = Number.POSITIVE_INFINITY;
  const sizes = new Map<number, number>();
  for (const head of timed.toReversed()) {
    atUs = Math.min(atUs, head.cosignedAtUs);
    sizes.set(head.size, atUs);
  }
  return [...sizes].map(([size, at]) => ({ size, atUs: at })).reverse();
}

import { utf8 } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";

const KEPT = utf8("dragons/v1/kept\n");
const HASH_BYTES = 32;

/**
 * Which records of a ledger still count: seq and leaf hash of each, in order, 40 bytes together. A
 * record that no longer counts leaves a hole, and holes are closed when half of it is holes.
 */
export class Kept {
  /** Ascending. */
  #seqs = new Float64Array(64);
  #leaves = new Uint8Array(64 * HASH_BYTES);
  /** 1: it counts; 0: a hole. */
  #counts = new Uint8Array(64);
  #length = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** `seq` is above all that were added before. */
  add(seq: number, leaf: Uint8Array): void {
    if (this.#length === this.#seqs.length) this.#rebuild();
    this.#seqs[this.#length] = seq;
    this.#leaves.set(leaf, this.#length * HASH_BYTES);
    this.#counts[this.#length] = 1;
    this.#length += 1;
    this.#size += 1;
  }

  /** The record counts no longer. */
  drop(seq: number): void {
    let low = 0;
    for (let high = this.#length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((this.#seqs[middle] as number) < seq) low = middle + 1;
      else high = middle;
    }
    if (this.#seqs[low] !== seq || this.#counts[low] !== 1) throw new Error(`no record ${seq}`);
    this.#counts[low] = 0;
    this.#size -= 1;
  }

  /** Ascending. */
  seqs(): number[] {
    return Array.from(this.#places(), (at) => this.#seqs[at] as number);
  }

  /** `SHA256("dragons/v1/kept\n" ‖ leaf hashes in order)` */
  digest(crypto: Crypto): Uint8Array {
    const leaves = new Uint8Array(this.#size * HASH_BYTES);
    let to = 0;
    for (const at of this.#places()) {
      leaves.set(this.#leaves.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES), to);
      to += HASH_BYTES;
    }
    return crypto.sha256(KEPT, leaves);
  }

  *#places(): Generator<number> {
    for (let at = 0; at < this.#length; at++) if (this.#counts[at] === 1) yield at;
  }

  /** Without holes, and with room for as many again as there are. */
  #rebuild(): void {
    const room = Math.max(64, this.#size * 2);
    const seqs = new Float64Array(room);
    const leaves = new Uint8Array(room * HASH_BYTES);
    let to = 0;
    for (const at of this.#places()) {
      seqs[to] = this.#seqs[at] as number;
      leaves.set(this.#leaves.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES), to * HASH_BYTES);
      to += 1;
    }
    this.#seqs = seqs;
    this.#leaves = leaves;
    this.#counts = new Uint8Array(room).fill(1, 0, to);
    this.#length = to;
  }
}

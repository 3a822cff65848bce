import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { Frontier } from "../domain/merkle.ts";
import { type Break, broken, type CheckCode } from "./checks.ts";
import { ByteTable } from "./lists.ts";

/** A head that somebody signed or holds: the root that the tree must have at that size. */
export interface Pin {
  readonly size: number;
  readonly root: Uint8Array;
  readonly code: CheckCode;
  readonly who: string;
}

/**
 * Grows the Merkle tree leaf by leaf, as LEAVES announce them or as receipts come, and holds every pinned
 * head against it on the way. Keeps the leaves from the first receipt shown onwards.
 */
export class Tree {
  readonly #frontier: Frontier;
  readonly #pins = new Map<number, Pin[]>();
  /** From leaf `#before + 1` onwards. */
  readonly #leaves = new ByteTable(32);
  readonly #start: number;
  #announced = false;
  #placed = 0;
  #met = 0;
  #earlier = 0;

  /** `last`: the leaf after those of `start`, already one of them; absent: the tree begins with receipt 1. */
  constructor(
    crypto: Crypto,
    start: { size: number; nodes: readonly Uint8Array[] },
    last: Uint8Array | null = null,
  ) {
    this.#frontier = Frontier.restore(crypto, start);
    if (last !== null) this.#frontier.append(last);
    this.#start = this.#frontier.size;
  }

  get size(): number {
    return this.#frontier.size;
  }

  get root(): Uint8Array {
    return this.#frontier.root();
  }

  /** LEAVES told the leaves before their receipts. */
  get announced(): boolean {
    return this.#announced;
  }

  /** Pins that were held against the tree. */
  get met(): number {
    return this.#met;
  }

  /** Pins of trees smaller than what is shown begins with: this pack cannot tell. */
  get before(): number {
    return this.#earlier;
  }

  pin(pin: Pin): void {
    if (pin.size < this.size) this.#earlier++;
    else this.#pins.set(pin.size, [...(this.#pins.get(pin.size) ?? []), pin]);
  }

  /** A leaf told in advance. */
  announce(leaf: Uint8Array): Break | null {
    this.#announced = true;
    return this.#append(leaf);
  }

  /** The leaf of receipt `seq`, which comes next. */
  place(leaf: Uint8Array, seq: number): Break | null {
    this.#placed++;
    if (!this.#announced) return this.#append(leaf);
    if (this.isLeaf(leaf, seq)) return null;
    const what =
      seq > this.size
        ? `LEAVES end at ${this.size}`
        : "it is not the receipt whose hash stands in LEAVES";
    const expected = this.leaf(seq);
    return broken("HEADS", "E_LEAF_MISMATCH", seq, what, {
      ...(expected && { differing: { expected, found: leaf } }),
    });
  }

  /** Whether this is leaf `seq`, of those announced. */
  isLeaf(leaf: Uint8Array, seq: number): boolean {
    const told = this.leaf(seq);
    return told !== null && equal(told, leaf);
  }

  /** Leaf `seq`, announced or placed; null: it is not known. */
  leaf(seq: number): Uint8Array | null {
    const index = seq - this.#start - 1;
    return index >= 0 && index < this.#leaves.length ? this.#leaves.at(index) : null;
  }

  /** The seq of an earlier receipt that is shown, by its H; null: none has it. */
  seqOf(leaf: Uint8Array): number | null {
    const index = this.#leaves.indexOf(leaf);
    return index < 0 || index >= this.#placed ? null : this.#start + index + 1;
  }

  #append(leaf: Uint8Array): Break | null {
    this.#frontier.append(leaf);
    this.#leaves.push(leaf);
    return this.compare();
  }

  /** Holds the pins of this very size against the root. */
  compare(): Break | null {
    const pins = this.#pins.get(this.size);
    if (pins === undefined) return null;
    this.#pins.delete(this.size);
    for (const { root, code, who } of pins) {
      if (!equal(root, this.root)) {
        return broken(
          "HEADS",
          code,
          this.size,
          `${who} states another root for the first ${this.size} receipts`,
          { differing: { expected: root, found: this.root } },
        );
      }
      this.#met++;
    }
    return null;
  }

  /** The largest head that reaches beyond what is shown; null: none does. */
  beyond(): Pin | null {
    let furthest: Pin | null = null;
    for (const [pin] of this.#pins.values()) {
      if (pin !== undefined && pin.size > (furthest?.size ?? -1)) furthest = pin;
    }
    return furthest;
  }
}

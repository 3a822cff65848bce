import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { Frontier } from "../domain/merkle.ts";
import { type Break, broken, type CheckCode } from "./checks.ts";

/** A head that somebody signed or holds: the root that the tree must have at that size. */
export interface Pin {
  readonly size: number;
  readonly root: Uint8Array;
  readonly code: CheckCode;
  readonly who: string;
}

/** Grows the Merkle tree leaf by leaf and holds every pinned head against it on the way. */
export class Tree {
  readonly #frontier: Frontier;
  readonly #pins = new Map<number, Pin[]>();
  #met = 0;
  #before = 0;

  constructor(crypto: Crypto, start: { size: number; nodes: readonly Uint8Array[] }) {
    this.#frontier = Frontier.restore(crypto, start);
  }

  get size(): number {
    return this.#frontier.size;
  }

  get root(): Uint8Array {
    return this.#frontier.root();
  }

  /** Pins that were held against the tree. */
  get met(): number {
    return this.#met;
  }

  /** Pins of trees smaller than what is shown begins with: this pack cannot tell. */
  get before(): number {
    return this.#before;
  }

  pin(pin: Pin): void {
    if (pin.size < this.size) this.#before++;
    else this.#pins.set(pin.size, [...(this.#pins.get(pin.size) ?? []), pin]);
  }

  append(leaf: Uint8Array): Break | null {
    this.#frontier.append(leaf);
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

import type { Crypto } from "./crypto.ts";
import { consistencyProof, Frontier, rootOf } from "./merkle.ts";

/** Leaves in one block: a power of two, so that blocks are subtrees of every larger tree. */
const BLOCK = 256;

/** The leaves of one block, in order: as many as there are up to `BLOCK`. */
export type ReadLeaves = (from: number, count: number) => Promise<readonly Uint8Array[]>;

/**
 * A tree of which the leaves lie elsewhere: it keeps the root of each full block, 32 bytes for 256
 * leaves, and reads the one or two blocks that a proof passes through.
 */
export class BlockTree {
  readonly #crypto: Crypto;
  readonly #read: ReadLeaves;
  readonly #blocks: Uint8Array[] = [];

  constructor(crypto: Crypto, read: ReadLeaves) {
    this.#crypto = crypto;
    this.#read = read;
  }

  /** Proof that the first `oldSize` leaves begin the first `size`; RFC 6962 §2.1.2. */
  async consistency(oldSize: number, size: number): Promise<Uint8Array[]> {
    if (!(oldSize >= 0 && oldSize <= size)) throw new RangeError(`no size ${oldSize} of ${size}`);
    return oldSize === 0 ? [] : this.#prove(0, size, oldSize, true);
  }

  /** Roots of the full subtrees over the first `size` leaves, largest first: see `Frontier`. */
  async frontier(size: number): Promise<Uint8Array[]> {
    const nodes: Uint8Array[] = [];
    for (let start = 0; start < size; ) {
      const width = split(size - start + 1);
      nodes.push(await this.#root(start, start + width));
      start += width;
    }
    return nodes;
  }

  /** `count` leaves from index `from` on. */
  leaves(from: number, count: number): Promise<readonly Uint8Array[]> {
    return this.#read(from, count);
  }

  async #prove(start: number, end: number, m: number, whole: boolean): Promise<Uint8Array[]> {
    const n = end - start;
    if (m === n) return whole ? [] : [await this.#root(start, end)];
    if (n <= BLOCK) {
      const leaves = await this.#read(start, n);
      const proof = consistencyProof(this.#crypto, leaves, m);
      // Whoever asks within a tree does not know the old root, and is told it where a proof leaves it out.
      const leftOut = !whole && isPowerOfTwo(m);
      return leftOut ? [rootOf(this.#crypto, leaves.slice(0, m)), ...proof] : proof;
    }
    const k = split(n);
    const middle = start + k;
    return m <= k
      ? [...(await this.#prove(start, middle, m, whole)), await this.#root(middle, end)]
      : [...(await this.#prove(middle, end, m - k, false)), await this.#root(start, middle)];
  }

  /** Root of the leaves from `start` to before `end`; `start` is a multiple of the largest power in it. */
  async #root(start: number, end: number): Promise<Uint8Array> {
    const tree = new Frontier(this.#crypto);
    const whole = Math.floor((end - start) / BLOCK);
    if (whole === 0) return rootOf(this.#crypto, await this.#read(start, end - start));
    // Block roots make a tree of their own, of which the leaves of a last, lesser block are no part.
    for (let i = 0; i < whole; i++) tree.append(await this.#block(start / BLOCK + i));
    const rest = start + whole * BLOCK;
    if (rest === end) return tree.root();
    const last = rootOf(this.#crypto, await this.#read(rest, end - rest));
    const nodes = [...tree.nodes(), last];
    return nodes.reduceRight((right, left) => this.#crypto.sha256(Uint8Array.of(1), left, right));
  }

  async #block(index: number): Promise<Uint8Array> {
    const known = this.#blocks[index];
    if (known !== undefined) return known;
    const root = rootOf(this.#crypto, await this.#read(index * BLOCK, BLOCK));
    this.#blocks[index] = root;
    return root;
  }
}

const isPowerOfTwo = (n: number): boolean => Number.isInteger(Math.log2(n));

/** The largest power of two below `n`, for n > 1. */
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

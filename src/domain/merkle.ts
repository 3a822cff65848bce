import { equal } from "./bytes.ts";
import type { Crypto } from "./crypto.ts";

/**
 * The Merkle tree of RFC 6962 §2.1 over leaf hashes that are given: what a leaf hash is made of is
 * the chain's affair. Nodes are `SHA256(0x01 ‖ left ‖ right)`; the empty tree is `SHA256("")`.
 *
 * Verifying follows RFC 9162 §2.1.3.2 and §2.1.4.2. Sizes go to 2^53 − 1, so no bit operators.
 */
export interface TreeHead {
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

const NODE = Uint8Array.of(1);

const parent = (crypto: Crypto, left: Uint8Array, right: Uint8Array): Uint8Array =>
  crypto.sha256(NODE, left, right);

export function rootOf(crypto: Crypto, leaves: readonly Uint8Array[]): Uint8Array {
  const frontier = new Frontier(crypto);
  for (const leaf of leaves) frontier.append(leaf);
  return frontier.root();
}

/** What is needed of a tree to append to it and to tell its root: one node for each bit of its size. */
export class Frontier {
  readonly #crypto: Crypto;
  /** Roots of the full subtrees, largest first. */
  readonly #nodes: Uint8Array[];
  #size: number;
  #root: Uint8Array | null = null;

  constructor(crypto: Crypto, size = 0, nodes: readonly Uint8Array[] = []) {
    if (nodes.length !== ones(size)) {
      throw new RangeError(`a tree of ${size} leaves has ${ones(size)} frontier nodes`);
    }
    this.#crypto = crypto;
    this.#size = size;
    this.#nodes = [...nodes];
  }

  get size(): number {
    return this.#size;
  }

  /** One hash on average. */
  append(leaf: Uint8Array): void {
    let node = leaf;
    for (let rest = this.#size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
      node = parent(this.#crypto, this.#nodes.pop() as Uint8Array, node);
    }
    this.#nodes.push(node);
    this.#size += 1;
    this.#root = null;
  }

  /** As many hashes as there are nodes, less one; none if nothing was appended since. */
  root(): Uint8Array {
    if (this.#root === null) {
      const [smallest, ...larger] = this.#nodes.toReversed();
      this.#root = smallest
        ? larger.reduce((right, left) => parent(this.#crypto, left, right), smallest)
        : this.#crypto.sha256();
    }
    return this.#root;
  }

  /** Largest subtree first: with `size`, all there is to store. */
  nodes(): Uint8Array[] {
    return [...this.#nodes];
  }

  static restore(crypto: Crypto, state: { size: number; nodes: readonly Uint8Array[] }): Frontier {
    return new Frontier(crypto, state.size, state.nodes);
  }
}

/** The audit path of leaf `index` (from 0), from the leaf upwards. */
export function inclusionProof(
  crypto: Crypto,
  leaves: readonly Uint8Array[],
  index: number,
): Uint8Array[] {
  const size = leaves.length;
  if (!(index >= 0 && index < size)) throw new RangeError(`no leaf ${index} of ${size}`);
  if (size === 1) return [];
  const k = split(size);
  const left = leaves.slice(0, k);
  const right = leaves.slice(k);
  return index < k
    ? [...inclusionProof(crypto, left, index), rootOf(crypto, right)]
    : [...inclusionProof(crypto, right, index - k), rootOf(crypto, left)];
}

/** Whether `leaf` is leaf `index` (from 0) of the tree with this head. */
export function verifyInclusion(
  crypto: Crypto,
  leaf: Uint8Array,
  index: number,
  head: TreeHead,
  proof: readonly Uint8Array[],
): boolean {
  if (!isSize(head.size) || !isSize(index) || index >= head.size) return false;
  let fn = index;
  let sn = head.size - 1;
  let node = leaf;
  for (const sibling of proof) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      node = parent(crypto, sibling, node);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      node = parent(crypto, node, sibling);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && equal(node, head.root);
}

/** Proof that the tree of the first `oldSize` leaves is a prefix of the tree of all of them. */
export function consistencyProof(
  crypto: Crypto,
  leaves: readonly Uint8Array[],
  oldSize: number,
): Uint8Array[] {
  const size = leaves.length;
  if (!(oldSize >= 0 && oldSize <= size)) throw new RangeError(`no size ${oldSize} of ${size}`);
  return oldSize === 0 ? [] : subProof(crypto, leaves, oldSize, true);
}

function subProof(
  crypto: Crypto,
  leaves: readonly Uint8Array[],
  m: number,
  whole: boolean,
): Uint8Array[] {
  const n = leaves.length;
  if (m === n) return whole ? [] : [rootOf(crypto, leaves)];
  const k = split(n);
  const left = leaves.slice(0, k);
  const right = leaves.slice(k);
  return m <= k
    ? [...subProof(crypto, left, m, whole), rootOf(crypto, right)]
    : [...subProof(crypto, right, m - k, false), rootOf(crypto, left)];
}

/** Whether the tree of `newer` begins with all leaves of the tree of `older`, in order. */
export function verifyConsistency(
  crypto: Crypto,
  older: TreeHead,
  newer: TreeHead,
  proof: readonly Uint8Array[],
): boolean {
  if (!isSize(older.size) || !isSize(newer.size) || older.size > newer.size) return false;
  // The empty tree begins every tree, and has one root.
  if (older.size === 0) return proof.length === 0 && equal(older.root, crypto.sha256());
  if (older.size === newer.size) return proof.length === 0 && equal(older.root, newer.root);
  let fn = older.size - 1;
  let sn = newer.size - 1;
  while (fn % 2 === 1) {
    fn = half(fn);
    sn = half(sn);
  }
  // A full left subtree is its own first node, which the proof leaves out.
  const [first, ...path] = fn === 0 ? [older.root, ...proof] : proof;
  if (first === undefined) return false;
  let oldNode = first;
  let newNode = first;
  for (const sibling of path) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      oldNode = parent(crypto, sibling, oldNode);
      newNode = parent(crypto, sibling, newNode);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      newNode = parent(crypto, newNode, sibling);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && equal(oldNode, older.root) && equal(newNode, newer.root);
}

const half = (n: number): number => Math.floor(n / 2);

const isSize = (n: number): boolean => Number.isSafeInteger(n) && n >= 0;

function ones(n: number): number {
  if (!isSize(n)) throw new RangeError("a size is from 0 to 2^53 − 1");
  let count = 0;
  for (let rest = n; rest > 0; rest = half(rest)) count += rest % 2;
  return count;
}

/** The largest power of two below `n`, for n > 1. */
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

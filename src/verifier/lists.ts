import { toHex } from "../domain/bytes.ts";

const perChunk = 1024;
/** Looks at most at so many places; what finds none of them free goes where nobody can make it crowd. */
const probesMax = 32;

/**
 * Values of one width in the order in which they came, each found by its bytes: the width and 4 to 8 bytes a
 * value, where a Set of texts would take a hundred.
 */
export class ByteTable {
  readonly #width: number;
  readonly #chunks: Uint8Array[] = [];
  #length = 0;
  /** Position + 1 by hash; 0: free. A power of two, at most half full. */
  #places = new Uint32Array(64);
  readonly #crowded = new Map<string, number>();

  constructor(width: number) {
    this.#width = width;
  }

  get length(): number {
    return this.#length;
  }

  /** Also one that is there already; `indexOf` then tells of the first. */
  push(value: Uint8Array): void {
    const at = this.#length % perChunk;
    if (at === 0) this.#chunks.push(new Uint8Array(perChunk * this.#width));
    (this.#chunks.at(-1) as Uint8Array).set(value, at * this.#width);
    this.#length += 1;
    if (this.#length * 2 > this.#places.length) this.#grow();
    else this.#place(this.#length - 1);
  }

  at(index: number): Uint8Array {
    const from = (index % perChunk) * this.#width;
    const chunk = this.#chunks[Math.floor(index / perChunk)] as Uint8Array;
    return chunk.subarray(from, from + this.#width);
  }

  /** −1: it is not there. */
  indexOf(value: Uint8Array): number {
    const mask = this.#places.length - 1;
    let slot = mix(value) & mask;
    for (let i = 0; i < probesMax; i++) {
      const held = this.#places[slot] as number;
      if (held === 0) return -1;
      if (this.#isAt(held - 1, value)) return held - 1;
      slot = (slot + 1) & mask;
    }
    return this.#crowded.get(toHex(value)) ?? -1;
  }

  /** Without a view of it: asked for every receipt. */
  #isAt(index: number, value: Uint8Array): boolean {
    const from = (index % perChunk) * this.#width;
    const chunk = this.#chunks[Math.floor(index / perChunk)] as Uint8Array;
    for (let i = this.#width - 1; i >= 0; i--) if (chunk[from + i] !== value[i]) return false;
    return value.length === this.#width;
  }

  #place(index: number): void {
    const value = this.at(index);
    const mask = this.#places.length - 1;
    let slot = mix(value) & mask;
    for (let i = 0; i < probesMax; i++) {
      const held = this.#places[slot] as number;
      if (held === 0) {
        this.#places[slot] = index + 1;
        return;
      }
      if (this.#isAt(held - 1, value)) return;
      slot = (slot + 1) & mask;
    }
    const name = toHex(value);
    if (!this.#crowded.has(name)) this.#crowded.set(name, index);
  }

  #grow(): void {
    this.#places = new Uint32Array(this.#places.length * 2);
    this.#crowded.clear();
    for (let i = 0; i < this.#length; i++) this.#place(i);
  }
}

function mix(value: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ (value[i] as number), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** One byte each, in order. */
export class ByteList {
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    const at = this.#length % perChunk;
    if (at === 0) this.#chunks.push(new Uint8Array(perChunk));
    this.#length += 1;
    this.set(this.#length - 1, value);
  }

  at(index: number): number {
    return this.#chunk(index)[index % perChunk] as number;
  }

  set(index: number, value: number): void {
    this.#chunk(index)[index % perChunk] = value;
  }

  #chunk(index: number): Uint8Array {
    return this.#chunks[Math.floor(index / perChunk)] as Uint8Array;
  }
}

import { equal } from "../domain/bytes.ts";

const perChunk = 1024;

/** Hashes in order, 32 bytes each and nothing more: a million receipts take 32 MB. */
export class HashList {
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(hash: Uint8Array): void {
    const at = this.#length % perChunk;
    if (at === 0) this.#chunks.push(new Uint8Array(perChunk * 32));
    (this.#chunks.at(-1) as Uint8Array).set(hash, at * 32);
    this.#length += 1;
  }

  at(index: number): Uint8Array {
    const from = (index % perChunk) * 32;
    return (this.#chunks[Math.floor(index / perChunk)] as Uint8Array).subarray(from, from + 32);
  }

  /** Looks at all of them: references back are rare. */
  indexOf(hash: Uint8Array): number {
    for (let i = 0; i < this.#length; i++) if (equal(this.at(i), hash)) return i;
    return -1;
  }
}

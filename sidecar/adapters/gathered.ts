const FIRST = 1024;

/** Bytes put together from pieces of any size, in time that grows with the bytes and not with the pieces. */
export class Gathered {
  #buffer: Buffer = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** All of them, as they stand: to be used before anything else comes. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  push(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, 2 * this.#buffer.length, FIRST));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = length;
  }

  /** Takes so many from the beginning, as bytes of their own. */
  take(count: number): Buffer {
    const taken = Buffer.from(this.#buffer.subarray(0, count));
    this.#buffer.copyWithin(0, count, this.#length);
    this.#length -= count;
    return taken;
  }
}

/** Chunks that wait from which on small ones are packed together. */
const LOOSE_MAX = 16;
/** Bytes below which a chunk is small, and of one pack of them. */
const SMALL = 1024;
const PACK = 8 * 1024;

/**
 * Bytes in order, as the chunks they came in. A peer that sends them one by one does not make us hold an
 * object for each: beyond a few, small chunks are packed.
 */
export class ByteQueue {
  /** Bytes that wait. */
  length = 0;
  #first: Buffer | null = null;
  #more: Buffer[] = NONE;
  /** Where small chunks go: the last of `#more` is its beginning. */
  #pack: Buffer | null = null;
  #packed = 0;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.length += chunk.length;
    if (this.#first === null) this.#first = chunk;
    else if (this.#more.length < LOOSE_MAX || chunk.length >= SMALL) {
      if (this.#more === NONE) this.#more = [];
      this.#more.push(chunk);
      this.#pack = null;
    } else this.#packIn(chunk);
  }

  #packIn(chunk: Buffer): void {
    if (this.#pack === null || this.#packed + chunk.length > PACK) {
      this.#pack = Buffer.allocUnsafe(PACK);
      this.#packed = 0;
      this.#more.push(this.#pack);
    }
    chunk.copy(this.#pack, this.#packed);
    this.#packed += chunk.length;
    this.#more[this.#more.length - 1] = this.#pack.subarray(0, this.#packed);
  }

  /** The chunk that is next; null: none waits. */
  get first(): Buffer | null {
    return this.#first;
  }

  /** Takes so many bytes of the first chunk away. */
  advance(bytes: number): void {
    const first = this.#first as Buffer;
    this.length -= bytes;
    if (bytes < first.length) {
      this.#first = first.subarray(bytes);
      return;
    }
    if (this.#more.length === 0) {
      this.#first = null;
      return;
    }
    this.#first = this.#more.shift() as Buffer;
    if (this.#more.length === 0) this.#pack = null;
  }

  /** Everything that waits, and leaves it. */
  chunks(): readonly Buffer[] {
    return this.#first === null ? [] : [this.#first, ...this.#more];
  }

  clear(): void {
    this.length = 0;
    this.#first = null;
    this.#more = NONE;
    this.#pack = null;
  }
}

/** Most queues hold one chunk at a time, and need no list. */
const NONE: Buffer[] = [];

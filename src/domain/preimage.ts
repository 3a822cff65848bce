/** Bytes kept from one use to the next; longer ones are rare. */
const KEPT = 64 * 1024;

/**
 * Puts together what is to be hashed, part by part, in memory that is used again: a receipt takes a
 * dozen hashes, and an array for each part of each would be most of its garbage.
 */
export class Preimage {
  #bytes = new Uint8Array(1024);
  #length = 0;

  begin(): this {
    if (this.#bytes.length > KEPT) this.#bytes = new Uint8Array(1024);
    this.#length = 0;
    return this;
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  bytes(part: Uint8Array): this {
    this.#reserve(part.length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
    return this;
  }

  /** Eight bytes, big-endian. `n` is a whole number from 0 to 2^53 − 1. */
  u64be(n: number): this {
    if (!Number.isSafeInteger(n) || n < 0) throw new RangeError("must be from 0 to 2^53 − 1");
    this.#reserve(8);
    let rest = n;
    for (let at = this.#length + 7; at >= this.#length; at--) {
      this.#bytes[at] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    this.#length += 8;
    return this;
  }

  /** @throws TypeError unless it is ASCII, as all that is hashed as text is. */
  ascii(text: string): this {
    this.#reserve(text.length);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) throw new TypeError("must be ASCII");
      this.#bytes[this.#length++] = unit;
    }
    return this;
  }

  /** Everything since `begin`. A view: good until the next one begins. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

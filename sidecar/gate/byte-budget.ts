/** Asks for a further block, durable when it resolves, of at least so many bytes; null: not left. */
export type MoreBytes = (needed: number) => Promise<number | null>;

/**
 * The bytes that one action may still pass, both directions together. Nothing passes that is not
 * durably reserved: a block comes with the intent, and the next is asked for when half of the one
 * before has passed, so that a stream waits for the disk only when it outruns it.
 */
export class ByteBudget {
  readonly #more: MoreBytes;
  #reserved: number;
  #asked = 0;
  #block: number;
  #extending: Promise<boolean> | null = null;
  #over = false;

  constructor(reserved: number, more: MoreBytes) {
    this.#reserved = reserved;
    this.#block = reserved;
    this.#more = more;
  }

  /**
   * Leave for so many more bytes: true at once, or once more are reserved; false: there are none left,
   * and nothing more may pass.
   */
  spend(bytes: number): true | Promise<boolean> {
    this.#asked += bytes;
    const left = this.#reserved - this.#asked;
    if (left < 0 || this.#over) return this.#wait(this.#asked);
    // Should that fail, it is asked for again once it is needed, and fails there.
    if (left < this.#block / 2) this.#extend(1).catch(() => {});
    return true;
  }

  /** Bytes that have passed, or wait to. */
  get passed(): number {
    return Math.min(this.#asked, this.#reserved);
  }

  /** The action ended: whoever waits is told no. */
  end(): void {
    this.#over = true;
  }

  async #wait(upTo: number): Promise<boolean> {
    while (this.#reserved < upTo && !this.#over) {
      // One that was asked for early may be too small, and its answer may be no for one byte more.
      const early = this.#extending;
      if (early !== null) await early;
      else if (!(await this.#extend(upTo - this.#reserved))) this.#over = true;
    }
    return !this.#over;
  }

  /** One at a time. True: more are reserved now. */
  #extend(needed: number): Promise<boolean> {
    this.#extending ??= this.#more(needed)
      .then((bytes) => {
        this.#reserved += bytes ?? 0;
        // Once refused, it is asked for again only when it is needed.
        this.#block = bytes ?? 0;
        return bytes !== null;
      })
      .finally(() => {
        this.#extending = null;
      });
    return this.#extending;
  }
}

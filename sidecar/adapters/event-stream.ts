const [CR, LF] = [13, 10];

/**
 * Follows the events of a `text/event-stream` through chunks that know nothing of them, without keeping
 * any of it. An event ends with an empty line; lines end with CR LF, LF or CR.
 */
export class EventMeter {
  /** Whole events that passed. */
  messages = 0;
  #lineEmpty = true;
  /** Nothing was said since the last event's end. */
  #eventEmpty = true;
  #afterCr = false;

  get atBoundary(): boolean {
    return this.#eventEmpty;
  }

  /**
   * @param one no more than the event under way is wanted.
   * @returns how many bytes of the chunk were taken: all of them, unless that event ends within it.
   */
  push(chunk: Uint8Array, one = false): number {
    for (const [at, byte] of chunk.entries()) {
      const secondHalf = byte === LF && this.#afterCr;
      this.#afterCr = byte === CR;
      if (secondHalf) continue;
      if (byte !== CR && byte !== LF) {
        this.#lineEmpty = false;
        this.#eventEmpty = false;
      } else if (!this.#lineEmpty) {
        this.#lineEmpty = true;
      } else if (!this.#eventEmpty) {
        this.messages++;
        this.#eventEmpty = true;
        if (one) return at + 1;
      }
    }
    return chunk.length;
  }
}

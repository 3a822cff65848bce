/** The minute is counted in so many slices of a second; one more is the second that is not over yet. */
const SLICES = 60;
const SLICE_US = 1_000_000;

/**
 * Openings of the last 60 seconds, by the monotonic clock, which no setting of the wall clock moves.
 * It forgets by whole seconds, so it counts up to a second too long, and never too little.
 *
 * A restart begins with what the ledger says of the last minute that was worked in, as if all of it
 * had been opened just now: the monotonic clock of an earlier process means nothing, and the wall
 * clock may have been set. So a restart may make an agent wait for up to a minute, and never refills.
 */
export class RateWindow {
  /** By second, modulo their number. */
  readonly #slices = Array.from({ length: SLICES + 1 }, () => 0);
  #slice: number;
  #count: number;

  constructor(before: number, monotonicUs: number) {
    this.#slice = Math.floor(monotonicUs / SLICE_US);
    this.#count = before;
    this.#slices[this.#slice % (SLICES + 1)] = before;
  }

  count(monotonicUs: number): number {
    this.#forget(Math.floor(monotonicUs / SLICE_US));
    return this.#count;
  }

  /** One more opening; returns how many that makes. */
  add(monotonicUs: number): number {
    this.#forget(Math.floor(monotonicUs / SLICE_US));
    const at = this.#slice % (SLICES + 1);
    this.#slices[at] = (this.#slices[at] as number) + 1;
    this.#count++;
    return this.#count;
  }

  #forget(slice: number): void {
    const steps = Math.min(slice - this.#slice, SLICES + 1);
    for (let i = 1; i <= steps; i++) {
      const at = (this.#slice + i) % (SLICES + 1);
      this.#count -= this.#slices[at] as number;
      this.#slices[at] = 0;
    }
    this.#slice = Math.max(slice, this.#slice);
  }
}

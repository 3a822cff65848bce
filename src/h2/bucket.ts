import type { Clock } from "../native/clock.ts";

/** Lets a burst of events through, and after it so many a second. */
export class Bucket {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #filledUs: number;

  constructor(clock: Clock, burst: number, perSecond: number) {
    this.#clock = clock;
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
    this.#filledUs = clock.monotonicUs();
  }

  /** Counts one event. @returns whether it was one too many. */
  spill(): boolean {
    if (this.#left < 1) {
      // The clock is asked only when it matters.
      const now = this.#clock.monotonicUs();
      const gained = ((now - this.#filledUs) / 1e6) * this.#perSecond;
      this.#left = Math.min(this.#burst, this.#left + gained);
      this.#filledUs = now;
      if (this.#left < 1) return true;
    }
    this.#left--;
    return false;
  }
}

import type { Clock } from "../../src/native/clock.ts";

export interface DeadlineOptions {
  readonly clock: Clock;
  /** How long anything may be awaited, microseconds. */
  readonly us: number;
  /** When the oldest thing that is awaited was begun, by the monotonic clock; null: nothing is. */
  readonly since: () => number | null;
  /** What is awaited now has been for too long. */
  readonly onLate: () => void;
}

/**
 * Tells that something is late: a disk, a signer. It looks twice, the second time for the last quarter
 * of the deadline, so that a process that was stopped (SIGSTOP, a paused machine) first hears what was
 * answered meanwhile: time in which it did not run itself is nobody's delay. Of two stops that fall on
 * either side of the first look the second one counts.
 */
export class Deadline {
  readonly #options: DeadlineOptions;
  #watching = false;

  constructor(options: DeadlineOptions) {
    this.#options = options;
  }

  /** Something is awaited. One timer for all: it looks at the oldest, and then at the next. */
  watch(): void {
    const { clock, us, since, onLate } = this.#options;
    const begun = since();
    if (this.#watching || begun === null) return;
    this.#watching = true;
    const lastUs = Math.floor(us / 4);
    clock.after(begun + us - lastUs - clock.monotonicUs(), () => {
      if (since() !== begun) return this.#again();
      clock.after(lastUs, () => {
        if (since() === begun) onLate();
        this.#again();
      });
    });
  }

  #again(): void {
    this.#watching = false;
    this.watch();
  }
}

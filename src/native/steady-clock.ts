import type { Clock, Timer } from "./clock.ts";

/** What was seen of the machine's clocks beside their going on. */
export interface Jump {
  /** `suspended`: the machine slept. `set`: somebody, or NTP, set the wall clock. */
  readonly what: "suspended" | "set";
  /** Microseconds; below 0: it was set back. */
  readonly byUs: number;
}

/** The two clocks are read a moment apart, and the wall clock in milliseconds. */
const APART_US = 5_000;
/** Less is what NTP does all day; no authority hangs on it. */
const TOLD_US = 1_000_000;

/**
 * A clock for whatever ends by time: it never goes back, and it goes on at least as fast as time
 * does. Set back, the wall clock is not believed, and time goes on from the latest that was seen by
 * the monotonic clock and what the machine slept; set forward, it is believed at once, since that can
 * only end things. So one absurd reading of the future ends everything, until `resume` is called with
 * better reason than a clock's own word.
 *
 * Reading it costs two reads of clocks. How long the machine slept is asked for only when those two
 * disagree, and by `look`: a sleep with the wall clock set back by the very same time shows there.
 */
export class SteadyClock implements Clock {
  readonly #clock: Clock;
  #listener: (jump: Jump) => void = () => {};
  /** Wall less monotonic, when last looked at. */
  #offsetUs: number;
  #sleptUs: number;
  /** What this clock is ahead of the monotonic one. Never falls but by `resume`. */
  #aheadUs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offsetUs = clock.nowUs() - clock.monotonicUs();
    this.#sleptUs = clock.suspendedUs();
    this.#aheadUs = this.#offsetUs;
  }

  nowUs(): number {
    const wall = this.#clock.nowUs();
    const monotonic = this.#clock.monotonicUs();
    if (Math.abs(wall - monotonic - this.#offsetUs) > APART_US) this.look();
    return Math.max(wall, monotonic + this.#aheadUs);
  }

  /** It is at least this late: somebody signed so. Counts as if it had been seen. */
  atLeast(us: number): void {
    this.#aheadUs = Math.max(this.#aheadUs, us - this.#clock.monotonicUs());
  }

  /** What the machine's clock says, whatever was seen before. */
  get wallUs(): number {
    return this.#clock.nowUs();
  }

  /** Told of each jump in the moment in which it is seen. */
  onJump(listener: (jump: Jump) => void): void {
    this.#listener = listener;
  }

  /** Looks whether the machine slept, or its clock was set. To be called now and then. */
  look(): void {
    const offsetUs = this.#clock.nowUs() - this.#clock.monotonicUs();
    const sleptUs = this.#clock.suspendedUs() - this.#sleptUs;
    const setUs = offsetUs - this.#offsetUs - sleptUs;
    this.#sleptUs += sleptUs;
    this.#offsetUs = offsetUs;
    this.#aheadUs = Math.max(this.#aheadUs + sleptUs, offsetUs);
    if (sleptUs >= TOLD_US) this.#listener({ what: "suspended", byUs: sleptUs });
    if (Math.abs(setUs) >= TOLD_US) this.#listener({ what: "set", byUs: setUs });
  }

  /**
   * Believes the wall clock again, though it is behind what was seen. For who has just heard a fresh
   * time from somebody whose signature counts, and found that the wall clock agrees.
   */
  resume(): void {
    this.look();
    this.#aheadUs = this.#offsetUs;
  }

  monotonicUs(): number {
    return this.#clock.monotonicUs();
  }

  suspendedUs(): number {
    return this.#clock.suspendedUs();
  }

  after(us: number, fn: () => void): Timer {
    return this.#clock.after(us, fn);
  }
}

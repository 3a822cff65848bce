import { uptime } from "node:os";

/**
 * Time as the sidecar knows it. Everything that waits or decides by time takes one, so that tests
 * move it by hand.
 */
export interface Clock {
  /** Microseconds since the epoch. May step either way when the machine's clock is set. */
  nowUs(): number;
  /** Microseconds since some moment. Never falls, and stands still while the machine sleeps. */
  monotonicUs(): number;
  /** Microseconds that the machine has slept, so that `monotonicUs` did not count them. Never falls. */
  suspendedUs(): number;
  /** Calls back once after `us` microseconds. Never holds the process open. */
  after(us: number, fn: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** setTimeout counts in a signed 32-bit number of milliseconds, and fires at once beyond it. */
const TIMEOUT_MS_MAX = 0x7fff_ffff;

/** Uptime is told in hundredths, a moment apart from the other clock: less than this is no sleep. */
const SLEPT_MIN_US = 1_000_000;

export const systemClock: Clock = {
  nowUs: () => Date.now() * 1000,
  monotonicUs: () => Math.floor(performance.now() * 1000),
  suspendedUs() {
    // Uptime counts sleep, the monotonic clock does not.
    const sleptUs = Math.round(uptime() * 1_000_000) - Number(process.hrtime.bigint() / 1000n);
    return sleptUs < SLEPT_MIN_US ? 0 : sleptUs;
  },
  after(us, fn) {
    const end = performance.now() + us / 1000;
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const left = Math.max(0, end - performance.now());
      // Rounded up: a timer must not fire before its time.
      timer = setTimeout(
        () => (performance.now() < end ? arm() : fn()),
        Math.min(Math.ceil(left), TIMEOUT_MS_MAX),
      );
      timer.unref();
    };
    arm();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** A clock that moves when it is told to. */
export class ManualClock implements Clock {
  #nowUs: number;
  #monotonicUs = 1_000_000;
  #suspendedUs = 0;
  #timers: { dueUs: number; fn: () => void }[] = [];

  constructor(nowUs: number) {
    this.#nowUs = nowUs;
  }

  nowUs(): number {
    return this.#nowUs;
  }

  monotonicUs(): number {
    return this.#monotonicUs;
  }

  suspendedUs(): number {
    return this.#suspendedUs;
  }

  after(us: number, fn: () => void): Timer {
    const timer = { dueUs: this.#monotonicUs + us, fn };
    this.#timers.push(timer);
    return { cancel: () => this.#drop(timer) };
  }

  /** Both clocks go forward; timers that fall due are called in order, each at its own time. */
  advance(us: number): void {
    const end = this.#monotonicUs + us;
    for (;;) {
      const next = this.#timers
        .filter((t) => t.dueUs <= end)
        .reduce<{ dueUs: number; fn: () => void } | null>(
          (a, b) => (a === null || b.dueUs < a.dueUs ? b : a),
          null,
        );
      if (next === null) break;
      this.#drop(next);
      this.#step(Math.max(0, next.dueUs - this.#monotonicUs));
      next.fn();
    }
    this.#step(end - this.#monotonicUs);
  }

  /** The wall clock alone is set, as an operator or NTP would. */
  setWall(nowUs: number): void {
    this.#nowUs = nowUs;
  }

  /** The machine sleeps: the wall clock goes on, and nothing else does. */
  suspend(us: number): void {
    this.#nowUs += us;
    this.#suspendedUs += us;
  }

  /** This process stands still (SIGSTOP): both clocks go on, and timers that fell due wait for `advance`. */
  stop(us: number): void {
    this.#step(us);
  }

  #drop(timer: { dueUs: number; fn: () => void }): void {
    this.#timers = this.#timers.filter((t) => t !== timer);
  }

  #step(us: number): void {
    this.#nowUs += us;
    this.#monotonicUs += us;
  }
}

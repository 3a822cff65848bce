import type { Clock, Timer } from "./clock.ts";

export interface WaitingLineOptions<T> {
  /** How many begin in one turn of the event loop. */
  readonly perTurn: number;
  /** How many are under way at once; of those that take longer than `slowUs`, none counts. Microseconds. */
  readonly atOnce: number;
  readonly slowUs: number;
  /** Whoever waited longer has most likely given up, and is sent away. Microseconds. */
  readonly patienceUs: number;
  readonly clock: Pick<Clock, "monotonicUs" | "after">;
  /** Whether one more may begin now. While it may not, all wait. */
  readonly hasPlace: () => boolean;
  /** False: it went while it waited, and nothing is under way. */
  readonly begin: (item: T) => boolean;
  readonly sendAway: (item: T) => void;
  /** Calls back when this turn of the event loop is over. */
  readonly nextTurn?: (fn: () => void) => void;
}

interface Waiting<T> {
  readonly item: T;
  readonly sinceUs: number;
}

/**
 * Those who all come at once, served in the order in which they came, a few at a time: what was begun
 * is so carried to its end before more is. Begun together, each would take its share of every turn, all would
 * end late, and those who give up would have cost as much as the others. Whoever dawdles holds nobody up.
 */
export class WaitingLine<T> {
  readonly #options: WaitingLineOptions<T>;
  readonly #nextTurn: (fn: () => void) => void;
  /** Whoever had their turn is let go of, also while others keep coming. */
  readonly #waiting: Waiting<T>[] = [];
  /** When each began that is under way and not yet slow, oldest first. */
  readonly #underWay = new Map<T, number>();
  /** A turn is to come. */
  #turning = false;
  /** None is to come before this: when the one who is under way for longest is slow. */
  #stalled: Timer | null = null;

  constructor(options: WaitingLineOptions<T>) {
    this.#options = options;
    this.#nextTurn = options.nextTurn ?? setImmediate;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** For how long whoever comes next has waited by now, in microseconds; 0: nobody waits. */
  get waitedUs(): number {
    const [first] = this.#waiting;
    return first === undefined ? 0 : this.#options.clock.monotonicUs() - first.sinceUs;
  }

  join(item: T): void {
    this.#waiting.push({ item, sinceUs: this.#options.clock.monotonicUs() });
    if (this.#turning || this.#stalled !== null) return;
    this.#turning = true;
    this.#turn();
  }

  /** It is under way no longer; whoever had no turn yet, or was told of before, changes nothing. */
  over(item: T): void {
    if (this.#underWay.delete(item)) this.#goOn();
  }

  /** Nobody gets a turn any more. */
  close(): void {
    this.#stalled?.cancel();
    for (const { item } of this.#waiting.splice(0)) this.#options.sendAway(item);
  }

  #turn(): void {
    const { perTurn, patienceUs, clock, hasPlace, begin, sendAway } = this.#options;
    const nowUs = clock.monotonicUs();
    const room = Math.min(perTurn, this.#room(nowUs));
    let begun = 0;
    while (this.length > 0) {
      const { item, sinceUs } = this.#waiting[0] as Waiting<T>;
      const isLate = nowUs - sinceUs > patienceUs;
      if (!isLate && (begun === room || !hasPlace())) break;
      this.#waiting.shift();
      if (isLate) sendAway(item);
      else if (begin(item)) {
        this.#underWay.set(item, nowUs);
        begun++;
      }
    }
    if (begun === 0 && this.length > 0) this.#stall(nowUs);
    // Also when nobody waits: whoever comes within this turn has as many before them.
    else this.#nextTurn(() => this.#rest());
  }

  #rest(): void {
    if (this.length > 0) this.#turn();
    else this.#turning = false;
  }

  #room(nowUs: number): number {
    const { atOnce, slowUs } = this.#options;
    for (const [item, begunUs] of this.#underWay) {
      if (nowUs - begunUs < slowUs) break;
      this.#underWay.delete(item);
    }
    return atOnce - this.#underWay.size;
  }

  #stall(nowUs: number): void {
    this.#turning = false;
    const [oldestUs = nowUs] = this.#underWay.values();
    const leftUs = oldestUs + this.#options.slowUs - nowUs;
    this.#stalled = this.#options.clock.after(leftUs, () => this.#goOn());
  }

  #goOn(): void {
    if (this.#stalled === null) return;
    this.#stalled.cancel();
    this.#stalled = null;
    this.#turning = true;
    this.#nextTurn(() => this.#rest());
  }
}

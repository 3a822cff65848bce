import type { Clock } from "./clock.ts";

export interface WaitingLineOptions<T> {
  /** How many begin in one turn of the event loop. */
  readonly perTurn: number;
  /** Whoever waited longer has most likely given up, and is sent away. Microseconds. */
  readonly patienceUs: number;
  readonly clock: Pick<Clock, "monotonicUs">;
  readonly begin: (item: T) => void;
  readonly sendAway: (item: T) => void;
  /** Calls back when this turn of the event loop is over. */
  readonly nextTurn?: (fn: () => void) => void;
}

/**
 * Those who all come at once, served in the order in which they came, a few in each turn: what was begun
 * is so carried on before more is. Begun together, each would take its share of every turn, all would
 * end late, and those who give up would have cost as much as the others.
 */
export class WaitingLine<T> {
  readonly #options: WaitingLineOptions<T>;
  readonly #nextTurn: (fn: () => void) => void;
  /** Whoever had their turn is let go of, also while others keep coming. */
  readonly #waiting: { readonly item: T; readonly sinceUs: number }[] = [];
  #turning = false;

  constructor(options: WaitingLineOptions<T>) {
    this.#options = options;
    this.#nextTurn = options.nextTurn ?? setImmediate;
  }

  get length(): number {
    return this.#waiting.length;
  }

  join(item: T): void {
    this.#waiting.push({ item, sinceUs: this.#options.clock.monotonicUs() });
    if (this.#turning) return;
    this.#turning = true;
    this.#turn();
  }

  /** Nobody gets a turn any more. */
  close(): void {
    for (const { item } of this.#waiting.splice(0)) this.#options.sendAway(item);
  }

  #turn(): void {
    const { perTurn, patienceUs, clock, begin, sendAway } = this.#options;
    const nowUs = clock.monotonicUs();
    for (let begun = 0; begun < perTurn; ) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      if (nowUs - next.sinceUs > patienceUs) {
        sendAway(next.item);
        continue;
      }
      begin(next.item);
      begun++;
    }
    if (this.length > 0) {
      this.#nextTurn(() => this.#turn());
      return;
    }
    // One turn later: whoever comes within this one has as many before them.
    this.#nextTurn(() => this.#rest());
  }

  #rest(): void {
    if (this.length > 0) this.#turn();
    else this.#turning = false;
  }
}

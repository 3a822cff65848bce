const TURN_MS = 10;
const SLOTS = 6000;

interface Entry {
  readonly what: () => number;
  live: boolean;
}

/** The periods of thousands, by one timer: one for each costs as much as a tenth of what they do. */
export class Wheel {
  readonly #slots: Entry[][] = Array.from({ length: SLOTS }, () => []);
  readonly #began = performance.now();
  #turn = 0;

  constructor() {
    setInterval(() => this.#catchUp(), TURN_MS);
  }

  /**
   * Calls from a random moment within the first `ms` on, and each time again after as many milliseconds as
   * was returned, a minute at most. Returns the way to stop.
   */
  again(ms: number, what: () => number): () => void {
    const entry = { what, live: true };
    this.#put(entry, Math.random() * ms);
    return () => {
      entry.live = false;
    };
  }

  #put(entry: Entry, ms: number): void {
    const turns = Math.min(Math.max(Math.round(ms / TURN_MS), 1), SLOTS - 1);
    this.#slots[(this.#turn + turns) % SLOTS]?.push(entry);
  }

  #catchUp(): void {
    const now = Math.floor((performance.now() - this.#began) / TURN_MS);
    while (this.#turn < now) {
      this.#turn++;
      for (const entry of this.#slots[this.#turn % SLOTS]?.splice(0) ?? []) {
        if (entry.live) this.#put(entry, entry.what());
      }
    }
  }
}

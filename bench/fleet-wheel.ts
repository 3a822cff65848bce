const TURN_MS = 10;
const SLOTS = 6000;

interface Entry {
  readonly what: () => void;
  readonly turns: number;
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
   * Calls each `ms`, a minute at most, from a random moment within the first period on. Returns the way to
   * stop.
   */
  every(ms: number, what: () => void): () => void {
    const entry = { what, turns: Math.round(ms / TURN_MS), live: true };
    this.#put(entry, 1 + Math.floor(Math.random() * entry.turns));
    return () => {
      entry.live = false;
    };
  }

  #put(entry: Entry, turns: number): void {
    this.#slots[(this.#turn + turns) % SLOTS]?.push(entry);
  }

  #catchUp(): void {
    const now = Math.floor((performance.now() - this.#began) / TURN_MS);
    while (this.#turn < now) {
      this.#turn++;
      for (const entry of this.#slots[this.#turn % SLOTS]?.splice(0) ?? []) {
        if (!entry.live) continue;
        this.#put(entry, entry.turns);
        entry.what();
      }
    }
  }
}

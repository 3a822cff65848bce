import type { WatchResponseSchema } from "../gen/dragons/v1/organism_pb.ts";
import type { Encoded } from "../wire/encoded.ts";
import { Queue } from "../wire/queue.ts";
import type { OrganismFilter } from "./watch-filter.ts";

export type WatchAnswer = Encoded<typeof WatchResponseSchema>;

/** One who watches organisms. */
export class Watcher {
  readonly filter: OrganismFilter;
  /** Up to this seq it is told by other means: only later changes are for its queue. */
  readonly from: number;
  readonly waiting: Queue<WatchAnswer>;
  /** When it was last told something, by the monotonic clock, microseconds. */
  heardUs = 0;

  constructor(who: { filter: OrganismFilter; from: number; backlogMax: number }) {
    this.filter = who.filter;
    this.from = who.from;
    this.waiting = new Queue(who.backlogMax);
  }

  /** False: it does not read, and was not told. */
  tell(answer: WatchAnswer, nowUs: number): boolean {
    this.heardUs = nowUs;
    return this.waiting.push(answer) || this.waiting.ended;
  }
}

/** All who watch the organisms of one tenant, found by the name that they ask for. */
export class Watchers {
  readonly #byName = new Map<string, Set<Watcher>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(watcher: Watcher): void {
    const { name } = watcher.filter;
    const known = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, known.add(watcher));
    this.#size++;
  }

  remove(watcher: Watcher): void {
    const { name } = watcher.filter;
    const known = this.#byName.get(name);
    if (known?.delete(watcher)) this.#size--;
    if (known?.size === 0) this.#byName.delete(name);
  }

  *all(): Generator<Watcher> {
    for (const watchers of this.#byName.values()) yield* watchers;
  }

  /** Those who may want an organism of this name: who asked for it, and who asked for none. */
  *of(name: string): Generator<Watcher> {
    yield* this.#byName.get("") ?? [];
    if (name !== "") yield* this.#byName.get(name) ?? [];
  }
}

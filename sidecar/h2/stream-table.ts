import type { H2Stream } from "./stream.ts";

/** Twice as many as there are streams at once. */
const BUCKETS = 512;

/**
 * Open streams by their id. A `Map` would make a new table for each few hundred streams that come and go,
 * and what such a table held lives until the whole heap is collected: tables know their successors, so
 * the first one that grows old keeps all later ones.
 */
export class StreamTable {
  size = 0;
  readonly #buckets: (H2Stream | null)[] = new Array<H2Stream | null>(BUCKETS).fill(null);

  get(id: number): H2Stream | undefined {
    let stream = this.#buckets[bucketOf(id)] ?? null;
    while (stream !== null && stream.id !== id) stream = stream.next;
    return stream ?? undefined;
  }

  /** The stream's id must not be in the table. */
  add(stream: H2Stream): void {
    const bucket = bucketOf(stream.id);
    stream.next = this.#buckets[bucket] ?? null;
    this.#buckets[bucket] = stream;
    this.size++;
  }

  /** @returns whether it was there. */
  delete(stream: H2Stream): boolean {
    const bucket = bucketOf(stream.id);
    let before: H2Stream | null = null;
    for (let at = this.#buckets[bucket] ?? null; at !== null; at = at.next) {
      if (at === stream) {
        if (before === null) this.#buckets[bucket] = stream.next;
        else before.next = stream.next;
        stream.next = null;
        this.size--;
        return true;
      }
      before = at;
    }
    return false;
  }

  all(): H2Stream[] {
    const streams: H2Stream[] = [];
    for (const first of this.#buckets) {
      for (let at = first; at !== null; at = at.next) streams.push(at);
    }
    return streams;
  }
}

/** Ids of one side are all odd or all even. */
const bucketOf = (id: number): number => (id >>> 1) % BUCKETS;

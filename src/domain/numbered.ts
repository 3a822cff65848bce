/** For hundreds that come and go. */
const BUCKETS_MAX = 512;
/** So many an entry, on average, and there are more buckets. */
const CROWD = 2;

interface Entry<T> {
  readonly number: number;
  readonly value: T;
  /** In its bucket. */
  next: Entry<T> | null;
  /** In the order of adding. */
  earlier: Entry<T> | null;
  later: Entry<T> | null;
}

/**
 * What comes and goes with every call, by its number, in the order it was added.
 *
 * A `Map` makes a new table for each few hundred entries that come and go, and each table knows its
 * successor: the first one that grows old keeps all later ones, and whatever they held, until the
 * whole heap is collected. Here whatever is deleted is let go of, and nothing but it was allocated: there
 * are more buckets the first times that so many are there at once, and never fewer.
 */
export class Numbered<T> {
  size = 0;
  /** Few: of thousands of these most hold two, for hours. Always odd, as ids of one side may all be odd. */
  #buckets: (Entry<T> | null)[] = [null, null, null];
  #first: Entry<T> | null = null;
  #last: Entry<T> | null = null;

  get(number: number): T | undefined {
    let entry = this.#buckets[number % this.#buckets.length] ?? null;
    while (entry !== null && entry.number !== number) entry = entry.next;
    return entry?.value;
  }

  /** The number must not be there already. It is a whole one from 0. */
  add(number: number, value: T): void {
    if (this.size >= this.#buckets.length * CROWD) this.#grow();
    const bucket = number % this.#buckets.length;
    const next = this.#buckets[bucket] ?? null;
    const entry: Entry<T> = { number, value, next, earlier: this.#last, later: null };
    this.#buckets[bucket] = entry;
    if (this.#last === null) this.#first = entry;
    else this.#last.later = entry;
    this.#last = entry;
    this.size++;
  }

  #grow(): void {
    const most = this.#buckets.length;
    if (most >= BUCKETS_MAX) return;
    this.#buckets = Array.from({ length: 4 * most + 3 }, () => null);
    for (let entry = this.#first; entry !== null; entry = entry.later) {
      const bucket = entry.number % this.#buckets.length;
      entry.next = this.#buckets[bucket] ?? null;
      this.#buckets[bucket] = entry;
    }
  }

  /** @returns whether it was there. */
  delete(number: number): boolean {
    const bucket = number % this.#buckets.length;
    let before: Entry<T> | null = null;
    let entry = this.#buckets[bucket] ?? null;
    while (entry !== null && entry.number !== number) {
      before = entry;
      entry = entry.next;
    }
    if (entry === null) return false;
    if (before === null) this.#buckets[bucket] = entry.next;
    else before.next = entry.next;
    if (entry.earlier === null) this.#first = entry.later;
    else entry.earlier.later = entry.later;
    if (entry.later === null) this.#last = entry.earlier;
    else entry.later.earlier = entry.earlier;
    // What is old and dead must not keep alive what is young.
    entry.next = null;
    entry.earlier = null;
    entry.later = null;
    this.size--;
    return true;
  }

  /** What was added first of all that is there and of which this holds. */
  find(holds: (value: T) => boolean): T | undefined {
    let at = this.#first;
    while (at !== null && !holds(at.value)) at = at.later;
    return at?.value;
  }

  /** Everything, in the order of adding, as it is now. */
  values(): T[] {
    const values: T[] = [];
    for (let at = this.#first; at !== null; at = at.later) values.push(at.value);
    return values;
  }
}

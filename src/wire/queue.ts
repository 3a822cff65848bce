/** Where a queue's items go as they come, in place of a reader who asks for each. It throws nothing. */
export interface Sink<T> {
  /** false: it took this one, and takes the next after `Queue.resume`. */
  take(item: T): boolean;
  /** Once, after the last item. null: it ended well. */
  over(failure: { readonly error: unknown } | null): void;
}

/**
 * A bounded hand-over between somebody who pushes and one reader that takes: what a streaming
 * handler yields from, and what a client's stream of requests is written to.
 *
 * Its reader iterates it or lets it flow. Not safe for two readers. A reader that leaves ends the queue.
 */
export class Queue<T> implements AsyncIterable<T>, AsyncIterator<T> {
  #items: T[] = NONE;
  readonly #max: number;
  #waiting: Waiting<T> | null = null;
  #sink: Sink<T> | null = null;
  /** The sink takes nothing now. */
  #paused = false;
  #ended = false;
  #failure: { readonly error: unknown } | null = null;

  constructor(max: number) {
    this.#max = max;
  }

  get length(): number {
    return this.#items.length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** False when it is full or has ended, and the item was not taken. */
  push(item: T): boolean {
    if (this.#ended) return false;
    if (this.#waiting !== null) {
      this.#settle()?.resolve({ done: false, value: item });
      return true;
    }
    if (this.#sink !== null && !this.#paused) {
      this.#give(this.#sink, item);
      this.#pour();
      return true;
    }
    if (this.#items.length >= this.#max) return false;
    // Most are empty most of the time, and need no list of their own.
    if (this.#items === NONE) this.#items = [];
    this.#items.push(item);
    return true;
  }

  /** No more will come; what was pushed is still read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#settle()?.resolve({ done: true, value: undefined });
    this.#pour();
  }

  /** Like `end`, and then the reader is told `error`. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const waiting = this.#settle();
    if (waiting !== null) waiting.reject(error);
    else this.#failure = { error };
    this.#pour();
  }

  /** Its reader leaves: what was pushed is not read any more, and a sink is told nothing. */
  leave(): void {
    this.#items = NONE;
    this.#failure = null;
    this.#sink = null;
    this.end();
  }

  /** From now on its items go to `sink`, at once as they are pushed: nothing is made for any of them. */
  flow(sink: Sink<T>): void {
    this.#sink = sink;
    this.#paused = false;
    this.#pour();
  }

  /** The sink takes more. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#pour();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    const item = this.#shift();
    if (item !== undefined) return Promise.resolve({ done: false, value: item });
    if (this.#failure !== null) {
      const { error } = this.#failure;
      this.#failure = null;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<T>> {
    this.leave();
    return Promise.resolve({ done: true, value: undefined });
  }

  #give(sink: Sink<T>, item: T): void {
    // What it pushes itself while it takes waits, so that all stay in their order.
    this.#paused = true;
    if (sink.take(item)) this.#paused = false;
  }

  #pour(): void {
    while (this.#sink !== null && !this.#paused) {
      const item = this.#shift();
      if (item !== undefined) {
        this.#give(this.#sink, item);
        continue;
      }
      if (!this.#ended) return;
      const sink = this.#sink;
      this.#sink = null;
      sink.over(this.#failure);
    }
  }

  #shift(): T | undefined {
    const item = this.#items.shift();
    if (this.#items.length === 0) this.#items = NONE;
    return item;
  }

  #settle(): Waiting<T> | null {
    const waiting = this.#waiting;
    this.#waiting = null;
    return waiting;
  }
}

interface Waiting<T> {
  resolve(step: IteratorResult<T>): void;
  reject(error: unknown): void;
}

const NONE: never[] = [];

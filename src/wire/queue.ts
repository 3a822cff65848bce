/**
 * A bounded hand-over between somebody who pushes and one reader that takes: what a streaming
 * handler yields from, and what a client's stream of requests is written to.
 *
 * Not safe for two readers. A reader that leaves ends the queue.
 */
export class Queue<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #max: number;
  #waiting: { resolve(r: IteratorResult<T>): void; reject(e: unknown): void } | null = null;
  #ended = false;
  #failure: { error: unknown } | null = null;

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
    if (this.#items.length >= this.#max) return false;
    this.#items.push(item);
    return true;
  }

  /** No more will come; what was pushed is still read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#settle()?.resolve({ done: true, value: undefined });
  }

  /** Like `end`, and then the reader is told `error`. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const waiting = this.#settle();
    if (waiting !== null) waiting.reject(error);
    else this.#failure = { error };
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return {
      next: () => this.#next(),
      return: () => {
        this.#items.length = 0;
        this.#failure = null;
        this.end();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<T>> {
    const item = this.#items.shift();
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

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = null;
    return waiting;
  }
}

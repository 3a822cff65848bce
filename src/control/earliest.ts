interface Item {
  readonly deadlineUs: number;
  readonly run: () => Promise<unknown>;
}

/**
 * Work done one at a time, the most urgent first: after a restart ten thousand leases are asked for at
 * once, and the one that ends next must not wait for those that have a minute left.
 */
export class EarliestFirst {
  /** A heap by deadline: no parent is later than its children. */
  readonly #heap: Item[] = [];
  #busy = false;

  /** Runs `work` when everything due earlier has run, and what was running has ended. */
  run<T>(deadlineUs: number, work: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#push({ deadlineUs, run: () => work().then(resolve, reject) });
    if (!this.#busy) void this.#drain();
    return promise;
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    // One turn later, so that what is asked for together is put in order first.
    await Promise.resolve();
    for (let next = this.#pop(); next !== undefined; next = this.#pop()) await next.run();
    this.#busy = false;
  }

  #push(item: Item): void {
    const heap = this.#heap;
    let at = heap.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (this.#at(parent) <= item.deadlineUs) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #pop(): Item | undefined {
    const heap = this.#heap;
    if (heap.length > 1) this.#swap(0, heap.length - 1);
    const first = heap.pop();
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      const child = this.#at(left + 1) < this.#at(left) ? left + 1 : left;
      if (this.#at(child) >= this.#at(at)) return first;
      this.#swap(at, child);
      at = child;
    }
  }

  /** Beyond the end nothing is ever due. */
  #at(index: number): number {
    return this.#heap[index]?.deadlineUs ?? Number.POSITIVE_INFINITY;
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const kept = heap[a] as Item;
    heap[a] = heap[b] as Item;
    heap[b] = kept;
  }
}

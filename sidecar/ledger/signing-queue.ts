import type { Clock } from "../../src/native/clock.ts";
import { Deadline } from "./deadline.ts";
import type { BatchSigner } from "./signer.ts";

export interface SigningOptions<T> {
  readonly signer: BatchSigner;
  readonly clock: Clock;
  /** How long one receipt may wait for company, microseconds. */
  readonly lingerUs: number;
  /** With this many it waits no longer. */
  readonly enough: number;
  /** More than this do not go at once. */
  readonly most: number;
  /** How long a batch may take before new work is refused, microseconds. */
  readonly deadlineUs: number;
  readonly messageOf: (item: T) => Uint8Array;
  /** Told to those who hurried: the batch under way is taking too long. */
  readonly onLate: () => void;
  /** Each batch whole and in order. */
  readonly onSigned: (items: T[], signatures: Uint8Array[]) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Feeds a signer: one batch at a time, everything queued meanwhile in the next. */
export class SigningQueue<T> {
  readonly #options: SigningOptions<T>;
  readonly #deadline: Deadline;
  #queued: T[] = [];
  #signing = 0;
  #lingering = false;
  #hurried = false;
  #late = false;
  /** When the batch under way was sent, or last found late. */
  #sinceUs = 0;

  constructor(options: SigningOptions<T>) {
    this.#options = options;
    const { clock, deadlineUs, onLate } = options;
    this.#deadline = new Deadline({
      clock,
      us: deadlineUs,
      since: () => (this.#signing > 0 ? this.#sinceUs : null),
      onLate: () => {
        this.#late = true;
        // Whoever comes while it is late does not wait for ever either.
        this.#sinceUs = clock.monotonicUs();
        if (this.#hurried) onLate();
      },
    });
  }

  /** Items without a signature. */
  get pending(): number {
    return this.#queued.length + this.#signing;
  }

  /** The batch under way is taking too long. */
  get late(): boolean {
    return this.#late;
  }

  push(item: T): void {
    this.#queued.push(item);
    if (this.#queued.length >= this.#options.enough) this.#send();
    else if (!this.#lingering) this.#linger();
  }

  /** Somebody waits: no more company is waited for. */
  hurry(): void {
    this.#hurried = this.pending > 0;
    this.#send();
  }

  #linger(): void {
    this.#lingering = true;
    this.#options.clock.after(this.#options.lingerUs, () => {
      this.#lingering = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#signing > 0 || this.#queued.length === 0) return;
    const items = this.#queued.splice(0, this.#options.most);
    this.#signing = items.length;
    this.#sinceUs = this.#options.clock.monotonicUs();
    this.#deadline.watch();
    this.#options.signer.sign(items.map(this.#options.messageOf)).then(
      (signatures) => this.#signed(items, signatures),
      (error: unknown) => this.#options.onFailed(error),
    );
  }

  #signed(items: T[], signatures: Uint8Array[]): void {
    this.#signing = 0;
    this.#late = false;
    if (signatures.length !== items.length) {
      this.#options.onFailed(
        new Error(`${items.length} receipts, ${signatures.length} signatures`),
      );
      return;
    }
    this.#options.onSigned(items, signatures);
    if (this.#hurried) this.hurry();
    else if (this.#queued.length >= this.#options.enough) this.#send();
  }
}

import type { Clock } from "../../src/native/clock.ts";
import { Deadline } from "./deadline.ts";

export interface CommitterOptions {
  readonly clock: Clock;
  /** How long what nobody waits for may lie, microseconds. */
  readonly lazyUs: number;
  /** How long somebody waits, microseconds. */
  readonly deadlineUs: number;
  /** Writes everything queued until now; when it is durable, resolves to what there is to tell. */
  readonly commit: () => Promise<() => void>;
  /** Somebody has waited for too long: whoever waits is to be told so. */
  readonly onLate: () => void;
  readonly onFailed: (error: unknown) => void;
}

/**
 * Decides when to write: one commit at a time, and the next takes everything queued meanwhile, so
 * that many callers share one flush. What somebody waits for is written at the end of this turn of
 * the event loop; the rest rides along, or goes by itself a little later.
 */
export class Committer {
  readonly #options: CommitterOptions;
  readonly #deadline: Deadline;
  #running = false;
  #scheduled = false;
  #lazyArmed = false;
  #ended = false;
  #late = false;
  /** When the oldest request began that the commit under way will answer; null: there is none. */
  #servingSinceUs: number | null = null;
  /** … that the next commit will answer. */
  #queuedSinceUs: number | null = null;

  constructor(options: CommitterOptions) {
    this.#options = options;
    const { clock, deadlineUs } = options;
    this.#deadline = new Deadline({
      clock,
      us: deadlineUs,
      since: () => (this.#ended ? null : (this.#servingSinceUs ?? this.#queuedSinceUs)),
      onLate: () => this.#tellLate(),
    });
  }

  /** From the moment somebody has waited too long until that commit is through. */
  get late(): boolean {
    return this.#late;
  }

  /** Somebody waits for what was queued. */
  now(): void {
    this.#queuedSinceUs ??= this.#options.clock.monotonicUs();
    this.#deadline.watch();
    this.#schedule();
  }

  /** Something was queued that nobody waits for. */
  soon(): void {
    if (this.#lazyArmed || this.#scheduled) return;
    this.#lazyArmed = true;
    this.#options.clock.after(this.#options.lazyUs, () => {
      this.#lazyArmed = false;
      this.#schedule();
    });
  }

  /** Nothing is begun any more. */
  end(): void {
    this.#ended = true;
  }

  #schedule(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    if (!this.#running) setImmediate(() => void this.#run());
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#scheduled && !this.#ended) {
      this.#scheduled = false;
      this.#servingSinceUs = this.#queuedSinceUs;
      this.#queuedSinceUs = null;
      try {
        const tell = await this.#options.commit();
        if (this.#ended) return;
        this.#servingSinceUs = null;
        this.#late = false;
        tell();
      } catch (error) {
        this.end();
        this.#options.onFailed(error);
        return;
      }
    }
    this.#running = false;
  }

  #tellLate(): void {
    this.#late = true;
    this.#servingSinceUs = null;
    this.#queuedSinceUs = null;
    this.#options.onLate();
  }
}

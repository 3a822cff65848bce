/** How often something may be done: `burst` times at once, and `perSecond` times a second after that. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

interface Bucket {
  /** The name that it was made by: whoever comes a thousand times leaves one behind. */
  readonly caller: string;
  left: number;
  atUs: number;
}

const SECOND_US = 1_000_000;

/**
 * Token buckets by caller. Of more than `max` callers the one that was heard of longest ago is
 * forgotten: it comes back with a full bucket, so `max` times `burst` bounds what forgetting gives away.
 */
export class Throttle {
  readonly #rate: Rate;
  readonly #max: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate, max: number) {
    this.#rate = rate;
    this.#max = max;
  }

  /** Counts one more. Microseconds until it may be tried again; 0: it may be done. */
  take(caller: string, nowUs: number): number {
    const { burst, perSecond } = this.#rate;
    const bucket = this.#buckets.get(caller) ?? { caller, left: burst, atUs: nowUs };
    // A clock that steps back gives nothing, and takes nothing.
    const passedUs = Math.max(0, nowUs - bucket.atUs);
    bucket.left = Math.min(burst, bucket.left + (passedUs * perSecond) / SECOND_US);
    bucket.atUs = nowUs;
    this.#buckets.delete(caller);
    this.#buckets.set(bucket.caller, bucket);
    if (this.#buckets.size > this.#max) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    if (bucket.left < 1) return Math.ceil(((1 - bucket.left) * SECOND_US) / perSecond);
    bucket.left -= 1;
    return 0;
  }
}

import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { type Invalid, invalid, isInvalid } from "../domain/invalid.ts";
import { lookBackAfterUs, lookBackRecords, lookBackShare } from "../domain/limits.ts";
import type { Clock, Timer } from "../native/clock.ts";
import type { LogEntry } from "../storage/control-store.ts";
import { openStored } from "./tenant-ledger.ts";

interface LookBackParts {
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly ledgerId: Uint8Array;
  /** Entries of the ledger from `from` upwards. */
  readonly read: (from: number, limit: number) => Promise<LogEntry[]>;
}

/**
 * Follows a ledger back, from a record that is vouched for to its genesis: of each record the one after it
 * tells the leaf hash. What a start from a snapshot has not walked is so walked once beside the work: a few
 * records, and then a pause many times as long.
 */
export class LookBack {
  readonly #parts: LookBackParts;
  /** What remains: records 1 to this one. */
  #seq: number;
  /** The leaf hash that it must have. */
  #expected: Uint8Array;
  #timer: Timer | null = null;
  #closed = false;

  constructor(parts: LookBackParts, from: { readonly seq: number; readonly leafHash: Uint8Array }) {
    this.#parts = parts;
    this.#seq = from.seq;
    this.#expected = from.leafHash;
  }

  /** Records that were not looked at yet. */
  get left(): number {
    return this.#seq;
  }

  /** Resolves when all of it was looked at: to what is wrong with it, or to null. Never, once it is closed. */
  async run(): Promise<Invalid | null> {
    const { clock } = this.#parts;
    // Whoever was waiting for the start comes first.
    let pauseUs = lookBackAfterUs;
    while (this.#seq > 0) {
      await this.#pause(pauseUs);
      const fromUs = clock.monotonicUs();
      const problem = await this.#slice();
      if (problem !== null) return problem;
      pauseUs = (clock.monotonicUs() - fromUs) * (lookBackShare - 1);
    }
    const isWhole = equal(this.#expected, this.#parts.ledgerId);
    return isWhole ? null : invalid("E_LEDGER", "record 1 does not follow the ledger's genesis");
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #slice(): Promise<Invalid | null> {
    const { crypto, ledgerId, read } = this.#parts;
    const from = Math.max(1, this.#seq - lookBackRecords + 1);
    const rows = await read(from, this.#seq - from + 1);
    for (const { seq, value } of rows.reverse()) {
      const at = `tenant ledger, seq ${this.#seq}`;
      if (seq !== this.#seq) return invalid("E_LEDGER", `${at}: is missing`);
      const stored = openStored(crypto, ledgerId, value, at);
      if (isInvalid(stored)) return stored;
      if (!equal(stored.leafHash, this.#expected)) {
        return invalid("E_LEDGER", `${at}: is not what the record after it follows`);
      }
      this.#expected = stored.header.prevHash.slice();
      this.#seq -= 1;
    }
    return this.#seq < from ? null : invalid("E_LEDGER", `tenant ledger, seq ${from}: is missing`);
  }

  #pause(us: number): Promise<void> {
    if (this.#closed) return new Promise(() => {});
    return new Promise((resolve) => {
      this.#timer = this.#parts.clock.after(us, resolve);
    });
  }
}

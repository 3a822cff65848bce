import type { Clock } from "../../src/native/clock.ts";
import type { RecordDraft } from "./work-ledger.ts";

export interface DenialOptions {
  readonly clock: Clock;
  readonly windowUs: number;
  /** Different denials remembered at once; beyond it each gets a receipt of its own. */
  readonly keysMax: number;
  readonly newId: () => string;
  readonly append: (draft: RecordDraft, receiptId: string, count: number) => void;
}

interface Window {
  readonly draft: RecordDraft;
  /** Of the receipt that will tell how many more there were; empty: none so far. */
  receiptId: string;
  count: number;
}

/**
 * Counts identical denials instead of writing each down: a client that retries in a loop must not
 * fill the disk. The first is told at once; those that follow within the window share one receipt,
 * appended when the window closes.
 *
 * Identical: same claim (limit state included), reason, scope, lease and manifest.
 */
export class Denials {
  readonly #options: DenialOptions;
  readonly #windows = new Map<string, Window>();

  constructor(options: DenialOptions) {
    this.#options = options;
  }

  /** Returns the id of the receipt that stands for this denial. */
  record(draft: RecordDraft): string {
    const { clock, windowUs, keysMax, newId, append } = this.#options;
    const key = keyOf(draft);
    const window = this.#windows.get(key);
    if (window !== undefined) {
      if (window.count === 0) window.receiptId = newId();
      window.count += 1;
      return window.receiptId;
    }
    const receiptId = newId();
    append(draft, receiptId, 1);
    if (this.#windows.size < keysMax) {
      const opened: Window = { draft, receiptId: "", count: 0 };
      this.#windows.set(key, opened);
      clock.after(windowUs, () => {
        if (this.#windows.get(key) !== opened) return;
        this.#windows.delete(key);
        this.#tell(opened);
      });
    }
    return receiptId;
  }

  /** Closes every window now. */
  flush(): void {
    const windows = [...this.#windows.values()];
    this.#windows.clear();
    for (const window of windows) this.#tell(window);
  }

  #tell({ draft, receiptId, count }: Window): void {
    if (count > 0) this.#options.append(draft, receiptId, count);
  }
}

function keyOf({ reason, scope, leaseRef, manifestHash, claim }: RecordDraft): string {
  const bytes = Buffer.concat([leaseRef, manifestHash, claim]).toString("latin1");
  return `${reason} ${scope} ${leaseRef.length} ${manifestHash.length} ${bytes}`;
}

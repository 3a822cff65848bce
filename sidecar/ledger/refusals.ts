import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";

/** How many actions were refused because the ledger was unavailable, since a receipt last told it. */
export interface Refusals {
  readonly count: number;
  add(): void;
  /** A receipt has told of `n`, and is durable. */
  told(n: number): void;
  close(): void;
}

const BYTES = 8;

/**
 * Kept in a file of eight bytes that is allocated beforehand, beside the ledger and not in it: it is
 * the ledger that cannot be written when this counts. Overwriting takes no space on a full disk. A
 * kill loses nothing, a power cut perhaps the last few.
 */
export function refusalsIn(folder: string): Refusals {
  const file = openSync(join(folder, "refused"), "a+", 0o600);
  closeSync(file);
  const handle = openSync(join(folder, "refused"), "r+");
  const bytes = Buffer.alloc(BYTES);
  const whole = readSync(handle, bytes, 0, BYTES, 0) === BYTES;
  let count = whole ? Number(bytes.readBigUInt64BE()) : 0;
  if (!Number.isSafeInteger(count)) count = 0;
  if (!whole) {
    ftruncateSync(handle, 0);
    writeSync(handle, bytes, 0, BYTES, 0);
    fsyncSync(handle);
  }
  const write = (): void => {
    bytes.writeBigUInt64BE(BigInt(count));
    try {
      writeSync(handle, bytes, 0, BYTES, 0);
    } catch {
      // The disk that failed the ledger may fail this too; refusing goes on without the count.
    }
  };
  return {
    get count() {
      return count;
    },
    add() {
      count += 1;
      write();
    },
    told(n) {
      count = Math.max(0, count - n);
      write();
    },
    close: () => closeSync(handle),
  };
}

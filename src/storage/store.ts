import { storeKeyBytesMax } from "../domain/limits.ts";
/**
 * Rows of bytes in the order of their keys: what every embedded store here is built on.
 *
 * Durability: when `commit` resolves, all of its writes are on disk; a crash, a kill or a power cut
 * at any moment leaves either all of them or none. Commits take effect in the order of the calls.
 *
 * Concurrency: one process opens a store at a time (`src/native/hold.ts` sees to that), one thread writes.
 * Reads are synchronous, see a whole number of commits and never a commit that has not resolved as
 * failed. A commit under way may already be visible: what must not be seen before it is durable is
 * the caller's to hold back.
 *
 * Failure: the first write that fails ends the store. That commit and all later ones reject with
 * StorageFailed; reads go on. Nobody retries: after a failed fsync the kernel may have dropped the
 * pages, and a second one would lie. Open it again in a new process and verify what is there.
 * A commit is never abandoned half way, but it takes as long as the disk takes: deadlines are the
 * caller's.
 *
 * What it cannot survive: a disk that acknowledges what it has not written, two machines on one
 * file, a network file system.
 */
export interface Store {
  /** A copy, the caller's to keep; null: there is no such row. */
  get(key: Uint8Array): Uint8Array | null;
  /** Rows with from ≤ key < below, ascending unless `newestFirst`; copies. */
  range(range: Range): Row[];
  /** All or nothing. A later write of the same key wins. Values must not change until it resolves. */
  commit(writes: readonly Write[]): Promise<void>;
  /** Waits for the commits under way. Nothing may be called afterwards. */
  close(): Promise<void>;
}

export interface Range {
  readonly from: Uint8Array;
  readonly below: Uint8Array;
  readonly limit: number;
  readonly newestFirst?: boolean;
}

export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface Write {
  /** 1 to storeKeyBytesMax bytes. */
  readonly key: Uint8Array;
  /** null removes the row, if it is there. */
  readonly value: Uint8Array | null;
}

/** The store took no write, or no longer takes any. */
export class StorageFailed extends Error {
  override readonly name = "StorageFailed";
}

/** @throws RangeError on a key that no store takes. */
export function checkWrites(writes: readonly Write[]): void {
  for (const { key } of writes) {
    if (key.length === 0 || key.length > storeKeyBytesMax) {
      throw new RangeError(`a key is 1 to ${storeKeyBytesMax} bytes, not ${key.length}`);
    }
  }
}

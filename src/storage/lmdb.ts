import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Database, open, type RootDatabaseOptionsWithPath } from "lmdb";
import { checkLmdbFile } from "./lmdb-file.ts";
import {
  checkWrites,
  type Range,
  type Row,
  StorageFailed,
  type Store,
  type Write,
} from "./store.ts";

/** lmdb's own types leave safeRestore out. */
const OPTIONS: Omit<RootDatabaseOptionsWithPath, "path"> & { safeRestore: true } = {
  // A folder whose name has a dot would otherwise be taken for a file.
  noSubdir: false,
  encoding: "binary",
  keyEncoding: "binary",
  overlappingSync: false,
  safeRestore: true,
  // Callers group their own commits; another turn of waiting would only add latency.
  eventTurnBatching: false,
  commitDelay: 0,
};

/**
 * Opens, or creates, an LMDB environment in a folder that the caller holds: `data.mdb` and `lock.mdb`.
 *
 * overlappingSync stays off: with it, rows are readable before they are durable, and after a failed
 * fsync they stay readable while `flushed` waits for ever. safeRestore opens at the last meta page
 * known to be flushed, whatever the machine's boot id says. No writemap, no async map, no deferred
 * sync: each trades away a promise of the contract.
 *
 * @throws StorageFailed when the folder cannot be opened or is not a whole environment.
 */
export function openLmdb(folder: string): Store {
  checkLmdbFile(folder, { alone: true });
  let db: Database<Uint8Array, Uint8Array>;
  try {
    db = open<Uint8Array, Uint8Array>({ ...OPTIONS, path: folder });
  } catch (error) {
    throw new StorageFailed(`cannot open the store in ${folder}: ${said(error)}`, {
      cause: error,
    });
  }
  return new Lmdb(db, folder);
}

/**
 * Every row of an environment as of one moment, in key order, while another process may be writing
 * to it. What it has not yet made durable is not seen. `visit` must not wait for anything.
 * @throws StorageFailed as `openLmdb` does, and when there is no environment.
 */
export async function snapshotLmdb(folder: string, visit: (row: Row) => void): Promise<void> {
  if (!existsSync(join(folder, "data.mdb"))) throw new StorageFailed(`nothing is in ${folder}`);
  checkLmdbFile(folder, { alone: false });
  const db = open<Uint8Array, Uint8Array>({ ...OPTIONS, path: folder, readOnly: true });
  try {
    // One cursor within one turn: one read transaction.
    for (const { key, value } of db.getRange({})) visit({ key: copied(key), value: copied(value) });
  } finally {
    await db.close();
  }
}

class Lmdb implements Store {
  readonly #db: Database<Uint8Array, Uint8Array>;
  readonly #folder: string;
  #failed: StorageFailed | null = null;
  #closed = false;

  constructor(db: Database<Uint8Array, Uint8Array>, folder: string) {
    this.#db = db;
    this.#folder = folder;
  }

  get(key: Uint8Array): Uint8Array | null {
    return this.#reading(() => {
      this.#db.resetReadTxn();
      const value = this.#db.get(key);
      return value === undefined ? null : copied(value);
    });
  }

  range({ from, below, limit, newestFirst = false }: Range): Row[] {
    if (limit <= 0) return [];
    this.#db.resetReadTxn();
    const ends = newestFirst
      ? { start: below, exclusiveStart: true, end: from, inclusiveEnd: true, reverse: true }
      : { start: from, end: below };
    return this.#reading(() =>
      Array.from(this.#db.getRange({ ...ends, limit }), ({ key, value }) => ({
        key: copied(key),
        value: copied(value),
      })),
    );
  }

  /** What LMDB cannot read is damaged: it reads nothing that it has not written. */
  #reading<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      const path = join(this.#folder, "data.mdb");
      throw new StorageFailed(`${path} is damaged: ${said(error)}`, { cause: error });
    }
  }

  async commit(writes: readonly Write[]): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    if (this.#closed) throw new StorageFailed("the store is closed");
    // Before the batch begins: a throw inside it would commit what came before.
    checkWrites(writes);
    try {
      await this.#db.batch(() => {
        for (const { key, value } of writes) {
          // Within a batch, the batch's own promise speaks for all of it.
          if (value === null) void this.#db.remove(key);
          else void this.#db.put(key, value);
        }
      });
    } catch (error) {
      this.#failed ??= new StorageFailed(`a write failed: ${await causeOf(error)}`, {
        cause: error,
      });
    }
    // Also when another commit failed meanwhile: what follows a failure is not to be relied on.
    if (this.#failed !== null) throw this.#failed;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#db.close();
  }
}

/** lmdb's rejection names no cause; the cause is a promise beside it, which rejects by itself. */
async function causeOf(error: unknown): Promise<string> {
  const beside = (error as { commitError?: Promise<never> }).commitError;
  if (beside === undefined) return said(error);
  return beside.catch((cause: unknown) => said(cause));
}

const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What lmdb returns may be a view of memory that it uses again. */
const copied = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes);

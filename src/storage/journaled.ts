import { join } from "node:path";
import { journalApplyBytes, journalHalfBytes, mappedBytesMax } from "../domain/limits.ts";
import { Journal } from "./journal.ts";
import { decodeWrites, encodedBytes, encodeWrites } from "./journal-writes.ts";
import {
  checkWrites,
  type Range,
  type Row,
  StorageFailed,
  type Store,
  type Write,
} from "./store.ts";

/** The row in the store beneath that says which record was applied last; below every other key. */
const APPLIED = Uint8Array.of(0);

interface Commit {
  readonly writes: readonly Write[];
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: StorageFailed) => void;
}

/** Writes by key (one character a byte, so that they sort alike), the last of each. */
type Overlay = Map<string, Write>;

/**
 * A store with a journal in front: a commit is durable once it is in the journal, one flush of the
 * disk; the store beneath gets many commits in one, later, when nobody waits. Rows that came and
 * went in between never reach it.
 *
 * The contract is that of `Store`, and `beneath` must keep it too. Its rows and the number of the
 * last record in them change together, so a start knows which records are still to be applied.
 * A commit larger than half the journal goes beneath directly, after all that came before it.
 *
 * @param openBeneath opens the store beneath, now and whenever as much was written to it as should
 * stay mapped: a database that maps its file holds every page it ever touched, until it is closed.
 * @throws StorageFailed when the journal is damaged, or is not the one that this store had.
 */
export async function openJournaled(folder: string, openBeneath: () => Store): Promise<Store> {
  const path = join(folder, "journal");
  const { journal, records } = Journal.open(path, journalHalfBytes);
  let beneath: Store | null = null;
  try {
    beneath = openBeneath();
    const row = beneath.get(APPLIED);
    const applied = row === null ? 0 : Number(Buffer.from(row).readBigUInt64BE());
    if (journal.number < applied) {
      throw new StorageFailed(`${path} ends at ${journal.number}, its store is at ${applied}`);
    }
    const left: Overlay = new Map();
    let number = applied;
    for (const record of records) {
      if (record.number <= applied) continue;
      // One write at a time: only the last can be torn, so nothing can follow what is missing.
      if (record.number !== ++number) throw new StorageFailed(`${path} has lost record ${number}`);
      for (const w of decodeWrites(record.body)) left.set(nameOf(w.key), w);
    }
    if (number > applied) await beneath.commit([...left.values(), appliedRow(number)]);
    return new Journaled(journal, beneath, openBeneath);
  } catch (error) {
    journal.close();
    await beneath?.close();
    throw error;
  }
}

class Journaled implements Store {
  readonly #journal: Journal;
  readonly #openBeneath: () => Store;
  #beneath: Store;
  /** Bytes written to it since it was opened. */
  #mapped = 0;
  #queue: Commit[] = [];
  #writing = false;
  /** In the journal and not beneath. */
  #fresh: Overlay = new Map();
  #freshBytes = 0;
  /** On their way beneath. */
  #moving: Overlay | null = null;
  #failed: StorageFailed | null = null;
  #closed = false;
  #idle: (() => void) | null = null;

  constructor(journal: Journal, beneath: Store, openBeneath: () => Store) {
    this.#journal = journal;
    this.#beneath = beneath;
    this.#openBeneath = openBeneath;
  }

  get(key: Uint8Array): Uint8Array | null {
    const name = nameOf(key);
    const write = this.#fresh.get(name) ?? this.#moving?.get(name);
    if (write === undefined) return this.#beneath.get(key);
    return write.value === null ? null : new Uint8Array(write.value);
  }

  range(range: Range): Row[] {
    const { from, below, limit, newestFirst = false } = range;
    if (limit <= 0) return [];
    const [first, end] = [nameOf(from), nameOf(below)];
    const over: Overlay = new Map();
    for (const overlay of [this.#moving, this.#fresh]) {
      for (const [name, write] of overlay ?? []) {
        if (name >= first && name < end) over.set(name, write);
      }
    }
    // Each row that is removed above may hide one that is wanted.
    const rows = this.#beneath.range({ ...range, limit: limit + over.size });
    if (over.size === 0) return rows;
    const merged = new Map(rows.map((row) => [nameOf(row.key), row] as const));
    for (const [name, { key, value }] of over) {
      if (value === null) merged.delete(name);
      else merged.set(name, { key: new Uint8Array(key), value: new Uint8Array(value) });
    }
    const sorted = [...merged].sort(([a], [b]) => (a < b !== newestFirst ? -1 : 1));
    return sorted.slice(0, limit).map(([, row]) => row);
  }

  async commit(writes: readonly Write[]): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    if (this.#closed) throw new StorageFailed("the store is closed");
    checkWrites(writes);
    await new Promise<void>((resolve, reject) => {
      this.#queue.push({ writes, bytes: encodedBytes(writes), resolve, reject });
      this.#pump();
    });
  }

  /** Begins the next write if there is something to write and somewhere to. */
  #pump(): void {
    const [first] = this.#queue;
    if (this.#writing || this.#failed !== null) return;
    if (first === undefined) {
      this.#idle?.();
      return;
    }
    const { bodyMax } = this.#journal;
    if (first.bytes > bodyMax) {
      this.#moveAll();
      if (this.#moving === null) void this.#around(this.#queue.shift() as Commit);
      return;
    }
    let count = 0;
    let bytes = 0;
    for (const commit of this.#queue) {
      if (bytes + commit.bytes > bodyMax) break;
      bytes += commit.bytes;
      count += 1;
    }
    if (!this.#journal.fits(bytes)) {
      this.#moveAll();
      // Both halves are full: whoever moves the other one comes back here.
      if (!this.#journal.fits(bytes)) return;
    }
    void this.#write(this.#queue.splice(0, count), bytes);
  }

  async #write(commits: readonly Commit[], bytes: number): Promise<void> {
    this.#writing = true;
    try {
      await this.#journal.append(bytes, (body) => encodeWrites(commits, body));
    } catch (error) {
      this.#fail(error, commits);
      return;
    }
    this.#writing = false;
    for (const { writes, resolve } of commits) {
      for (const write of writes) this.#fresh.set(nameOf(write.key), write);
      resolve();
    }
    this.#freshBytes += bytes;
    if (this.#freshBytes >= journalApplyBytes) this.#moveAll();
    this.#pump();
  }

  /** A commit that no half takes, straight beneath. */
  async #around(commit: Commit): Promise<void> {
    this.#writing = true;
    try {
      await this.#beneath.commit(commit.writes);
    } catch (error) {
      this.#fail(error, [commit]);
      return;
    }
    this.#writing = false;
    commit.resolve();
    this.#pump();
  }

  /** Begins to move what this half holds beneath, unless the other half is still on its way. */
  #moveAll(): void {
    if (this.#moving !== null || this.#fresh.size === 0) return;
    const moving = this.#fresh;
    const { number } = this.#journal;
    this.#moving = moving;
    this.#mapped += this.#freshBytes;
    this.#fresh = new Map();
    this.#freshBytes = 0;
    this.#journal.turn();
    this.#move([...moving.values(), appliedRow(number)]).then(
      () => {
        this.#moving = null;
        this.#pump();
      },
      (error: unknown) => this.#fail(error, []),
    );
  }

  async #move(writes: readonly Write[]): Promise<void> {
    await this.#beneath.commit(writes);
    if (this.#mapped < mappedBytesMax) return;
    this.#mapped = 0;
    // In a turn of its own, where nobody reads between closing and opening: neither waits for a disk.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#beneath.close();
    this.#beneath = this.#openBeneath();
  }

  #fail(error: unknown, commits: readonly Commit[]): void {
    const said = error instanceof Error ? error.message : String(error);
    this.#failed ??=
      error instanceof StorageFailed
        ? error
        : new StorageFailed(`a write failed: ${said}`, { cause: error });
    for (const { reject } of [...commits, ...this.#queue.splice(0)]) reject(this.#failed);
    this.#writing = false;
    this.#idle?.();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (
      this.#failed === null &&
      (this.#writing || this.#moving !== null || this.#fresh.size > 0)
    ) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
        if (!this.#writing) this.#moveAll();
      });
    }
    this.#journal.close();
    await this.#beneath.close();
  }
}

const nameOf = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");

function appliedRow(number: number): Write {
  const value = Buffer.alloc(8);
  value.writeBigUInt64BE(BigInt(number));
  return { key: APPLIED, value };
}

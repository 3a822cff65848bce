import { compare, concat, equal, text, u64be, utf8 } from "../domain/bytes.ts";
import { bytes, message, u64 } from "../domain/canonical.ts";
import { controlKeyBytesMax } from "../domain/limits.ts";
import type {
  Answered,
  Applied,
  Command,
  Conflict,
  ControlStore,
  KeyedRow,
  ListPage,
  LogEntry,
  ReadPage,
  Row,
} from "./control-store.ts";
import type { Store, Write } from "./store.ts";

/**
 * The control store on rows of bytes, for one process. Every row's key begins with what it is and
 * whose:
 *
 *     t <tenant>                       owner epoch and revision
 *     k <tenant> NUL <key>             a row
 *     s <tenant> NUL <log>             u64be size of a log
 *     l <tenant> NUL <log> NUL <u64be> an entry of a log
 *     q <tenant> NUL <request id>      an answer
 *
 * Commands are judged at once, against what is stored and what is under way, and join the batch that
 * goes out when the one before it is durable.
 *
 * A commit costs by itself more than the rows in it. After one that several shared, `gather` is awaited
 * before the next, so that more share that. Whoever writes alone, one thing after the other, never waits for it.
 */
export function embeddedControlStore(
  store: Store,
  gather: () => Promise<void> = () => Promise.resolve(),
): ControlStore {
  return new EmbeddedControlStore(store, gather);
}

const TENANT = /^[a-z0-9-]{1,63}$/;

const Meta = message("tenantMeta", { ownerEpoch: u64(1), revision: u64(2) });
const StoredAnswer = message("answer", { digest: bytes(1), revision: u64(2), answer: bytes(3) });
const StoredRow = message("row", { version: u64(1), value: bytes(2) });
const StoredSize = message("size", { size: u64(1) });

/** A row as it is stored, whoever's it is. */
export interface RawRow {
  readonly tenant: string;
  readonly key: string;
  /** Revision that wrote it last. */
  readonly version: number;
  readonly value: Uint8Array;
}

/** Rows of every tenant whose keys begin so: for whoever brings what is stored up to another form. */
export function* rowsUnder(store: Store, prefix: string): Generator<RawRow> {
  const all = { below: afterPrefix(utf8("t")), limit: Number.MAX_SAFE_INTEGER };
  for (const { key: owner } of store.range({ ...all, from: utf8("t") })) {
    const tenant = text(owner.subarray(1));
    const from = rowKey("k", tenant, prefix);
    for (const { key, value } of store.range({ ...all, from, below: afterPrefix(from) })) {
      const name = text(key.subarray(rowKey("k", tenant).length + 1));
      yield { tenant, key: name, ...StoredRow.decode(value) };
    }
  }
}

/** What makes a row so; null: what takes it away. */
export const rowWrite = ({
  tenant,
  key,
  version,
  value,
}: Omit<RawRow, "value"> & { readonly value: Uint8Array | null }): Write => ({
  key: rowKey("k", tenant, key),
  value: value === null ? null : StoredRow.encode({ version, value }),
});

interface Batch {
  /** By key in latin-1: of what is written more than once, the last. */
  readonly writes: Map<string, Write>;
  /** How many share it. */
  commands: number;
  readonly done: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

class EmbeddedControlStore implements ControlStore {
  readonly #store: Store;
  readonly #gather: () => Promise<void>;
  /** What is under way: the batch on its way to the disk and the one that is open. What failed stays, for good. */
  #batches: Batch[] = [];
  #open: Batch | null = null;
  #flushing: Promise<void> | null = null;

  constructor(store: Store, gather: () => Promise<void>) {
    this.#store = store;
    this.#gather = gather;
  }

  async own(tenant: string): Promise<number> {
    checkTenant(tenant);
    const meta = this.#meta(tenant);
    const ownerEpoch = meta.ownerEpoch + 1;
    const key = rowKey("t", tenant);
    await this.#put([{ key, value: Meta.encode({ ...meta, ownerEpoch }) }]);
    return ownerEpoch;
  }

  async apply(command: Command): Promise<Applied | Conflict> {
    const { tenant, request } = command;
    checkTenant(tenant);
    const meta = this.#meta(tenant);
    if (command.ownerEpoch !== meta.ownerEpoch) return conflict("FENCED", tenant);
    if (request !== undefined) {
      const key = rowKey("q", tenant, request.id);
      const earlier = this.#visible(key);
      if (earlier !== null) {
        // An answer is given when it is durable, also to the one who asks again meanwhile.
        await this.#writing(mapKey(key))?.done;
        const { digest, revision, answer } = StoredAnswer.decode(earlier);
        if (!equal(digest, request.digest)) return conflict("REQUEST_REUSED", request.id);
        return { applied: true, revision, replayed: true, answer };
      }
    }
    for (const { key, version } of command.expected) {
      const row = this.#visible(rowKey("k", tenant, key));
      const found = row === null ? 0 : StoredRow.decode(row).version;
      if (found !== version) return conflict("VERSION", key);
    }
    const sizes = new Map<string, number>();
    for (const { log, seq } of command.appends) {
      const size = sizes.get(log) ?? this.#size(tenant, log);
      if (seq !== size + 1) return conflict("SEQ", log);
      sizes.set(log, seq);
    }

    const revision = meta.revision + 1;
    const writes: Write[] = [
      { key: rowKey("t", tenant), value: Meta.encode({ ...meta, revision }) },
      ...command.writes.map((write) => rowWrite({ tenant, version: revision, ...write })),
      ...command.appends.map(({ log, seq, value }) => ({ key: logKey(tenant, log, seq), value })),
      ...[...sizes].map(([log, size]) => ({
        key: rowKey("s", tenant, log),
        value: StoredSize.encode({ size }),
      })),
    ];
    if (request !== undefined) {
      const { id, digest, answer } = request;
      const value = StoredAnswer.encode({ digest, revision, answer });
      writes.push({ key: rowKey("q", tenant, id), value });
    }
    await this.#put(writes);
    return {
      applied: true,
      revision,
      replayed: false,
      answer: request?.answer ?? new Uint8Array(0),
    };
  }

  async answered(tenant: string, requestId: string): Promise<Answered | null> {
    const row = this.#visible(rowKey("q", tenant, requestId));
    return row === null ? null : StoredAnswer.decode(row);
  }

  async get(tenant: string, key: string): Promise<Row | null> {
    const row = this.#visible(rowKey("k", tenant, key));
    return row === null ? null : StoredRow.decode(row);
  }

  async list(tenant: string, { prefix, after, limit }: ListPage): Promise<KeyedRow[]> {
    const start = rowKey("k", tenant, prefix);
    const below = afterPrefix(start);
    const own = rowKey("k", tenant).length + 1;
    const cursor = after === "" ? start : concat(rowKey("k", tenant, after), Uint8Array.of(0));
    const from = compare(cursor, start) < 0 ? start : cursor;
    return this.#store.range({ from, below, limit }).map(({ key, value }) => ({
      key: text(key.subarray(own)),
      ...StoredRow.decode(value),
    }));
  }

  async read(tenant: string, log: string, { from, limit }: ReadPage): Promise<LogEntry[]> {
    const below = afterPrefix(concat(rowKey("l", tenant, log), Uint8Array.of(0)));
    const rows = this.#store.range({ from: logKey(tenant, log, Math.max(from, 1)), below, limit });
    return rows.map(({ key, value }) => ({ seq: seqOf(key), value }));
  }

  async size(tenant: string, log: string): Promise<number> {
    return this.#size(tenant, log);
  }

  async tenants({ after, limit }: { after: string; limit: number }): Promise<string[]> {
    const from = after === "" ? rowKey("t", "") : concat(rowKey("t", after), Uint8Array.of(0));
    const rows = this.#store.range({ from, below: afterPrefix(rowKey("t", "")), limit });
    return rows.map(({ key }) => text(key.subarray(1)));
  }

  async close(): Promise<void> {
    await this.#flushing;
    await this.#store.close();
  }

  #meta(tenant: string): { ownerEpoch: number; revision: number } {
    const row = this.#visible(rowKey("t", tenant));
    return row === null ? Meta.empty() : Meta.decode(row);
  }

  #size(tenant: string, log: string): number {
    const row = this.#visible(rowKey("s", tenant, log));
    return row === null ? 0 : StoredSize.decode(row).size;
  }

  #visible(key: Uint8Array): Uint8Array | null {
    const name = mapKey(key);
    const write = this.#writing(name)?.writes.get(name);
    return write === undefined ? this.#store.get(key) : write.value;
  }

  /** The newest batch that writes this key, if any does. */
  #writing(name: string): Batch | undefined {
    return this.#batches.findLast(({ writes }) => writes.has(name));
  }

  /** Joins the batch that is open, or opens one. Resolves when it is durable. */
  #put(writes: readonly Write[]): Promise<void> {
    const batch = this.#open ?? this.#newBatch();
    batch.commands++;
    for (const write of writes) batch.writes.set(mapKey(write.key), write);
    this.#flushing ??= this.#flush();
    return batch.done;
  }

  #newBatch(): Batch {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const writes = new Map<string, Write>();
    const batch = { writes, commands: 0, done: promise, resolve, reject };
    this.#batches.push(batch);
    this.#open = batch;
    return batch;
  }

  async #flush(): Promise<void> {
    // One microtask later, so that everything said in this turn shares the first flush.
    await Promise.resolve();
    for (let batch = this.#open; batch !== null; batch = this.#open) {
      this.#open = null;
      try {
        await this.#store.commit([...batch.writes.values()]);
      } catch (error) {
        // What failed stays: judged by it or not, nothing will ever be written again.
        batch.reject(error);
        continue;
      }
      this.#batches = this.#batches.filter((other) => other !== batch);
      batch.resolve();
      if (batch.commands > 1) await this.#gather();
    }
    this.#flushing = null;
  }
}

const conflict = (kind: Conflict["conflict"], at: string): Conflict => ({
  applied: false,
  conflict: kind,
  at,
});

function checkTenant(tenant: string): void {
  if (!TENANT.test(tenant)) throw new RangeError("tenant: a to z, 0 to 9 and hyphen, at most 63");
}

function rowKey(kind: "t" | "k" | "s" | "l" | "q", tenant: string, name?: string): Uint8Array {
  const owner = `${kind}${tenant}`;
  if (name === undefined) return utf8(owner);
  const key = utf8(`${owner}\0${name}`);
  // Its tenant is ASCII: as many bytes as characters.
  if (key.length - owner.length - 1 > controlKeyBytesMax || name.includes("\0")) {
    throw new RangeError(`key: at most ${controlKeyBytesMax} bytes and no NUL`);
  }
  return key;
}

const logKey = (tenant: string, log: string, seq: number): Uint8Array =>
  concat(rowKey("l", tenant, log), NUL, u64be(seq));

const NUL = Uint8Array.of(0);

function seqOf(key: Uint8Array): number {
  const view = new DataView(key.buffer, key.byteOffset + key.length - 8, 8);
  return view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4);
}

/** The first key after all that begin with `prefix`. No prefix here ends in 0xff. */
function afterPrefix(prefix: Uint8Array): Uint8Array {
  const next = Uint8Array.from(prefix);
  next[next.length - 1] = (next.at(-1) as number) + 1;
  return next;
}

const mapKey = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");

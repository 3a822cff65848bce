/**
 * Everything that a control plane keeps, tenant by tenant: rows by key, logs by seq, and the answers
 * that were given to requests.
 *
 * Commands are data, so that any store can carry them out whole: an embedded one here, a database
 * server elsewhere. There are no closures, and nothing spans two tenants.
 *
 * Durability: when `apply` resolves as applied, all of its command is on disk; a crash, a kill or a
 * power cut at any moment leaves either all of it or none. Commands of one tenant take effect in the
 * order of the calls. Commands under way are grouped: many share one flush.
 *
 * Ownership: whoever writes a tenant first takes it with `own`, which gives an epoch above all
 * earlier ones. A command of an older epoch changes nothing and answers FENCED, so that a process
 * that believes itself alone, and is not, does no harm.
 *
 * Replay: a command that carries a request is carried out once. The same request again changes
 * nothing and gives the first answer; the same id with another digest answers REQUEST_REUSED.
 * Answers are kept as long as the tenant is.
 *
 * Concurrency: reads see every command that has resolved, and may see one that is under way. What
 * must not be shown before it is durable is the caller's to hold back.
 *
 * Failure: `apply` and `own` reject with StorageFailed once a write has failed, and from then on.
 * Nobody retries: the process ends, and another one opens the store and verifies what is there.
 */
export interface ControlStore {
  /** Takes a tenant over, and returns the new owner epoch, durable. */
  own(tenant: string): Promise<number>;
  apply(command: Command): Promise<Applied | Conflict>;
  /** The first answer to a request; null: it was never applied. */
  answered(tenant: string, requestId: string): Promise<Answered | null>;
  /** null: there is no such row. */
  get(tenant: string, key: string): Promise<Row | null>;
  /** Rows whose key begins with `prefix` and sorts after `after`, by key. */
  list(tenant: string, page: ListPage): Promise<KeyedRow[]>;
  /** Entries of a log from `from` upwards. */
  read(tenant: string, log: string, page: ReadPage): Promise<LogEntry[]>;
  /** seq of a log's last entry; 0: it has none. */
  size(tenant: string, log: string): Promise<number>;
  /** Tenants ever owned, by name, after `after`. */
  tenants(page: { after: string; limit: number }): Promise<string[]>;
  /** Waits for what is under way. Nothing may be called afterwards. */
  close(): Promise<void>;
}

export interface Command {
  readonly tenant: string;
  /** From `own`. */
  readonly ownerEpoch: number;
  /** Rows that must still have this version; 0: must not exist. */
  readonly expected: readonly { readonly key: string; readonly version: number }[];
  /** null removes the row, if it is there. */
  readonly writes: readonly KeyWrite[];
  readonly appends: readonly LogEntryWrite[];
  /** Absent: the command is not asked for from outside, and nobody repeats it. */
  readonly request?: Request | undefined;
}

export interface KeyWrite {
  /** UTF-8, at most controlKeyBytesMax bytes, without NUL. */
  readonly key: string;
  readonly value: Uint8Array | null;
}

export interface LogEntryWrite {
  /** As a key. */
  readonly log: string;
  /** One more than the log's last: an append that is late or early is a conflict. From 1. */
  readonly seq: number;
  readonly value: Uint8Array;
}

export interface Request {
  /** As a key. Unique within the tenant: callers put who asked what in it. */
  readonly id: string;
  /** Digest of what was asked. */
  readonly digest: Uint8Array;
  /** What is answered, now and whenever the request comes again. */
  readonly answer: Uint8Array;
}

export interface Applied {
  readonly applied: true;
  /** Commands of this tenant so far, this one included; of a replay, the first's. */
  readonly revision: number;
  readonly replayed: boolean;
  /** The request's answer; of a replay, the first's. Empty without a request. */
  readonly answer: Uint8Array;
}

export interface Conflict {
  readonly applied: false;
  readonly conflict: "FENCED" | "VERSION" | "SEQ" | "REQUEST_REUSED";
  /** The key, log or request id that it came from. */
  readonly at: string;
}

export interface Answered {
  readonly digest: Uint8Array;
  readonly revision: number;
  readonly answer: Uint8Array;
}

export interface Row {
  readonly value: Uint8Array;
  /** Revision of the command that wrote it. */
  readonly version: number;
}

export interface KeyedRow extends Row {
  readonly key: string;
}

export interface LogEntry {
  readonly seq: number;
  readonly value: Uint8Array;
}

export interface ListPage {
  readonly prefix: string;
  /** A whole key; empty: from the first. */
  readonly after: string;
  readonly limit: number;
}

export interface ReadPage {
  readonly from: number;
  readonly limit: number;
}

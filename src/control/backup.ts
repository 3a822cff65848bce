import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { basename } from "node:path";
import { equal, utf8 } from "../domain/bytes.ts";
import { restoreBatchRows } from "../domain/limits.ts";
import { writeAtomic } from "../native/atomic-file.ts";
import { systemClock } from "../native/clock.ts";
import { holdFolder } from "../native/hold.ts";
import { embeddedControlStore } from "../storage/control-embedded.ts";
import { checkFormat } from "../storage/format.ts";
import { openLmdb, snapshotLmdb } from "../storage/lmdb.ts";
import type { Write } from "../storage/store.ts";
import { ConfigError } from "./config.ts";
import { CONTROL_FORMAT } from "./format.ts";
import { dataFiles } from "./identity.ts";
import { RESTORED_KEY, RestoredRow } from "./tenant.ts";

/**
 * A control plane's data in one file:
 *
 *     "dragons control backup 1\n"
 *     frames: u8 kind ("F" a file, "R" a row), u32be length, key, u32be length, value
 *     "E" and the SHA-256 of everything before it
 *
 * The rows are those of one moment, read in one transaction while the control plane runs or not. The
 * files say who it is: its id and its public certificates. No key is in it: those lie in `DATA.keys`,
 * are as strong as the control plane itself, change seldom, and are to be kept apart.
 */
const HEADER = utf8("dragons control backup 1\n");
const KIND = { file: 0x46, row: 0x52, end: 0x45 } as const;
const DIGEST_BYTES = 32;
/** Bytes of one key or value: the largest manifest fits many times over. */
const PART_BYTES_MAX = 64 * 1024 * 1024;

interface Counted {
  readonly rows: number;
  readonly bytes: number;
}

/** @throws ConfigError when there is no control plane's data, StorageFailed when it cannot be read. */
async function backup(data: string, file: string): Promise<Counted> {
  const files = dataFiles(data);
  const identity = [files.id, files.ca, files.sidecarCa];
  const absent = identity.find((path) => !existsSync(path));
  if (absent !== undefined) {
    throw new ConfigError(`--data: ${data} is no control plane's: ${absent} is missing`);
  }
  const partial = `${file}.partial`;
  const out = new Writer(partial);
  let rows = 0;
  try {
    for (const path of identity) out.frame(KIND.file, utf8(basename(path)), readFileSync(path));
    await snapshotLmdb(files.store, ({ key, value }) => {
      rows++;
      out.frame(KIND.row, key, value);
    });
    out.end();
    renameSync(partial, file);
  } catch (error) {
    out.close();
    rmSync(partial, { force: true });
    throw error;
  }
  return { rows, bytes: out.bytes };
}

/**
 * Makes a data folder out of a backup, for a control plane to start on. Each tenant in it is marked:
 * it knows nothing of what was revoked since, so it leases nothing until operators have said that all
 * of it is there again, and its sessions are numbered above all that were ever granted.
 *
 * @throws ConfigError when the file is no whole backup, or the folder is not free, or its keys are not
 * there; nothing was written then that a second try would not overwrite.
 */
async function restore(file: string, data: string): Promise<Counted & { tenants: string[] }> {
  const files = dataFiles(data);
  // The whole file before anything of it is believed.
  const whole = readAll(file, () => {});
  if (!existsSync(files.keys)) {
    throw new ConfigError(
      `--data: ${files.secrets} is missing: no backup holds keys; put those of the old control ` +
        "plane there first",
    );
  }
  await mkdir(data, { recursive: true, mode: 0o700 });
  const found = (await readdir(data)).filter((name) => name !== "lock" && name !== "holder");
  if (found.length > 0) {
    throw new ConfigError(`--data: ${data} is not empty; restore into a new folder`);
  }
  const hold = holdFolder(data);
  try {
    await mkdir(files.store, { mode: 0o700 });
    const store = openLmdb(files.store);
    const batch: Write[] = [];
    const identity: [string, Uint8Array][] = [];
    const commits: Promise<void>[] = [];
    readAll(file, (kind, key, value) => {
      if (kind === KIND.file) identity.push([Buffer.from(key).toString("utf8"), value]);
      else batch.push({ key, value });
      if (batch.length >= restoreBatchRows) commits.push(store.commit(batch.splice(0)));
    });
    commits.push(store.commit(batch));
    await Promise.all(commits);
    checkFormat(store, CONTROL_FORMAT);
    const tenants = await mark(store);
    for (const [name, content] of identity) {
      const path = [files.id, files.ca, files.sidecarCa].find((p) => basename(p) === name);
      if (path !== undefined) await writeAtomic(path, content, 0o644);
    }
    return { ...whole, tenants };
  } finally {
    hold.release();
  }
}

/** Writes into each tenant that it was restored, and closes the store. Returns them. */
async function mark(rows: ReturnType<typeof openLmdb>): Promise<string[]> {
  const store = embeddedControlStore(rows);
  const tenants = await store.tenants({ after: "", limit: Number.MAX_SAFE_INTEGER });
  for (const tenant of tenants) {
    const before = await store.get(tenant, RESTORED_KEY);
    const times = (before === null ? 0 : RestoredRow.decode(before.value).times) + 1;
    await store.apply({
      tenant,
      ownerEpoch: await store.own(tenant),
      expected: [],
      writes: [
        { key: RESTORED_KEY, value: RestoredRow.encode({ atUs: systemClock.nowUs(), times }) },
      ],
      appends: [],
    });
  }
  await store.close();
  return tenants;
}

/** Writes frames and digests them. */
class Writer {
  bytes = 0;
  readonly #fd: number;
  readonly #hash: Hash = createHash("sha256");
  #open = true;

  constructor(path: string) {
    this.#fd = openSync(path, "w", 0o600);
    this.#put(HEADER);
  }

  frame(kind: number, key: Uint8Array, value: Uint8Array): void {
    const head = Buffer.alloc(5);
    head[0] = kind;
    head.writeUInt32BE(key.length, 1);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(value.length);
    this.#put(Buffer.concat([head, key, length, value]));
  }

  /** Durable when it returns. */
  end(): void {
    this.#put(Uint8Array.of(KIND.end));
    this.#write(this.#hash.digest());
    fsyncSync(this.#fd);
    this.close();
  }

  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  #put(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#write(bytes);
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    this.bytes += bytes.length;
  }
}

/** Reads a backup from end to end. @throws ConfigError when it is not a whole one. */
function readAll(
  file: string,
  visit: (kind: number, key: Uint8Array, value: Uint8Array) => void,
): Counted {
  const spoilt = (what: string) =>
    new ConfigError(`${file}: ${what}; it is no whole backup of a control plane`);
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch (error) {
    throw new ConfigError(`${file}: ${(error as Error).message}`);
  }
  const hash = createHash("sha256");
  let bytes = 0;
  const take = (length: number): Uint8Array => {
    const part = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const got = readSync(fd, part, at, length - at, null);
      if (got === 0) throw spoilt("it ends early");
      at += got;
    }
    bytes += length;
    return part;
  };
  const hashed = (length: number): Uint8Array => {
    const part = take(length);
    hash.update(part);
    return part;
  };
  const part = (): Uint8Array => {
    const length = Buffer.from(hashed(4)).readUInt32BE();
    if (length > PART_BYTES_MAX) throw spoilt(`a part of ${length} bytes is in it`);
    return hashed(length);
  };
  try {
    if (!equal(hashed(HEADER.length), HEADER)) throw spoilt("it does not begin like one");
    for (let rows = 0; ; ) {
      const kind = hashed(1)[0];
      if (kind === KIND.end) {
        const digest = hash.digest();
        if (!equal(take(DIGEST_BYTES), digest)) throw spoilt("its digest does not match");
        return { rows, bytes };
      }
      if (kind !== KIND.file && kind !== KIND.row) throw spoilt(`a frame of kind ${kind} is in it`);
      visit(kind, part(), part());
      if (kind === KIND.row) rows++;
    }
  } finally {
    closeSync(fd);
  }
}

export const BACKUP_USAGE = `usage: dragons control backup FILE --data DIR
       dragons control restore FILE --data DIR

  backup    writes DIR into FILE, as of one moment, whether or not the control plane runs. Keys are
            not in it: keep a copy of DIR.keys apart, and guard it like the control plane itself
  restore   makes DIR, a new folder, out of FILE. DIR.keys must be there. Nothing is leased after it
            until operators have signed what was revoked since the backup, and that this was all:
            dragons tenant resume
`;

/** `dragons control backup|restore`. Resolves to the exit code: 0, 64 usage, 75 held; throws the rest. */
export async function backupMain(
  verb: "backup" | "restore",
  argv: readonly string[],
): Promise<number> {
  const at = argv.indexOf("--data");
  const data = at < 0 ? undefined : argv[at + 1];
  const [file, ...more] = argv.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  if (file === undefined || data === undefined || more.length > 0 || file.startsWith("-")) {
    process.stderr.write(BACKUP_USAGE);
    return 64;
  }
  if (verb === "backup") {
    const { rows, bytes } = await backup(data, file);
    process.stdout.write(
      `${rows} rows, ${bytes} bytes in ${file}; keys are not in it: keep ${data}.keys apart\n`,
    );
    return 0;
  }
  const { rows, tenants } = await restore(file, data);
  process.stdout.write(
    `${rows} rows restored into ${data}. Of each tenant (${tenants.join(", ")}) operators must now ` +
      "revoke again what was revoked since the backup, and then say so: dragons tenant resume\n",
  );
  return 0;
}

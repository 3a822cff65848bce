import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  write,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { StorageFailed } from "./store.ts";

/** What the disk writes whole or not at all is no larger; records never share one. */
const BLOCK = 4096;
const ID_BYTES = 16;
/** Before a record's body: journal id, number (u64), length of the body (u32), CRC-32 of all but itself. */
const HEAD = ID_BYTES + 8 + 4 + 4;
const CRC_AT = HEAD - 4;

/** Each write has its number: from 1, without gaps. */
export interface JournalRecord {
  readonly number: number;
  readonly body: Buffer;
}

/**
 * A file of fixed size that is overwritten in place, which is the cheapest durable write there is: no
 * block is allocated, no metadata changes, so a write is one flush of the disk.
 *
 *     block 0                  journal id, 16 random bytes
 *     first half, second half  records, each at the start of a block: head, body, zeros
 *
 * One write is under way at a time, so a crash leaves at most the last record torn; no write touches
 * the blocks of an earlier one. One half is written while what the other holds moves elsewhere.
 * The id stands in every record and is told to nobody: no body can be made to look like a record.
 */
export class Journal {
  readonly #file: number;
  readonly #halfBytes: number;
  readonly #staging: Buffer;
  #half = 0;
  /** Bytes of this half that are taken. */
  #taken = 0;
  #number: number;

  private constructor(id: Buffer, file: number, halfBytes: number, number: number) {
    this.#file = file;
    this.#halfBytes = halfBytes;
    this.#number = number;
    this.#staging = Buffer.alloc(halfBytes);
    id.copy(this.#staging);
  }

  /**
   * Opens the journal, or makes it. What it holds are the whole records in it, by number; which of
   * them still count, and whether one is missing, the caller knows.
   *
   * @throws StorageFailed when it cannot be read, made or is no journal of this size.
   */
  static open(path: string, halfBytes: number): { journal: Journal; records: JournalRecord[] } {
    try {
      if (!existsSync(path)) make(path, halfBytes);
      const bytes = readFileSync(path);
      if (bytes.length !== BLOCK + 2 * halfBytes) {
        throw new StorageFailed(`${path} is not a journal: it has ${bytes.length} bytes`);
      }
      const id = Buffer.from(bytes.subarray(0, ID_BYTES));
      const records = wholeRecords(bytes, id);
      // O_DSYNC: a write returns once it is on disk.
      const file = openSync(path, constants.O_RDWR | (constants.O_DSYNC ?? constants.O_SYNC));
      const last = records.at(-1)?.number ?? 0;
      return { journal: new Journal(id, file, halfBytes, last), records };
    } catch (error) {
      if (error instanceof StorageFailed) throw error;
      throw new StorageFailed(`cannot open ${path}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** The number of the last record. */
  get number(): number {
    return this.#number;
  }

  /** Bytes of the longest body that an empty half takes. */
  get bodyMax(): number {
    return this.#halfBytes - HEAD;
  }

  /** Whether this half still takes such a body. */
  fits(bodyBytes: number): boolean {
    return this.#taken + blocks(HEAD + bodyBytes) <= this.#halfBytes;
  }

  /** From now on the other half is written, from its beginning: nothing in it may be needed. */
  turn(): void {
    this.#half = 1 - this.#half;
    this.#taken = 0;
  }

  /**
   * Resolves when the record is on disk. One at a time, and it must fit.
   *
   * @param fill writes the body, of exactly that many bytes.
   */
  append(bodyBytes: number, fill: (body: Buffer) => void): Promise<void> {
    const staging = this.#staging;
    const end = HEAD + bodyBytes;
    const whole = blocks(end);
    this.#number += 1;
    staging.writeUInt32BE(Math.floor(this.#number / 0x1_0000_0000), ID_BYTES);
    staging.writeUInt32BE(this.#number % 0x1_0000_0000, ID_BYTES + 4);
    staging.writeUInt32BE(bodyBytes, ID_BYTES + 8);
    fill(staging.subarray(HEAD, end));
    staging.fill(0, end, whole);
    staging.writeUInt32BE(checksum(staging, end), CRC_AT);
    const at = BLOCK + this.#half * this.#halfBytes + this.#taken;
    this.#taken += whole;
    return new Promise((resolve, reject) => {
      write(this.#file, staging, 0, whole, at, (error, written) => {
        if (error !== null) reject(error);
        else if (written !== whole) reject(new Error(`${written} of ${whole} bytes were written`));
        else resolve();
      });
    });
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Whole and durable before it has its name, its name durable before it is used. */
function make(path: string, halfBytes: number): void {
  const file = openSync(`${path}.new`, "w", 0o600);
  try {
    const bytes = Buffer.alloc(BLOCK + 2 * halfBytes);
    randomBytes(ID_BYTES).copy(bytes);
    if (writeSync(file, bytes) !== bytes.length) throw new StorageFailed("the disk is full");
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  const folder = openSync(dirname(path), "r");
  fsyncSync(folder);
  closeSync(folder);
}

function wholeRecords(bytes: Buffer, id: Buffer): JournalRecord[] {
  const records: JournalRecord[] = [];
  for (let at = BLOCK; at < bytes.length; at += BLOCK) {
    const record = bytes.subarray(at);
    if (!record.subarray(0, ID_BYTES).equals(id)) continue;
    const number =
      record.readUInt32BE(ID_BYTES) * 0x1_0000_0000 + record.readUInt32BE(ID_BYTES + 4);
    const end = HEAD + record.readUInt32BE(ID_BYTES + 8);
    if (end > record.length || checksum(record, end) !== record.readUInt32BE(CRC_AT)) continue;
    records.push({ number, body: record.subarray(HEAD, end) });
  }
  return records.sort((a, b) => a.number - b.number);
}

const blocks = (bytes: number): number => Math.ceil(bytes / BLOCK) * BLOCK;

const checksum = (record: Buffer, end: number): number =>
  crc32(record.subarray(HEAD, end), crc32(record.subarray(0, CRC_AT)));

import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { StorageFailed } from "./store.ts";

/** Where a meta page has its fields, after a page header of 24 bytes (lmdb-js, data format 2). */
const MAGIC_AT = 24;
const VERSION_AT = 28;
const PAGE_SIZE_AT = 48;
const META_BYTES = 52;

const MAGIC = 0xbeef_c0de;
const VERSION = 2;
const PAGE_SIZES = { min: 512, max: 65_536 };

/**
 * LMDB maps its file and believes it: what is not an LMDB file ends the process with a signal. So
 * both meta pages are looked at first. Damage further in is found by the ledger's own check, or not
 * survived; a missing or empty file is a new environment.
 *
 * @throws StorageFailed that says what the file is not.
 */
export function checkLmdbFile(folder: string): void {
  const path = join(folder, "data.mdb");
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new StorageFailed(`cannot read ${path}`, { cause: error });
  }
  try {
    const pageSize = readMeta(file, path, 0);
    if (pageSize !== null && readMeta(file, path, pageSize) !== pageSize) {
      throw new StorageFailed(`${path} ends before its second meta page, or they differ`);
    }
  } finally {
    closeSync(file);
  }
}

/** The page size in the meta page at `position`; null: the file ends there. */
function readMeta(file: number, path: string, position: number): number | null {
  const page = Buffer.alloc(META_BYTES);
  const length = readSync(file, page, 0, META_BYTES, position);
  if (length === 0) return null;
  if (length < META_BYTES || page.readUInt32LE(MAGIC_AT) !== MAGIC) {
    throw new StorageFailed(`${path} is not an LMDB file`);
  }
  const version = page.readUInt32LE(VERSION_AT);
  if (version !== VERSION) {
    throw new StorageFailed(`${path} has data format ${version}, not ${VERSION}`);
  }
  const size = page.readUInt32LE(PAGE_SIZE_AT);
  const power = Number.isInteger(Math.log2(size));
  if (!power || size < PAGE_SIZES.min || size > PAGE_SIZES.max) {
    throw new StorageFailed(`${path} has pages of ${size} bytes`);
  }
  return size;
}

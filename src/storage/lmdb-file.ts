import { closeSync, fstatSync, openSync, readSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { StorageFailed } from "./store.ts";

/** Where a meta page has its fields, after a page header of 24 bytes (lmdb-js, data format 2). */
const MAGIC_AT = 24;
const VERSION_AT = 28;
const PAGE_SIZE_AT = 48;
const LAST_PAGE_AT = 144;
const META_BYTES = 152;

const MAGIC = 0xbeef_c0de;
const VERSION = 2;
/** 2^32 pages: 16 TiB. No ledger is; a sparse file of any length must not be made of a damaged one. */
const PAGES_MAX = 0xffff_ffff;
const PAGE_SIZES = { min: 512, max: 65_536 };

/**
 * LMDB maps its file and believes it: what is not an LMDB file ends the process with a signal. So
 * both meta pages are looked at first. Damage further in is found by whoever reads there; a missing or
 * empty file is a new environment.
 *
 * @param alone nobody else has it open: to a file that ends before its last page zeros are added. In
 * a healthy one pages that were never written lie there, and nobody reads them; where a file was cut
 * off LMDB finds pages that are none, and says so, where reading behind the end would be a signal.
 * @throws StorageFailed that says what the file is not.
 */
export function checkLmdbFile(folder: string, { alone }: { alone: boolean }): void {
  const path = join(folder, "data.mdb");
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new StorageFailed(`cannot read ${path}`, { cause: error });
  }
  try {
    const first = readMeta(file, path, 0);
    if (first === null) return;
    const second = readMeta(file, path, first.pageSize);
    if (second?.pageSize !== first.pageSize) {
      throw new StorageFailed(`${path} ends before its second meta page, or they differ`);
    }
    const end = (Math.max(first.lastPage, second.lastPage) + 1) * first.pageSize;
    if (alone && fstatSync(file).size < end) truncateSync(path, end);
  } finally {
    closeSync(file);
  }
}

/** What the meta page at `position` says; null: the file ends there. */
function readMeta(
  file: number,
  path: string,
  position: number,
): { pageSize: number; lastPage: number } | null {
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
  const lastPage = Number(page.readBigUInt64LE(LAST_PAGE_AT));
  if (lastPage > PAGES_MAX) throw new StorageFailed(`${path} says that it has ${lastPage} pages`);
  return { pageSize: size, lastPage };
}

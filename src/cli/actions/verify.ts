import { createReadStream } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { native } from "../../native/crypto.ts";
import { keepFrugal } from "../../native/frugal.ts";
import { PackError } from "../../verifier/pack.ts";
import type { Report } from "../../verifier/report.ts";
import { locateReceiptByte, tamper } from "../../verifier/tamper.ts";
import { type TimelineEntry, timelineEntry } from "../../verifier/timeline.ts";
import type { TrustFile } from "../../verifier/trust-file.ts";
import { type Ledger, verify } from "../../verifier/verify.ts";
import type { Supposed } from "../../verifier/what-if.ts";
import { EXIT, Failure } from "../failure.ts";

/** Who wants to know while it goes on. */
export interface Told {
  /** How many bytes of how many were read. */
  readonly onProgress?: (read: number, of: number) => void;
  /** Each ledger, once all that stands before its receipts holds: to be believed when the pack does. */
  readonly onLedger?: (ledger: Ledger) => void;
  /** Each receipt that holds, in order; those after the first break are not among them. */
  readonly onReceipt?: (entry: TimelineEntry) => void;
  /** Decide every claim under a lease that never was, too. */
  readonly whatIf?: Supposed;
}

/** How a verifier of large packs is started: receipts leave much that dies young, and checks on other threads what each of their arenas keeps. */
export const AUDIT = {
  youngMb: 8,
  growthPercent: 100,
  malloc: { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "65536" },
};

/** Bytes of a pack that takes many times as long to verify as a process to begin anew. */
const largePackBytes = 64 * 2 ** 20;

/** A large pack is verified by a process that keeps its memory small: this one may begin anew in place. */
export async function keepSmallFor(path: string): Promise<void> {
  if ((await sizeOf(path)) > largePackBytes) keepFrugal(AUDIT);
}

async function sizeOf(path: string): Promise<number> {
  const { size } = await stat(path).catch((error: Error) => {
    throw unreadable(error);
  });
  return size;
}

/**
 * Verifies a pack in one pass over its file.
 * @throws Failure, usage, when the file cannot be read.
 */
export async function verifyPack(
  path: string,
  trust: TrustFile | null,
  nowUs: number,
  told: Told = {},
): Promise<Report> {
  const size = await sizeOf(path);
  const { onProgress = () => {}, onReceipt = () => {} } = told;
  return verify(native, chunks(path, size, onProgress), {
    trust,
    nowUs,
    ...(told.whatIf && { whatIf: told.whatIf }),
    ...(told.onLedger && { onLedger: told.onLedger }),
    onReceipt: (ledger, proven) => onReceipt(timelineEntry(ledger, proven)),
  });
}

async function* chunks(path: string, size: number, onProgress: (read: number, of: number) => void) {
  let read = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
      const part = chunk as Buffer;
      read += part.length;
      onProgress(read, size);
      yield new Uint8Array(part.buffer, part.byteOffset, part.length);
    }
  } catch (error) {
    throw unreadable(error as Error);
  }
}

const unreadable = ({ message }: Error): Failure => new Failure(EXIT.usage, `PACK: ${message}`);

/** Which byte is to be changed: by its offset, or one of a receipt that leaves the pack readable. */
export type Where = { readonly at: number } | { readonly receipt: number };

/**
 * Writes a copy of a pack with one bit turned over, to see that verifying finds it. Returns the offset.
 * @throws Failure, usage, when there is no such byte or receipt.
 */
export async function tamperPack(pack: string, where: Where, out: string): Promise<number> {
  const bytes = new Uint8Array(
    await readFile(pack).catch((error: Error) => {
      throw unreadable(error);
    }),
  );
  let at: number;
  let changed: Uint8Array;
  try {
    at = "at" in where ? where.at : await locateReceiptByte(bytes, where.receipt);
    changed = tamper(bytes, at);
  } catch (error) {
    if (!(error instanceof RangeError) && !(error instanceof PackError)) throw error;
    throw new Failure(EXIT.usage, `${"at" in where ? "--at" : "--receipt"}: ${error.message}`);
  }
  await writeFile(out, changed).catch((error: Error) => {
    throw new Failure(EXIT.usage, `--out: ${error.message}`);
  });
  return at;
}

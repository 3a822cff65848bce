import { toHex } from "../domain/bytes.ts";
import { pageReceiptsMax } from "../domain/limits.ts";
import { noble, sha256Stream } from "../domain/noble.ts";
import type { Frame } from "../verifier/pack.ts";
import type { BrokenAt } from "../verifier/report.ts";
import { isTrustFault, parseTrustFile } from "../verifier/trust-file.ts";
import { verify } from "../verifier/verify.ts";
import { courseOf } from "./course.ts";
import type { Ask, Tell } from "./messages.ts";
import { type Place, type Row, rowOf, rowOfRecord } from "./row.ts";
import { showReceipt } from "./shown.ts";

/** Answers one ask. Whatever is in the pack or the trust file is told; a throw is a bug, or the disk. */
export async function answer(ask: Ask, tell: (message: Tell) => void): Promise<void> {
  const { id, pack } = ask;
  if (ask.ask === "receipt") {
    const { frame, offset, length } = ask.place;
    const bytes = new Uint8Array(await pack.slice(offset, offset + length).arrayBuffer());
    return tell({ tell: "receipt", id, shown: showReceipt(noble, frame, bytes) });
  }
  const trust = ask.trust === null ? null : parseTrustFile(noble, ask.trust);
  if (trust !== null && isTrustFault(trust)) return tell({ tell: "fault", id, fault: trust });

  let rows: Row[] = [];
  let told = 0;
  let last: Frame | null = null;
  const flush = (): void => {
    if (rows.length > 0) tell({ tell: "rows", id, rows });
    rows = [];
  };
  const digest = sha256Stream();
  const file = new Chunks(pack, (chunk, read) => {
    digest.update(chunk);
    flush();
    tell({ tell: "progress", id, read, of: pack.size });
  });
  const report = await verify(noble, file, {
    trust,
    nowUs: ask.nowUs,
    onFrame: (frame) => {
      last = frame;
    },
    onLedger: (ledger) => {
      flush();
      tell({ tell: "course", id, course: courseOf(ledger) });
    },
    onReceipt: (_, proven) => {
      if (last !== null && told < pageReceiptsMax) rows.push(rowOf(proven, placeOf(last)));
      told++;
    },
    onRecord: (_, proven) => {
      if (last !== null && told < pageReceiptsMax) rows.push(rowOfRecord(proven, placeOf(last)));
      told++;
    },
  });
  flush();
  await file.finish();
  const broken = report.broken === null || last === null ? null : brokenPlace(report.broken, last);
  tell({ tell: "report", id, report, sha256: toHex(digest.digest()), told, broken });
}

/** Whatever is proven as a receipt stands in one of two kinds of frame. */
const placeOf = ({ kind, offset, body }: Frame): Place => ({
  frame: kind === "PROOF" ? kind : "RECEIPT",
  offset,
  length: body.length,
});

/** Of a fault that is a receipt's own the frame that was read last is that receipt. */
const brokenPlace = ({ index }: BrokenAt, frame: Frame): Place | null =>
  index > 0 && (frame.kind === "RECEIPT" || frame.kind === "PROOF") ? placeOf(frame) : null;

/** A file piece by piece. Whoever stops reading early leaves it open: the rest belongs to its hash. */
class Chunks implements AsyncIterable<Uint8Array> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #onChunk: (chunk: Uint8Array, read: number) => void;
  #read = 0;

  constructor(file: Blob, onChunk: (chunk: Uint8Array, read: number) => void) {
    this.#reader = file.stream().getReader();
    this.#onChunk = onChunk;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() };
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    const { done, value } = await this.#reader.read();
    if (done) return { done, value: undefined };
    this.#read += value.length;
    this.#onChunk(value, this.#read);
    return { done, value };
  }

  async finish(): Promise<void> {
    while (!(await this.#next()).done);
  }
}

/**
 * A ledger of any length in a folder: a million receipts must not lie in the memory that is measured.
 *
 *     receipts: ( u32be length ‖ SignedBytes ‖ u32be length ‖ PayloadRow )*
 *     rest:     everything else of the evidence, and where pages begin in it; JSON, bytes as hex
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { concat, fromHex, toHex } from "../src/domain/bytes.ts";
import { encodeSigned } from "../src/domain/signing.ts";
import type { LedgerEvidence } from "../src/verifier/export.ts";
import { Story } from "../test/verifier/build.ts";

/** Receipts of a page: what the exporter asks for at once. */
const PAGE = 256;

interface Rest {
  readonly tenantId: string;
  readonly evidence: Omit<LedgerEvidence, "read">;
  /** Where each page begins in `receipts`, and where the last one ends. */
  readonly pages: number[];
}

function prefixed(bytes: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, bytes.length);
  return concat(length, bytes);
}

/**
 * So many receipts and a countersigned head over them, and beside them the trust file of the auditor. A lease
 * lasts a minute, and time stands still.
 */
export async function writeLedger(folder: string, count: number): Promise<void> {
  const story = await Story.begin();
  const file = openSync(join(folder, "receipts"), "w");
  const pages = [0];
  const turnPage = (): void => {
    const rows = story.receipts.splice(0);
    const parts = rows.flatMap((r) => [prefixed(encodeSigned(r.signed)), prefixed(r.row)]);
    pages.push((pages.at(-1) as number) + writeSync(file, concat(...parts)));
  };
  await story.lifecycle();
  await story.lease();
  for (let i = 1; i < count; i++) {
    if (i % PAGE === 0) turnPage();
    await story.act({ openedAtUs: story.nowUs + i });
  }
  turnPage();
  closeSync(file);
  story.tick(5_000_000);
  await story.beat();
  await story.checkpoint();
  const { tenantId } = story;
  const rest: Rest = { tenantId, evidence: story.evidence(), pages };
  writeFileSync(
    join(folder, "rest"),
    JSON.stringify(rest, (_, v: unknown) => (v instanceof Uint8Array ? { hex: toHex(v) } : v)),
  );
  const rootKey = toHex(story.root.publicKey);
  const trust = { format: "dragons trust 0", tenant: tenantId, rootKey };
  writeFileSync(join(folder, "trust"), JSON.stringify(trust));
}

/** What was written, read from its file a page at a time. */
export function readLedger(folder: string): { tenantId: string; evidence: LedgerEvidence } {
  const revive = (_: string, v: unknown): unknown =>
    v !== null && typeof v === "object" && "hex" in v ? fromHex(v.hex as string) : v;
  const source = readFileSync(join(folder, "rest"), "utf8");
  const { tenantId, evidence, pages } = JSON.parse(source, revive) as Rest;
  const file = openSync(join(folder, "receipts"), "r");
  const read: LedgerEvidence["read"] = (from, limit) => {
    const [start, end] = pages.slice((from - 1) / PAGE);
    if (start === undefined || end === undefined || limit > PAGE) {
      throw new RangeError(`no page begins at receipt ${from}`);
    }
    const bytes = new Uint8Array(end - start);
    readSync(file, bytes, 0, bytes.length, start);
    return apart(bytes, from);
  };
  return { tenantId, evidence: { ...evidence, read } };
}

function apart(bytes: Uint8Array, from: number) {
  const view = new DataView(bytes.buffer);
  let at = 0;
  const next = (): Uint8Array => {
    const begin = at + 4;
    at = begin + view.getUint32(at);
    return bytes.subarray(begin, at);
  };
  const page: { seq: number; signed: Uint8Array; row: Uint8Array }[] = [];
  while (at < bytes.length) page.push({ seq: from + page.length, signed: next(), row: next() });
  return page;
}

import { equal } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import { leafHash } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import { type Begun, type Parts, verifies } from "./ahead.ts";
import type { Break } from "./checks.ts";
import { PackError } from "./pack.ts";
import type { Section } from "./section.ts";

/**
 * What can still be said of the receipts of a section that does not hold: each that its key signed and that is
 * the leaf of a countersigned tree stood there when that was countersigned, whatever became of its neighbours.
 * It says nothing of leases, decisions or what is missing.
 */
export interface Salvage {
  /** Receipts that are shown in the section, and how many of them are proven one by one. */
  readonly shown: number;
  readonly proven: number;
  /** Size of the countersigned tree. */
  readonly under: number;
  /** Seqs of the proven, as inclusive ranges. */
  readonly seqs: readonly (readonly [number, number])[];
}

/** A receipt of a pack that does not hold: decoded, and nothing more is said of it. */
interface Found {
  readonly seq: number;
  readonly prevHash: Uint8Array;
  readonly hash: Uint8Array;
  readonly parts: Parts;
}

/**
 * Reads on behind a break: the rest of the section, of which nothing is believed. Gives the break with the two
 * hashes that should have been one, where it is known what the broken receipt was, and what is left to say.
 */
export async function readOn(
  crypto: Crypto,
  fault: Break,
  { parts }: Begun,
  rest: AsyncIterable<Begun>,
  section: Section | null,
): Promise<{ readonly fault: Break; readonly salvage: Salvage | null }> {
  if (parts === null || section === null || fault.index === 0) return { fault, salvage: null };
  const failed = readReceipt(crypto, parts);
  const tally = new Salvaging(crypto, section);
  if (failed !== null) tally.take(failed);
  let differing = fault.differing ?? (failed && asLeaf(section, failed));
  let next = true;
  try {
    for await (const { parts } of rest) {
      if (parts === null) break;
      const after = readReceipt(crypto, parts);
      if (next && failed !== null && after !== null) differing ??= asRemembered(failed, after);
      next = false;
      if (after === null) tally.shown++;
      else tally.take(after);
    }
  } catch (error) {
    // What cannot be read any more ends the section.
    if (!(error instanceof PackError)) throw error;
  }
  return { fault: { ...fault, differing }, salvage: tally.report() };
}

function readReceipt(crypto: Crypto, parts: Parts | CodecError): Found | null {
  if (parts instanceof CodecError) return null;
  try {
    const { body } = parts.signed;
    const { seq, prevHash } = ReceiptHeader.decode(body);
    return { seq, prevHash, hash: leafHash(crypto, body), parts };
  } catch (error) {
    if (error instanceof CodecError) return null;
    throw error;
  }
}

/** What LEAVES say that the broken receipt was. */
function asLeaf({ line: { tree } }: Section, { seq, hash }: Found): Break["differing"] {
  const expected = tree.leaf(seq);
  return expected === null || equal(expected, hash) ? null : { expected, found: hash };
}

/** What the receipt after it carries, itself not proven. */
function asRemembered(failed: Found, after: Found): Break["differing"] {
  const { prevHash: expected } = after;
  const follows = after.seq === failed.seq + 1 && expected.length === 32;
  return follows && !equal(expected, failed.hash) ? { expected, found: failed.hash } : null;
}

class Salvaging {
  readonly #crypto: Crypto;
  readonly #section: Section;
  readonly #under: number;
  readonly #seqs: [number, number][] = [];
  shown: number;
  #proven: number;

  constructor(crypto: Crypto, section: Section) {
    this.#crypto = crypto;
    this.#section = section;
    const { firstSeq, lastSeq, tree } = section.line;
    // A head counts once the tree was held against it.
    const met = section.heads.map((h) => h.size).filter((size) => size <= tree.size);
    this.#under = Math.max(0, ...met);
    this.shown = lastSeq - firstSeq + 1;
    const last = Math.min(lastSeq, this.#under);
    this.#proven = Math.max(0, last - firstSeq + 1);
    if (this.#proven > 0) this.#seqs.push([firstSeq, last]);
  }

  take({ seq, hash, parts }: Found): void {
    this.shown++;
    const { tree, signers } = this.#section.line;
    const [last] = this.#seqs.slice(-1);
    if (seq > this.#under || seq <= (last?.[1] ?? 0) || !tree.isLeaf(hash, seq)) return;
    const [signature, ...more] = parts.signed.signatures;
    if (signature === undefined || more.length > 0) return;
    const own = signers.some((key) => equal(key, signature.key));
    if (!own || !verifies(this.#crypto, parts, signature)) return;
    this.#proven++;
    if (last?.[1] === seq - 1) last[1] = seq;
    else this.#seqs.push([seq, seq]);
  }

  report(): Salvage | null {
    if (this.#under === 0) return null;
    return { shown: this.shown, proven: this.#proven, under: this.#under, seqs: this.#seqs };
  }
}

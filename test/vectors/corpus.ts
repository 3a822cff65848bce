import { readFileSync } from "node:fs";
import { join } from "node:path";
import { toBase64 } from "../../src/domain/bytes.ts";
import { once } from "../../src/verifier/pack.ts";
import { exitCodeOf, type Report } from "../../src/verifier/report.ts";
import { verify } from "../../src/verifier/verify.ts";
import { crypto } from "../verifier/build.ts";
import { trustJson } from "../verifier/trust-json.ts";
import { ATTACKS } from "./attacks/all.ts";
import type { AttackCase } from "./attacks/case.ts";

/**
 * The attack corpus as any language reads it. A pack is the pieces that its case names, end to end;
 * pieces are base64 and mostly frames, so that what packs have in common is stored once.
 */
export interface Corpus {
  readonly format: "dragons attacks 0";
  readonly pieces: readonly string[];
  readonly trusts: readonly ReturnType<typeof trustJson>[];
  readonly cases: readonly CorpusCase[];
}

export interface CorpusCase {
  readonly name: string;
  readonly rows: readonly number[];
  readonly says: string;
  readonly pack: readonly number[];
  /** Index into `trusts`; null: none is given. */
  readonly trust: number | null;
  readonly nowUs: number;
  readonly wanted: Owed;
}

/** What every verifier owes, and is compared by. `broken` is null where the pack holds; `flags` are empty where not. */
export interface Owed {
  readonly verdict: Report["verdict"];
  readonly exit: number;
  readonly broken: {
    readonly code: string;
    readonly check: string;
    readonly index: number;
    readonly suspect: number;
    readonly untrusted_from: number;
    readonly ledger: string;
  } | null;
  /** Flag, ledger, count, ranges; sorted as text. */
  readonly flags: readonly string[];
}

export function owed(report: Report): Owed {
  const { verdict, pinned, broken, flags } = report;
  return {
    verdict,
    exit: exitCodeOf({ pinned, verdict }),
    broken: broken && {
      code: broken.code,
      check: broken.check,
      index: broken.index,
      suspect: broken.suspect,
      untrusted_from: broken.untrusted_from,
      ledger: broken.ledger,
    },
    flags: (broken === null ? flags : [])
      .map(({ flag, ledger, count, at }) => JSON.stringify([flag, ledger, count, at]))
      .sort(),
  };
}

/** The verdict as cases are told: `E_FORK@5`, `E_CHAIN_PREV@4 suspect 3`, `ANCHORED WITHHELD:2`. */
export function inShort({ verdict, broken, flags }: Owed): string {
  if (broken === null) {
    const raised = flags.map((f) => JSON.parse(f) as [string, string, number]);
    return [verdict, ...raised.map(([flag, , count]) => `${flag}:${count}`)].join(" ");
  }
  const suspected = broken.code === "E_CHAIN_PREV" ? ` suspect ${broken.suspect}` : "";
  return `${broken.code}@${broken.index}${suspected}`;
}

export async function makeCorpus(attacks: readonly AttackCase[] = ATTACKS): Promise<Corpus> {
  const pieces = new Pool<string>();
  const trusts = new Pool<string>();
  const cases: CorpusCase[] = [];
  for (const { name, rows, says, make } of attacks) {
    const { pack, trust, nowUs } = await make();
    const report = await verify(crypto, once(pack), { trust, nowUs });
    cases.push({
      name,
      rows,
      says,
      pack: split(pack).map((piece) => pieces.place(toBase64(piece))),
      trust: trust && trusts.place(JSON.stringify(trustJson(trust))),
      nowUs,
      wanted: owed(report),
    });
  }
  return {
    format: "dragons attacks 0",
    pieces: pieces.all,
    trusts: trusts.all.map((t) => JSON.parse(t)),
    cases,
  };
}

/** One piece, trust file or case a line: what changes shows as lines. */
export function writeCorpus({ format, pieces, trusts, cases }: Corpus): string {
  const list = (items: readonly unknown[]) => items.map((i) => JSON.stringify(i)).join(",\n");
  return `{\n"format": ${JSON.stringify(format)},\n"pieces": [\n${list(pieces)}\n],\n"trusts": [\n${list(trusts)}\n],\n"cases": [\n${list(cases)}\n]\n}\n`;
}

/** What is committed. */
export const readCorpus = (): Corpus =>
  JSON.parse(readFileSync(join(import.meta.dirname, "attacks.json"), "utf8"));

export const packOf = ({ pieces }: Corpus, { pack }: CorpusCase): Uint8Array =>
  new Uint8Array(Buffer.concat(pack.map((i) => Buffer.from(pieces[i] as string, "base64"))));

class Pool<T> {
  readonly all: T[] = [];
  readonly #at = new Map<T, number>();

  place(item: T): number {
    const at = this.#at.get(item) ?? this.all.push(item) - 1;
    this.#at.set(item, at);
    return at;
  }
}

/** At the borders of its frames, as far as there are any. */
function split(pack: Uint8Array): Uint8Array[] {
  const magic = 19;
  if (pack.length <= magic) return [pack];
  const view = new DataView(pack.buffer, pack.byteOffset, pack.byteLength);
  const pieces = [pack.subarray(0, magic)];
  let at = magic;
  while (at + 5 <= pack.length) {
    const end = at + 5 + view.getUint32(at + 1);
    if (end > pack.length) break;
    pieces.push(pack.subarray(at, end));
    at = end;
  }
  if (at < pack.length) pieces.push(pack.subarray(at));
  return pieces;
}

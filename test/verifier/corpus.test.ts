import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { noble } from "../../src/domain/noble.ts";
import { native } from "../../src/native/crypto.ts";
import { once } from "../../src/verifier/pack.ts";
import type { Report } from "../../src/verifier/report.ts";
import { isTrustFault, parseTrustFile } from "../../src/verifier/trust-file.ts";
import { verify } from "../../src/verifier/verify.ts";
import { lacks } from "../skips.ts";
import { ATTACKS } from "../vectors/attacks/all.ts";
import { TABLE } from "../vectors/attacks/table.ts";
import { type CorpusCase, inShort, owed, packOf, readCorpus } from "../vectors/corpus.ts";
import { makeFiles } from "../vectors/make.ts";
import { askPython } from "./second.ts";

const HOME = join(import.meta.dirname, "../..");
const read = (name: string): string => readFileSync(join(HOME, name), "utf8");
const corpus = readCorpus();

/** As an auditor's program would: from the file alone. */
async function ours(crypto: typeof native, c: CorpusCase) {
  const trust =
    c.trust === null ? null : parseTrustFile(crypto, JSON.stringify(corpus.trusts[c.trust]));
  if (trust !== null && isTrustFault(trust)) throw new Error(`${trust.field}: ${trust.fix}`);
  return owed(await verify(crypto, once(packOf(corpus, c)), { trust, nowUs: c.nowUs }));
}

test("what is committed is what `npm run vectors` writes, to the byte", async () => {
  for (const [name, content] of Object.entries(await makeFiles())) {
    // Said shortly: a difference of a megabyte helps nobody.
    expect(read(name) === content, `${name}: run npm run vectors, and look at what changed`).toBe(
      true,
    );
  }
}, 120_000);

describe("the corpus", () => {
  test("has each attack of the table, more than once in all, and no name twice", () => {
    const missing = TABLE.flatMap((attack, i) =>
      ATTACKS.some((c) => c.rows.includes(i + 1)) ? [] : [attack],
    );
    expect(missing).toEqual([]);
    expect(ATTACKS.flatMap((c) => c.rows).filter((n) => n > TABLE.length)).toEqual([]);
    expect(new Set(ATTACKS.map((c) => c.name)).size).toBe(ATTACKS.length);
    expect(corpus.cases.length).toBeGreaterThanOrEqual(120);
  });

  test("comes out as its cases were told to, case by case", () => {
    const told = Object.fromEntries(ATTACKS.map((c) => [c.name, c.wanted]));
    const found = Object.fromEntries(corpus.cases.map((c) => [c.name, inShort(c.wanted)]));
    expect(found).toEqual(told);
  });

  test("has the verdicts that it says, by the verifier in Node", async () => {
    for (const c of corpus.cases)
      expect([c.name, await ours(native, c)]).toEqual([c.name, c.wanted]);
  });

  test("has the verdicts that it says of keys, by the cryptography that browsers run", async () => {
    const keys = corpus.cases.filter((c) => c.name.startsWith("key/"));
    expect(keys.length).toBeGreaterThan(10);
    for (const c of keys) expect([c.name, await ours(noble, c)]).toEqual([c.name, c.wanted]);
  });

  test.skipIf(lacks("python3"))(
    "has the verdicts that it says, by the Python verifier",
    () => {
      const asked = corpus.cases.map((c) => ({
        pack: packOf(corpus, c),
        trust: c.trust === null ? null : (corpus.trusts[c.trust] as object),
        nowUs: c.nowUs,
      }));
      const theirs = askPython(asked);
      const differing = corpus.cases.flatMap((c, n) => {
        const said = owed(theirs[n] as Report);
        return JSON.stringify(said) === JSON.stringify(c.wanted) ? [] : [{ name: c.name, said }];
      });
      expect(theirs).toHaveLength(corpus.cases.length);
      expect(differing).toEqual([]);
    },
    240_000,
  );
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Report } from "../../src/verifier/report.ts";
import { lacks } from "../skips.ts";
import { owed, packOf, readCorpus } from "../vectors/corpus.ts";
import { check, checked, goodStory, keyOf } from "../verifier/build.ts";
import { trustJson } from "../verifier/trust-json.ts";
import { type Chromium, startChromium, verifyInChromium } from "./chromium.ts";

const corpus = readCorpus();

describe.skipIf(lacks("chromium"))("the verifier in a real Chromium", () => {
  let chromium: Chromium;
  beforeAll(async () => {
    chromium = await startChromium();
  });
  afterAll(() => chromium.close());

  test("says what the verifier in Node says, field by field", async () => {
    const story = await goodStory();
    const pack = await story.pack();
    await check(story, pack);
    await check(story, pack, { trust: null });
    for (const at of [0, 40, 900, 2000, 3500, pack.length - 1]) {
      const changed = pack.slice();
      changed[at] = (changed[at] as number) ^ 1;
      await check(story, changed);
    }
    const stranger = { ...story.trust, rootKey: keyOf("stranger").publicKey };
    await check(story, pack, { trust: stranger });
    const given = checked.map(({ pack, trust, nowUs }) => ({
      pack,
      trust: trust && JSON.stringify(trustJson(trust)),
      nowUs,
    }));
    const ours: Report[] = checked.map(({ report }) => report);
    expect(new Set(ours.map((r) => r.verdict))).toEqual(new Set(["ANCHORED", "INTACT", "BROKEN"]));
    expect(await verifyInChromium(chromium, given)).toEqual(ours);
  });

  test("comes to the verdict that the corpus owes, case by case", async () => {
    const given = corpus.cases.map((c) => ({
      pack: packOf(corpus, c),
      trust: c.trust === null ? null : JSON.stringify(corpus.trusts[c.trust]),
      nowUs: c.nowUs,
    }));
    const reports = await verifyInChromium(chromium, given);
    const said = reports.map((report, n) => [corpus.cases[n]?.name, owed(report)]);
    expect(said).toEqual(corpus.cases.map((c) => [c.name, c.wanted]));
  }, 240_000);
});

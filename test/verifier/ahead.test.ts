import { beforeAll, expect, test } from "vitest";
import type { Crypto } from "../../src/domain/crypto.ts";
import { native } from "../../src/native/crypto.ts";
import { once } from "../../src/verifier/pack.ts";
import { verify } from "../../src/verifier/verify.ts";
import { goodStory, keyOf, receiptFrame, Story } from "./build.ts";
import { nth, putTogether, takeApart } from "./frames.ts";

type Ask = NonNullable<Crypto["verifyBeside"]>;

/** Ours, with another way of asking ahead; and how often it was asked. */
async function judged(story: Story, pack: Uint8Array, ask: Ask, chunks = once(pack)) {
  let asked = 0;
  const crypto: Crypto = {
    ...native,
    verifyBeside: (...a) => {
      asked++;
      return ask(...a);
    },
  };
  const options = { trust: story.trust, nowUs: story.nowUs };
  return { report: await verify(crypto, chunks, options), asked };
}

const inTurn = async (story: Story, pack: Uint8Array) => {
  const crypto: Crypto = { ...native, verifyBeside: null };
  return verify(crypto, once(pack), { trust: story.trust, nowUs: story.nowUs });
};

const honest = native.verifyBeside as Ask;

/** More receipts than are read at a time. */
let story: Story;
let pack: Uint8Array;

beforeAll(async () => {
  story = await Story.begin();
  await story.lifecycle();
  await story.lease();
  for (let i = 1; i < 300; i++) await story.act({ openedAtUs: story.nowUs + i });
  await story.beat();
  await story.checkpoint();
  pack = await story.pack();
});

test("the signatures of many receipts are asked for ahead, and the report is the same", async () => {
  const { report, asked } = await judged(story, pack, honest);
  expect(report.verdict).toBe("ANCHORED");
  expect(report).toEqual(await inTurn(story, pack));
  // All but those of the last batch, if they are few.
  expect(asked).toBeGreaterThan(300 - 16);
});

test("answers that come backwards change nothing", async () => {
  const waiting: (() => void)[] = [];
  const backwards: Ask = async (...a) => {
    await new Promise<void>((go) => {
      waiting.push(go);
      setImmediate(() => waiting.pop()?.());
    });
    return native.verify(...a);
  };
  const { report } = await judged(story, pack, backwards);
  expect(report).toEqual(await inTurn(story, pack));
});

test("an answer that never came is asked for again when it is due", async () => {
  const failing = () => Promise.reject(new Error("no thread"));
  const { report, asked } = await judged(story, pack, failing);
  expect(report).toEqual(await inTurn(story, pack));
  expect(asked).toBeGreaterThan(0);
});

test("a bad signature breaks its own receipt, whatever was read behind it", async () => {
  const pieces = await takeApart(pack);
  for (const [seq, broken] of [
    [7, { code: "E_RECEIPT_SIG", index: 7 }],
    [250, { code: "E_RECEIPT_SIG", index: 250 }],
  ] as const) {
    const spoilt = pieces.slice();
    const { signed, row } = story.receipts[seq - 1] as (typeof story.receipts)[0];
    const [signature] = signed.signatures as [{ key: Uint8Array; value: Uint8Array }];
    const value = signature.value.slice();
    value[3] = (value[3] as number) ^ 4;
    spoilt[nth(pieces, "RECEIPT", seq)] = {
      kind: "RECEIPT",
      body: receiptFrame({ signed: { ...signed, signatures: [{ ...signature, value }] }, row }),
    };
    const changed = putTogether(spoilt);
    const { report } = await judged(story, changed, honest);
    expect(report.broken).toMatchObject(broken);
    expect(report).toEqual(await inTurn(story, changed));
    // What stands behind it is not lost on the salvage, either.
    expect(report.salvage?.proven).toBe(299);
  }
});

test("what cannot be read any more is told after what breaks before it", async () => {
  const cut = pack.slice(0, pack.length - 40);
  const { report } = await judged(story, cut, honest);
  expect(report.broken?.code).toBe("E_PACK_TRUNCATED");
  cut[300_000] = (cut[300_000] as number) ^ 1;
  const spoilt = (await judged(story, cut, honest)).report;
  expect(spoilt.broken?.index).toBeGreaterThan(0);
  expect(spoilt).toEqual(await inTurn(story, cut));
});

test("a key that the section's genesis does not name is not asked about ahead", async () => {
  const other = await goodStory({ ledger: keyOf("another") });
  const pieces = await takeApart(pack);
  pieces[nth(pieces, "GENESIS", 1)] = (
    await takeApart(await other.pack())
  )[1] as (typeof pieces)[0];
  const { report, asked } = await judged(story, putTogether(pieces), honest);
  expect(report.verdict).toBe("BROKEN");
  expect(asked).toBe(0);
});

test("a few receipts are not worth another thread", async () => {
  const few = await goodStory();
  const { report, asked } = await judged(few, await few.pack(), honest);
  expect(report.verdict).toBe("ANCHORED");
  expect(asked).toBe(0);
});

test("a source that fails is not taken for a pack that ends", async () => {
  async function* failing() {
    yield pack.subarray(0, 200_000);
    throw new Error("the disk is gone");
  }
  await expect(judged(story, pack, honest, failing())).rejects.toThrow("the disk is gone");
});

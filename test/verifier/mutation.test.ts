import { expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { locateReceiptByte, tamper } from "../../src/verifier/tamper.ts";
import { lacks } from "../skips.ts";
import { check, checked, goodStory, Story } from "./build.ts";
import { governed } from "./recorded.ts";
import { expectAgreement } from "./second.ts";

/** Positions apart. DRAGONS_MUTATE_ALL=1 takes every one of them, which is a minute or two. */
const stride = process.env.DRAGONS_MUTATE_ALL === "1" ? 1 : 5;

/** Where a changed byte changes nothing of what is said. */
async function unnoticed(story: Story, pack: Uint8Array, every: number): Promise<number[]> {
  const good = JSON.stringify(await check(story, pack));
  const found: number[] = [];
  for (let at = 0; at < pack.length; at += every) {
    const changed = pack.slice();
    changed[at] = (changed[at] as number) ^ (1 << (at % 8));
    if (JSON.stringify(await check(story, changed)) === good) found.push(at);
  }
  return found;
}

test("every byte of a good pack, changed, breaks it or changes what is said to be shown", async () => {
  const story = await goodStory();
  story.begin();
  const pack = await story.pack();
  expect(pack.length).toBeGreaterThan(4000);
  expect(await unnoticed(story, pack, stride)).toEqual([]);
}, 300_000);

test("and every byte of one that has the control plane's ledger beside it", async () => {
  const { story, pack } = await governed();
  const bytes = await pack();
  expect(bytes.length).toBeGreaterThan(20_000);
  expect(await unnoticed(story, bytes, stride === 1 ? 1 : 67)).toEqual([]);
}, 600_000);

test("a pack cut short anywhere is broken", async () => {
  const story = await goodStory();
  const pack = await story.pack();
  for (let length = 0; length < pack.length; length += 7) {
    const report = await check(story, pack.slice(0, length));
    expect(report.verdict).toBe("BROKEN");
  }
});

test("a tampered byte is located at its receipt", async () => {
  const story = await goodStory();
  const pack = await story.pack();
  for (const seq of [1, 2, 3, 4, 5]) {
    const at = await locateReceiptByte(pack, seq);
    const report = await check(story, tamper(pack, at));
    expect(report.broken).toMatchObject({
      code: "E_RECEIPT_SIG",
      index: seq,
      suspect: seq,
      untrusted_from: seq,
    });
    // Its leaf is the hash that it had.
    const was = toHex(story.receipts[seq - 1]?.hash as Uint8Array);
    expect(report.broken?.expected).toBe(was);
    expect(report.broken?.found).not.toBeNull();
  }
  await expect(locateReceiptByte(pack, 6)).rejects.toThrow(RangeError);
  expect(() => tamper(pack, pack.length)).toThrow(RangeError);
});

test("garbage in a pack's place is told, never thrown", async () => {
  const story = await Story.begin();
  for (const bytes of [new Uint8Array(0), new Uint8Array(1000), new Uint8Array(40).fill(255)]) {
    expect((await check(story, bytes)).verdict).toBe("BROKEN");
  }
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

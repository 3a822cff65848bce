import { expect, test } from "vitest";
import { RECEIPT, ReceiptHeader } from "../../src/domain/receipt.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { signBody } from "../../src/domain/signing.ts";
import { ReceiptFrame } from "../../src/verifier/pack.ts";
import { lacks } from "../skips.ts";
import { check, checked, goodStory, SECOND, Story } from "./build.ts";
import { nth, type Piece, putTogether, takeApart } from "./frames.ts";
import { expectAgreement } from "./second.ts";

const story = await goodStory();
const pieces = await takeApart(await story.pack());

async function spoiled(
  seq: number,
  change: (h: ReceiptHeader) => Partial<ReceiptHeader>,
  resign: boolean,
) {
  const copy = pieces.map((p) => ({ ...p }));
  const piece = copy[nth(copy, "RECEIPT", seq)] as Piece;
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const old = SignedBytes.decode(signed);
  const header = { ...ReceiptHeader.decode(old.body), ...change(ReceiptHeader.decode(old.body)) };
  const fresh = resign
    ? await signBody(RECEIPT, header, [story.ledgerKey])
    : { body: RECEIPT.body.encode(header), signatures: old.signatures };
  piece.body = ReceiptFrame.encode({ signed: SignedBytes.encode(fresh), row });
  return copy;
}
const later = (h: ReceiptHeader) => ({ closedAtUs: h.closedAtUs + 1 });

test("of a broken ledger, what is signed and under a countersigned root is individually proven", async () => {
  for (const [seq, left] of [
    [1, [[2, 5]]],
    [
      3,
      [
        [1, 2],
        [4, 5],
      ],
    ],
    [5, [[1, 4]]],
  ] as const) {
    for (const resign of [false, true]) {
      const report = await check(story, putTogether(await spoiled(seq, later, resign)));
      expect(report.verdict).toBe("BROKEN");
      expect(report.salvage).toEqual({ shown: 5, proven: 4, under: 5, seqs: left });
      expect(report.findings[1]).toContain(
        "4 of 5 receipts of that ledger are individually proven",
      );
    }
  }
});

test("the hash that a receipt should have had is told from its leaf, the last one's too", async () => {
  const report = await check(story, putTogether(await spoiled(5, later, false)));
  const hash = Buffer.from(story.receipts[4]?.hash as Uint8Array).toString("hex");
  expect(report.broken).toMatchObject({ code: "E_RECEIPT_SIG", index: 5, expected: hash });
});

test("nothing is salvaged where the leaves are not those of a countersigned root, or no head covers them", async () => {
  const copy = await spoiled(3, later, false);
  const bare = copy.filter((p) => p.kind !== "CHECKPOINT" && p.kind !== "LEAVES");
  expect((await check(story, putTogether(bare))).salvage).toBeNull();
  const forged = copy.map((p) =>
    p.kind === "LEAVES" ? { ...p, body: p.body.map((b, i) => (i === 0 ? b ^ 1 : b)) } : p,
  );
  const report = await check(story, putTogether(forged));
  expect(report.broken?.check).toBe("HEADS");
  expect(report.salvage).toBeNull();
});

test("without leaves only what stands before the break is left", async () => {
  const copy = (await spoiled(3, later, false)).filter((p) => p.kind !== "LEAVES");
  const report = await check(story, putTogether(copy));
  // The only countersigned head lies behind the break, and was never reached.
  expect(report.salvage).toBeNull();
});

/** Beats before and after an action, the head of each countersigned. */
async function quietStory() {
  const s = await Story.begin();
  await s.lifecycle();
  await s.lease();
  await s.act();
  for (let i = 0; i < 3; i++) {
    s.tick(5 * SECOND);
    await s.beat();
    await s.checkpoint();
  }
  await s.act();
  s.tick(5 * SECOND);
  await s.beat();
  await s.checkpoint();
  return s;
}

test("heartbeats without a gap prove that nothing was begun, and what is dated of that no call can lie in", async () => {
  const quiet = await quietStory();
  const [ledger] = (await check(quiet, await quiet.pack())).ledgers;
  expect(ledger?.idle).toMatchObject([
    { beats: 3, fromCounter: 1, untilCounter: 3, size: 2, intentsOpened: 1 },
  ]);
  const [idle] = ledger?.idle ?? [];
  expect((idle?.untilUs ?? 0) - (idle?.fromUs ?? 0)).toBe(10 * SECOND);
  // The head was countersigned thrice. An action can be under way at the second time and the third, and
  // only a heartbeat under a lease that was issued since says that none is.
  expect(idle).toMatchObject({ datedFromUs: 0, datedUntilUs: 0 });
  const dated = await Story.begin();
  await dated.lifecycle();
  const cosignedUs: number[] = [];
  for (let i = 0; i < 3; i++) {
    await dated.lease();
    dated.tick(5 * SECOND);
    await dated.beat();
    await dated.checkpoint();
    cosignedUs.push(dated.nowUs);
  }
  const report = await check(dated, await dated.pack());
  // A countersignature tells its second, which is over a second later.
  const datedFromUs = (cosignedUs[0] ?? 0) + SECOND;
  const datedUntilUs = dated.leases[2]?.body.issuedAtUs;
  expect(report.ledgers[0]?.idle).toMatchObject([{ beats: 3, datedFromUs, datedUntilUs }]);
  expect(report.findings.join("\n")).toMatch(/; by the control plane's clock from \S+ to \S+Z\./);
  // A beat that is missing is a gap, and a gap proves nothing.
  const gap = quiet.evidence().heartbeats.filter((_, i) => i !== 1);
  const [less] = (await check(quiet, await quiet.pack({}, { heartbeats: gap }))).ledgers;
  expect(less?.idle).toEqual([]);
});

test("each receipt has its times by others' clocks: its lease's issuance, and the first countersignature", async () => {
  const quiet = await quietStory();
  const [ledger] = (await check(quiet, await quiet.pack())).ledgers;
  const issued = quiet.leases[0]?.body.issuedAtUs;
  expect(ledger?.brackets.map(({ fromSeq, toSeq, afterUs }) => [fromSeq, toSeq, afterUs])).toEqual([
    [1, 2, issued],
    [3, 3, issued],
  ]);
  const [first, second] = ledger?.brackets ?? [];
  expect(first?.beforeUs).toBeLessThan(second?.beforeUs ?? 0);
});

test("a clock that ran ahead of the cosigner's is told", async () => {
  const ahead = await Story.begin();
  await ahead.lifecycle();
  await ahead.lease();
  await ahead.act({ header: (d) => ({ ...d, closedAtUs: d.closedAtUs + 90 * SECOND }) });
  await ahead.checkpoint();
  const report = await check(ahead, await ahead.pack());
  expect(report.flags.map(({ flag, at }) => [flag, at])).toEqual([["AFTER_COSIGNATURE", [[2, 2]]]]);
});

test("every claim is decided under a lease that never was", async () => {
  const ask = async (scopes: string[]) =>
    (await check(story, await story.pack(), { whatIf: { scopes } })).whatIf;
  expect(await ask(["read:payments"])).toMatchObject({ allowed: 3, refused: 1, changes: [] });
  expect(await ask([])).toMatchObject({
    allowed: 0,
    refused: 4,
    changes: [2, 3, 4].map((seq) => ({ seq, was: "allowed", would: "SCOPE_NOT_GRANTED" })),
  });
  const closed = await check(story, await story.pack({ disclose: [] }), { whatIf: { scopes: [] } });
  expect(closed.whatIf).toMatchObject({ allowed: 0, refused: 0, unshown: 4 });
});

test("without changes of state their history is not checkable, and not said to be checked", async () => {
  const report = await check(story, await story.pack());
  expect(report.ledgers[0]?.history).toEqual({ agreement: "NONE", whole: true, objections: [] });
  expect(report.checks.find((c) => c.name === "HISTORY")?.status).toBe("NOT CHECKABLE OFFLINE");
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

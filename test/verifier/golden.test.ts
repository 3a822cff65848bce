import { expect, test } from "vitest";
import { cosignCheckpoint } from "../../src/domain/checkpoint.ts";
import { noble } from "../../src/domain/noble.ts";
import { exportPack } from "../../src/verifier/export.ts";
import { once } from "../../src/verifier/pack.ts";
import { exitCodeOf } from "../../src/verifier/report.ts";
import { type TimelineEntry, timelineEntry } from "../../src/verifier/timeline.ts";
import { verify } from "../../src/verifier/verify.ts";
import { lacks } from "../skips.ts";
import { check, checked, collect, crypto, goodStory, keyOf } from "./build.ts";
import { expectAgreement } from "./second.ts";

test("a good pack is ANCHORED, and every check that it can be put to passes", async () => {
  const story = await goodStory();
  const report = await check(story, await story.pack());
  expect(report.verdict).toBe("ANCHORED");
  expect(exitCodeOf(report)).toBe(0);
  expect(report.flags).toEqual([]);
  const open = report.checks.filter((c) => c.status !== "PASS").map((c) => c.name);
  const unasked = ["REVOCATION", "TRANSITION", "REFERENCE", "INCLUSION", "HISTORY", "RECORDED"];
  expect(open).toEqual(unasked);
  expect(report.ledgers[0]).toMatchObject({
    manifest: "reconciler@v7",
    from: 1,
    to: 5,
    counts: { receipts: 5, completed: 3, denied: 1, lifecycle: 1, decisionsSame: 4 },
    hiddenAtMostUs: 120_000_000,
  });
  expect(report.findings[0]).toMatch(/^ANCHORED: 5 receipts in 1 ledger, /);
});

test("it counts which decisions came out the same, which cannot be repeated and which are not shown", async () => {
  const story = await goodStory();
  await story.deny({}, { reason: "LEASE_EXPIRED" });
  await story.checkpoint();
  const open = await check(story, await story.pack());
  expect(open.ledgers[0]?.counts).toMatchObject({ decisionsSame: 4, decisionsNotReproducible: 1 });
  const closed = await check(story, await story.pack({ disclose: [] }));
  expect(closed.ledgers[0]?.counts).toMatchObject({ decisionsSame: 0, decisionsUnshown: 5 });
});

test("the report is plain JSON", async () => {
  const story = await goodStory();
  const report = await check(story, await story.pack());
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
});

test("the portable implementation says the same, byte for byte, however the file arrives", async () => {
  const story = await goodStory();
  const pack = await story.pack();
  const drip = async function* () {
    for (let at = 0; at < pack.length; at += 5) yield pack.subarray(at, at + 5);
  };
  const portable = await verify(noble, drip(), { trust: story.trust, nowUs: story.nowUs });
  expect(portable).toEqual(await check(story, pack));
});

test("receipts are told in order as they are proven, as plain lines", async () => {
  const story = await goodStory();
  const entries: TimelineEntry[] = [];
  await check(story, await story.pack(), {
    onReceipt: (ledger, proven) => entries.push(timelineEntry(ledger, proven)),
  });
  expect(entries.map((e) => [e.seq, e.kind, e.path, e.decision])).toEqual([
    [1, "LIFECYCLE", null, "NONE"],
    [2, "ACTION", "/payments.v1.Payments/GetPayment", "SAME"],
    [3, "ACTION", "/payments.v1.Payments/Search", "SAME"],
    [4, "ACTION", "/payments.v1.Payments/GetPayment", "SAME"],
    [5, "DENIAL", "/payments.v1.Payments/Refund", "SAME"],
  ]);
  expect(entries[1]).toMatchObject({ goal: "reconcile payments", outcome: "grpc-status: 0" });
  expect(JSON.parse(JSON.stringify(entries))).toEqual(entries);
});

test("every range holds, and says that it is one", async () => {
  const story = await goodStory();
  await story.act();
  story.begin();
  await story.beat();
  await story.checkpoint();
  for (let from = 1; from <= 6; from++) {
    for (let to = from; to <= 6; to++) {
      const report = await check(story, await story.pack({ range: { from, to } }));
      expect(report.broken).toBeNull();
      expect(report.verdict).toBe("ANCHORED");
      expect(report.ledgers[0]).toMatchObject({ from, to, size: 6 });
      expect(report.flags.some((f) => f.flag === "RANGE")).toBe(from > 1 || to < 6);
    }
  }
  await expect(story.pack({ range: { from: 2, to: 7 } })).rejects.toThrow(RangeError);
});

test("two ledgers in one pack, each with its own verdict", async () => {
  const one = await goodStory();
  const two = await goodStory({ ledgerName: "second" });
  two.checkpoints.length = 0;
  const evidence = [one.evidence(), two.evidence()];
  const report = await check(one, await collect(exportPack(crypto, "acme", evidence)));
  expect(report.ledgers.map((l) => l.verdict)).toEqual(["ANCHORED", "INTACT"]);
  expect(report.verdict).toBe("INTACT");
  expect(exitCodeOf(report)).toBe(3);
  const twice = await collect(exportPack(crypto, "acme", [one.evidence(), one.evidence()]));
  expect((await check(one, twice)).broken?.code).toBe("E_LEDGER_DUP");
});

test("without a trust file nothing is believed", async () => {
  const story = await goodStory();
  const report = await check(story, await story.pack(), { trust: null });
  expect(report.verdict).toBe("INTACT");
  expect(report.flags.map((f) => f.flag)).toContain("UNPINNED");
  expect(exitCodeOf(report)).toBe(78);
});

test("WITNESSED takes the auditor's own quorum, not the pack's", async () => {
  const auditor = keyOf("auditor");
  const story = await goodStory();
  const note = story.checkpoints[0] as string;
  const seconds = Math.floor(story.nowUs / 1_000_000);
  story.checkpoints[0] = await cosignCheckpoint(
    crypto,
    note,
    { name: "auditor.example", signer: auditor },
    seconds,
  );
  const pack = await story.pack();
  const unknown = await check(story, pack);
  expect(unknown.verdict).toBe("ANCHORED");
  expect(unknown.flags).toMatchObject([{ flag: "UNKNOWN_SIGNER", detail: "auditor.example" }]);
  const witnesses = [{ name: "auditor", key: auditor.publicKey }];
  const trust = { ...story.trust, witnesses, quorum: 1 };
  expect((await check(story, pack, { trust })).verdict).toBe("WITNESSED");
  const two = [...witnesses, { name: "other", key: keyOf("other").publicKey }];
  const more = { ...trust, witnesses: two, quorum: 2 };
  expect((await check(story, pack, { trust: more })).verdict).toBe("ANCHORED");
});

test("an empty pack is never success", async () => {
  const story = await goodStory();
  const nothing = await collect(exportPack(crypto, "acme", []));
  expect((await check(story, nothing)).broken).toMatchObject({ code: "E_PACK_EMPTY", index: 0 });
  const headless = await verify(crypto, once(new Uint8Array(0)), { trust: story.trust, nowUs: 0 });
  expect(headless.broken).toMatchObject({ code: "E_PACK_EMPTY", index: 0 });
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

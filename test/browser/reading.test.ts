import { expect, test } from "vitest";
import type { Tell } from "../../src/console/messages.ts";
import { answer } from "../../src/console/reading.ts";
import { toHex } from "../../src/domain/bytes.ts";
import { noble } from "../../src/domain/noble.ts";
import { check, crypto, goodStory, search } from "../verifier/build.ts";
import { trustJson } from "../verifier/trust-json.ts";

/** What the page's worker answers, without a browser around it. */
async function told(pack: Uint8Array, trust: string | null, nowUs = 0): Promise<Tell[]> {
  const tells: Tell[] = [];
  const blob = new Blob([new Uint8Array(pack)]);
  await answer({ ask: "verify", id: 7, pack: blob, trust, nowUs }, (tell) => tells.push(tell));
  return tells;
}
const of = <T extends Tell["tell"]>(tells: readonly Tell[], tell: T) =>
  tells.filter((t): t is Extract<Tell, { tell: T }> => t.tell === tell);

test("a pack is told as it is read: its ledger, its receipts in order, its report, its hash", async () => {
  const story = await goodStory();
  const pack = await story.pack();
  const tells = await told(pack, JSON.stringify(trustJson(story.trust)), story.nowUs);
  expect(of(tells, "course")).toMatchObject([
    { course: { ledger: toHex(story.ledgerId), beats: [story.nowUs], heads: [{ size: 5 }] } },
  ]);
  const rows = of(tells, "rows").flatMap((t) => t.rows);
  expect(rows.map((r) => [r.seq, r.kind, r.action, r.withheld])).toEqual([
    [1, "LIFECYCLE", null, 0],
    [2, "ACTION", "payments.v1.Payments/GetPayment at payments.internal:443", 0],
    [3, "ACTION", "payments.v1.Payments/Search at payments.internal:443", 0],
    [4, "ACTION", "payments.v1.Payments/GetPayment at payments.internal:443", 0],
    [5, "DENIAL", "payments.v1.Payments/Refund at payments.internal:443", 0],
  ]);
  const [done] = of(tells, "report");
  expect(done?.report).toEqual(await check(story, pack));
  expect(done).toMatchObject({ told: 5, broken: null, sha256: toHex(crypto.sha256(pack)) });
  expect(of(tells, "progress").at(-1)).toMatchObject({ read: pack.length, of: pack.length });
  expect(new Set(tells.map((t) => t.id))).toEqual(new Set([7]));
});

test("a receipt is read again from its place, from goal to outcome, and hashes to what was proven", async () => {
  const story = await goodStory();
  await story.act(search("7"));
  await story.checkpoint();
  for (const pack of [await story.pack(), await story.pack({ singles: [2, 4] })])
    await readAll(pack);
});

async function readAll(pack: Uint8Array): Promise<void> {
  const rows = of(await told(pack, null), "rows").flatMap((t) => t.rows);
  expect(rows.length).toBeGreaterThan(1);
  for (const row of rows) {
    const tells: Tell[] = [];
    const file = new Blob([new Uint8Array(pack)]);
    const { frame, offset, length } = row;
    const place = { frame, offset, length };
    await answer({ ask: "receipt", id: 1, pack: file, place }, (tell) => tells.push(tell));
    const [shown] = of(tells, "receipt").map((t) => t.shown);
    expect(shown).toMatchObject({ header: { seq: row.seq }, hash: row.hash });
    expect(shown?.steps.map((s) => s.field)).toEqual([
      "goal",
      "action",
      "evidence",
      "outcome",
      "claim",
    ]);
    if (row.kind !== "ACTION") continue;
    expect(shown?.steps.every((s) => s.state === "SHOWN" && s.entries.length > 0)).toBe(true);
  }
}

test("what is withheld says so, with the commitment that stands in its place", async () => {
  const story = await goodStory();
  const pack = await story.pack({ disclose: ["claim", "outcome"] });
  const rows = of(await told(pack, null), "rows").flatMap((t) => t.rows);
  expect(rows.map((r) => r.withheld)).toEqual([3, 3, 3, 3, 3]);
  const tells: Tell[] = [];
  const place = rows[1] as NonNullable<(typeof rows)[1]>;
  await answer({ ask: "receipt", id: 1, pack: new Blob([new Uint8Array(pack)]), place }, (tell) =>
    tells.push(tell),
  );
  const [shown] = of(tells, "receipt").map((t) => t.shown);
  expect(shown?.steps.map((s) => s.state)).toEqual([
    "WITHHELD",
    "WITHHELD",
    "WITHHELD",
    "SHOWN",
    "SHOWN",
  ]);
  expect(shown?.steps[0]?.commitment).toMatch(/^[0-9a-f]{64}$/);
  expect(shown?.steps[0]?.entries).toEqual([]);
});

test("a broken pack is hashed to its end, and the receipt that broke it has a place", async () => {
  const story = await goodStory();
  const pack = await story.pack();
  const rows = of(await told(pack, null), "rows").flatMap((t) => t.rows);
  const third = rows[2] as NonNullable<(typeof rows)[2]>;
  const changed = pack.slice();
  const at = third.offset + third.length - 1;
  changed[at] = (changed[at] as number) ^ 1;
  const tells = await told(changed, null);
  const [done] = of(tells, "report");
  expect(done?.report.broken).toMatchObject({ index: 3 });
  expect(done).toMatchObject({
    told: 2,
    broken: { frame: "RECEIPT", offset: third.offset, length: third.length },
    sha256: toHex(noble.sha256(changed)),
  });
});

test("a trust file that is none is told with its field and its fix, and nothing is verified", async () => {
  const story = await goodStory();
  expect(await told(await story.pack(), '{"format":"dragons trust 0"}')).toEqual([
    { tell: "fault", id: 7, fault: { fault: true, field: "tenant", fix: "name the tenant" } },
  ]);
});

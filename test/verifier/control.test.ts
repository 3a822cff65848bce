import { beforeAll, expect, test } from "vitest";
import { cosignCheckpoint } from "../../src/domain/checkpoint.ts";
import { LEASE } from "../../src/domain/lease.ts";
import { exportPack } from "../../src/verifier/export.ts";
import { lacks } from "../skips.ts";
import { check, checked, collect, crypto, keyOf, Story } from "./build.ts";
import { ControlStory, verified } from "./control-story.ts";
import { nth, type Piece, putTogether, takeApart } from "./frames.ts";
import { expectAgreement } from "./second.ts";

let story: Story;
let control: ControlStory;
let pieces: Piece[];

/** One instance under two leases, each of which pins the control plane's own ledger. */
beforeAll(async () => {
  story = await Story.begin();
  control = await ControlStory.begin(story);
  await story.lifecycle();
  await control.lease();
  await story.act();
  await control.lease();
  await story.act();
  await story.beat();
  await story.checkpoint();
  await control.checkpoint();
  pieces = await takeApart(await control.pack());
});

const said = (report: Awaited<ReturnType<typeof check>>) =>
  report.broken === null ? report.verdict : `${report.broken.code}@${report.broken.index}`;

async function changed(change: (pieces: Piece[]) => void): Promise<string> {
  const copy = pieces.map((p) => ({ ...p }));
  change(copy);
  return said(await check(story, putTogether(copy)));
}
const second = (p: Piece[]) => nth(p, "GENESIS", 2);
const flip = (bytes: Uint8Array, at: number) =>
  bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

test("the control plane's own ledger stands behind what its leases pin, and is ANCHORED with them", async () => {
  const report = await check(story, await control.pack());
  expect(said(report)).toBe("ANCHORED");
  expect(report.flags).toEqual([]);
  expect(report.ledgers[1]).toMatchObject({
    role: "CONTROL",
    verdict: "ANCHORED",
    from: 1,
    to: 7,
    counts: { receipts: 7, records: 7 },
  });
  const heads = report.checks.find((c) => c.name === "HEADS");
  // Three of the work ledger's, one twice; two pins by leases, and a checkpoint.
  expect(heads).toMatchObject({ status: "PASS", held: 7 });
});

test("it may be shown alone", async () => {
  const alone = await collect(exportPack(crypto, "acme", [control.evidence()]));
  expect(said(await check(story, alone))).toBe("ANCHORED");
  for (const disclose of [[], ["action"], ["outcome"]] as const) {
    const pack = await collect(exportPack(crypto, "acme", [control.evidence()], { disclose }));
    const report = await check(story, pack);
    expect(said(report)).toBe("ANCHORED");
    expect(report.flags).toMatchObject([{ flag: "WITHHELD", count: 7 }]);
  }
});

test("another history than the leases pin", async () => {
  const other = await ControlStory.begin(story);
  for (const { signed } of [...story.leases].reverse()) {
    await other.record({ what: "lease", artifact: verified(LEASE, signed) });
  }
  await other.checkpoint();
  expect(said(await check(story, await other.pack()))).toBe("E_CONTROL_HEAD@5");
});

test("a tail that a lease pins, cut off", async () => {
  const cut = { ...control.evidence({ checkpoints: [] }), head: { size: 5, intentsOpened: 0 } };
  const pack = await collect(exportPack(crypto, "acme", [story.evidence(), cut]));
  expect(said(await check(story, pack))).toBe("E_TAIL_TRUNCATED@6");
});

test("one record changed, or what it records", async () => {
  const record = (p: Piece[]) => p[nth(p, "RECEIPT", 3 + 3)] as Piece;
  const at = async (byte: number) =>
    changed((p) => {
      const piece = record(p);
      piece.body = flip(piece.body, piece.body.length - byte);
    });
  // The last bytes of the row: the claim's salt, the artifact's end.
  expect(await at(1)).toBe("E_OPENING_MISMATCH@3");
  expect(await at(60)).toBe("E_OPENING_MISMATCH@3");
});

test("frames that only a work ledger has, and sections in the wrong place", async () => {
  for (const kind of ["MANIFEST", "LEASE", "HEARTBEAT"] as const) {
    const foreign = (p: Piece[]) => {
      const keyset = nth(p, "KEYSET", 2);
      p.splice(keyset + 1, 0, p[nth(p, kind, 1)] as Piece);
    };
    expect(await changed(foreign)).toBe("E_PACK_ORDER@0");
  }
  const first = (p: Piece[]) => {
    const own = p.splice(second(p));
    p.splice(1, 0, ...own);
  };
  expect(await changed(first)).toBe("E_PACK_ORDER@0");
});

test("a genesis by a key that is no CONTROL_LEDGER key, or that does not verify", async () => {
  const spoiled = (p: Piece[]) => {
    const piece = p[second(p)] as Piece;
    piece.body = flip(piece.body, piece.body.length - 1);
  };
  expect(await changed(spoiled)).toBe("E_GENESIS_SIG@0");
  const mallory = keyOf("mallory");
  const impostor = await Story.begin({
    keyset: (b) => ({
      ...b,
      keys: b.keys.map((k) => (k.role === "CONTROL_LEDGER" ? { ...k, key: mallory.publicKey } : k)),
    }),
  });
  Object.assign(impostor, { control: mallory });
  const theirs = await ControlStory.begin(impostor);
  await theirs.checkpoint();
  const pack = await collect(
    exportPack(crypto, "acme", [theirs.evidence({ keysets: story.evidence().keysets })]),
  );
  expect(said(await check(story, pack))).toBe("E_GENESIS_SIG@0");
});

test("receipts whose payload is nowhere shown hold by their headers, and it is said", async () => {
  const rowless = { ...story.evidence() };
  const read = (from: number, limit: number) =>
    (story.evidence().read(from, limit) as Awaited<ReturnType<typeof rowless.read>>).map((r) => ({
      ...r,
      row: new Uint8Array(0),
    }));
  const pack = await collect(exportPack(crypto, "acme", [{ ...rowless, read }]));
  const report = await check(story, pack);
  expect(said(report)).toBe("ANCHORED");
  expect(report.flags.map(({ flag, at }) => [flag, at])).toEqual([
    ["SCOPE_UNSHOWN", [[2, 3]]],
    ["WITHHELD", [[1, 3]]],
  ]);
  const status = (name: string) => report.checks.find((c) => c.name === name)?.status;
  expect(["PAYLOAD", "CONTENT", "DECISION", "INTENT_CHAIN"].map(status)).toEqual(
    Array(4).fill("NOT CHECKABLE OFFLINE"),
  );
});

test("who witnesses this ledger has seen each head that it records, and no other", async () => {
  const witness = keyOf("witness");
  const trust = {
    ...story.trust,
    witnesses: [{ name: "auditor", key: witness.publicKey }],
    quorum: 1,
  };
  /** A ledger whose newest checkpoint is recorded, or not, before a witness cosigns the control ledger. */
  const verdict = async (record: (note: string, c: ControlStory) => Promise<unknown>) => {
    const s = await Story.begin();
    const c = await ControlStory.begin(s);
    await s.lifecycle();
    await c.lease();
    await s.act();
    const note = await s.checkpoint();
    await record(note, c);
    if (c.checkpoints.length === 0) await c.checkpoint();
    const name = "witness.example/w1";
    const own = c.checkpoints.pop() as string;
    const seconds = Math.floor(s.nowUs / 1_000_000);
    c.checkpoints.push(await cosignCheckpoint(crypto, own, { name, signer: witness }, seconds));
    const report = await check(s, await c.pack(), { trust });
    return report.ledgers.map((l) => l.verdict);
  };
  const recorded = (note: string, c: ControlStory) => c.record({ what: "head", artifact: note });
  expect(await verdict(recorded)).toEqual(["WITNESSED", "WITNESSED"]);
  expect(await verdict(async () => {})).toEqual(["ANCHORED", "WITNESSED"]);
  // Recorded once the witness had signed: nobody outside has seen it yet.
  const late = async (note: string, c: ControlStory) => {
    await c.checkpoint();
    await recorded(note, c);
  };
  expect(await verdict(late)).toEqual(["ANCHORED", "WITNESSED"]);
  const other = (note: string, c: ControlStory) => recorded(note.replace(/\n2\n/, "\n3\n"), c);
  expect(await verdict(other)).toEqual(["ANCHORED", "WITNESSED"]);
  const odd = (note: string, c: ControlStory) => recorded(note.slice(0, -1), c);
  expect(await verdict(odd)).toEqual(["ANCHORED", "WITNESSED"]);
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

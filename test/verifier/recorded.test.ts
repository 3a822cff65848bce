import { expect, test } from "vitest";
import { cosignCheckpoint, cosignHead, signCheckpoint } from "../../src/domain/checkpoint.ts";
import { HEARTBEAT } from "../../src/domain/heartbeat.ts";
import { type ExportChoice, exportPack, type LedgerEvidence } from "../../src/verifier/export.ts";
import { PackHeader } from "../../src/verifier/pack.ts";
import { lacks } from "../skips.ts";
import { check, checked, collect, crypto, keyOf, SECOND, type Story } from "./build.ts";
import type { ControlStory } from "./control-story.ts";
import { putTogether, takeApart } from "./frames.ts";
import { governed, remedied } from "./recorded.ts";
import { expectAgreement } from "./second.ts";

/** What a ledger shows is held against what the control plane's ledger of the tenant has of it. */

async function verdict(story: Story, pack: Uint8Array, trust = story.trust) {
  const report = await check(story, pack, { trust });
  const line = report.checks.find((c) => c.name === "RECORDED");
  const flags = report.flags.map(({ flag, at }) => (at.length > 0 ? [flag, at] : flag));
  const said = report.broken?.code ?? report.ledgers.map((l) => l.verdict);
  return { said, flags, status: line?.status, held: line?.held, report };
}

test("what both show is found in both: each lease and each change of state, with its record", async () => {
  const { story, states, pack } = await governed();
  const { report, ...told } = await verdict(story, await pack());
  const changes = states.transitions.length;
  expect(changes).toBeGreaterThan(2);
  expect(told).toEqual({
    said: ["ANCHORED", "ANCHORED"],
    flags: [],
    status: "PASS",
    held: 2 + changes,
  });
  const [ledger] = report.ledgers;
  expect(ledger?.leases.map((l) => l.recordedSeq)).toEqual([6, 7]);
  const first = 8 + story.heartbeats.length;
  expect(ledger?.states.map((s) => s.recordedSeq)).toEqual(
    states.transitions.map((_, i) => first + i),
  );
  expect(ledger?.history).toMatchObject({ agreement: "AGREES", whole: true });
  expect(report.findings.join("\n")).toContain(
    `The control plane's ledger has each of its 2 leases and ${changes} changes of state.`,
  );
});

test("a lease that the control plane never recorded is named", async () => {
  const { story, pack } = await governed({ lease: (n) => n !== 2 });
  expect(await verdict(story, await pack())).toMatchObject({
    said: ["ANCHORED", "ANCHORED"],
    flags: [["UNRECORDED", [[2, 2]]]],
    status: "FAIL",
  });
});

test("a change of state that was recorded and is not shown, or shown and not recorded, or in another order", async () => {
  const { story, transitions, pack } = await governed();
  const differ = { flags: ["STATES_DIFFER"], status: "FAIL" };
  expect(await verdict(story, await pack({ transitions: [] }))).toMatchObject(differ);
  const without = transitions.filter((_, i) => i !== 1);
  expect(await verdict(story, await pack({ transitions: without }))).toMatchObject(differ);
  const silent = await governed({ states: (all) => all.slice(0, -1) });
  expect(await verdict(silent.story, await silent.pack())).toMatchObject(differ);
  const turned = await governed({ states: (all) => all.toReversed() });
  expect(await verdict(turned.story, await turned.pack())).toMatchObject(differ);
});

test("a remedy that an organism tells of was sent, as its ladder has it, and while it was treated", async () => {
  const { story, states, pack } = await remedied();
  const { report, ...told } = await verdict(story, await pack());
  expect(told).toMatchObject({ said: ["ANCHORED", "ANCHORED"], flags: [], status: "PASS" });
  expect(report.ledgers[0]?.history).toMatchObject({ agreement: "AGREES", whole: true });
  const path = report.ledgers[0]?.states.map((s) => `${s.to} ${s.cause}`);
  expect(path).toHaveLength(states.transitions.length);
  expect(path?.slice(-2)).toEqual(["AUTOHEALING REMEDY_STARTED", "RUNNING RECOVERED"]);
  for (const sent of [
    { kind: null },
    { kind: "REATTACH" },
    { kind: "RESYNC", late: true },
  ] as const) {
    const other = await remedied(sent);
    const differ = { flags: ["STATES_DIFFER"], status: "FAIL" };
    expect(await verdict(other.story, await other.pack())).toMatchObject(differ);
  }
});

test("where no record is open nothing is compared, and it is not told as done", async () => {
  const { story, control, transitions } = await governed();
  const closed =
    (c: ControlStory): LedgerEvidence["read"] =>
    (from, limit) =>
      c.rows.slice(from - 1, from - 1 + limit).map((r) => ({ ...r, row: new Uint8Array(0) }));
  const pack = await control.pack({ transitions }, { read: closed(control) });
  expect(await verdict(story, pack)).toMatchObject({
    flags: ["WITHHELD"].map((flag) => [flag, [[1, control.rows.length]]]),
    status: "NOT CHECKABLE OFFLINE",
  });
});

test("of a range of records, what can only have been recorded before it is not asked", async () => {
  const { story, control, transitions } = await governed();
  const range = async (from: number) => {
    const choice: ExportChoice = { range: { from, to: control.rows.length } };
    const own = await collect(exportPack(crypto, "acme", [control.evidence()], choice));
    const work = await collect(exportPack(crypto, "acme", [story.evidence({ transitions })]));
    return joined(work, own);
  };
  // Lease 1 is record 6, and pins 5 records; lease 2 is record 7.
  const both = await verdict(story, await range(6));
  expect(both).toMatchObject({ flags: ["RANGE"], status: "PASS" });
  const second = await verdict(story, await range(7));
  expect(second).toMatchObject({
    status: "PASS",
    held: both.held === undefined ? 0 : both.held - 1,
  });
  const late = await verdict(story, await range(control.rows.length));
  expect(late).toMatchObject({ status: "PASS", held: 1 });
});

/** Two packs of one ledger each as one. */
async function joined(work: Uint8Array, own: Uint8Array): Promise<Uint8Array> {
  const [a, b] = [await takeApart(work), await takeApart(own)];
  const header = {
    kind: "HEADER" as const,
    body: PackHeader.encode({ tenantId: "acme", ledgers: 2 }),
  };
  return putTogether([header, ...a.slice(1), ...b.slice(1)]);
}

test("a recorded head that a lease or a heartbeat states countersigns it, without a note of the ledger's own", async () => {
  const noted = (size: number) => async (c: ControlStory) => {
    const { story } = c;
    const bodies = story.heartbeats.map((h) => HEARTBEAT.body.decode(h.body));
    const head = bodies.find((b) => b.size === size);
    if (head === undefined) throw new Error(`no beat of ${size}`);
    const cosigner = { name: "control", signer: story.cosigner };
    const seconds = Math.floor(story.nowUs / SECOND);
    await c.record({ what: "head", artifact: await cosignHead(crypto, head, cosigner, seconds) });
  };
  const all = await governed({ last: noted(3) });
  const pack = await all.pack({ checkpoints: [] });
  expect(await verdict(all.story, pack)).toMatchObject({
    said: ["ANCHORED", "ANCHORED"],
    flags: [],
  });
  const some = await governed({ last: noted(2) });
  expect(await verdict(some.story, await some.pack({ checkpoints: [] }))).toMatchObject({
    said: ["ANCHORED", "ANCHORED"],
    flags: ["UNANCHORED_TAIL"],
  });
  // Nobody countersigned the control plane's ledger itself, or no lease and no beat states that head.
  const bare = await all.pack({ checkpoints: [] }, { checkpoints: [] });
  expect(await verdict(all.story, bare)).toMatchObject({ said: ["INTACT", "INTACT"] });
  const unstated = await all.pack({ checkpoints: [], heartbeats: [] });
  expect(await verdict(all.story, unstated)).toMatchObject({ said: ["INTACT", "ANCHORED"] });
});

test("a witness alone, where two are asked for, countersigns nothing for the control plane", async () => {
  const { story } = await governed();
  const witness = (n: number) => ({ name: `w${n}`, key: keyOf(`witness ${n}`).publicKey });
  const { size, root } = story.chain.head();
  const own = await signCheckpoint(
    crypto,
    { ledgerId: story.ledgerId, size, root },
    story.ledgerKey,
  );
  const signer = { name: "w1", signer: keyOf("witness 1") };
  const note = await cosignCheckpoint(crypto, own, signer, Math.floor(story.nowUs / SECOND));
  const pack = await story.pack({}, { checkpoints: [note] });
  const trust = { ...story.trust, witnesses: [witness(1), witness(2)], quorum: 2 };
  expect(await verdict(story, pack, trust)).toMatchObject({ said: ["INTACT"] });
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

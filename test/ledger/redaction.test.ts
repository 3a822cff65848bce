import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openWorkLedger } from "../../sidecar/ledger/open-ledger.ts";
import type { WorkLedger } from "../../sidecar/ledger/work-ledger.ts";
import { utf8 } from "../../src/domain/bytes.ts";
import { cosignCheckpoint, signCheckpoint } from "../../src/domain/checkpoint.ts";
import { ClaimBody } from "../../src/domain/claim.ts";
import {
  ActionBody,
  EvidenceBody,
  GoalBody,
  OutcomeBody,
  PayloadRow,
} from "../../src/domain/payload.ts";
import { Seed } from "../../src/native/keys.ts";
import { LedgerState, ledgerStore } from "../../src/storage/ledger-store.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { PayloadKeys } from "../../src/storage/payload-keys.ts";
import { check, crypto, keyOf, Story } from "../verifier/build.ts";

const root = mkdtempSync(join(tmpdir(), "dragons-redaction-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const CANARY = "canary-in-the-path";
const GOAL = "canary-in-the-goal";
const MASK = { all: 31, goal: 1, claim: 16 };

async function begin() {
  const story = await Story.begin();
  await story.lease();
  const folder = mkdtempSync(join(root, "ledger-"));
  const open = () =>
    openWorkLedger({
      ledgerId: story.ledgerId,
      tenantId: story.tenantId,
      manifestHash: story.manifestHash,
      folder,
      seed: new Seed(keyOf("ledger").seed),
    });
  return { story, folder, open };
}

/** One action whose claim, action and goal hold words to look for. Gives its seq and what it committed to. */
async function act(story: Story, ledger: WorkLedger) {
  const claim = story.claim({ path: `/payments.v1.Payments/Get${CANARY.replaceAll("-", "")}` });
  const { protocol, target, verb, path, scheme } = claim;
  const goal = GoalBody.encode({ ...GoalBody.empty(), version: 1, purpose: "pay", goal: GOAL });
  const intent = await ledger.open({
    claim,
    goal,
    grantRef: story.grantRef,
    leaseRef: story.leaseRef,
    manifestHash: story.manifestHash,
    scope: "read:payments",
    listens: false,
    wouldDeny: "UNSPECIFIED",
    openedAtUs: story.nowUs,
    reservedBytes: 0,
    recent: 0,
  });
  await ledger.reserve(intent, 0);
  ledger.close(intent, {
    verdict: "COMPLETED",
    reason: "UNSPECIFIED",
    closedAtUs: story.nowUs,
    egressLastUs: story.nowUs,
    spentBytes: 0,
    action: ActionBody.encode({
      ...ActionBody.empty(),
      version: 1,
      protocol,
      target,
      verb,
      path,
      scheme,
    }),
    evidence: EvidenceBody.encode({
      ...EvidenceBody.empty(),
      version: 1,
      leases: [story.leaseRef],
    }),
    outcome: OutcomeBody.encode({ ...OutcomeBody.empty(), version: 1, status: "grpc-status: 0" }),
  });
  await ledger.flushed();
  const seq = ledger.head().size;
  const { openings } = PayloadRow.decode(ledger.read(seq, 1)[0]?.row as Uint8Array);
  expect(ClaimBody.decode(openings[4]?.data as Uint8Array).path).toBe(path);
  return { seq, path, openings };
}

/** Whether any file of the folder has these bytes. */
function holds(folder: string, bytes: Uint8Array): boolean {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => statSync(path).isFile())
    .some((path) => readFileSync(path).includes(Buffer.from(bytes)));
}

const amendment = (story: Story, kind: "CORRECTION" | "REDACTION", seq: number, mask: number) => ({
  kind,
  seq,
  mask,
  leaseRef: story.leaseRef,
  manifestHash: story.manifestHash,
  goal: new Uint8Array(0),
  action: ActionBody.encode({ ...ActionBody.empty(), version: 1, verb: "redact" }),
  outcome: OutcomeBody.encode({ ...OutcomeBody.empty(), version: 1, status: "asked for" }),
});

test("what was redacted is nowhere in the folder, neither salt nor data, and its key is not either", async () => {
  const { story, folder, open } = await begin();
  const ledger = await open();
  const { seq, path, openings } = await act(story, ledger);
  const keys = readFileSync(join(folder, "payload.keys"));
  // The action's own intent sealed with it: both are noise without this key.
  const key = keys.subarray(3 * 32, 4 * 32);
  expect(key.every((b) => b === 0)).toBe(false);
  const redacted = await ledger.amend(amendment(story, "REDACTION", seq, MASK.all));
  expect(redacted).toMatch(/^rcp_/);
  const gone = [utf8(path), utf8(GOAL), key, ...openings.flatMap((o) => [o.salt, o.data])];
  for (const bytes of gone.filter((b) => b.length > 8)) expect(holds(folder, bytes)).toBe(false);
  expect(ledger.head().size).toBe(seq + 1);
  expect(PayloadRow.decode(ledger.read(seq, 1)[0]?.row as Uint8Array).openings).toEqual([]);
  expect(await ledger.check()).toBeNull();
  await ledger.shutdown();
  for (const bytes of gone.filter((b) => b.length > 8)) expect(holds(folder, bytes)).toBe(false);
  // And the ledger goes on.
  const again = await open();
  await act(story, again);
  expect(await again.check()).toBeNull();
  await again.shutdown();
});

test("nothing of a payload is on the disk in the clear at any time", async () => {
  const { story, folder, open } = await begin();
  const ledger = await open();
  const { path, openings } = await act(story, ledger);
  for (const bytes of [utf8(path), utf8(GOAL), ...openings.map((o) => o.salt)]) {
    expect(holds(folder, bytes)).toBe(false);
  }
  await ledger.shutdown();
  expect(holds(folder, utf8(path))).toBe(false);
});

test("of one field only that field is gone, and a second redaction takes another", async () => {
  const { story, folder, open } = await begin();
  const ledger = await open();
  const { seq, openings } = await act(story, ledger);
  await ledger.amend(amendment(story, "REDACTION", seq, MASK.goal));
  const left = () => PayloadRow.decode(ledger.read(seq, 1)[0]?.row as Uint8Array).openings;
  expect(left().map((o) => o.field)).toEqual([2, 3, 4, 5]);
  expect(left()).toEqual(openings.slice(1));
  await Promise.all([
    ledger.amend(amendment(story, "REDACTION", seq, MASK.claim)),
    ledger.amend(amendment(story, "REDACTION", seq, 2)),
  ]);
  expect(left()).toEqual(openings.slice(2, 4));
  await ledger.shutdown();
  const again = await open();
  const rows = again.read(seq, 1).map((r) => PayloadRow.decode(r.row).openings.map((o) => o.field));
  expect(rows).toEqual([[3, 4]]);
  expect(await again.check()).toBeNull();
  await again.shutdown();
  expect(holds(folder, openings[0]?.salt as Uint8Array)).toBe(false);
});

test("a crash before the key was overwritten is made good at the next start", async () => {
  const { folder } = await begin();
  const keys = PayloadKeys.open(folder);
  const rows = memoryStore();
  const row = PayloadRow.encode({
    commitments: [1, 2, 3, 4, 5].map((n) => new Uint8Array(32).fill(n)),
    openings: [{ field: 1, salt: new Uint8Array(32).fill(9), data: utf8(GOAL) }],
  });
  const step = { opened: [], counts: [], spent: [], state: LedgerState.empty() };
  const receipt = { signed: utf8("signed"), closes: 0, rewrites: null };
  const store = ledgerStore(rows, keys);
  await store.commit({ ...step, receipts: [{ ...receipt, seq: 1, row }] });
  const payloads = { from: Uint8Array.of(4), below: Uint8Array.of(5), limit: 1 };
  const [sealed] = rows.range(payloads).map(({ value }) => value.slice(0, -170));
  expect(keys.open(sealed as Uint8Array)).not.toBeNull();
  // As a step leaves the store that was cut off before the key was reached.
  await rows.commit([{ key: Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0, 4), value: new Uint8Array(0) }]);
  ledgerStore(rows, keys);
  expect(keys.open(sealed as Uint8Array)).toBeNull();
  await store.close();
});

test("packs say that it was erased, and hold; a correction is told, and changes nothing", async () => {
  const { story, open } = await begin();
  const ledger = await open();
  await ledger.flushed();
  const { seq } = await act(story, ledger);
  await ledger.amend(amendment(story, "CORRECTION", seq, 0));
  await ledger.amend(amendment(story, "REDACTION", seq, MASK.goal | MASK.claim));
  const head = ledger.head();
  const note = await signCheckpoint(crypto, { ledgerId: story.ledgerId, ...head }, keyOf("ledger"));
  const cosigner = { name: "control", signer: keyOf("cosigner") };
  const seconds = Math.floor(Date.now() / 1000);
  const pack = await story.pack(
    {},
    {
      checkpoints: [await cosignCheckpoint(crypto, note, cosigner, seconds)],
      head,
      read: (from, limit) => ledger.read(from, limit),
      openIntents: [],
      heartbeats: [],
    },
  );
  const trust = { ...story.trust, cosigners: [keyOf("cosigner").publicKey] };
  const report = await check(story, pack, { trust });
  expect(report.broken).toBeNull();
  expect(report.verdict).toBe("ANCHORED");
  expect(report.flags.map(({ flag, at }) => [flag, at])).toEqual([
    ["SCOPE_UNSHOWN", [[seq, seq]]],
    ["ERASED", [[seq, seq]]],
  ]);
  expect(report.ledgers[0]?.counts).toMatchObject({ corrections: 2 });
  await ledger.shutdown();
});

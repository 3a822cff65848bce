import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openWorkLedger } from "../../sidecar/ledger/open-ledger.ts";
import type { WorkLedger } from "../../sidecar/ledger/work-ledger.ts";
import { cosignCheckpoint, signCheckpoint } from "../../src/domain/checkpoint.ts";
import { ClaimBody } from "../../src/domain/claim.ts";
import { ActionBody, EvidenceBody, GoalBody, OutcomeBody } from "../../src/domain/payload.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { Seed } from "../../src/native/keys.ts";
import type { LedgerEvidence } from "../../src/verifier/export.ts";
import { lacks } from "../skips.ts";
import { check, checked, crypto, keyOf, SECOND, START_US, Story } from "./build.ts";
import { expectAgreement } from "./second.ts";

const root = mkdtempSync(join(tmpdir(), "dragons-evidence-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const NONE = new Uint8Array(0);

/** What a sidecar's own ledger writes, handed to a stranger. */
async function begin() {
  const story = await Story.begin();
  const clock = new ManualClock(START_US + SECOND);
  const ledger = await openWorkLedger({
    ledgerId: story.ledgerId,
    tenantId: story.tenantId,
    manifestHash: story.manifestHash,
    folder: mkdtempSync(join(root, "ledger-")),
    seed: new Seed(keyOf("ledger").seed),
    clock,
  });
  await lease(story, ledger);
  return { story, clock, ledger };
}

const lease = (story: Story, ledger: WorkLedger) => {
  const { size, root: headRoot, intentsOpened, intentsHead } = ledger.head();
  return story.lease((b) => ({ ...b, headSize: size, headRoot, intentsOpened, intentsHead }));
};

async function act(story: Story, clock: ManualClock, ledger: WorkLedger) {
  // This clock jumps while the signer works by the real one: it must not look late for it.
  await ledger.flushed();
  clock.advance(SECOND);
  const claim = story.claim({});
  const { protocol, target, verb, path, scheme } = claim;
  const leaseRef = story.leaseRef;
  const intent = await ledger.open({
    claim,
    goal: GoalBody.encode({ ...GoalBody.empty(), version: 1, purpose: "reconcile payments" }),
    grantRef: story.grantRef,
    leaseRef,
    manifestHash: story.manifestHash,
    scope: "read:payments",
    listens: false,
    wouldDeny: "UNSPECIFIED",
    openedAtUs: clock.nowUs(),
    reservedBytes: 0,
    recent: 0,
  });
  return () =>
    ledger.close(intent, {
      verdict: "COMPLETED",
      reason: "UNSPECIFIED",
      closedAtUs: clock.nowUs(),
      egressLastUs: clock.nowUs(),
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
      evidence: EvidenceBody.encode({ ...EvidenceBody.empty(), version: 1, leases: [leaseRef] }),
      outcome: OutcomeBody.encode({ ...OutcomeBody.empty(), version: 1, status: "grpc-status: 0" }),
    });
}

async function packOf(story: Story, ledger: WorkLedger, over: Partial<LedgerEvidence> = {}) {
  await ledger.flushed();
  const head = ledger.head();
  const note = await signCheckpoint(crypto, { ledgerId: story.ledgerId, ...head }, story.ledgerKey);
  const cosigner = { name: "control", signer: story.cosigner };
  const checkpoint = await cosignCheckpoint(crypto, note, cosigner, START_US / SECOND + 30);
  return story.pack(
    {},
    {
      head,
      checkpoints: [checkpoint],
      read: (from, limit) => ledger.read(from, limit),
      openIntents: ledger.openIntents(),
      ...over,
    },
  );
}

test("what a real ledger holds is ANCHORED: boot, calls, coalesced denials, an open call", async () => {
  const { story, clock, ledger } = await begin();
  const first = await act(story, clock, ledger);
  const second = await act(story, clock, ledger);
  second();
  first();
  for (let i = 0; i < 3; i++) {
    ledger.record({
      kind: "DENIAL",
      reason: "SCOPE_NOT_GRANTED",
      scope: "",
      leaseRef: story.leaseRef,
      manifestHash: story.manifestHash,
      claim: ClaimBody.encode(story.claim({ path: "/payments.v1.Payments/Refund" })),
      goal: NONE,
      action: NONE,
      evidence: NONE,
      outcome: NONE,
      openedAtUs: clock.nowUs(),
    });
  }
  clock.advance(5 * SECOND);
  await ledger.flushed();
  await lease(story, ledger);
  await act(story, clock, ledger);
  const report = await check(story, await packOf(story, ledger));
  expect(report.broken).toBeNull();
  expect(report.verdict).toBe("ANCHORED");
  expect(report.flags.map((f) => f.flag)).toEqual(["OPEN_INTENT"]);
  expect(report.ledgers[0]?.counts).toMatchObject({ completed: 2, denied: 3, lifecycle: 1 });
  await ledger.shutdown();
});

test("a clock that is set back does not make an honest ledger look forged", async () => {
  const { story, clock, ledger } = await begin();
  (await act(story, clock, ledger))();
  const close = await act(story, clock, ledger);
  clock.setWall(START_US);
  close();
  (await act(story, clock, ledger))();
  const report = await check(story, await packOf(story, ledger));
  expect(report.broken).toBeNull();
  await ledger.shutdown();
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

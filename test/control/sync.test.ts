import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { toBase64, toHex } from "../../src/domain/bytes.ts";
import { leafHash } from "../../src/domain/chain.ts";
import { EquivocationBody } from "../../src/domain/equivocation.ts";
import { rootOf } from "../../src/domain/merkle.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { OrganismState, Recorded, Verdict } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { AuditService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { LedgerService, type WatchReceiptsResponse } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { OrganismService } from "../../src/gen/dragons/v1/organism_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar, type Syncing } from "./sidecar.ts";
import {
  type House,
  makeHouse,
  newSigner,
  random32,
  refusalOf,
  startWorld,
  type World,
} from "./world.ts";

let world: World;
let house: House;
let berth: Berth;
let sidecar: SimSidecar;
let a: Attachment;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `sync-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  await sidecar.work(10);
  a = await sidecar.attach();
});

const viewer = () => house.as("VIEWER");
const ledgers = () => world.client(LedgerService);
const listed = async (ledgerId = sidecar.ledgerId): Promise<string[]> => {
  const bodies: string[] = [];
  for (let pageToken = ""; ; ) {
    const page = await ledgers().listReceipts({ ledgerId, pageSize: 7, pageToken }, await viewer());
    bodies.push(...page.receipts.map((r) => toHex(r.body)));
    pageToken = page.nextPageToken;
    if (pageToken === "") return bodies;
  }
};
const state = async (): Promise<OrganismState | undefined> => {
  const { instanceId } = sidecar;
  const { organism } = await world
    .client(OrganismService)
    .getOrganism({ instanceId }, await viewer());
  return organism?.state;
};
const bodiesOf = (receipts: readonly SignedBytes[]) => receipts.map((r) => toHex(r.body));

test("batches in any order, twice, with gaps and overlaps: held once, whole, in order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 6 })), {
        maxLength: 12,
      }),
      async (batches) => {
        const other = await SimSidecar.dock(world, house, berth);
        await other.work(10);
        const attached = await other.attach();
        const sync = attached.sync();
        let held = await sync.held();
        for (const [from, count] of batches) {
          sync.send(from, other.receipts.slice(from - 1, from - 1 + count));
          const now = await sync.held();
          const reach = Math.min(from - 1 + count, 10);
          expect(now).toBe(from <= held + 1 ? Math.max(held, reach) : held);
          held = now;
        }
        sync.send(held + 1, other.receipts.slice(held));
        expect(await sync.held()).toBe(10);
        expect(await listed(other.ledgerId)).toEqual(bodiesOf(other.receipts));
        // It has ended, and frees its place among the instances that the grant allows.
        await attached.beat({ child: "EXITED", childExit: 1 });
        await attached.next("directive");
        await attached.leave();
      },
    ),
    { numRuns: 15 },
  );
});

test("what was acknowledged is held after a restart, and the tree goes on from there", async () => {
  expect(await a.syncAll()).toBe(10);
  await world.restart();
  await sidecar.work(5);
  a = await sidecar.attach();
  expect(a.attached.heldSize).toBe(10n);
  expect(await a.syncAll()).toBe(15);
  const lease = await a.earn();
  const leaves = sidecar.receipts.map((r) => leafHash(native, r.body));
  expect(toHex(lease.headRoot)).toBe(toHex(rootOf(native, leaves)));
  // A restart forgets leaves; a duplicate from before it is known all the same.
  const sync = a.sync();
  await sync.held();
  sync.send(3, sidecar.receipts.slice(2, 6));
  expect(await sync.held()).toBe(15);
});

test("heads are cosigned while receipts pour in, and the tree is the same as if they had not", async () => {
  const sync = a.sync();
  await sync.held();
  for (let size = 10; size <= 200; size += 10) {
    sync.send(size - 9, sidecar.receipts.slice(size - 10, size));
    await a.beat();
    await sidecar.work(10);
  }
  for (let batch = 0; batch < 20; batch++) await sync.held();
  sync.send(201, sidecar.receipts.slice(200));
  expect(await sync.held()).toBe(210);
  world.clock.advance(30_000_000);
  await a.beat();
  const root = rootOf(
    native,
    sidecar.receipts.map((r) => leafHash(native, r.body)),
  );
  for (;;) {
    const { note } = await a.next("cosigned");
    if (note.split("\n")[1] !== "210") continue;
    expect(note.split("\n")[2]).toBe(toBase64(root));
    break;
  }
  expect(await state()).not.toBe(OrganismState.QUARANTINED);
});

const refusedBatch = async (fromSeq: number, receipts: readonly SignedBytes[]) => {
  const sync = a.sync();
  await sync.held();
  sync.send(fromSeq, receipts);
  return refusalOf(sync.held());
};

test("receipts that do not verify are not held, and prove nothing", async () => {
  const [first, second] = sidecar.receipts as [SignedBytes, SignedBytes];
  const forger = newSigner();
  const forged = { body: first.body, signatures: [{ key: forger.publicKey, value: random32() }] };
  const bent = { ...first, signatures: second.signatures };
  const longer = { ...first, body: new Uint8Array([...first.body, 0]) };
  for (const bad of [forged, bent, longer, { ...first, signatures: [] }]) {
    const { code } = await refusedBatch(1, [bad]);
    expect(["INVALID_ARGUMENT", "PERMISSION_DENIED"]).toContain(code);
  }
  expect((await refusedBatch(1, [second])).code).toBe("INVALID_ARGUMENT");
  const stranger = await SimSidecar.dock(world, house, berth);
  await stranger.work(1);
  expect((await refusedBatch(1, stranger.receipts)).code).toBe("INVALID_ARGUMENT");
  expect((await refusedBatch(1, Array(65).fill(first))).code).toBe("INVALID_ARGUMENT");
  expect(await listed()).toEqual([]);
  expect(await state()).toBe(OrganismState.DOCKED);
});

test("Sync is for sessions that live, and tells nobody else anything", async () => {
  expect(await refusalOf(a.sync(random32()).held())).toMatchObject({
    code: "UNAUTHENTICATED",
    reason: "SESSION_UNKNOWN",
  });
});

/** Receipts of a second history of the same ledger, which parts from the first after `size`. */
async function otherHistory(size: number): Promise<SignedBytes[]> {
  const twin = Object.assign(Object.create(SimSidecar.prototype), sidecar) as SimSidecar;
  twin.restore(size);
  await twin.work(3);
  return twin.receipts;
}
async function proofs() {
  const audit = world.client(AuditService);
  const { records } = await audit.listRecords({ pageSize: 1000 }, await viewer());
  return records
    .filter((r) => r.what === "equivocation" || (r.what as unknown) === Recorded.EQUIVOCATION)
    .map((r) => EquivocationBody.decode(r.artifact));
}

test.each([
  ["another receipt at a seq that is held", 10, "RECEIPTS", 5],
  ["a next receipt that follows another history", 4, "CHAIN", 4],
])("%s is a fork: both are kept as proof, and it is quarantined", async (_, held, kind, seq) => {
  const honest = a.sync();
  await honest.held();
  honest.send(1, sidecar.receipts.slice(0, held));
  expect(await honest.held()).toBe(held);
  const [from, other] =
    kind === "RECEIPTS" ? [5, await otherHistory(4)] : [5, await otherHistory(3)];
  expect(await refusedBatch(from, other.slice(from - 1))).toMatchObject({
    code: "ABORTED",
    reason: "FORK",
  });
  expect(await state()).toBe(OrganismState.QUARANTINED);
  const [proof] = await proofs();
  expect(proof?.kind).toBe(kind);
  // It stands by itself: both bodies are signed by the ledger key.
  const first = ReceiptHeader.decode(proof?.first.body as Uint8Array);
  const second = ReceiptHeader.decode(proof?.second.body as Uint8Array);
  expect([first.seq, second.seq]).toEqual([seq, 5]);
  expect(toHex(first.ledgerId)).toBe(toHex(second.ledgerId));
  expect(await listed()).toEqual(bodiesOf(sidecar.receipts.slice(0, held)));
});

test("a beat whose root is not that of the receipts held is a fork", async () => {
  await a.syncAll();
  const signed = await a.beat({ root: random32() });
  await a.next("directive");
  expect(await state()).toBe(OrganismState.QUARANTINED);
  const [proof] = await proofs();
  expect(proof?.kind).toBe("ROOT");
  expect(toHex(proof?.second.body as Uint8Array)).toBe(toHex(signed.body));
  expect(toHex(proof?.first.body as Uint8Array)).toBe(
    toHex((sidecar.receipts.at(-1) as SignedBytes).body),
  );
});

test("two beats that contradict each other are a fork, before any receipt has come", async () => {
  await a.beat();
  await a.next("heartbeatAck");
  await a.beat({ root: random32() });
  await a.next("directive");
  expect((await proofs())[0]?.kind).toBe("HEADS");
  expect(await state()).toBe(OrganismState.QUARANTINED);
});

test("receipts by id, by verdict and page by page; another tenant's are not there", async () => {
  await sidecar.work(3, { kind: "DENIAL", verdict: "DENIED", reason: "SCOPE_NOT_GRANTED" });
  await a.syncAll();
  const denied = await ledgers().listReceipts(
    { ledgerId: sidecar.ledgerId, verdict: Verdict.DENIED, pageSize: 2 },
    await viewer(),
  );
  expect(denied.receipts).toHaveLength(2);
  expect(denied.nextPageToken).not.toBe("");
  const wanted = sidecar.receipts[11] as SignedBytes;
  const { receiptId } = ReceiptHeader.decode(wanted.body);
  const { receipt } = await ledgers().getReceipt({ receiptId }, await viewer());
  expect(toHex(receipt?.body as Uint8Array)).toBe(toHex(wanted.body));

  const stranger = await makeHouse(world, `stranger-${houses}`);
  const theirs = await stranger.as("ADMIN");
  const { ledgerId } = sidecar;
  for (const call of [
    ledgers().getReceipt({ receiptId }, theirs),
    ledgers().listReceipts({ ledgerId }, theirs),
    ledgers().watchReceipts({ ledgerId }, theirs)[Symbol.asyncIterator]().next(),
    ledgers().getReceipt({ receiptId: "rcp_x" }, await viewer()),
  ]) {
    expect((await refusalOf(call as Promise<unknown>)).code).toBe("NOT_FOUND");
  }
});

test("a watch of receipts resumes across a restart: each once, in order", async () => {
  const seen: string[] = [];
  let resumeToken = "";
  const read = async (until: number, begun = () => {}) => {
    const stream = ledgers().watchReceipts({ resumeToken }, await viewer());
    for await (const told of stream as AsyncIterable<WatchReceiptsResponse>) {
      resumeToken = told.resumeToken;
      if (told.receipt === undefined) begun();
      else seen.push(toHex(told.receipt.body));
      if (seen.length >= until) break;
    }
  };
  const joined = Promise.withResolvers<void>();
  const watching = read(4, joined.resolve);
  await joined.promise;
  const sync = a.sync();
  await sync.held();
  sync.send(1, sidecar.receipts.slice(0, 4));
  await watching;
  sync.send(5, sidecar.receipts.slice(4, 8));
  expect([await sync.held(), await sync.held()]).toEqual([4, 8]);
  await world.restart();
  a = await sidecar.attach();
  await a.syncAll();
  await read(10);
  expect(seen).toEqual(bodiesOf(sidecar.receipts));
});

describe("a sidecar that lets no header leave", () => {
  const hashes = (from: number, receipts = sidecar.receipts) =>
    receipts.slice(from - 1).map((r) => leafHash(native, r.body));
  const refused = async (send: (sync: Syncing) => void) => {
    const sync = a.sync();
    await sync.held();
    send(sync);
    return refusalOf(sync.held());
  };

  test("has its heads cosigned by its hashes alone, which nobody can list", async () => {
    const sync = a.sync();
    await sync.held();
    sync.sendHashes(1, hashes(1).slice(0, 6));
    expect(await sync.held()).toBe(6);
    // A duplicate is passed over, and a gap takes nothing.
    sync.sendHashes(3, hashes(3).slice(0, 4));
    expect(await sync.held()).toBe(6);
    sync.sendHashes(8, hashes(8));
    expect(await sync.held()).toBe(6);
    sync.sendHashes(7, hashes(7));
    expect(await sync.held()).toBe(10);
    await a.beat();
    const { note } = await a.next("cosigned");
    const root = rootOf(native, hashes(1));
    expect(note).toContain(`\n10\n${toBase64(root)}\n`);
    const { ledgerId } = sidecar;
    const listing = ledgers().listReceipts({ ledgerId }, await viewer());
    expect(await refusalOf(listing)).toMatchObject({
      code: "FAILED_PRECONDITION",
      reason: "STATE_UNFIT",
      message: expect.stringMatching(/dragons receipt list --sidecar/),
    });
    // Where the tenant changes its mind, headers go on behind them.
    await sidecar.work(2);
    expect(await a.syncAll()).toBe(12);
    expect(await listed()).toEqual(bodiesOf(sidecar.receipts.slice(10)));
  });

  test("is quarantined for another hash at a place that is held", async () => {
    const sync = a.sync();
    await sync.held();
    sync.sendHashes(1, hashes(1));
    expect(await sync.held()).toBe(10);
    const other = await otherHistory(4);
    expect(await refused((s) => s.sendHashes(5, hashes(5, other)))).toMatchObject({
      code: "ABORTED",
      reason: "FORK",
    });
    expect(await state()).toBe(OrganismState.QUARANTINED);
  });

  test("is quarantined when it beats with another root than its hashes have", async () => {
    const sync = a.sync();
    await sync.held();
    sync.sendHashes(1, hashes(1));
    await sync.held();
    await a.beat({ root: random32() });
    await a.next("directive");
    expect(await state()).toBe(OrganismState.QUARANTINED);
  });

  test("is refused what is no hash, and both in one batch", async () => {
    const short = [new Uint8Array(31)];
    expect(await refused((s) => s.sendHashes(1, short))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/hashes\[0\]: is not 32 bytes/),
    });
    const both = { fromSeq: 1n, receipts: sidecar.receipts.slice(0, 1), hashes: hashes(1) };
    expect(await refused((s) => s.requests.push(both))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/in place of receipts/),
    });
  });
});

import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { leafHash } from "../../src/domain/chain.ts";
import { openNote, originOf } from "../../src/domain/checkpoint.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { recordsChunkBytes } from "../../src/domain/limits.ts";
import { Frontier } from "../../src/domain/merkle.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import {
  AuditService,
  type ExportRecordsResponse,
  ManifestService,
  type RecordsHead,
  type SealedRecord,
} from "../../src/gen/dragons/v1/authority_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { openPayload } from "../../src/verifier/payload.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import {
  type House,
  makeHouse,
  manifest,
  manifestBytes,
  refusalOf,
  requestId,
  startWorld,
  type World,
} from "./world.ts";

/** What an auditor is handed of the tenant's ledger: each record with what opens it, and where it stands. */

let world: World;
let house: House;
let sidecar: SimSidecar;

beforeAll(async () => {
  world = await startWorld();
  house = await makeHouse(world, "acme");
  const berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  const attached = await sidecar.attach();
  await attached.syncAll();
  await attached.earn();
  // More than one message holds.
  for (let i = 0; i < 3; i++) {
    const files = Array.from({ length: 2200 }, (_, n) => ({
      path: `${i}/${n}`.padEnd(60, "x"),
      sha256: native.sha256(Uint8Array.of(n & 255)),
      size: 1,
    })).sort((a, b) => (a.path < b.path ? -1 : 1));
    const bytes = manifestBytes(manifest({ agentVersion: `large-${i}`, code: files }));
    await world
      .client(ManifestService)
      .recordManifest({ requestId: requestId(), manifest: bytes }, await house.as("OPERATOR"));
  }
});
afterAll(() => world.end());

interface Asked {
  readonly fromSeq?: bigint;
  readonly toSeq?: bigint;
  readonly ledgerId?: Uint8Array;
}

async function exported(asked: Asked) {
  const answers: ExportRecordsResponse[] = [];
  const stream = world.client(AuditService).exportRecords(asked, await house.as("VIEWER"));
  for await (const answer of stream) answers.push(answer);
  const heads = answers.flatMap((a) => (a.head === undefined ? [] : [a.head]));
  expect(heads).toHaveLength(1);
  return {
    head: heads[0] as RecordsHead,
    records: answers.flatMap((a) => a.records),
    messages: answers,
  };
}

/** The tree of what came, begun where the answer says that it stands. */
function rootOver(head: RecordsHead, records: readonly SealedRecord[]): Uint8Array {
  const before = Math.max(0, Number(head.fromSeq) - 2);
  const tree = Frontier.restore(native, { size: before, nodes: head.frontier });
  if (head.lastHash.length > 0) tree.append(head.lastHash);
  for (const { receipt } of records) tree.append(leafHash(native, receipt?.body as Uint8Array));
  return tree.root();
}

function noted({ note, genesis }: RecordsHead) {
  const tenant = world.running.tenants.get("acme");
  const key = tenant?.controlGenesis.body.ledgerKey as Uint8Array;
  const name = originOf(tenant?.controlLedgerId as Uint8Array);
  expect(toHex(genesis?.body as Uint8Array)).toBe(
    toHex(tenant?.controlGenesis.signed.body as Uint8Array),
  );
  const opened = openNote(native, note, [{ role: "LEDGER", name, key }]);
  if (isInvalid(opened)) throw new Error(opened.detail);
  return opened.checkpoint;
}

test("from wherever it begins, what comes is the tree of the signed head, record by record", async () => {
  const whole = await exported({});
  const size = whole.records.length;
  expect(size).toBeGreaterThan(8);
  for (const from of [1, 2, 3, 4, 7, size]) {
    const { head, records } = await exported({ fromSeq: BigInt(from) });
    expect([head.fromSeq, head.size]).toEqual([BigInt(from), BigInt(size)]);
    expect(records.map((r) => Number(r.seq))).toEqual(
      Array.from({ length: size - from + 1 }, (_, i) => from + i),
    );
    const { root, size: noteSize } = noted(head);
    expect([noteSize, toHex(rootOver(head, records))]).toEqual([size, toHex(root)]);
  }
});

test("each comes with all that opens it, and no message is much larger than it may be", async () => {
  const { records, messages } = await exported({});
  for (const { receipt, payload } of records) {
    const header = ReceiptHeader.decode(receipt?.body as Uint8Array);
    const opened = openPayload(native, header, payload);
    expect(opened).toMatchObject({ openMask: 31 });
  }
  expect(messages.length).toBeGreaterThan(2);
  for (const { records } of messages) {
    const sizes = records.map((r) => r.payload.length);
    expect(sizes.slice(0, -1).reduce((a, b) => a + b, 0)).toBeLessThan(recordsChunkBytes);
  }
});

test("what broke off is gone on with: the two parts are the whole", async () => {
  const whole = await exported({});
  const stop = 5n;
  const first = await exported({ toSeq: stop });
  const rest = await exported({ fromSeq: stop + 1n, toSeq: whole.head.size });
  expect([...first.records, ...rest.records]).toEqual(whole.records);
});

test("it begins where a ledger was born, when asked by the ledger", async () => {
  const { head, records } = await exported({ ledgerId: sidecar.ledgerId });
  const born = world.running.tenants.get("acme")?.ledger(sidecar.ledgerId)?.seq;
  expect(Number(head.fromSeq)).toBe(born);
  expect(Number(records[0]?.seq)).toBe(born);
});

test("what is not there is refused, with what is", async () => {
  const refused = (asked: Asked) => refusalOf(exported(asked));
  expect(await refused({ fromSeq: 900n })).toMatchObject({
    code: "OUT_OF_RANGE",
    message: expect.stringMatching(/from_seq, to_seq: 900 to \d+ is not within 1 to \d+/),
  });
  expect(await refused({ fromSeq: 3n, toSeq: 2n })).toMatchObject({ code: "OUT_OF_RANGE" });
  expect(await refused({ fromSeq: 3n, ledgerId: sidecar.ledgerId })).toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  expect(await refused({ ledgerId: new Uint8Array(3) })).toMatchObject({
    code: "INVALID_ARGUMENT",
  });
});

import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Arrival } from "../../src/control/heads.ts";
import { resumeToken, Signal } from "../../src/control/watch.ts";
import { watchReceipts } from "../../src/control/watch-receipts.ts";
import { equal } from "../../src/domain/bytes.ts";
import { ANY } from "../../src/domain/filter.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { OrganismState, Verdict } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import {
  LedgerService,
  WatchReceiptsEvent,
  type WatchReceiptsRequestSchema,
  type WatchReceiptsResponse,
  WatchReceiptsResponseSchema,
} from "../../src/gen/dragons/v1/ledger_pb.ts";
import { OrganismService } from "../../src/gen/dragons/v1/organism_pb.ts";
import type { Encoded } from "../../src/wire/encoded.ts";
import type { StatusError } from "../../src/wire/status.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  type House,
  makeHouse,
  refusalOf,
  requestId,
  restored,
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
  house = await makeHouse(world, `receipts-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  a = await sidecar.attach();
});

type Request = MessageInitShape<typeof WatchReceiptsRequestSchema>;
async function open(request: Request) {
  const stream = world.client(LedgerService).watchReceipts(request, await house.as("VIEWER"));
  const answers = stream[Symbol.asyncIterator]();
  return {
    async next(): Promise<WatchReceiptsResponse> {
      const { done, value } = await answers.next();
      if (done) throw new Error("the watch ended");
      return value;
    },
    leave: () => answers.return?.(undefined),
  };
}
/** Everything up to SYNCED. */
async function missed(request: Request): Promise<WatchReceiptsResponse[]> {
  const watch = await open(request);
  const seen: WatchReceiptsResponse[] = [];
  for (;;) {
    const answer = await watch.next();
    if (answer.event === WatchReceiptsEvent.SYNCED) break;
    seen.push(answer);
  }
  await watch.leave();
  return seen;
}
/** The token of a watch that has seen nothing yet. */
async function start(): Promise<string> {
  const [begun] = await missed({});
  return begun?.resumeToken ?? "";
}
const seqs = (answers: readonly WatchReceiptsResponse[]) =>
  answers.flatMap(({ receipt }) =>
    receipt === undefined ? [] : [ReceiptHeader.decode(receipt.body).seq],
  );

test("a watch begins with a bookmark, tells what was missed, says SYNCED, and goes on", async () => {
  const from = await start();
  await sidecar.work(3);
  await a.syncAll();
  const watch = await open({ resumeToken: from });
  const events: WatchReceiptsEvent[] = [];
  for (let i = 0; i < 5; i++) events.push((await watch.next()).event);
  const { BOOKMARK, RECEIPT, SYNCED } = WatchReceiptsEvent;
  expect(events).toEqual([BOOKMARK, RECEIPT, RECEIPT, RECEIPT, SYNCED]);
  await sidecar.work(1);
  await a.syncAll();
  expect(seqs([await watch.next()])).toEqual([4]);
  world.clock.advance(31_000_000);
  const quiet = await watch.next();
  expect(quiet.event).toBe(BOOKMARK);
  expect(await missed({ resumeToken: quiet.resumeToken })).toHaveLength(1);
  await watch.leave();
});

test("cut after any receipt, also within what was synced at once, it goes on with the next", async () => {
  const from = await start();
  await sidecar.work(8);
  await a.syncAll();
  const seen: number[] = [];
  let resumeToken = from;
  for (let i = 0; i < 8; i++) {
    const watch = await open({ resumeToken });
    for (;;) {
      const answer = await watch.next();
      resumeToken = answer.resumeToken;
      if (answer.event !== WatchReceiptsEvent.RECEIPT) continue;
      seen.push(...seqs([answer]));
      break;
    }
    await watch.leave();
    if (i === 3) {
      await world.restart();
      a = await sidecar.attach();
    }
  }
  expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(seqs(await missed({ resumeToken }))).toEqual([]);
});

test("filters by verdict, scope, name, version, state and condition; by all that are asked for", async () => {
  const from = await start();
  await sidecar.work(2, { scope: "read:payments" });
  await sidecar.work(2, { kind: "DENIAL", verdict: "DENIED", reason: "SCOPE_NOT_GRANTED" });
  await a.syncAll();
  const told = async (request: Request) => seqs(await missed({ resumeToken: from, ...request }));
  expect(await told({ verdict: Verdict.DENIED })).toEqual([3, 4]);
  expect(await told({ scope: "read:payments" })).toEqual([1, 2]);
  expect(await told({ name: "reconciler" })).toEqual([1, 2, 3, 4]);
  expect(await told({ name: "nobody" })).toEqual([]);
  expect(await told({ agentVersion: "v0" })).toEqual([]);
  expect(await told({ state: OrganismState.QUARANTINED })).toEqual([]);
  expect(await told({ when: "receipt.seq > 1 && receipt.seq <= 3" })).toEqual([2, 3]);
  expect(await told({ when: 'receipt.reason == "SCOPE_NOT_GRANTED"', scope: "x" })).toEqual([]);
  expect(
    await told({ when: 'organism.name in ["reconciler"] && receipt.kind == "DENIAL"' }),
  ).toEqual([3, 4]);
  expect(await refusalOf(told({ when: 'receipt.verdikt == "X"' }))).toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(/^when: reads receipt\.verdikt; known are receipt\.verdict, /),
  });
});

test("a token of another store's tenant of the same name is expired, and one of before a restore", async () => {
  await sidecar.work(2);
  await a.syncAll();
  const other = await startWorld();
  try {
    const theirs = await makeHouse(other, house.tenantId);
    const stream = other.client(LedgerService).watchReceipts({}, await theirs.as("VIEWER"));
    const { value } = await stream[Symbol.asyncIterator]().next();
    const foreign = value?.resumeToken ?? "";
    const before = await start();
    await restored(world, house.tenantId, { atUs: world.clock.nowUs(), times: 1 });
    for (const resumeToken of [foreign, before]) {
      expect(resumeToken).not.toBe("");
      expect(await refusalOf(missed({ resumeToken }))).toMatchObject({
        code: "OUT_OF_RANGE",
        reason: "TOKEN_EXPIRED",
      });
    }
    expect(seqs(await missed({ resumeToken: await start() }))).toEqual([]);
  } finally {
    await other.end();
  }
});

test("a token of more than is held is expired: the store was set back", async () => {
  await sidecar.work(2);
  await a.syncAll();
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  // Both receipts came at once: that is one arrival, told whole or within.
  for (const [after, within] of [
    [2, 0],
    [1, 1],
  ] as const) {
    const future = resumeToken(tenant, "receipts", after, within);
    expect(await refusalOf(missed({ resumeToken: future }))).toMatchObject({
      code: "OUT_OF_RANGE",
      reason: "TOKEN_EXPIRED",
    });
  }
  const held = resumeToken(tenant, "receipts", 1);
  expect(seqs(await missed({ resumeToken: held }))).toEqual([]);
});

test("filters by ledger, version and state where several sidecars send, what was missed and what comes", async () => {
  const from = await start();
  const other = await SimSidecar.dock(world, house, berth);
  const b = await other.attach();
  await sidecar.work(2);
  await a.syncAll();
  await other.work(1);
  await b.syncAll();
  await sidecar.work(1);
  await a.syncAll();
  await world
    .client(OrganismService)
    .quarantine(
      { requestId: requestId(), instanceId: other.instanceId, reason: "a drill" },
      await house.as("OPERATOR"),
    );
  /** Whose, and which of theirs. */
  const told = async (request: Request) =>
    (await missed({ resumeToken: from, ...request })).flatMap(({ receipt }) => {
      if (receipt === undefined) return [];
      const { ledgerId, seq } = ReceiptHeader.decode(receipt.body);
      return [`${equal(ledgerId, other.ledgerId) ? "other" : "first"} ${seq}`];
    });
  const all = ["first 1", "first 2", "other 1", "first 3"];
  expect(await told({})).toEqual(all);
  expect(await told({ ledgerId: sidecar.ledgerId })).toEqual(["first 1", "first 2", "first 3"]);
  expect(await told({ ledgerId: other.ledgerId })).toEqual(["other 1"]);
  expect(await told({ state: OrganismState.QUARANTINED })).toEqual(["other 1"]);
  expect(await told({ agentVersion: "v7" })).toEqual(all);
  expect(await told({ agentVersion: "v7", ledgerId: other.ledgerId })).toEqual(["other 1"]);

  // And of what comes while it is watched.
  const watch = await open({ ledgerId: other.ledgerId, state: OrganismState.QUARANTINED });
  for (const event of ["BOOKMARK", "SYNCED"] as const) {
    expect((await watch.next()).event).toBe(WatchReceiptsEvent[event]);
  }
  await sidecar.work(1);
  await a.syncAll();
  await other.work(1);
  await b.syncAll();
  expect(seqs([await watch.next()])).toEqual([2]);
  await watch.leave();
});

test("a reader too slow is cut with the token from which nothing is lost", async () => {
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  const arrived = new Signal<Arrival>();
  const { signal } = new AbortController();
  const source = { tenant, arrived, clock: world.clock, closing: signal };
  const filter = { ledgerId: null, verdict: null, state: null, name: "", version: "", scope: "" };
  const slow = watchReceipts(source, "", { ...filter, when: ANY }, signal, 4);
  const messageOf = ({ frames }: Encoded): WatchReceiptsResponse =>
    fromBinary(WatchReceiptsResponseSchema, frames.subarray(5));
  const next = async () => messageOf((await slow.next()).value as Encoded);
  const events = [(await next()).event, (await next()).event];
  expect(events).toEqual([WatchReceiptsEvent.BOOKMARK, WatchReceiptsEvent.SYNCED]);

  // The first is taken by a reader that then reads no more; the others wait until none may.
  const first = next();
  const { ledgerId } = sidecar;
  await sidecar.work(8);
  const sync = a.sync();
  await sync.held();
  for (const [i, receipt] of sidecar.receipts.entries()) {
    sync.send(i + 1, [receipt]);
    await sync.held();
    arrived.tell({ arrival: i + 1, ledgerId, fromSeq: i + 1, receipts: [receipt] });
  }
  const read = seqs([await first]);
  let cut: unknown;
  try {
    for await (const answer of slow) read.push(...seqs([messageOf(answer)]));
  } catch (error) {
    cut = error;
  }
  expect(cut).toMatchObject({ code: "RESOURCE_EXHAUSTED", reason: "READER_TOO_SLOW" });
  expect(read.length).toBeLessThan(8);
  const { resume_token: resumeToken = "" } = (cut as StatusError).metadata;
  read.push(...seqs(await missed({ resumeToken })));
  expect(read).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a bookmark in quiet times moves on past what others watch, and never past what waits", async () => {
  const watch = await open({ name: "nobody" });
  for (const event of ["BOOKMARK", "SYNCED"] as const) {
    expect((await watch.next()).event).toBe(WatchReceiptsEvent[event]);
  }
  await sidecar.work(3);
  await a.syncAll();
  world.clock.advance(31_000_000);
  const quiet = await watch.next();
  expect(quiet.event).toBe(WatchReceiptsEvent.BOOKMARK);
  // To the one who wanted nothing of it, it is told; who goes on from there misses nothing that follows.
  expect(seqs(await missed({ resumeToken: quiet.resumeToken }))).toEqual([]);
  await sidecar.work(2);
  await a.syncAll();
  expect(seqs(await missed({ resumeToken: quiet.resumeToken }))).toEqual([4, 5]);
  await watch.leave();
});

test("all who watch are told the same of what comes, each what it asks for", async () => {
  const [one, two] = [await open({}), await open({})];
  const denied = await open({ verdict: Verdict.DENIED });
  for (const watch of [one, two, denied]) {
    await watch.next();
    await watch.next();
  }
  await sidecar.work(2, { scope: "read:payments" });
  await sidecar.work(1, { kind: "DENIAL", verdict: "DENIED", reason: "SCOPE_NOT_GRANTED" });
  await a.syncAll();
  const told = [await one.next(), await one.next(), await one.next()];
  expect(seqs(told)).toEqual([1, 2, 3]);
  expect([await two.next(), await two.next(), await two.next()]).toEqual(told);
  expect(await denied.next()).toEqual(told[2]);
  for (const watch of [one, two, denied]) await watch.leave();
});

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { Operator } from "../../src/control/auth.ts";
import { Fleet } from "../../src/control/fleet.ts";
import { organismService } from "../../src/control/services/organism.ts";
import { Session } from "../../src/control/sessions.ts";
import { WatchHub } from "../../src/control/watch.ts";
import type { OrganismFilter } from "../../src/control/watch-filter.ts";
import { type WatchAnswer, Watcher } from "../../src/control/watchers.ts";
import { ANY } from "../../src/domain/filter.ts";
import { newInstanceId } from "../../src/domain/ids.ts";
import { OrganismState } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import {
  OrganismService,
  WatchEvent,
  WatchPulseRequestSchema,
  type WatchPulseResponseSchema,
  type WatchRequestSchema,
  type WatchResponse,
  WatchResponseSchema,
} from "../../src/gen/dragons/v1/organism_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { MessageReader } from "../../src/wire/grpc-frames.ts";
import type { CallContext } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  type House,
  ids,
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
  house = await makeHouse(world, `watch-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  a = await sidecar.attach();
  await a.earn();
  await a.beat();
  await a.next("heartbeatAck");
});

/** What a reader has of one message, without its frame. */
const read = ({ frames }: WatchAnswer): WatchResponse =>
  fromBinary(WatchResponseSchema, frames.subarray(5));
/** A watch to its end, as whatever carries it reads it. */
async function* watched(hub: WatchHub, token: string, filter: OrganismFilter) {
  const changes = yield* hub.watch(token, filter);
  try {
    yield* changes.queue as AsyncIterable<WatchAnswer>;
  } finally {
    changes.leave();
  }
}
const organisms = () => world.client(OrganismService);
class Watching {
  readonly #answers: AsyncIterator<WatchResponse>;
  token = "";
  constructor(answers: AsyncIterable<WatchResponse>) {
    this.#answers = answers[Symbol.asyncIterator]();
  }
  static async of(
    h: House,
    request: MessageInitShape<typeof WatchRequestSchema> = {},
  ): Promise<Watching> {
    return new Watching(organisms().watch(request, await h.as("VIEWER")));
  }
  async next(): Promise<WatchResponse> {
    const { done, value } = await this.#answers.next();
    if (done) throw new Error("the watch ended");
    if (value.resumeToken !== "") this.token = value.resumeToken;
    return value;
  }
  async until(event: WatchEvent): Promise<WatchResponse[]> {
    const seen: WatchResponse[] = [];
    for (;;) {
      const answer = await this.next();
      if (answer.event === event) return [...seen, answer];
      seen.push(answer);
    }
  }
  leave = () => this.#answers.return?.(undefined);
}
/** Back and forth: two transitions each. */
async function flip(): Promise<void> {
  const { instanceId } = sidecar;
  const operator = await house.as("OPERATOR");
  await organisms().quarantine({ requestId: requestId(), instanceId, reason: "flip" }, operator);
  await organisms().release(
    { requestId: requestId(), instanceId, reason: "flop", conditions: [12] },
    operator,
  );
}
const told = (answers: readonly WatchResponse[]) =>
  answers.flatMap(({ organism: o }) => (o === undefined ? [] : [`${o.revision} ${o.state}`]));

test("a snapshot, SYNCED, and then each change once, in order", async () => {
  const other = await SimSidecar.dock(world, house, berth);
  const watch = await Watching.of(house);
  const snapshot = await watch.until(WatchEvent.SYNCED);
  expect(new Set(snapshot.slice(0, -1).map((s) => s.organism?.instanceId))).toEqual(
    new Set([sidecar.instanceId, other.instanceId]),
  );
  // Within the snapshot there is nothing to resume from: it is not whole.
  expect(snapshot.slice(0, -1).every((s) => s.resumeToken === "")).toBe(true);
  await flip();
  const states = [(await watch.next()).organism?.state, (await watch.next()).organism?.state];
  expect(states).toEqual([OrganismState.QUARANTINED, OrganismState.DEGRADED]);
  await watch.leave();
});

test("what is watched live is what a resumed watch tells, and what a list shows at its end", async () => {
  const live = await Watching.of(house);
  await live.until(WatchEvent.SYNCED);
  const from = live.token;
  await flip();
  await flip();
  const seen: WatchResponse[] = [];
  for (let i = 0; i < 4; i++) seen.push(await live.next());
  await world.restart();
  const resumed = await Watching.of(house, { resumeToken: from });
  const replayed = (await resumed.until(WatchEvent.SYNCED)).slice(0, -1);
  expect(replayed).toEqual(seen);
  const { organisms: listed } = await organisms().listOrganisms({}, await house.as("VIEWER"));
  expect(listed.find((o) => o.instanceId === sidecar.instanceId)).toEqual(seen.at(-1)?.organism);
});

test("a watch cut anywhere resumes without gap, duplicate or step back", async () => {
  const first = await Watching.of(house);
  await first.until(WatchEvent.SYNCED);
  const start = first.token;
  await first.leave();
  const all: string[] = [];
  let token = start;
  for (let round = 0; round < 3; round++) {
    await flip();
    // Cut after one change of the two, and so in the middle.
    const watch = await Watching.of(house, { resumeToken: token });
    all.push(...told([await watch.next()]));
    token = watch.token;
    await watch.leave();
    if (round === 1) await world.restart();
  }
  const rest = await Watching.of(house, { resumeToken: token });
  all.push(...told(await rest.until(WatchEvent.SYNCED)));
  const whole = await Watching.of(house, { resumeToken: start });
  expect(all).toEqual(told(await whole.until(WatchEvent.SYNCED)));
  expect(all).toHaveLength(6);
});

test("a list's token leads on from the list", async () => {
  const { resumeToken, organisms: listed } = await organisms().listOrganisms(
    {},
    await house.as("VIEWER"),
  );
  await flip();
  const watch = await Watching.of(house, { resumeToken });
  const answers = (await watch.until(WatchEvent.SYNCED)).slice(0, -1);
  expect(answers).toHaveLength(2);
  for (const { revision } of answers) {
    expect(revision).toBeGreaterThan(listed[0]?.revision as bigint);
  }
});

test("each page of a list has the first one's token: what changes on it meanwhile is told", async () => {
  await SimSidecar.dock(world, house, berth);
  const viewer = await house.as("VIEWER");
  const first = await organisms().listOrganisms({ pageSize: 1 }, viewer);
  expect(first.organisms.map((o) => o.instanceId)).toEqual([sidecar.instanceId]);
  await flip();
  const last = await organisms().listOrganisms(
    { pageSize: 1, pageToken: first.nextPageToken },
    viewer,
  );
  expect(last.organisms.map((o) => o.state)).toEqual([OrganismState.DOCKED]);
  expect(last.nextPageToken).toBe("");
  expect(last.resumeToken).toBe(first.resumeToken);
  const watch = await Watching.of(house, { resumeToken: last.resumeToken });
  const changes = (await watch.until(WatchEvent.SYNCED)).slice(0, -1);
  expect(changes.map(({ organism: o }) => [o?.instanceId, o?.state])).toEqual([
    [sidecar.instanceId, OrganismState.QUARANTINED],
    [sidecar.instanceId, OrganismState.DEGRADED],
  ]);
  await watch.leave();

  // A listing that went on over a restore is no way round it.
  await restored(world, house.tenantId, { atUs: world.clock.nowUs(), times: 1 });
  const { resumeToken } = await organisms().listOrganisms(
    { pageToken: first.nextPageToken },
    await house.as("VIEWER"),
  );
  const over = await Watching.of(house, { resumeToken });
  expect(await refusalOf(over.next())).toMatchObject({ reason: "TOKEN_EXPIRED" });
});

test("pages of a list have each organism once, by instance_id, also where one was succeeded", async () => {
  const wide = await makeBerth(world, house, { instancesMax: 8 });
  const [early, late] = [newInstanceId(ids), newInstanceId(ids)];
  for (const id of [late, early]) await SimSidecar.dock(world, house, wide, { instanceId: id });
  const { instanceId, ledgerId: predecessor } = sidecar;
  await SimSidecar.dock(world, house, berth, { instanceId, predecessor });
  const viewer = await house.as("VIEWER");
  const listed: string[] = [];
  for (let pageToken = ""; ; ) {
    const page = await organisms().listOrganisms({ pageSize: 1, pageToken }, viewer);
    listed.push(...page.organisms.map((o) => o.instanceId));
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  expect(listed).toEqual([instanceId, early, late]);
});

test("filters by name, and by a state entered or left", async () => {
  const running = await Watching.of(house, { state: OrganismState.RUNNING });
  const held = await Watching.of(house, { state: OrganismState.QUARANTINED, name: "reconciler" });
  const nobody = await Watching.of(house, { name: "nobody" });
  expect(await running.until(WatchEvent.SYNCED)).toHaveLength(2);
  expect(await held.until(WatchEvent.SYNCED)).toHaveLength(1);
  expect(await nobody.until(WatchEvent.SYNCED)).toHaveLength(1);
  await flip();
  expect(told([await running.next()])[0]).toMatch(/ 5$/);
  expect(told([await held.next(), await held.next()]).map((t) => t.at(-1))).toEqual(["5", "3"]);
  // To the one who watches nobody it has been quiet.
  world.clock.advance(31_000_000);
  expect((await nobody.next()).event).toBe(WatchEvent.BOOKMARK);
});

test("filters by version, scope and condition: what holds after the change, or with the state before it", async () => {
  const seen = async (request: MessageInitShape<typeof WatchRequestSchema>) => {
    const watch = await Watching.of(house, request);
    const snapshot = told(await watch.until(WatchEvent.SYNCED)).length;
    return { watch, snapshot };
  };
  const held = await seen({ when: 'organism.state == "QUARANTINED"' });
  const silent = await seen({ when: "organism.conditions.SILENT" });
  const here = await seen({ agentVersion: "v7", scope: "read:payments", name: "reconciler" });
  expect([held.snapshot, silent.snapshot, here.snapshot]).toEqual([0, 0, 1]);
  for (const elsewhere of [{ agentVersion: "v8" }, { scope: "no:such" }]) {
    expect((await seen(elsewhere)).snapshot).toBe(0);
  }
  await flip();
  expect(told([await held.watch.next(), await held.watch.next()])).toEqual(
    told([await here.watch.next(), await here.watch.next()]),
  );
  world.clock.advance(31_000_000);
  expect((await silent.watch.next()).event).toBe(WatchEvent.BOOKMARK);
  const wrong = await Watching.of(house, { when: 'receipt.verdict == "DENIED"' });
  expect(await refusalOf(wrong.next())).toMatchObject({
    code: "INVALID_ARGUMENT",
    message: "when: reads `receipt`; known are organism",
  });
});

test("in quiet times a bookmark moves the token on", async () => {
  const watch = await Watching.of(house);
  await watch.until(WatchEvent.SYNCED);
  const before = watch.token;
  // Leases and heads move the ledger and change no organism.
  world.clock.advance(21_000_000);
  await a.beat();
  await a.next("lease");
  // The lease was told ahead of its record.
  await world.running.tenants.settled();
  world.clock.advance(31_000_000);
  const bookmark = await watch.next();
  expect(bookmark).toMatchObject({ event: WatchEvent.BOOKMARK });
  expect(watch.token).not.toBe(before);
});

test("a token of another tenant, another method, or of nothing is refused; one from the future too", async () => {
  const stranger = await makeHouse(world, `stranger-${houses}`);
  const { resumeToken } = await organisms().listOrganisms({}, await house.as("VIEWER"));
  for (const [h, token] of [
    [stranger, resumeToken],
    [house, "no token"],
  ] as const) {
    const watch = await Watching.of(h, { resumeToken: token });
    expect(await refusalOf(watch.next())).toMatchObject({ code: "INVALID_ARGUMENT" });
  }
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  const future = new WatchHub(tenant, native, world.clock).tokenAt(1_000_000);
  const watch = await Watching.of(house, { resumeToken: future });
  expect(await refusalOf(watch.next())).toMatchObject({
    code: "OUT_OF_RANGE",
    reason: "TOKEN_EXPIRED",
  });
});

test("a token of another store's tenant of the same name is expired, though there is what it names", async () => {
  const other = await startWorld();
  try {
    const theirs = await makeHouse(other, house.tenantId);
    const { resumeToken } = await other
      .client(OrganismService)
      .listOrganisms({}, await theirs.as("VIEWER"));
    const watch = await Watching.of(house, { resumeToken });
    expect(await refusalOf(watch.next())).toMatchObject({
      code: "OUT_OF_RANGE",
      reason: "TOKEN_EXPIRED",
    });
  } finally {
    await other.end();
  }
});

test("a token of before a restore is expired, of another restore of the same backup too", async () => {
  const list = async () => {
    const { resumeToken } = await organisms().listOrganisms({}, await house.as("VIEWER"));
    return resumeToken;
  };
  const atUs = world.clock.nowUs();
  const tokens = [await list()];
  for (const row of [
    { atUs, times: 1 },
    { atUs: atUs + 1, times: 1 },
    { atUs: atUs + 1, times: 2 },
  ]) {
    await restored(world, house.tenantId, row);
    for (const resumeToken of tokens) {
      const watch = await Watching.of(house, { resumeToken });
      expect(await refusalOf(watch.next())).toMatchObject({ reason: "TOKEN_EXPIRED" });
    }
    tokens.push(await list());
    const watch = await Watching.of(house, { resumeToken: tokens.at(-1) as string });
    await watch.until(WatchEvent.SYNCED);
    await watch.leave();
  }
});

test("a token is good for as many records as a watch may have missed, and for none more", async () => {
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  await tenant.settled();
  const size = tenant.durableSize;
  const bounds = { backlogMax: 4, replayMax: size - 3 };
  const hub = new WatchHub(tenant, native, world.clock, bounds);
  const filter = { state: null, name: "nobody", version: "", scope: "", when: ANY };
  const first = async (after: number) => {
    const watch = watched(hub, hub.tokenAt(after), filter);
    const { value } = await watch.next();
    await watch.return(undefined);
    return read(value as WatchAnswer).event;
  };
  expect(await first(3)).toBe(WatchEvent.SYNCED);
  expect(await refusalOf(first(2))).toMatchObject({
    code: "OUT_OF_RANGE",
    reason: "TOKEN_EXPIRED",
  });
  expect(tenant.durableSize).toBe(size);
});

test("another tenant's changes are never told", async () => {
  const stranger = await makeHouse(world, `stranger-${houses}`);
  const watch = await Watching.of(stranger);
  expect(await watch.until(WatchEvent.SYNCED)).toHaveLength(1);
  await flip();
  world.clock.advance(31_000_000);
  expect((await watch.next()).event).toBe(WatchEvent.BOOKMARK);
});

test("a reader too slow is cut with the token from which nothing is lost", async () => {
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  const hub = new WatchHub(tenant, native, world.clock, { backlogMax: 4, replayMax: 100 });
  const filter = { state: null, name: "", version: "", scope: "", when: ANY };
  const slow = watched(hub, "", filter);
  let synced = "";
  while (synced === "") {
    const answer = read(((await slow.next()) as IteratorYieldResult<WatchAnswer>).value);
    if (answer.event === WatchEvent.SYNCED) synced = answer.resumeToken;
  }
  // The first change is taken by a reader that then reads no more; the others wait until none may.
  const first = slow.next();
  for (let i = 0; i < 5; i++) await flip();
  const seen = told([read((await first).value as WatchAnswer)]);
  let cut: unknown;
  try {
    for await (const answer of slow) seen.push(...told([read(answer)]));
  } catch (error) {
    cut = error;
  }
  expect(cut).toBeInstanceOf(StatusError);
  expect(cut).toMatchObject({ code: "RESOURCE_EXHAUSTED", reason: "READER_TOO_SLOW" });
  const { resume_token: resumeToken = "" } = (cut as StatusError).metadata;
  const rest = await Watching.of(house, { resumeToken });
  seen.push(...told(await rest.until(WatchEvent.SYNCED)));
  const whole = await Watching.of(house, { resumeToken: synced });
  expect(seen).toEqual(told(await whole.until(WatchEvent.SYNCED)));
});

/** Messages of an answer, and the bytes that each was sent as, without what frames them. */
function messagesOf({ frames }: WatchAnswer): { message: WatchResponse; bytes: Uint8Array }[] {
  const all: { message: WatchResponse; bytes: Uint8Array }[] = [];
  const message = (bytes: Uint8Array) => {
    all.push({ message: fromBinary(WatchResponseSchema, bytes), bytes });
  };
  new MessageReader(frames.length, { message }).push(frames);
  return all;
}

test("many who begin together are told what one alone is, in the bytes that protobuf gives it", async () => {
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  await SimSidecar.dock(world, house, berth);
  const hub = new WatchHub(tenant, native, world.clock);
  const filter = { state: null, name: "", version: "", scope: "", when: ANY };
  const named = { ...filter, name: "reconciler" };
  const seen = async (who: typeof filter, token: string, changes: number) => {
    const told: { message: WatchResponse; bytes: Uint8Array }[] = [];
    let left = -1;
    for await (const answer of watched(hub, token, who)) {
      told.push(...messagesOf(answer));
      if (told.at(-1)?.message.event === WatchEvent.SYNCED) left = changes;
      else if (left > 0) left--;
      if (left === 0) break;
    }
    return told;
  };
  const [alone] = [await seen(filter, "", 0)];
  const together = await Promise.all([filter, named, filter, named].map((f) => seen(f, "", 0)));
  for (const told of together) {
    expect(told.map(({ message }) => message)).toEqual(alone?.map(({ message }) => message));
  }
  const token = alone?.at(-1)?.message.resumeToken ?? "";
  const live = [filter, named, filter].map((f) => seen(f, token, 2));
  await flip();
  const [one, ...others] = await Promise.all(live);
  const missed = await seen(filter, token, 0);
  for (const told of others) expect(told).toEqual(one);
  const changed = missed.filter(({ message }) => message.event === WatchEvent.ORGANISM);
  expect(changed).toEqual(one?.filter(({ message }) => message.event === WatchEvent.ORGANISM));
  for (const { message, bytes } of [...(alone ?? []), ...missed]) {
    expect(new Uint8Array(bytes)).toEqual(toBinary(WatchResponseSchema, message));
  }
});

test("a snapshot that is read slowly is of one moment; what changed meanwhile comes once, after it", async () => {
  const wide = await makeBerth(world, house, { instancesMax: 8 });
  const others: SimSidecar[] = [];
  for (let i = 0; i < 8; i++) others.push(await SimSidecar.dock(world, house, wide));
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  const hub = new WatchHub(tenant, native, world.clock);
  const filter = { state: null, name: "", version: "", scope: "", when: ANY };
  const watch = watched(hub, "", filter);
  const next = async () => {
    const { value } = (await watch.next()) as IteratorYieldResult<WatchAnswer>;
    return messagesOf(value).map(({ message }) => message);
  };
  const told = await next();
  // Some are told already, the last one is not: of both something changes.
  const last = others.at(-1)?.instanceId as string;
  expect(told.some(({ organism }) => organism?.instanceId === last)).toBe(false);
  const operator = await house.as("OPERATOR");
  for (const instanceId of [last, sidecar.instanceId]) {
    await organisms().quarantine(
      { requestId: requestId(), instanceId, reason: "a drill" },
      operator,
    );
  }
  while (told.at(-1)?.event !== WatchEvent.SYNCED) told.push(...(await next()));
  expect(told).toHaveLength(1 + 8 + 1);
  expect(told.find(({ organism }) => organism?.instanceId === last)?.organism?.state).toBe(
    OrganismState.DOCKED,
  );
  const changes = [...(await next()), ...(await next())];
  expect(changes.map(({ organism }) => [organism?.instanceId, organism?.state])).toEqual([
    [last, OrganismState.QUARANTINED],
    [sidecar.instanceId, OrganismState.QUARANTINED],
  ]);
  const revisions = [...told, ...changes].map(({ revision }) => revision);
  expect(revisions).toEqual([...revisions].sort((x, y) => Number(x - y)));
  await watch.return(undefined);
});

test("the pulse is the latest, and tells of beats, leases and sessions", async () => {
  const { instanceId } = sidecar;
  const stream = organisms().watchPulse({ instanceId }, await house.as("VIEWER"));
  const pulses = stream[Symbol.asyncIterator]();
  const { value: first } = await pulses.next();
  expect(first?.pulse).toMatchObject({ attached: true, heldSize: 0n });
  expect(first?.pulse?.lease).toBeDefined();
  const signed = await a.beat();
  const { value: second } = await pulses.next();
  expect(second?.pulse?.heartbeat?.body).toEqual(signed.body);
  await a.leave();
  for (;;) {
    const { value } = await pulses.next();
    if (value?.pulse?.attached === false) break;
  }
  await pulses.return?.(undefined);
});

test("a reader of pulses that pauses over three beats is told one, the latest", async () => {
  const of = vi.spyOn(Fleet.prototype, "of");
  await organisms().listOrganisms({}, await house.as("VIEWER"));
  const [fleet] = of.mock.contexts as Fleet[];
  of.mockRestore();
  const tenant = world.running.tenants.get(house.tenantId);
  if (fleet === undefined || tenant === null) throw new Error("no fleet");
  const { signal } = new AbortController();
  const { publicKey: key } = house.logins.VIEWER;
  const caller: Operator = { tenant, holder: "viewer", key, role: "VIEWER" };
  const context = { caller, signal } as unknown as CallContext;
  const { instanceId } = sidecar;
  // As what carries the call asks for the next, once its reader has taken the one before.
  const pulses = organismService(fleet)
    .watchPulse(create(WatchPulseRequestSchema, { instanceId }), context)
    [Symbol.asyncIterator]();
  const next = async () => {
    const { value } = await pulses.next();
    return (value as MessageInitShape<typeof WatchPulseResponseSchema>).pulse?.heartbeat?.body;
  };
  const beat = async () => {
    const { body } = await a.beat();
    await a.next("heartbeatAck");
    return body;
  };
  await next();
  await beat();
  await beat();
  const third = await beat();
  expect(await next()).toEqual(third);
  // And nothing more waits: what comes next is the next beat.
  const after = next();
  expect(await beat()).toEqual(await after);
  await pulses.return?.(undefined);
});

test("a sidecar is told of its quarantine before anybody who watches it", async () => {
  const watch = await Watching.of(house);
  await watch.until(WatchEvent.SYNCED);
  const said = vi.spyOn(Session.prototype, "say");
  const told = vi.spyOn(Watcher.prototype, "tell");
  try {
    await organisms().quarantine(
      { requestId: requestId(), instanceId: sidecar.instanceId, reason: "a drill" },
      await house.as("OPERATOR"),
    );
    // A session sends what was revoked ahead of whatever it says.
    const directive = said.mock.calls.findIndex(([down]) => down.case === "directive");
    const [first] = told.mock.invocationCallOrder;
    expect(said.mock.invocationCallOrder[directive]).toBeLessThan(first as number);
  } finally {
    said.mockRestore();
    told.mockRestore();
  }
  expect((await watch.next()).organism?.state).toBe(OrganismState.QUARANTINED);
  await a.next("directive");
  await watch.leave();
});

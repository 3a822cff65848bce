import type { Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EventTrail } from "../../sidecar/adapters/mcp-resumes.ts";
import { mcpEventIdsMax, mcpResumesMax, mcpResumeUs } from "../../src/domain/limits.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { leaseFrom, MINUTE_US, openRig, type Rig } from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** A call whose stream ends before its answer is taken up again by Last-Event-ID: both sides by hand. */

const HOUR_US = 60 * MINUTE_US;
let clock: ManualClock;
let rig: Rig;
let upstream: SocketUpstream;
let wires: Wire[];
/** Requests that reached the server and are not answered yet, newest last. */
let asked: { socket: Socket; head: string }[];
let wake: () => void;

beforeEach(async () => {
  clock = new ManualClock(1_800_000_000_000_000);
  [asked, wires, wake] = [[], [], () => {}];
  const seen = new Map<Socket, number>();
  upstream = await socketUpstream((socket, heard) => {
    const heads = heard.match(/(?:POST|GET|DELETE) \/ok[\s\S]*?\r\n\r\n/g) ?? [];
    for (const head of heads.slice(seen.get(socket) ?? 0)) asked.push({ socket, head });
    seen.set(socket, heads.length);
    wake();
  });
  rig = await open({});
});
afterEach(async () => {
  for (const wire of wires) wire.close();
  await rig.close();
  upstream.close();
});

const open = (config: { leasedLists?: boolean }) => {
  const target = `127.0.0.1:${upstream.port}`;
  const servers = [{ name: "tracker", scheme: "HTTP" as const, target, path: "/ok" }];
  const lease = leaseFrom(clock.nowUs(), { notAfterUs: clock.nowUs() + 24 * HOUR_US });
  return openRig({ servers, ...config }, clock, undefined, undefined, lease);
};
/** The next request at the server, its answer begun as events. */
async function reached(): Promise<Socket> {
  while (asked.length === 0) await new Promise<void>((resolve) => (wake = resolve));
  const { socket } = asked.shift() as { socket: Socket };
  socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
  return socket;
}
async function say(method: string, fields: string, body = ""): Promise<Wire> {
  const wire = await Wire.open(rig);
  wires.push(wire);
  const host = `127.0.0.1:${upstream.port}`;
  wire.say(
    `${method} http://${host}/ok HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}Mcp-Session-Id: s\r\n${fields}\r\n${body}`,
  );
  return wire;
}
const post = (id: number, method = "tools/call", params: object = { name: "echo" }) => {
  const body = JSON.stringify({ jsonrpc: "2.0", id, method, params });
  const fields = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
  return say("POST", fields, body);
};
const comeBack = (event = "e1") => say("GET", `Last-Event-ID: ${event}\r\n`);
const FIRST = "id: e1\ndata:\n\n";
const result = (id: number, value: object = { content: [] }) =>
  `data: ${JSON.stringify({ jsonrpc: "2.0", id, result: value })}\n\n`;

/** A call whose stream has ended with an event that can be gone on from, and without an answer. */
async function leftOpen(id = 1, method?: string, params?: object): Promise<void> {
  const wire = await post(id, method, params);
  const server = await reached();
  server.end(FIRST);
  await wire.hears(/e1[\s\S]*0\r\n\r\n/);
}
const receipts = () =>
  rig.ledger.closed.map(({ verdict, reason, draft }) => `${draft.claim.verb} ${verdict} ${reason}`);

test("what it was owed passes by the call's own leave, and its receipt is the call's", async () => {
  await leftOpen();
  expect(receipts()).toEqual([]);
  const wire = await comeBack();
  (await reached()).end(result(1));
  await wire.hears(/"result":\{"content":\[\]\}[\s\S]*0\r\n\r\n/);
  await rig.ledger.receipts(2);
  expect(receipts()).toEqual([
    "tools/call COMPLETED UNSPECIFIED",
    "session/listen COMPLETED UNSPECIFIED",
  ]);
  expect(rig.ledger.closed.map(({ draft }) => draft.listens)).toEqual([false, true]);
});

test("whoever comes back after its leave was taken hears the refusal, and nothing else", async () => {
  await leftOpen();
  // Whatever is asked now is in another scope, which the call was not opened in.
  const scopes = leaseFrom(0).body.scopes.map((s) => ({ ...s, name: "use:other" }));
  const lease = { leaseSeq: 2, scopes, notAfterUs: clock.nowUs() + HOUR_US };
  rig.authority.adopt(leaseFrom(clock.nowUs(), lease));
  await rig.ledger.receipts(1);
  expect(receipts()).toEqual(["tools/call CUT SCOPE_NOT_GRANTED"]);
  const wire = await comeBack();
  (await reached()).end(result(1, { content: [], secret: 1 }));
  const heard = await wire.hears(/dev\.dragons[\s\S]*0\r\n\r\n/);
  expect(heard).toContain("SCOPE_NOT_GRANTED");
  expect(heard).not.toContain("secret");
});

test("it fails if nobody comes back for it, and waits as long as somebody listens", async () => {
  await leftOpen();
  const wire = await comeBack();
  const server = await reached();
  server.write(FIRST);
  await wire.hears(/e1/);
  clock.advance(2 * mcpResumeUs);
  server.end();
  await wire.hears(/0\r\n\r\n/);
  await rig.ledger.receipts(1);
  expect(receipts()).toEqual(["session/listen COMPLETED UNSPECIFIED"]);
  clock.advance(mcpResumeUs - 1);
  expect(rig.gate.inFlight()).toBe(1);
  clock.advance(1);
  await rig.ledger.receipts(2);
  expect(receipts()[1]).toBe("tools/call FAILED UPSTREAM_FAILED");
});

test("it is taken up from whatever event its agent came to, by one stream after the other", async () => {
  await leftOpen();
  const second = await comeBack();
  (await reached()).end("id: e2\ndata:\n\n");
  await second.hears(/e2[\s\S]*0\r\n\r\n/);
  const third = await comeBack("e2");
  (await reached()).end(result(1));
  await third.hears(/"result"[\s\S]*0\r\n\r\n/);
  await rig.ledger.receipts(3);
  expect(receipts()).toContain("tools/call COMPLETED UNSPECIFIED");
});

test("of its events the newest are remembered", () => {
  const trail = new EventTrail();
  for (let i = 0; i <= mcpEventIdsMax; i++) trail.add(`e${i}`);
  expect([trail.has("e0"), trail.has("e1"), trail.has(`e${mcpEventIdsMax}`)]).toEqual([
    false,
    true,
    true,
  ]);
});

test("a stream that nothing can go on from ends its call, as ever", async () => {
  const wire = await post(1);
  (await reached()).end("data:\n\n");
  await wire.hears(/0\r\n\r\n/);
  await rig.ledger.receipts(1);
  expect(receipts()).toEqual(["tools/call FAILED UPSTREAM_FAILED"]);
});

test.each([
  ["answers what nobody asked", () => comeBack(), 2],
  ["answers where nobody came back", () => say("GET", ""), 1],
  ["answers by the events of another call with that id", () => comeBack("e2"), 1],
] as const)("a server that %s is not heard", async (_, listen, id) => {
  await leftOpen();
  const wire = await listen();
  (await reached()).end(result(id, { secret: 1 }));
  await rig.ledger.receipts(1);
  expect(receipts()).toEqual(["session/listen FAILED UPSTREAM_FAILED"]);
  expect(await wire.all()).not.toContain("secret");
});

test("lists hold what is leased by that way, too", async () => {
  await rig.close();
  rig = await open({ leasedLists: true });
  await leftOpen(1, "tools/list", {});
  const wire = await comeBack();
  (await reached()).end(result(1, { tools: [{ name: "echo" }, { name: "secret" }] }));
  const heard = await wire.hears(/"tools":[\s\S]*0\r\n\r\n/);
  expect(heard).toContain("echo");
  expect(heard).not.toContain("secret");
});

test("so many wait, and no more", async () => {
  for (let id = 0; id < mcpResumesMax; id++) await leftOpen(id);
  expect(receipts()).toEqual([]);
  await leftOpen(mcpResumesMax);
  await rig.ledger.receipts(1);
  expect(receipts()).toEqual(["tools/call FAILED UPSTREAM_FAILED"]);
});

test("a sidecar that ends cuts what waits", async () => {
  await leftOpen();
  await rig.close();
  expect(receipts()).toEqual(["tools/call CUT HANDOFF"]);
});

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { mcpMessageBytesMax, unaryGraceUs } from "../../src/domain/limits.ts";
import { PIPE_HOST, PipeFrameReader, pipeFrames, type Side } from "../../src/domain/pipe-frames.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { MINUTE_US, openRig, type Rig } from "./harness.ts";
import { AUTHORIZATION } from "./http-client.ts";

/** A server on pipes, its wrapper's connection held by hand: what either side says, and what each hears. */

let clock: ManualClock;
let rig: Rig;
let pipe: Pipe;

class Pipe {
  readonly socket: Socket;
  readonly #heard: Record<Side, string> = { AGENT: "", SERVER: "" };
  readonly #ended = new Set<Side>();
  #wake: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    const frames = new PipeFrameReader();
    socket.on("data", (chunk: Buffer) => {
      for (const { side, bytes } of frames.push(chunk) ?? []) {
        if (bytes.length === 0) this.#ended.add(side);
        this.#heard[side] += Buffer.from(bytes).toString();
      }
      this.#tell();
    });
    socket.on("close", () => this.#tell());
  }

  static async open(name: string): Promise<Pipe> {
    const socket = connect({ ...rig.stack.proxyAddress, noDelay: true });
    socket.write(
      `GET http://${PIPE_HOST}/${name} HTTP/1.1\r\nHost: ${PIPE_HOST}\r\n${AUTHORIZATION}Connection: Upgrade\r\nUpgrade: dragons-mcp-pipe\r\n\r\n`,
    );
    const [head] = (await once(socket, "data")) as [Buffer];
    expect(head.toString()).toMatch(/^HTTP\/1.1 101 /);
    return new Pipe(socket);
  }

  #tell(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Bytes as they are, which may be no line. */
  raw(side: Side, bytes: string | Buffer): void {
    this.socket.write(pipeFrames(side, Buffer.from(bytes)));
  }

  say(side: Side, message: object): void {
    this.raw(side, `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  end(side: Side): void {
    this.socket.write(pipeFrames(side, new Uint8Array(0)));
  }

  /** The next line of a side. */
  async hears(side: Side): Promise<Record<string, unknown>> {
    for (;;) {
      const end = this.#heard[side].indexOf("\n");
      if (end >= 0) {
        const line = this.#heard[side].slice(0, end);
        this.#heard[side] = this.#heard[side].slice(end + 1);
        return JSON.parse(line) as Record<string, unknown>;
      }
      if (this.socket.destroyed) throw new Error(`the ${side} hears nothing more`);
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
  }

  async ends(side: Side): Promise<void> {
    while (!this.#ended.has(side)) await new Promise<void>((wake) => this.#wake.push(wake));
  }
}

beforeEach(async () => {
  clock = new ManualClock(1_800_000_000_000_000);
  rig = await openRig({}, clock);
  pipe = await Pipe.open("tracker");
});
afterEach(async () => {
  pipe.socket.destroy();
  await rig.close();
});

const call = (id: number, name = "echo") => ({ id, method: "tools/call", params: { name } });
const done = (id: number) => ({ id, result: { content: [] } });
const reasons = () => rig.ledger.recorded.map((r) => r.reason);

test("lines go on as they were said, and each call has one receipt", async () => {
  pipe.raw("AGENT", '{"jsonrpc":"2.0", "id":1,"method":"tools/call",');
  pipe.raw("AGENT", '"params":{"name":"\\u0065cho"}}\r\n\n');
  expect(await pipe.hears("SERVER")).toMatchObject(call(1));
  pipe.say("SERVER", { method: "notifications/message", params: {} });
  pipe.say("SERVER", done(1));
  expect(await pipe.hears("AGENT")).toMatchObject({ method: "notifications/message" });
  expect(await pipe.hears("AGENT")).toMatchObject(done(1));
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([
    {
      verdict: "COMPLETED",
      draft: { claim: { protocol: "MCP", target: "tracker", path: "echo" } },
    },
  ]);
});

test("batches and what is no message are answered, and go nowhere", async () => {
  pipe.raw("AGENT", `[${JSON.stringify(call(1))}]\n{"id":1,"id":2}\nnot json\n`);
  for (let i = 0; i < 3; i++) {
    expect(await pipe.hears("AGENT")).toMatchObject({ id: null, error: { code: -31400 } });
  }
  pipe.say("AGENT", { method: "notifications/nothing" });
  pipe.say("AGENT", { id: 5, result: {} });
  pipe.say("AGENT", call(7));
  expect(await pipe.hears("SERVER")).toMatchObject({ id: 7 });
  // An id that waits is not asked a second time.
  pipe.say("AGENT", call(7));
  expect(await pipe.hears("AGENT")).toMatchObject({ id: 7, error: { code: -31400 } });
});

test("what nobody asked a server, it does not answer", async () => {
  pipe.say("AGENT", call(1));
  await pipe.hears("SERVER");
  pipe.raw("SERVER", "log: starting\n");
  pipe.say("SERVER", done(2));
  pipe.say("SERVER", { id: "1", result: {} });
  pipe.say("SERVER", { id: 3, method: "tools/call", params: { name: "echo" } });
  expect(await pipe.hears("SERVER")).toMatchObject({ id: 3, error: { code: -31501 } });
  pipe.say("SERVER", { id: 4, method: "roots/list" });
  expect(await pipe.hears("SERVER")).toMatchObject({ id: 4, error: { code: -31403 } });
  pipe.say("SERVER", { id: 1, result: { inputRequests: { a: { method: "elicitation/create" } } } });
  expect(await pipe.hears("AGENT")).toMatchObject({
    id: 1,
    result: { isError: true, _meta: { "dev.dragons/denial": { reason: "SCOPE_NOT_GRANTED" } } },
  });
  expect(reasons()).toEqual(expect.arrayContaining(["FRAMING_INVALID", "PROTOCOL_UNSUPPORTED"]));
});

test.each(["AGENT", "SERVER"] as const)(
  "a line of the %s without end ends the pipe",
  async (side) => {
    pipe.say("AGENT", call(1));
    await pipe.hears("SERVER");
    pipe.raw(side, Buffer.alloc(mcpMessageBytesMax + 1, "x"));
    await once(pipe.socket, "close");
    await rig.ledger.receipts(2);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "MESSAGE_TOO_LARGE" }]);
  },
);

test("frames that are none end the pipe", async () => {
  pipe.socket.write(Buffer.from([9, 0, 0, 0, 1, 0]));
  await once(pipe.socket, "close");
});

test("an answer that is owed may come after its lease, for a moment; then the agent is told", async () => {
  pipe.say("AGENT", call(1));
  pipe.say("AGENT", call(2));
  await pipe.hears("SERVER");
  await pipe.hears("SERVER");
  clock.advance(MINUTE_US);
  pipe.say("SERVER", done(1));
  expect(await pipe.hears("AGENT")).toMatchObject(done(1));
  clock.advance(unaryGraceUs);
  expect(await pipe.hears("AGENT")).toMatchObject({
    id: 2,
    result: { isError: true, _meta: { "dev.dragons/denial": { reason: "LEASE_EXPIRED" } } },
  });
  // Its id is not used again before its server has answered it, which nobody hears any more.
  pipe.say("AGENT", call(2));
  expect(await pipe.hears("AGENT")).toMatchObject({ id: 2, error: { code: -31400 } });
  pipe.say("SERVER", done(2));
  pipe.say("SERVER", { method: "notifications/message" });
  pipe.say("AGENT", call(3));
  expect(await pipe.hears("AGENT")).toMatchObject({
    id: 3,
    result: { _meta: { "dev.dragons/denial": { reason: "LEASE_EXPIRED" } } },
  });
  await rig.ledger.receipts(2);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }, { verdict: "CUT" }]);
});

test("a stream that listens is cut with its lease, and a call that is revoked at once", async () => {
  pipe.say("AGENT", { id: 1, method: "subscriptions/listen" });
  pipe.say("AGENT", call(2));
  await pipe.hears("SERVER");
  await pipe.hears("SERVER");
  rig.authority.revoke();
  expect(await pipe.hears("AGENT")).toMatchObject({ id: 1, error: { code: -31403 } });
  expect(await pipe.hears("AGENT")).toMatchObject({ id: 2, result: { isError: true } });
  await rig.ledger.receipts(2);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT" }, { verdict: "CUT" }]);
  const listens = rig.ledger.closed.map(({ draft }) => [draft.claim.verb, draft.listens]);
  expect(Object.fromEntries(listens)).toEqual({
    "subscriptions/listen": true,
    "tools/call": false,
  });
});

test("what is cancelled has its receipt, and its answer is not heard", async () => {
  pipe.say("AGENT", call(1));
  pipe.say("AGENT", { method: "notifications/cancelled", params: { requestId: 1 } });
  await pipe.hears("SERVER");
  expect(await pipe.hears("SERVER")).toMatchObject({ method: "notifications/cancelled" });
  await rig.ledger.receipts(2);
  expect(rig.ledger.closed).toMatchObject([
    { verdict: "FAILED", reason: "CLIENT_CANCELLED" },
    { verdict: "COMPLETED", draft: { claim: { verb: "notifications/cancelled" } } },
  ]);
});

test("both ends pass: the agent's to its server, the server's with what it said before", async () => {
  pipe.say("AGENT", call(1));
  pipe.end("AGENT");
  await pipe.hears("SERVER");
  await pipe.ends("SERVER");
  pipe.say("SERVER", done(1));
  pipe.end("SERVER");
  expect(await pipe.hears("AGENT")).toMatchObject(done(1));
  await pipe.ends("AGENT");
});

test("an open call has its receipt when the wrapper goes", async () => {
  pipe.say("AGENT", call(1));
  await pipe.hears("SERVER");
  pipe.socket.destroy();
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "CLIENT_CANCELLED" }]);
});

/** What receipts that were opened say that they go on from. */
const trail = () =>
  rig.ledger.opened.map(({ receiptId, claim: { verb, inputs } }) => [
    `${receiptId} ${verb}`,
    ...inputs.map(({ name, value }) => `${name} ${value}`),
  ]);

test("what is said of a task names the receipt of the call that began it", async () => {
  pipe.say("AGENT", call(1));
  await pipe.hears("SERVER");
  pipe.say("SERVER", { id: 1, result: { task: { taskId: "t1", status: "working" } } });
  await pipe.hears("AGENT");
  for (const [id, method] of [
    [2, "tasks/get"],
    [3, "tasks/result"],
    [4, "tasks/cancel"],
  ] as const) {
    pipe.say("AGENT", { id, method, params: { taskId: "t1" } });
    expect(await pipe.hears("SERVER")).toMatchObject({ method });
    pipe.say("SERVER", done(id));
    await pipe.hears("AGENT");
  }
  expect(trail()).toEqual([
    ["rcp_1 tools/call"],
    ["rcp_2 tasks/get", "continues rcp_1"],
    ["rcp_3 tasks/result", "continues rcp_1"],
    ["rcp_4 tasks/cancel", "continues rcp_1"],
  ]);
});

test("a task that no call of this pipe began is another's", async () => {
  pipe.say("AGENT", { id: 1, method: "tasks/result", params: { taskId: "t1" } });
  expect(await pipe.hears("AGENT")).toMatchObject({ error: { code: -31400 } });
  expect(reasons()).toEqual(["REQUEST_NOT_NORMAL"]);
  expect(rig.ledger.opened).toEqual([]);
});

test("a call that is asked for again with answers names the first, however often, beside what its condition reads", async () => {
  pipe.socket.destroy();
  pipe = await Pipe.open("friend");
  const pay = { name: "pay", arguments: { amount: 5 } };
  const asks = { inputRequests: { why: { method: "elicitation/create" } } };
  pipe.say("AGENT", { id: 1, method: "tools/call", params: pay });
  await pipe.hears("SERVER");
  pipe.say("SERVER", { id: 1, result: { ...asks, requestState: "a" } });
  await pipe.hears("AGENT");
  for (const [id, requestState, next] of [
    [2, "a", { ...asks, requestState: "b" }],
    [3, "b", { content: [] }],
  ] as const) {
    const params = { ...pay, requestState, inputResponses: { why: { action: "accept" } } };
    pipe.say("AGENT", { id, method: "tools/call", params });
    await pipe.hears("SERVER");
    pipe.say("SERVER", { id, result: next });
    await pipe.hears("AGENT");
  }
  expect(trail()).toEqual([
    ["rcp_1 tools/call", "args.amount 5"],
    ["rcp_2 elicitation/create"],
    ["rcp_3 tools/call", "args.amount 5", "continues rcp_1"],
    ["rcp_4 elicitation/create"],
    ["rcp_5 tools/call", "args.amount 5", "continues rcp_1"],
  ]);
});

test("a person is asked with nothing in flight where a result asks; a request of its server is, and the call that it came in", async () => {
  pipe.socket.destroy();
  pipe = await Pipe.open("friend");
  const pay = { name: "pay", arguments: { amount: 5 } };
  pipe.say("AGENT", { id: 1, method: "tools/call", params: pay });
  await pipe.hears("SERVER");
  const asks = { inputRequests: { why: { method: "elicitation/create" } } };
  pipe.say("SERVER", { id: 1, result: asks });
  expect(await pipe.hears("AGENT")).toMatchObject({ result: asks });
  expect(rig.gate.inFlight()).toBe(0);
  pipe.say("AGENT", { id: 2, method: "tools/call", params: pay });
  await pipe.hears("SERVER");
  pipe.say("SERVER", { id: 1, method: "elicitation/create" });
  expect(await pipe.hears("AGENT")).toMatchObject({ method: "elicitation/create" });
  expect(rig.gate.inFlight()).toBe(2);
});

test("answers to what no result asked go nowhere", async () => {
  const params = { name: "echo", inputResponses: { why: {} } };
  pipe.say("AGENT", { id: 1, method: "tools/call", params });
  expect(await pipe.hears("AGENT")).toMatchObject({ error: { code: -31400 } });
  expect(rig.ledger.opened).toEqual([]);
});

test("a line that some end at a carriage return is none, and what stands in it is not heard", async () => {
  const inner = JSON.stringify({ jsonrpc: "2.0", ...call(8, "secret") });
  const outer = (id: number, word: string) =>
    `{"jsonrpc":"2.0","id":${id},${word}:{"name":"echo","arguments":{"x":\r${inner}\r}}}\n`;
  pipe.raw("AGENT", outer(1, '"method":"tools/call","params"'));
  expect(await pipe.hears("AGENT")).toMatchObject({ id: 1, error: { code: -31400 } });
  pipe.say("AGENT", call(2));
  expect(await pipe.hears("SERVER")).toMatchObject(call(2));
  pipe.raw("SERVER", outer(2, '"result"'));
  pipe.say("SERVER", done(2));
  expect(await pipe.hears("AGENT")).toMatchObject(done(2));
  expect(reasons()).toEqual(["REQUEST_NOT_NORMAL", "FRAMING_INVALID"]);
});

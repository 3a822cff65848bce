import { createHash } from "node:crypto";
import { once } from "node:events";
import http2, { type ServerHttp2Stream } from "node:http2";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ActionBody, OutcomeBody } from "../../src/domain/payload.ts";
import { END_HEADERS, FRAME, frame, frameUpstream, headers } from "../attacks/h2-frames.ts";
import { field, framed, openRig, RawClient, type Rig, rawUpstream } from "./harness.ts";

/** How bytes flow through: a slow reader is felt by whoever writes to it, and by nobody else. */

const GRPC = { ":status": 200, "content-type": "application/grpc" };
const HI = framed(Buffer.from("hi"));
/** What may lie between the two ends: a window each, a window of the sidecar's, and what kernels hold. */
const BETWEEN = 8 * 1024 * 1024;

let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let client: RawClient;
let onStream: (stream: ServerHttp2Stream) => void;

function echo(stream: ServerHttp2Stream): void {
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.on("data", (c) => stream.write(c));
  stream.on("end", () => stream.end());
}

beforeEach(async () => {
  onStream = echo;
  rig = await openRig();
  upstream = await rawUpstream((stream) => onStream(stream));
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

/** Bytes that a writer got rid of, once it gets rid of no more. */
async function taken(socket: () => { readonly bytesWritten: number } | undefined): Promise<number> {
  let before = -1;
  const still = (): boolean => {
    const now = socket()?.bytesWritten ?? 0;
    const same = now === before && now > 0;
    before = now;
    return same;
  };
  await expect.poll(still, { interval: 100 }).toBe(true);
  return before;
}

const MANY = framed(Buffer.alloc(4_000_000, "m"));
const MANY_TIMES = 10;

describe("a reader that does not read", () => {
  test("holds its upstream back, holds up no other call, and gets every byte in the end", async () => {
    const asked = Promise.withResolvers<ServerHttp2Stream>();
    onStream = (s) => {
      s.respond(GRPC, { waitForTrailers: true });
      s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
      for (let i = 0; i < MANY_TIMES; i++) s.write(MANY);
      s.end();
      asked.resolve(s);
    };
    const { stream } = client.start("/test.Echo/Many");
    stream.removeAllListeners("data");
    stream.pause();
    stream.end(HI);
    const s = await asked.promise;
    expect(await taken(() => s.session?.socket)).toBeLessThan(BETWEEN);

    onStream = echo;
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.trailers, "grpc-status")).toBe("0");

    const hash = createHash("sha256");
    stream.on("data", (c: Buffer) => hash.update(c));
    stream.resume();
    await once(stream, "close");
    await rig.ledger.receipts(2);
    expect(rig.ledger.closed[1]).toMatchObject({ verdict: "COMPLETED" });
    const told = OutcomeBody.decode(rig.ledger.closed[1]?.outcome as Uint8Array);
    expect(told).toMatchObject({ bodyBytes: MANY.length * MANY_TIMES, messages: MANY_TIMES });
    expect(Buffer.from(told.bodySha256)).toEqual(hash.digest());
  });

  test("being an upstream, holds the agent back, and gets every byte in the end", async () => {
    const asked = Promise.withResolvers<ServerHttp2Stream>();
    onStream = (s) => asked.resolve(s.pause());
    const { stream, closed } = client.start("/test.Echo/Collect");
    for (let i = 0; i < MANY_TIMES; i++) stream.write(MANY);
    stream.end();
    const s = await asked.promise;
    expect(await taken(() => client.session.socket)).toBeLessThan(BETWEEN);
    let got = 0;
    s.respond(GRPC, { waitForTrailers: true });
    s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
    s.on("data", (c: Buffer) => {
      got += c.length;
    });
    s.on("end", () => s.end());
    s.resume();
    expect(field((await closed).trailers, "grpc-status")).toBe("0");
    expect(got).toBe(MANY.length * MANY_TIMES);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed[0]).toMatchObject({ verdict: "COMPLETED" });
    const told = ActionBody.decode(rig.ledger.closed[0]?.action as Uint8Array);
    expect(told).toMatchObject({ bodyBytes: got, messages: MANY_TIMES });
  });
});

test("100 MB pass in each direction, byte for byte", async () => {
  const message = framed(Buffer.alloc(1024 * 1024, "x"));
  const sent = createHash("sha256");
  const came = createHash("sha256");
  const { stream } = client.start("/test.Echo/Chat");
  stream.removeAllListeners("data");
  stream.on("data", (c: Buffer) => came.update(c));
  for (let i = 0; i < 100; i++) {
    sent.update(message);
    if (!stream.write(message)) await once(stream, "drain");
  }
  stream.end();
  await once(stream, "close");
  expect(came.digest("hex")).toBe(sent.digest("hex"));
}, 30_000);

test("1xx heads reach the agent before the answer", async () => {
  onStream = (s) => {
    s.additionalHeaders({ ":status": 103, link: "</style.css>" });
    echo(s);
  };
  const { stream, closed } = client.start("/test.Echo/Unary");
  const early = once(stream, "headers");
  stream.end(HI);
  expect((await early)[0]).toMatchObject({ ":status": 103, link: "</style.css>" });
  expect(field((await closed).trailers, "grpc-status")).toBe("0");
});

describe("an upstream", () => {
  test("that takes few calls at once is given more connections, and every call its place", async () => {
    const few = http2.createServer({ settings: { maxConcurrentStreams: 4 } });
    few.on("stream", (s) => setImmediate(() => echo(s)));
    few.listen(0, "127.0.0.1");
    await once(few, "listening");
    const { port } = few.address() as { port: number };
    const agent = await RawClient.open(rig, `127.0.0.1:${port}`);
    const calls = Array.from({ length: 30 }, () => agent.call("/test.Echo/Unary", HI));
    const codes = (await Promise.all(calls)).map((s) => field(s.trailers, "grpc-status"));
    expect(new Set(codes)).toEqual(new Set(["0"]));
    agent.close();
    few.close();
  });

  test("that goes away lets its calls end, and the next one finds another connection", async () => {
    const arrived = Promise.withResolvers<ServerHttp2Stream>();
    onStream = (s) => arrived.resolve(s);
    const first = client.call("/test.Echo/Unary", HI);
    const s = await arrived.promise;
    s.session?.goaway(0, s.id);
    onStream = echo;
    const second = await client.call("/test.Echo/Unary", HI);
    expect(field(second.trailers, "grpc-status")).toBe("0");
    echo(s);
    expect(field((await first).trailers, "grpc-status")).toBe("0");
  });

  test("that goes away without having looked at a call gets it again on another connection", async () => {
    let asked = 0;
    const shy = await frameUpstream((n) => {
      asked++;
      if (asked === 1) return frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(8));
      return headers(n, [":status", "200", "grpc-status", "0"], END_HEADERS | 1);
    });
    const agent = await RawClient.open(rig, `127.0.0.1:${shy.port}`);
    const seen = await agent.call("/test.Echo/Unary", HI);
    expect([field(seen.head, "grpc-status"), asked]).toEqual(["0", 2]);
    agent.close();
    shy.close();
  });

  test("is told of a cancelled call by RST_STREAM, and of no other", async () => {
    const arrived = Promise.withResolvers<ServerHttp2Stream>();
    onStream = (s) => arrived.resolve(s);
    const { stream } = client.start("/test.Echo/Chat");
    stream.write(HI);
    const s = await arrived.promise;
    onStream = echo;
    const closed = once(s, "close");
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await closed;
    expect(s.rstCode).toBe(http2.constants.NGHTTP2_CANCEL);
    expect(field((await client.call("/test.Echo/Unary", HI)).trailers, "grpc-status")).toBe("0");
  });
});

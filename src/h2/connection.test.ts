import { once } from "node:events";
import http2 from "node:http2";
import { type Duplex, duplexPair } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { block, frame, headers, PREFACE, SETTINGS } from "../../test/attacks/h2-frames.ts";
import {
  continuationsMax,
  goodbyeUs,
  informationalMax,
  noiseBurst,
  settingsBurst,
  streamResetBurst,
  streamsPerConnectionMax,
  streamWindowBytes,
} from "../domain/limits.ts";
import { ManualClock } from "../native/clock.ts";
import { H2Connection } from "./connection.ts";
import type { RawHeaders } from "./fields.ts";
import { FrameReader } from "./frame-reader.ts";
import { CODE, FLAG, FRAME, PAYLOAD_BYTES } from "./frames.ts";
import { HpackDecoder } from "./hpack.ts";
import type { H2Stream, StreamListener } from "./stream.ts";

interface Got {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

/** One end of ours, and the other one written by hand. */
class Peer {
  readonly clock = new ManualClock(0);
  readonly connection: H2Connection;
  readonly socket: Duplex;
  readonly got: Got[] = [];
  readonly opened: { stream: H2Stream; fields: RawHeaders; last: boolean; log: Log }[] = [];
  ended = false;
  gone = false;

  constructor(role: "server" | "client") {
    const [ours, theirs] = duplexPair();
    this.socket = theirs;
    const reader = new FrameReader(role === "client", {
      frame: (type, flags, stream, bytes, start, end) => {
        this.got.push({ type, flags, stream, payload: Buffer.from(bytes.subarray(start, end)) });
        return null;
      },
    });
    theirs.on("data", (chunk: Buffer) => reader.push(chunk));
    theirs.on("end", () => {
      this.ended = true;
    });
    this.connection = new H2Connection(ours, {
      role,
      clock: this.clock,
      onStream: (stream, fields, last) => {
        const log = new Log();
        stream.listener = log;
        this.opened.push({ stream, fields, last, log });
      },
      onClose: () => {
        this.gone = true;
      },
    });
    this.send(role === "server" ? Buffer.concat([PREFACE, SETTINGS]) : SETTINGS);
  }

  send(...bytes: Uint8Array[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** Everything under way has arrived. */
  async settle(): Promise<void> {
    for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  }

  async frames(type: number): Promise<Got[]> {
    await this.settle();
    return this.got.filter((f) => f.type === type);
  }

  /** The error that it was sent away with; null: it was not. */
  async goaway(): Promise<number | null> {
    const [said] = await this.frames(FRAME.GOAWAY);
    return said === undefined ? null : said.payload.readUInt32BE(4);
  }

  /** Errors of streams that were reset, by stream. */
  async resets(): Promise<Record<number, number>> {
    const said = await this.frames(FRAME.RST_STREAM);
    return Object.fromEntries(said.map((f) => [f.stream, f.payload.readUInt32BE()]));
  }
}

class Log implements StreamListener {
  readonly events: unknown[] = [];
  bytes = 0;
  sentBytes = 0;

  head(fields: RawHeaders, last: boolean): void {
    this.events.push(["head", fields, last]);
  }
  informational(fields: RawHeaders): void {
    this.events.push(["informational", fields]);
  }
  data(chunk: Buffer): void {
    this.bytes += chunk.length;
  }
  ended(fields: RawHeaders | null): void {
    this.events.push(["ended", fields]);
  }
  reset(code: number, lost: boolean): void {
    this.events.push(["reset", code, lost]);
  }
  sent(bytes: number): void {
    this.sentBytes += bytes;
  }
  finished(): void {
    this.events.push(["finished"]);
  }
}

const REQUEST = [":method", "POST", ":scheme", "http", ":path", "/a/B", ":authority", "a:1"];
const ANSWER = [":status", "200"];
const LAST = FLAG.END_HEADERS | FLAG.END_STREAM;
const u32 = (...values: number[]): Buffer => {
  const out = Buffer.alloc(values.length * 4);
  for (const [i, v] of values.entries()) out.writeUInt32BE(v, i * 4);
  return out;
};
const setting = (id: number, value: number): Buffer =>
  frame(FRAME.SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, id]), u32(value)]));
const open = (id: number, flags: number = FLAG.END_HEADERS): Buffer => headers(id, REQUEST, flags);
const data = (id: number, bytes: number, flags = 0): Buffer =>
  frame(FRAME.DATA, flags, id, Buffer.alloc(bytes));
const window = (id: number, by: number): Buffer => frame(FRAME.WINDOW_UPDATE, 0, id, u32(by));
const reset = (id: number, code: number): Buffer => frame(FRAME.RST_STREAM, 0, id, u32(code));
const EMPTY = Buffer.alloc(0);
const indexingBlock = Buffer.concat([block(REQUEST), Buffer.from("4001610162", "hex")]);
const many = (count: number, bytes: Uint8Array): Uint8Array =>
  Buffer.concat(Array.from({ length: count }, () => bytes));

describe("a client that", () => {
  /** RFC 9113: what ends the connection, and with which error. */
  test.each<[string, Uint8Array[], number]>([
    ["sends DATA of no stream", [data(0, 1)], CODE.PROTOCOL_ERROR],
    ["sends DATA of a stream that nobody opened", [data(1, 1)], CODE.PROTOCOL_ERROR],
    [
      "sends DATA that are all padding",
      [open(1), frame(0, FLAG.PADDED, 1, Buffer.from([2, 0]))],
      CODE.PROTOCOL_ERROR,
    ],
    [
      "sends DATA after it ended its stream and so did we",
      [open(1, LAST), reset(1, 8), data(1, 1)],
      CODE.STREAM_CLOSED,
    ],
    ["opens a stream of ours", [open(2)], CODE.PROTOCOL_ERROR],
    ["opens no stream", [open(0)], CODE.PROTOCOL_ERROR],
    ["opens a stream lower than the last", [open(5), open(3)], CODE.STREAM_CLOSED],
    ["opens a stream again that it reset", [open(1), reset(1, 8), open(1)], CODE.STREAM_CLOSED],
    ["breaks HPACK", [frame(FRAME.HEADERS, LAST, 1, Buffer.alloc(6, 255))], CODE.COMPRESSION_ERROR],
    [
      "sends HEADERS that are torn",
      [frame(FRAME.HEADERS, LAST | FLAG.PRIORITY, 1, Buffer.alloc(4))],
      CODE.FRAME_SIZE_ERROR,
    ],
    [
      "sends HEADERS that are all padding",
      [frame(FRAME.HEADERS, LAST | FLAG.PADDED, 1, Buffer.from([1]))],
      CODE.PROTOCOL_ERROR,
    ],
    ["interrupts a header block", [open(1, 0), SETTINGS], CODE.PROTOCOL_ERROR],
    [
      "continues another stream's block",
      [open(1, 0), frame(FRAME.CONTINUATION, 4, 3, EMPTY)],
      CODE.PROTOCOL_ERROR,
    ],
    ["continues nothing", [frame(FRAME.CONTINUATION, 4, 1, EMPTY)], CODE.PROTOCOL_ERROR],
    [
      "continues one block too often",
      [open(1, 0), many(continuationsMax, frame(FRAME.CONTINUATION, 0, 1, EMPTY))],
      CODE.ENHANCE_YOUR_CALM,
    ],
    [
      "sends a block too long",
      [open(1, 0), many(3, frame(FRAME.CONTINUATION, 0, 1, Buffer.alloc(PAYLOAD_BYTES)))],
      CODE.ENHANCE_YOUR_CALM,
    ],
    ["pushes", [frame(FRAME.PUSH_PROMISE, 4, 1, u32(2))], CODE.PROTOCOL_ERROR],
    ["sends SETTINGS of a stream", [frame(FRAME.SETTINGS, 0, 1, EMPTY)], CODE.PROTOCOL_ERROR],
    [
      "sends SETTINGS that are torn",
      [frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5))],
      CODE.FRAME_SIZE_ERROR,
    ],
    [
      "acknowledges SETTINGS at length",
      [frame(FRAME.SETTINGS, 1, 0, Buffer.alloc(6))],
      CODE.FRAME_SIZE_ERROR,
    ],
    [
      "acknowledges SETTINGS twice",
      [many(2, frame(FRAME.SETTINGS, 1, 0, EMPTY))],
      CODE.PROTOCOL_ERROR,
    ],
    ["sets ENABLE_PUSH to 2", [setting(2, 2)], CODE.PROTOCOL_ERROR],
    ["sets a window above 2^31-1", [setting(4, 0x8000_0000)], CODE.FLOW_CONTROL_ERROR],
    ["sets frames below 16384", [setting(5, 16_383)], CODE.PROTOCOL_ERROR],
    ["sets frames above 2^24-1", [setting(5, 1 << 24)], CODE.PROTOCOL_ERROR],
    [
      "grows an open window above 2^31-1",
      [open(1), window(1, 0x7fff_0000), setting(4, 0x1_0000)],
      CODE.FLOW_CONTROL_ERROR,
    ],
    ["pings a stream", [frame(FRAME.PING, 0, 1, Buffer.alloc(8))], CODE.PROTOCOL_ERROR],
    ["sends a PING of 7 bytes", [frame(FRAME.PING, 0, 0, Buffer.alloc(7))], CODE.FRAME_SIZE_ERROR],
    ["sends GOAWAY of a stream", [frame(FRAME.GOAWAY, 0, 1, u32(0, 0))], CODE.PROTOCOL_ERROR],
    ["sends GOAWAY that is torn", [frame(FRAME.GOAWAY, 0, 0, u32(0))], CODE.FRAME_SIZE_ERROR],
    [
      "takes back a GOAWAY's word",
      [open(1), frame(FRAME.GOAWAY, 0, 0, u32(0, 0)), frame(FRAME.GOAWAY, 0, 0, u32(2, 0))],
      CODE.PROTOCOL_ERROR,
    ],
    ["resets no stream", [reset(0, 8)], CODE.PROTOCOL_ERROR],
    ["resets a stream that nobody opened", [reset(1, 8)], CODE.PROTOCOL_ERROR],
    [
      "sends RST_STREAM that is torn",
      [open(1), frame(FRAME.RST_STREAM, 0, 1, Buffer.alloc(3))],
      CODE.FRAME_SIZE_ERROR,
    ],
    ["grows the connection's window by nothing", [window(0, 0)], CODE.PROTOCOL_ERROR],
    [
      "grows the connection's window above 2^31-1",
      [window(0, 0x7fff_ffff)],
      CODE.FLOW_CONTROL_ERROR,
    ],
    ["grows the window of a stream that nobody opened", [window(1, 1)], CODE.PROTOCOL_ERROR],
    [
      "sends WINDOW_UPDATE that is torn",
      [frame(FRAME.WINDOW_UPDATE, 0, 0, Buffer.alloc(3))],
      CODE.FRAME_SIZE_ERROR,
    ],
    [
      "sends PRIORITY of no stream",
      [frame(FRAME.PRIORITY, 0, 0, Buffer.alloc(5))],
      CODE.PROTOCOL_ERROR,
    ],
    [
      "sends PRIORITY that is torn",
      [frame(FRAME.PRIORITY, 0, 1, Buffer.alloc(4))],
      CODE.FRAME_SIZE_ERROR,
    ],
    [
      "sends a frame longer than we take",
      [frame(99, 0, 0, Buffer.alloc(PAYLOAD_BYTES + 1))],
      CODE.FRAME_SIZE_ERROR,
    ],
    ["sends SETTINGS without end", [many(settingsBurst, SETTINGS)], CODE.ENHANCE_YOUR_CALM],
    [
      "pings without end",
      [many(noiseBurst + 1, frame(FRAME.PING, 0, 0, Buffer.alloc(8)))],
      CODE.ENHANCE_YOUR_CALM,
    ],
    [
      "sends empty DATA without end",
      [open(1), many(noiseBurst + 1, data(1, 0))],
      CODE.ENHANCE_YOUR_CALM,
    ],
    [
      "sends unknown frames without end",
      [many(noiseBurst + 1, frame(99, 0, 0, EMPTY))],
      CODE.ENHANCE_YOUR_CALM,
    ],
    [
      "opens and resets without end",
      [
        Buffer.concat(
          Array.from({ length: streamResetBurst + 1 }, (_, i) =>
            Buffer.concat([open(i * 2 + 1), reset(i * 2 + 1, 8)]),
          ),
        ),
      ],
      CODE.ENHANCE_YOUR_CALM,
    ],
    [
      "has its streams refused without end",
      [
        Buffer.concat(
          Array.from({ length: streamResetBurst + 1 }, (_, i) =>
            headers(i * 2 + 1, [":method", "GET"], LAST),
          ),
        ),
      ],
      CODE.ENHANCE_YOUR_CALM,
    ],
  ])("%s is sent away", async (_, bytes, code) => {
    const peer = new Peer("server");
    peer.send(...bytes);
    expect(await peer.goaway()).toBe(code);
    expect(peer.connection.closed).toBe(true);
    for (const { log } of peer.opened) {
      expect(log.events.filter((e) => (e as unknown[])[0] === "reset")).toHaveLength(1);
    }
    peer.clock.advance(goodbyeUs);
    await peer.settle();
    expect(peer.gone).toBe(true);
  });

  test("begins with anything but SETTINGS is sent away", async () => {
    const [ours, theirs] = duplexPair();
    const connection = new H2Connection(ours, { role: "server", clock: new ManualClock(0) });
    theirs.resume().write(Buffer.concat([PREFACE, open(1)]));
    await new Promise(setImmediate);
    expect(connection.closed).toBe(true);
  });

  /** What ends the stream alone. */
  test.each<[string, Uint8Array[], number]>([
    [
      "names its fields in capitals",
      [headers(1, [...REQUEST, "A", "b"], LAST)],
      CODE.PROTOCOL_ERROR,
    ],
    [
      "sends more than its content-length",
      [headers(1, [...REQUEST, "content-length", "1"]), data(1, 2)],
      CODE.PROTOCOL_ERROR,
    ],
    [
      "sends less than its content-length",
      [headers(1, [...REQUEST, "content-length", "3"]), data(1, 2, 1)],
      CODE.PROTOCOL_ERROR,
    ],
    [
      "declares a content-length and sends nothing",
      [headers(1, [...REQUEST, "content-length", "3"], LAST)],
      CODE.PROTOCOL_ERROR,
    ],
    [
      "sends too many fields",
      [headers(1, [...REQUEST, ...Array.from({ length: 600 }, () => "a")], LAST)],
      CODE.ENHANCE_YOUR_CALM,
    ],
    ["sends DATA after its end", [open(1, LAST), data(1, 1)], CODE.STREAM_CLOSED],
    [
      "sends trailers after its end",
      [open(1, LAST), headers(1, ["a", "b"], LAST)],
      CODE.STREAM_CLOSED,
    ],
    ["sends trailers that do not end it", [open(1), headers(1, ["a", "b"])], CODE.PROTOCOL_ERROR],
    [
      "sends trailers with pseudo-header fields",
      [open(1), headers(1, [":path", "/"], LAST)],
      CODE.PROTOCOL_ERROR,
    ],
    ["grows its window by nothing", [open(1), window(1, 0)], CODE.PROTOCOL_ERROR],
    ["grows its window above 2^31-1", [open(1), window(1, 0x7fff_ffff)], CODE.FLOW_CONTROL_ERROR],
  ])("%s has its stream reset, and no other", async (_, bytes, code) => {
    const peer = new Peer("server");
    peer.send(...bytes, open(3));
    expect(await peer.resets()).toEqual({ 1: code });
    expect(await peer.goaway()).toBeNull();
    const mine = peer.opened.find((o) => o.stream.id === 1);
    expect(mine?.log.events.at(-1) ?? ["reset", code, false]).toEqual(["reset", code, false]);
    expect(peer.opened.at(-1)?.stream.id).toBe(3);
  });

  test("sends more than the window that it was given has its stream reset", async () => {
    const peer = new Peer("server");
    peer.send(open(1));
    const frames = streamWindowBytes / PAYLOAD_BYTES;
    peer.send(many(frames, data(1, PAYLOAD_BYTES)));
    expect(await peer.resets()).toEqual({});
    expect(peer.opened[0]?.log.bytes).toBe(streamWindowBytes);
    peer.send(data(1, 1));
    expect(await peer.resets()).toEqual({ 1: CODE.FLOW_CONTROL_ERROR });
  });

  test("opens more streams than it may has those refused, to be tried again", async () => {
    const peer = new Peer("server");
    const ids = Array.from({ length: streamsPerConnectionMax + 1 }, (_, i) => i * 2 + 1);
    peer.send(...ids.map((id) => open(id)));
    expect(await peer.resets()).toEqual({ [ids.at(-1) as number]: CODE.REFUSED_STREAM });
    expect(peer.opened).toHaveLength(streamsPerConnectionMax);
  });

  test("pads, prioritises, pings and says what nobody knows is served all the same", async () => {
    const peer = new Peer("server");
    const padded = Buffer.concat([
      Buffer.from([3, 0, 0, 0, 0, 16]),
      block(REQUEST),
      Buffer.alloc(3),
    ]);
    peer.send(
      frame(FRAME.PRIORITY, 0, 9, Buffer.alloc(5)),
      frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.PADDED | FLAG.PRIORITY, 1, padded),
      frame(FRAME.DATA, FLAG.PADDED | FLAG.END_STREAM, 1, Buffer.from([2, 7, 7, 7, 0, 0])),
      frame(99, 0xff, 1, Buffer.alloc(9)),
      frame(FRAME.PING, 0, 0, Buffer.from("12345678")),
      window(1, 1),
    );
    const [pong] = await peer.frames(FRAME.PING);
    expect([pong?.flags, pong?.payload.toString()]).toEqual([FLAG.ACK, "12345678"]);
    const [{ fields, log } = {}] = peer.opened as { fields?: RawHeaders; log?: Log }[];
    expect(fields).toEqual(REQUEST);
    expect([log?.bytes, log?.events]).toEqual([3, [["ended", null]]]);
  });

  test("sends its head in pieces is understood", async () => {
    const peer = new Peer("server");
    const whole = block([...REQUEST, "a", "b"]);
    const parts = [whole.subarray(0, 3), whole.subarray(3, 9), whole.subarray(9)];
    peer.send(
      frame(FRAME.HEADERS, FLAG.END_STREAM, 1, parts[0] as Buffer),
      frame(FRAME.CONTINUATION, 0, 1, parts[1] as Buffer),
      frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, parts[2] as Buffer),
    );
    await peer.settle();
    expect(peer.opened).toMatchObject([{ fields: [...REQUEST, "a", "b"], last: true }]);
  });

  test("makes us answer and reads nothing is sent away", async () => {
    const peer = new Peer("server");
    await peer.settle();
    peer.socket.pause();
    for (let i = 0; i < 100 && !peer.connection.closed; i++) {
      peer.clock.advance(1_000_000);
      peer.send(many(2000, frame(FRAME.PING, 0, 0, Buffer.alloc(8))));
      await peer.settle();
    }
    expect(peer.connection.closed).toBe(true);
  });

  test("goes on sending after we reset its stream does no harm", async () => {
    const peer = new Peer("server");
    peer.send(open(1));
    await peer.settle();
    peer.opened[0]?.stream.reset(CODE.CANCEL);
    peer.send(data(1, 10), headers(1, ["a", "b"], LAST), open(3, LAST));
    expect(await peer.resets()).toEqual({ 1: CODE.CANCEL });
    expect(await peer.goaway()).toBeNull();
    expect(peer.opened).toHaveLength(2);
  });

  test("is told to stop once it was answered, and not before everything has left", async () => {
    const peer = new Peer("server");
    peer.send(setting(4, 5), open(1));
    await peer.settle();
    const [{ stream, log } = {}] = peer.opened as { stream?: H2Stream; log?: Log }[];
    stream?.sendHead(ANSWER);
    stream?.write(Buffer.alloc(10));
    stream?.end(["grpc-status", "0"]);
    stream?.dismiss();
    expect(await peer.resets()).toEqual({});
    expect(log?.events).toEqual([]);
    peer.send(window(1, 5));
    expect(await peer.resets()).toEqual({ 1: CODE.NO_ERROR });
    expect(log?.events).toEqual([["finished"]]);
    const [head, trailers] = await peer.frames(FRAME.HEADERS);
    expect([head?.flags, trailers?.flags]).toEqual([FLAG.END_HEADERS, LAST]);
  });
});

describe("header blocks", () => {
  const indexed = Buffer.concat([block(REQUEST), Buffer.from([0xbe])]);
  const blockOf = (id: number, bytes: Uint8Array): Buffer => frame(FRAME.HEADERS, LAST, id, bytes);

  test.each([
    [true, "indexes what it sent before"],
    [false, "asks for nothing to be kept, and says everything again"],
  ])("with a header table (%s) nghttp2 %s", async (headerTable) => {
    const [ours, theirs] = duplexPair();
    const blocks: Buffer[] = [];
    const said: RawHeaders[] = [];
    const reader = new FrameReader(true, {
      frame(type, flags, _stream, bytes, start, end) {
        const from = start + ((flags & FLAG.PRIORITY) === 0 ? 0 : 5);
        if (type === FRAME.HEADERS) blocks.push(Buffer.from(bytes.subarray(from, end)));
        return null;
      },
    });
    ours.on("data", (chunk: Buffer) => reader.push(chunk));
    const connection = new H2Connection(ours, {
      role: "server",
      clock: new ManualClock(0),
      headerTable,
      onStream(stream, fields) {
        said.push(fields.slice(-2));
        stream.listener = new Log();
        stream.sendHead([":status", "204"], true);
      },
    });
    const session = http2.connect("http://a", { createConnection: () => theirs });
    await once(session, "remoteSettings");
    for (let i = 0; i < 3; i++) await once(session.request({ "x-often": "the same" }), "response");
    expect(said).toEqual(Array.from({ length: 3 }, () => ["x-often", "the same"]));
    // Who has read nothing before can read the last one, or cannot.
    const last = blocks.at(-1) as Buffer;
    const read = new HpackDecoder().decode(last, 0, last.length);
    if (headerTable) expect(read).toBeNull();
    else expect(read?.slice(-2)).toEqual(["x-often", "the same"]);
    connection.destroy();
    session.destroy();
  });

  test("may index what was sent before, also once our SETTINGS are acknowledged", async () => {
    const peer = new Peer("server");
    peer.send(blockOf(1, indexingBlock), blockOf(3, indexed));
    await peer.settle();
    expect(peer.opened.map((o) => o.fields.slice(-2))).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
    peer.send(frame(FRAME.SETTINGS, FLAG.ACK, 0, EMPTY), blockOf(5, indexed));
    await peer.settle();
    expect(peer.opened.at(-1)?.fields.slice(-2)).toEqual(["a", "b"]);
    peer.send(blockOf(7, Buffer.concat([block(REQUEST), Buffer.from([0xbf])])));
    expect(await peer.goaway()).toBe(CODE.COMPRESSION_ERROR);
  });
});

test("whatever a peer sends, it is served or sent away, and nothing is thrown", async () => {
  const some = fc.tuple(
    fc.nat(11),
    fc.nat(255),
    fc.oneof(fc.constantFrom(0, 1, 2, 3, 5), fc.nat(0x7fff_ffff)),
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(block(REQUEST), block(ANSWER), indexingBlock, u32(1), u32(0, 0)),
    ),
  );
  const roles = fc.constantFrom("server" as const, "client" as const);
  await fc.assert(
    fc.asyncProperty(roles, fc.array(some, { maxLength: 12 }), async (role, sent) => {
      const peer = new Peer(role);
      await peer.connection.ready();
      if (role === "client") peer.connection.open(REQUEST, false, new Log());
      await new Promise(setImmediate);
      for (const [type, flags, id, payload] of sent) peer.send(frame(type, flags, id, payload));
      for (let i = 0; i < 3; i++) await new Promise(setImmediate);
      for (const { stream } of peer.opened) stream.sendHead(ANSWER, true);
      peer.connection.destroy();
      await new Promise(setImmediate);
      expect(peer.gone).toBe(true);
    }),
  );
});

describe("what we send", () => {
  /** A stream that answers with so many bytes, to a peer that has said these settings. */
  async function answering(bytes: number, ...settings: Uint8Array[]) {
    const peer = new Peer("server");
    peer.send(...settings, open(1, LAST), open(3, LAST));
    await peer.settle();
    const [first, second] = peer.opened as [(typeof peer.opened)[0], (typeof peer.opened)[0]];
    first.stream.sendHead(ANSWER);
    first.stream.write(Buffer.alloc(bytes, 7));
    first.stream.end();
    return { peer, first, second };
  }
  const bytesOf = (frames: Got[], stream: number): number =>
    frames.filter((f) => f.stream === stream).reduce((sum, f) => sum + f.payload.length, 0);

  test("is no more than the stream's window, and the rest when it grows", async () => {
    const { peer, first } = await answering(300, setting(4, 100));
    expect(bytesOf(await peer.frames(FRAME.DATA), 1)).toBe(100);
    expect(first.log.sentBytes).toBe(100);
    peer.send(window(1, 150));
    expect(bytesOf(await peer.frames(FRAME.DATA), 1)).toBe(250);
    // Its SETTINGS may grow and shrink what is open, even below nothing.
    peer.send(setting(4, 50), window(1, 60));
    expect(bytesOf(await peer.frames(FRAME.DATA), 1)).toBe(260);
    peer.send(setting(4, 1000));
    const all = await peer.frames(FRAME.DATA);
    expect(bytesOf(all, 1)).toBe(300);
    expect(all.at(-1)?.flags).toBe(FLAG.END_STREAM);
    expect(first.log.events).toEqual([["finished"]]);
  });

  test("is no more than the connection's window, and streams take turns", async () => {
    const { peer, second } = await answering(200_000, setting(4, 1_000_000));
    second.stream.sendHead(ANSWER);
    second.stream.write(Buffer.alloc(200_000));
    expect((await peer.frames(FRAME.DATA)).reduce((n, f) => n + f.payload.length, 0)).toBe(65_535);
    peer.send(window(0, 100_000));
    const all = await peer.frames(FRAME.DATA);
    expect(all.reduce((n, f) => n + f.payload.length, 0)).toBe(165_535);
    expect(Math.abs(bytesOf(all, 1) - bytesOf(all, 3))).toBeLessThanOrEqual(PAYLOAD_BYTES);
  });

  test("of one stream does not wait for another's window", async () => {
    const { peer, second } = await answering(100, setting(4, 0));
    peer.send(window(3, 100));
    second.stream.sendHead(ANSWER);
    second.stream.write(Buffer.alloc(100));
    second.stream.end();
    const all = await peer.frames(FRAME.DATA);
    expect([bytesOf(all, 1), bytesOf(all, 3)]).toEqual([0, 100]);
    expect(second.log.events).toEqual([["finished"]]);
  });

  test("waits in us, not in the socket, while the peer does not read", async () => {
    const peer = new Peer("server");
    peer.send(setting(4, 0x7fff_ffff), window(0, 0x7fff_0000), open(1, LAST));
    await peer.settle();
    peer.socket.pause();
    const [{ stream, log } = {}] = peer.opened as { stream?: H2Stream; log?: Log }[];
    stream?.sendHead(ANSWER);
    for (let i = 0; i < 100; i++) stream?.write(Buffer.alloc(50_000));
    await peer.settle();
    expect(log?.sentBytes).toBeLessThan(500_000);
    peer.socket.resume();
    await expect.poll(() => log?.sentBytes).toBe(5_000_000);
  });

  test("with a head too long for one frame goes in several", async () => {
    const { peer, second } = await answering(0);
    const long = ["x", "y".repeat(40_000), "z", "end"];
    second.stream.sendHead([...ANSWER, ...long], true);
    const parts = (await peer.frames(FRAME.HEADERS)).filter((f) => f.stream === 3);
    const more = await peer.frames(FRAME.CONTINUATION);
    expect(parts.map((p) => p.flags)).toEqual([FLAG.END_STREAM]);
    expect(more.map((p) => p.flags)).toEqual([0, FLAG.END_HEADERS]);
    const whole = Buffer.concat([...parts, ...more].map((p) => p.payload));
    expect(whole.includes("y".repeat(40_000))).toBe(true);
  });

  test("says before its first block that it uses no table, and again when asked for one", async () => {
    const { peer, second } = await answering(0);
    await peer.settle();
    peer.send(setting(1, 100));
    await peer.settle();
    second.stream.sendHead(ANSWER, true);
    const [first, next] = await peer.frames(FRAME.HEADERS);
    expect([first?.payload[0], next?.payload[0]]).toEqual([0x20, 0x20]);
    expect(new HpackDecoder().decode(next?.payload as Buffer, 0, 2)).toEqual(ANSWER);
  });
});

describe("what we received", () => {
  test("is credited when it was given back, and not before", async () => {
    const peer = new Peer("server");
    peer.send(open(1), many(8, data(1, PAYLOAD_BYTES)));
    const credited = async (): Promise<number> =>
      (await peer.frames(FRAME.WINDOW_UPDATE))
        .filter((f) => f.stream === 1)
        .reduce((sum, f) => sum + f.payload.readUInt32BE(), 0);
    expect(await credited()).toBe(0);
    peer.opened[0]?.stream.consumed(8 * PAYLOAD_BYTES);
    expect(await credited()).toBe(8 * PAYLOAD_BYTES);
  });

  test("and nobody took is credited to the connection when its stream is gone", async () => {
    const peer = new Peer("server");
    let taken = 0;
    const each = streamWindowBytes;
    for (let id = 1; id < 200; id += 2) {
      peer.send(open(id), many(each / PAYLOAD_BYTES, data(id, PAYLOAD_BYTES)), reset(id, 8));
      taken += each;
    }
    const credits = (await peer.frames(FRAME.WINDOW_UPDATE)).filter((f) => f.stream === 0).slice(1);
    const credited = credits.reduce((sum, f) => sum + f.payload.readUInt32BE(), 0);
    expect(taken - credited).toBeLessThan(streamWindowBytes * streamsPerConnectionMax * 0.1);
  });
});

describe("draining", () => {
  test("lets open streams end, takes no new ones, and closes then", async () => {
    const peer = new Peer("server");
    peer.send(open(1, LAST));
    await peer.settle();
    peer.connection.drain();
    peer.send(open(3, LAST), data(3, 5));
    expect(await peer.goaway()).toBe(CODE.NO_ERROR);
    expect(peer.opened).toHaveLength(1);
    expect(peer.ended).toBe(false);
    peer.opened[0]?.stream.sendHead(ANSWER, true);
    await peer.settle();
    expect((await peer.frames(FRAME.HEADERS)).map((f) => f.stream)).toEqual([1]);
    expect(peer.ended).toBe(true);
  });

  test("an idle connection closes at once", async () => {
    const peer = new Peer("server");
    await peer.settle();
    peer.connection.drain();
    await peer.settle();
    expect(peer.ended).toBe(true);
  });
});

describe("as a client", () => {
  /** Streams that are open at the upstream. */
  async function calling(count = 1) {
    const peer = new Peer("client");
    await peer.connection.ready();
    const calls = Array.from({ length: count }, () => {
      const log = new Log();
      return { log, stream: peer.connection.open(REQUEST, true, log) };
    });
    await peer.settle();
    return { peer, calls, log: calls[0]?.log as Log };
  }

  test("an answer is told as it comes: 1xx, head, body, trailers", async () => {
    const { peer, log } = await calling();
    peer.send(
      headers(1, [":status", "103", "link", "x"]),
      headers(1, [...ANSWER, "a", "1", "a", "2"]),
      data(1, 10),
      headers(1, ["grpc-status", "0"], LAST),
    );
    await peer.settle();
    expect(log.events).toEqual([
      ["finished"],
      ["informational", [":status", "103", "link", "x"]],
      ["head", [...ANSWER, "a", "1", "a", "2"], false],
      ["ended", ["grpc-status", "0"]],
    ]);
    expect([log.bytes, peer.connection.streams]).toEqual([10, 0]);
  });

  test.each<[string, Uint8Array[], number]>([
    ["a status that is none", [headers(1, [":status", "600"], LAST)], CODE.PROTOCOL_ERROR],
    ["a 1xx that ends it", [headers(1, [":status", "103"], LAST)], CODE.PROTOCOL_ERROR],
    ["DATA before its head", [data(1, 1)], CODE.PROTOCOL_ERROR],
    [
      "1xx without end",
      [many(informationalMax + 1, headers(1, [":status", "103"]))],
      CODE.ENHANCE_YOUR_CALM,
    ],
    [
      "more than its content-length",
      [headers(1, [...ANSWER, "content-length", "1"]), data(1, 2)],
      CODE.PROTOCOL_ERROR,
    ],
  ])("%s ends the stream alone", async (_, bytes, code) => {
    const { peer, calls } = await calling(2);
    peer.send(...bytes, headers(3, ANSWER, LAST));
    expect(await peer.resets()).toEqual({ 1: code });
    expect(calls[0]?.log.events.at(-1)).toEqual(["reset", code, false]);
    expect(calls[1]?.log.events.at(-1)).toEqual(["head", ANSWER, true]);
  });

  test.each<[string, Uint8Array]>([
    ["an answer that nobody asked for", headers(5, ANSWER, LAST)],
    ["a stream of its own", headers(2, ANSWER, LAST)],
    ["a push", frame(FRAME.PUSH_PROMISE, 4, 1, u32(2))],
    ["ENABLE_PUSH", setting(2, 1)],
  ])("%s ends the connection", async (_, bytes) => {
    const { peer, log } = await calling();
    peer.send(bytes);
    expect(await peer.goaway()).toBe(CODE.PROTOCOL_ERROR);
    expect(log.events.at(-1)).toEqual(["reset", CODE.CANCEL, true]);
  });

  test("streams above a GOAWAY were refused, those below end, and no others begin", async () => {
    const { peer, calls } = await calling(2);
    peer.send(frame(FRAME.GOAWAY, 0, 0, u32(1, 0)));
    await peer.settle();
    expect(calls[1]?.log.events.at(-1)).toEqual(["reset", CODE.REFUSED_STREAM, false]);
    expect(peer.connection.usable).toBe(false);
    peer.send(headers(1, ANSWER, LAST));
    await peer.settle();
    expect(calls[0]?.log.events.at(-1)).toEqual(["head", ANSWER, true]);
    expect(peer.ended).toBe(true);
  });

  test("what was taken back before it left is never heard of, and streams leave in order", async () => {
    const peer = new Peer("client");
    await peer.connection.ready();
    const [first, second] = [1, 2].map(() => peer.connection.open(REQUEST, true, new Log()));
    first?.reset(CODE.CANCEL);
    await peer.settle();
    expect([first?.id, second?.id]).toEqual([0, 1]);
    expect((await peer.frames(FRAME.HEADERS)).map((f) => f.stream)).toEqual([1]);
    expect(await peer.resets()).toEqual({});
  });

  test("it opens no more streams than the server takes", async () => {
    const peer = new Peer("client");
    peer.send(setting(3, 2));
    await peer.settle();
    for (let i = 0; i < 2; i++) peer.connection.open(REQUEST, true, new Log());
    expect(peer.connection.usable).toBe(false);
  });

  test("a server that closes before it said its settings is no server", async () => {
    const [ours, theirs] = duplexPair();
    const connection = new H2Connection(ours, { role: "client", clock: new ManualClock(0) });
    const ready = connection.ready();
    theirs.destroy();
    ours.destroy();
    await expect(ready).rejects.toThrow("closed");
  });

  test("when the connection is lost every stream hears of it once", async () => {
    const { peer, calls } = await calling(3);
    peer.connection.destroy();
    await peer.settle();
    for (const { log } of calls) {
      expect(log.events.filter((e) => (e as unknown[])[0] === "reset")).toEqual([
        ["reset", CODE.CANCEL, true],
      ]);
    }
    expect(peer.gone).toBe(true);
  });
});

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { handshakeUs } from "../../src/domain/limits.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { framed, openRig, RawClient, type Rig, tunnel } from "../datapath/harness.ts";
import { block, END_HEADERS, FRAME, frame, headers, PREFACE, SETTINGS } from "./h2-frames.ts";

let rig: Rig;
beforeEach(async () => {
  rig = await openRig();
});
afterEach(() => rig.close());

const TARGET = "127.0.0.1:1";
const HEAD = [
  ":method",
  "POST",
  ":scheme",
  "http",
  ":path",
  "/test.Other/Do",
  ":authority",
  TARGET,
  "content-type",
  "application/grpc",
];
const plain = HEAD.slice(0, -2);

/** What ends a connection when it is read together with a head. */
const BREAKERS: [string, Uint8Array][] = [
  ["bytes that are no frames", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["data on a stream that nobody opened", frame(FRAME.DATA, 0, 7, Buffer.from("x"))],
  ["a header block that is no HPACK", frame(FRAME.HEADERS, END_HEADERS, 3, Buffer.alloc(6, 255))],
  ["a continuation of nothing", frame(FRAME.CONTINUATION, END_HEADERS, 1, block(["a", "b"]))],
];

const WHO: [string, () => Promise<Socket>][] = [
  [
    "a stranger without the credential",
    async () => {
      const socket = connect(rig.stack.proxyAddress.port, "127.0.0.1");
      await once(socket, "connect");
      return socket;
    },
  ],
  ["the agent, in its tunnel", () => tunnel(rig.stack.proxyAddress.port, TARGET)],
];

/** The refusal is made when the head is seen, and then there is no connection to tell it on. */
describe.each(WHO)("%s", (_, open) => {
  test.each(BREAKERS)(
    "that breaks the connection behind a head by %s ends no more than that",
    async (_, breaker) => {
      const socket = await open();
      socket.on("error", () => {});
      const head = headers(1, HEAD);
      // Once as gRPC, once as plain HTTP: each is refused in its own words.
      socket.write(Buffer.concat([PREFACE, SETTINGS, head, breaker]));
      await once(socket.resume(), "close");
      const again = await open();
      again.on("error", () => {});
      again.write(Buffer.concat([PREFACE, SETTINGS, headers(1, plain), breaker]));
      await once(again.resume(), "close");
      expect(rig.ledger.opened).toEqual([]);
    },
  );
});

describe("a stranger", () => {
  test("that stays holds none of the agent's places for longer than it takes to be refused", async () => {
    const clock = new ManualClock(1_800_000_000_000_000);
    const own = await openRig({}, clock);
    const socket = connect(own.stack.proxyAddress.port, "127.0.0.1");
    socket.write(Buffer.concat([PREFACE, SETTINGS]));
    // Our settings: the connection is taken for what it is.
    await once(socket, "data");
    const closed = once(socket, "close");
    clock.advance(handshakeUs);
    await closed;
    await own.close();
  });

  test("that says something else each time is counted as one and the same", async () => {
    const client = await RawClient.open(rig, TARGET, "wrong");
    for (const path of ["/test.Echo/A", "/test.Echo/B"]) {
      await client.call(path, framed(Buffer.from("x")));
    }
    const socket = connect(rig.stack.proxyAddress.port, "127.0.0.1");
    socket.write("GET /elsewhere HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n");
    await once(socket.resume(), "close");
    expect(rig.ledger.recorded.map((r) => [r.reason, r.claim.length])).toEqual(
      Array.from({ length: 3 }, () => ["CALLER_UNIDENTIFIED", 0]),
    );
    client.close();
  });
});

import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Http2Client } from "../../sidecar/adapters/http2-client.ts";
import { connectionsPerUpstreamMax, streamWindowBytes } from "../../src/domain/limits.ts";
import { OutcomeBody } from "../../src/domain/payload.ts";
import { H2Stream, type StreamHost } from "../../src/h2/stream.ts";
import { field, framed, openRig, RawClient, type Rig, rawUpstream } from "../datapath/harness.ts";
import {
  AUTHORIZATION,
  type SocketUpstream,
  socketUpstream,
  Wire,
} from "../datapath/http-client.ts";
import { FRAME, frame, SETTINGS } from "./h2-frames.ts";

let rig: Rig;
let upstream: SocketUpstream;
let up: Socket;
let answer: (socket: Socket, heard: string) => void;

beforeEach(async () => {
  answer = () => {};
  upstream = await socketUpstream((socket, heard) => {
    up = socket;
    answer(socket, heard);
  });
  rig = await openRig();
});
afterEach(async () => {
  await rig.close();
  upstream.close();
});

const host = () => `127.0.0.1:${upstream.port}`;
const request = (method: string, lines: string) =>
  `${method} http://${host()}/ok HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}${lines}\r\n`;

describe("a WebSocket", () => {
  const OPENING =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  const SWITCH =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

  test("tells in its receipt of the message that still arrived after its leave", async () => {
    answer = (socket, heard) => {
      if (heard.endsWith("\r\n\r\n")) socket.write(SWITCH);
    };
    const wire = await Wire.open(rig);
    wire.say(request("GET", OPENING));
    await wire.hears(/\r\n\r\n$/);
    up.write(Buffer.concat([Buffer.of(1, 4), Buffer.from("half")]));
    await wire.hears(/half$/);
    rig.authority.revoke();
    up.write(Buffer.from("\x80\x06 whole\x81\x04next", "latin1"));
    expect(await wire.all()).toContain("half\x80\x06 whole\x88");
    await rig.ledger.receipts(1);
    const { outcome } = rig.ledger.closed[0] as { outcome: Uint8Array };
    expect(OutcomeBody.decode(outcome)).toMatchObject({ bodyBytes: 10, messages: 1 });
  });
});

describe("after leave was taken back", () => {
  const EVENTS =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

  test("a request is not ended as if it were whole", async () => {
    answer = (socket, heard) => {
      if (heard.endsWith("3\r\nabc\r\n")) socket.write(EVENTS + chunk("data: hal"));
    };
    const wire = await Wire.open(rig);
    wire.say(request("POST", "Transfer-Encoding: chunked\r\n") + chunk("abc"));
    await wire.hears(/hal\r\n$/);
    rig.authority.revoke();
    wire.say("0\r\nX-Said: after\r\n\r\n");
    await rig.ledger.receipts(1);
    await wire.all();
    expect(upstream.heard[0]).not.toContain("after");
    expect(upstream.heard[0]).toMatch(/3\r\nabc\r\n$/);
  });

  test("no event comes through but the one that had begun", async () => {
    answer = (socket, heard) => {
      if (heard.endsWith("\r\n\r\n")) socket.write(EVENTS + chunk("data: hal"));
    };
    const wire = await Wire.open(rig);
    wire.say(request("GET", ""));
    await wire.hears(/hal\r\n$/);
    rig.authority.revoke();
    up.write(chunk("f\n\ndata: next\n\ndata: more"));
    const heard = await wire.all();
    expect(heard).toMatch(/3\r\nf\n\n\r\n$/);
    await rig.ledger.receipts(1);
    const { outcome } = rig.ledger.closed[0] as { outcome: Uint8Array };
    expect(OutcomeBody.decode(outcome)).toMatchObject({ bodyBytes: 12, messages: 1 });
  });
});

describe("trailers of an HTTP/2 request", () => {
  test.each([
    ["content-length", "7"],
    ["host", "evil.example"],
    ["te", "trailers"],
  ])("with %s reach nobody, as by HTTP/1", async (name, value) => {
    const client = await RawClient.open(rig, host());
    const { stream, closed } = client.start(
      "/ok",
      [":method", "PUT", "content-type", "text/plain"],
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ [name]: value }));
    stream.end("xyz");
    await closed;
    expect(upstream.heard.join("")).not.toContain(`${name}: ${value}`);
    await rig.ledger.receipts(1);
    client.close();
  });

  test("carry no fields of ours, and none for a proxy", async () => {
    answer = (socket, heard) => {
      if (heard.endsWith("\r\n0\r\nx-sum: 3\r\n\r\n")) {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
      }
    };
    const client = await RawClient.open(rig, host());
    const { stream, closed } = client.start(
      "/ok",
      [":method", "PUT", "content-type", "text/plain"],
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () =>
      stream.sendTrailers({
        "x-dragons-agent": "somebody",
        "proxy-authorization": "Basic x",
        "x-sum": "3",
      }),
    );
    stream.end("xyz");
    expect(field((await closed).head, ":status")).toBe("200");
    client.close();
  });
});

test("a body that comes byte by byte costs no object for each while it waits", async () => {
  const host: StreamHost = {
    begin: () => 1,
    wants() {},
    credit() {},
    resetByUs() {},
    endedByUs() {},
  };
  const client = new Http2Client(new H2Stream(1, host, 0), "POST", { kind: "chunked" }, false);
  const wire = Buffer.alloc(streamWindowBytes, "x");
  for (let i = 0; i < wire.length; i++) client.data(wire.subarray(i, i + 1));
  client.ended(null);
  let pieces = 0;
  let bytes = 0;
  for (let p = await client.read(); p instanceof Buffer; p = await client.read()) {
    pieces++;
    bytes += p.length;
  }
  expect(bytes).toBe(streamWindowBytes);
  expect(pieces).toBeLessThan(100);
});

test("an upstream that greets and says goodbye is not dialled for ever", async () => {
  let dialled = 0;
  const goodbye = frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(8));
  const server = createServer((socket) => {
    dialled++;
    socket.on("error", () => {});
    socket.resume();
    // So that a test that fails ends, too.
    if (dialled <= 50) socket.end(Buffer.concat([SETTINGS, goodbye]));
    else socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = await RawClient.open(rig, `127.0.0.1:${(server.address() as AddressInfo).port}`);
  const seen = await client.call("/test.Echo/Say", framed(Buffer.from("x")));
  expect(field(seen.head, "grpc-message")).toMatch(/^UPSTREAM_FAILED/);
  expect(dialled).toBeLessThanOrEqual(connectionsPerUpstreamMax + 1);
  client.close();
  server.close();
});

test.each([
  ["the credential", AUTHORIZATION],
  ["any other", "Proxy-Authorization: Basic eDp5\r\n"],
])(
  "garbage in a tunnel inside of TLS, opened with %s, ends that connection alone",
  async (_, authorization) => {
    const socket = connectTls({
      port: rig.stack.proxyAddress.port,
      host: "127.0.0.1",
      servername: "localhost",
      ca: rig.ca.certPem,
    });
    await once(socket, "secureConnect");
    const wire = new Wire(socket);
    wire.say(`CONNECT ${host()} HTTP/1.1\r\nHost: ${host()}\r\n${authorization}\r\n`);
    await wire.hears(/\r\n\r\n$/);
    wire.say("\0 no protocol at all");
    await wire.all();
    await rig.ledger.receipts(1);
    expect(rig.ledger.recorded).toMatchObject([{ reason: "PROTOCOL_UNSUPPORTED" }]);
  },
);

test("no upstream speaks of receipts in our name, or leads its agent round us", async () => {
  const forged = { "dragons-receipt": "rcp_forged", "alt-svc": 'h3=":443"', "x-kept": "1" };
  const server = await rawUpstream((stream) => {
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", ...forged },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", ...forged }));
    stream.end();
  });
  const client = await RawClient.open(rig, `127.0.0.1:${server.port}`);
  const seen = await client.call("/test.Echo/Say", framed(Buffer.from("x")));
  for (const fields of [seen.head, seen.trailers]) {
    expect(field(fields, "x-kept")).toBe("1");
    expect(field(fields, "dragons-receipt")).toBeUndefined();
    expect(field(fields, "alt-svc")).toBeUndefined();
  }
  client.close();
  server.close();

  answer = (socket) =>
    socket.write(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nDragons-Receipt: rcp_forged\r\nX-Kept: 1\r\n\r\n",
    );
  const wire = await Wire.open(rig);
  wire.say(request("GET", "Connection: close\r\n"));
  const heard = await wire.all();
  expect(heard).toContain("X-Kept: 1");
  expect(heard).not.toContain("rcp_forged");
});

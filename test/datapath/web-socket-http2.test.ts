import { createHash } from "node:crypto";
import { once } from "node:events";
import type { ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ActionBody, OutcomeBody } from "../../src/domain/payload.ts";
import { createCa, issueServer } from "../../src/native/pki.ts";
import { startChromium } from "../browser/chromium.ts";
import { lacks } from "../skips.ts";
import { CREDENTIAL, MINUTE_US, openRig, RawClient, type Rig } from "./harness.ts";
import { type SocketUpstream, socketUpstream } from "./http-client.ts";

/** WebSockets on streams of HTTP/2 (RFC 8441): the same actions, and HTTP/1.1's to the upstream. */

let rig: Rig;
let upstream: SocketUpstream;
let client: RawClient;
let up: Socket;
let answer: (heard: string) => string;

/** The answer to whatever key was sent. */
const switching = (heard: string): string => {
  const key = /\r\nSec-WebSocket-Key: (\S+)\r\n/.exec(heard)?.[1];
  const accept = createHash("sha1")
    .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  return (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`
  );
};

beforeEach(async () => {
  answer = switching;
  upstream = await socketUpstream((socket, heard) => {
    up = socket;
    if (heard.endsWith("\r\n\r\n")) socket.write(answer(heard));
  });
  rig = await openRig();
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  await once(client.session, "remoteSettings");
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

/** As a client sends it, with a mask of zeros. */
const masked = (text: string, first = 0x81) =>
  Buffer.concat([Buffer.of(first, 0x80 | text.length, 0, 0, 0, 0), Buffer.from(text)]);
const plain = (text: string, first = 0x81) =>
  Buffer.concat([Buffer.of(first, text.length), Buffer.from(text)]);
const sha256 = (text: string) => new Uint8Array(createHash("sha256").update(text).digest());

/** Asks for a WebSocket, or another protocol. */
function ask(path: string, more: Record<string, string> = {}): ClientHttp2Stream {
  const stream = client.session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":scheme": "http",
    ":authority": `127.0.0.1:${upstream.port}`,
    ":path": path,
    "sec-websocket-version": "13",
    "sec-websocket-protocol": "chat",
    ...more,
  });
  stream.on("error", () => {});
  return stream;
}
const head = async (stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> =>
  ((await once(stream, "response")) as [IncomingHttpHeaders])[0];

/** What has come on a stream, told when it is enough. */
class Heard {
  bytes = Buffer.alloc(0);
  readonly #stream: ClientHttp2Stream;
  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
    });
  }
  async until(text: string): Promise<void> {
    while (!this.bytes.includes(text)) await once(this.#stream, "data");
  }
}

describe("a WebSocket by HTTP/2", () => {
  test("is offered, opens by one action, and is HTTP/1.1's to the upstream", async () => {
    expect(client.session.remoteSettings.enableConnectProtocol).toBe(true);
    const stream = ask("/ok", { "sec-websocket-extensions": "permessage-deflate" });
    const opened = await head(stream);
    expect(opened).toMatchObject({ ":status": 200, "sec-websocket-protocol": "chat" });
    expect(opened).not.toHaveProperty("sec-websocket-accept");
    expect(upstream.heard[0]).toMatch(/^GET \/ok HTTP\/1\.1\r\nHost: 127\.0\.0\.1:/);
    expect(upstream.heard[0]).toContain("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    expect(upstream.heard[0]).not.toContain("deflate");

    const heard = new Heard(stream);
    stream.write(Buffer.concat([masked("ab", 0x01), masked("c", 0x80), masked("d")]));
    await expect.poll(() => upstream.heard[0]?.endsWith("d")).toBe(true);
    up.write(plain("hello"));
    await heard.until("hello");
    stream.write(masked("", 0x88));
    await expect.poll(() => upstream.heard[0]?.endsWith("\x88\x80\0\0\0\0")).toBe(true);
    up.end(plain("", 0x88));
    await once(stream, "close");
    await rig.ledger.receipts(1);
    const [closed] = rig.ledger.closed;
    expect(closed).toMatchObject({
      verdict: "COMPLETED",
      draft: { claim: { protocol: "HTTP", verb: "GET", path: "/ok" }, listens: true },
    });
    expect(ActionBody.decode(closed?.action as Uint8Array)).toMatchObject({
      messages: 2,
      bodySha256: sha256("abcd"),
    });
    expect(OutcomeBody.decode(closed?.outcome as Uint8Array)).toMatchObject({
      status: "http 101",
      messages: 1,
      bodySha256: sha256("hello"),
    });
  });

  test("that is in no scope is refused with its receipt, and nobody is dialled", async () => {
    const refused = await head(ask("/secret"));
    expect(refused).toMatchObject({ ":status": 403, "dragons-receipt": "rcp_denial_1" });
    expect(upstream.heard).toEqual([]);
  });

  test.each([
    ["another protocol", { ":protocol": "connect-udp" }],
    ["another version", { "sec-websocket-version": "8" }],
  ])("is what is meant: %s is refused, with the reason", async (_, more) => {
    const stream = ask("/ok", more);
    const heard = new Heard(stream);
    await head(stream);
    await heard.until("}");
    expect(JSON.parse(heard.bytes.toString())).toMatchObject({ title: "PROTOCOL_UNSUPPORTED" });
    expect(upstream.heard).toEqual([]);
  });

  test("leads to no MCP server, whose rules are others", async () => {
    const target = `127.0.0.1:${upstream.port}`;
    rig.servers.push({ name: "tracker", scheme: "HTTP", target, path: "/ok" });
    expect(await head(ask("/ok"))).toMatchObject({ ":status": 501 });
    expect(upstream.heard).toEqual([]);
  });

  test("is not open by an answer that only looks like success", async () => {
    answer = () => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    expect(await head(ask("/ok"))).toMatchObject({ ":status": 502 });
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("that its upstream refuses is refused as by that", async () => {
    answer = () => "HTTP/1.1 401 Unauthorized\r\nX-Why: no key\r\nContent-Length: 0\r\n\r\n";
    expect(await head(ask("/ok"))).toMatchObject({ ":status": 401, "x-why": "no key" });
  });

  test("has one key, which the agent does not choose", async () => {
    await head(ask("/ok", { "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" }));
    expect(upstream.heard[0]?.match(/sec-websocket-key: /gi)).toHaveLength(1);
    expect(upstream.heard[0]).not.toContain("dGhlIHNhbXBsZSBub25jZQ==");
  });

  test("that leave is taken back from ends between two messages, and both ends are told", async () => {
    const stream = ask("/ok");
    await head(stream);
    const heard = new Heard(stream);
    up.write(plain("half", 0x01));
    await heard.until("half");
    rig.authority.revoke();
    stream.write(masked("never"));
    up.write(Buffer.concat([plain(" whole", 0x80), plain("next")]));
    await once(stream, "close");
    const said = "\x88\x15\x03\xf0LEASE_REVOKED rcp_1";
    expect(heard.bytes.toString("latin1").endsWith(`half\x80\x06 whole${said}`)).toBe(true);
    await expect.poll(() => upstream.heard[0]?.slice(-8, -6)).toBe("\x88\x82");
    expect(upstream.heard[0]).not.toContain("never");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });

  test("that its agent resets is no success, and ends at the upstream", async () => {
    const stream = ask("/ok");
    await head(stream);
    stream.destroy();
    await upstream.gone[0];
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "CLIENT_CANCELLED" }]);
  });

  test("holds back an upstream that its agent does not read", async () => {
    const stream = ask("/ok");
    await head(stream);
    const payload = Buffer.alloc(65_000, "x");
    const frame = Buffer.concat([
      Buffer.of(0x82, 126, payload.length >> 8, payload.length & 0xff),
      payload,
    ]);
    const FRAMES = 400;
    let sent = 0;
    const more = (): void => {
      while (sent < FRAMES) {
        sent++;
        if (!up.write(frame)) {
          up.once("drain", more);
          return;
        }
      }
    };
    more();
    // Whatever the kernel's buffers take, it is far from all of it.
    let before = -1;
    await expect
      .poll(
        () => {
          const same = before === sent;
          before = sent;
          return same;
        },
        { interval: 200, timeout: 5000 },
      )
      .toBe(true);
    expect(sent).toBeLessThan(FRAMES);
    let read = 0;
    stream.on("data", (chunk: Buffer) => {
      read += chunk.length;
    });
    while (read < FRAMES * frame.length) await once(stream, "data");
    expect([sent, read]).toEqual([FRAMES, FRAMES * frame.length]);
  });
});

test.skipIf(lacks("chromium"))(
  "a browser opens its WebSocket on the connection that it has, and hears what is said there",
  async () => {
    const times = { nowUs: Date.now() * 1000, ttlUs: 60 * MINUTE_US };
    const ca = await createCa("Upstreams", times);
    const leaf = await issueServer(ca, ["localhost"], times);
    const https = createServer({ cert: leaf.certPem, key: leaf.keyPem }, (_, response) => {
      response.setHeader("Content-Type", "text/html");
      response.end("<p>page");
    });
    let fields: string[] = [];
    https.on("upgrade", ({ rawHeaders, headers }, socket) => {
      fields = rawHeaders;
      socket.write(switching(`\r\nSec-WebSocket-Key: ${headers["sec-websocket-key"]}\r\n`));
      socket.write(plain("hello"));
      socket.on("error", () => socket.destroy());
      // Its close frame is answered with ours.
      socket.once("data", () => socket.end(plain("", 0x88)));
    });
    https.listen(0, "127.0.0.1");
    await once(https, "listening");
    const place = `localhost:${(https.address() as AddressInfo).port}/ok`;
    const mine = await openRig({ upstreamCa: ca.certPem });
    const { browser, close } = await startChromium();
    const { host, port } = mine.stack.proxyAddress;
    const context = await browser.newContext({
      ignoreHTTPSErrors: true,
      proxy: {
        server: `http://${host}:${port}`,
        username: "agent",
        password: CREDENTIAL,
        bypass: "<-loopback>",
      },
    });
    const page = await context.newPage();
    await page.goto(`https://${place}`);
    const heard = await page.evaluate(async (url) => {
      const socket = new WebSocket(url, "chat");
      const { data } = await new Promise<{ data: unknown }>((resolve, reject) => {
        socket.onmessage = resolve;
        socket.onerror = () => reject(new Error("the WebSocket failed"));
      });
      socket.close(1000);
      await new Promise((resolve) => {
        socket.onclose = resolve;
      });
      return data;
    }, `wss://${place}`);
    expect(heard).toBe("hello");
    // In small letters, as HTTP/2 has them.
    expect(fields).toContain("sec-websocket-version");
    await mine.ledger.receipts(2);
    expect(mine.ledger.closed.at(-1)).toMatchObject({
      verdict: "COMPLETED",
      draft: { claim: { protocol: "HTTP", scheme: "HTTPS", verb: "GET", path: "/ok" } },
    });
    await close();
    await mine.close();
    https.closeAllConnections();
    https.close();
  },
  60_000,
);

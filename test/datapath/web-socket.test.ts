import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UNLIMITED } from "../../src/domain/grant.ts";
import { ActionBody, OutcomeBody } from "../../src/domain/payload.ts";
import { leaseFrom, openRig, type Rig } from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
/** The answer to that key in RFC 6455, §1.3. */
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const SWITCH = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n`;

let rig: Rig;
let upstream: SocketUpstream;
let wire: Wire;
let up: Socket;
let switched: string;

beforeEach(async () => {
  switched = `${SWITCH}\r\n`;
  upstream = await socketUpstream((socket, heard) => {
    up = socket;
    if (heard.endsWith("\r\n\r\n")) socket.write(switched);
  });
  rig = await openRig();
  wire = await Wire.open(rig);
});
afterEach(async () => {
  wire.close();
  await rig.close();
  upstream.close();
});

const host = () => `127.0.0.1:${upstream.port}`;
const opening = (more = "") =>
  `GET http://${host()}/ok HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}\r\n`;

/** As a client sends it, with a mask of zeros. */
const masked = (text: string, first = 0x81) =>
  Buffer.concat([Buffer.of(first, 0x80 | text.length, 0, 0, 0, 0), Buffer.from(text)]);
const plain = (text: string, first = 0x81) =>
  Buffer.concat([Buffer.of(first, text.length), Buffer.from(text)]);

const open = async () => {
  wire.say(opening());
  await wire.hears(/\r\n\r\n$/);
};
const sha256 = (text: string) => new Uint8Array(createHash("sha256").update(text).digest());

describe("a WebSocket", () => {
  test("opens by one action, and its messages are counted and digested both ways", async () => {
    await open();
    expect(wire.heard).toMatch(/^HTTP\/1.1 101 Switching Protocols\r\n/);
    wire.say(Buffer.concat([masked("ab", 0x01), masked("c", 0x80), masked("d")]));
    await expect.poll(() => upstream.heard[0]).toContain("abcd".slice(3));
    up.write(plain("hello"));
    await wire.hears(/hello$/);
    wire.say(masked("", 0x88));
    await expect.poll(() => upstream.heard[0]?.endsWith("\x88\x80\0\0\0\0")).toBe(true);
    up.end(plain("", 0x88));
    await wire.all();
    await rig.ledger.receipts(1);
    const [closed] = rig.ledger.closed;
    expect(closed).toMatchObject({ verdict: "COMPLETED", draft: { listens: true } });
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

  test("agrees on no compression, so that messages can be seen", async () => {
    wire.say(opening("Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    await wire.hears(/\r\n\r\n$/);
    expect(upstream.heard[0]).not.toContain("deflate");
    expect(upstream.heard[0]).toContain("Connection: Upgrade\r\nUpgrade: websocket\r\n");
  });

  test.each([
    ["another key's", SWITCH.replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
    ["one with an extension", `${SWITCH}Sec-WebSocket-Extensions: permessage-deflate\r\n`],
    ["one to another protocol", SWITCH.replace("websocket", "h2c")],
  ])("is not switched to by an answer that is %s", async (_, said) => {
    switched = `${said}\r\n`;
    wire.say(opening());
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 502 UPSTREAM_FAILED\r\n/);
  });

  test("that leave is taken back from ends between two messages, and both ends are told", async () => {
    await open();
    up.write(plain("half", 0x01));
    await wire.hears(/half$/);
    rig.authority.revoke();
    wire.say(masked("never"));
    up.write(Buffer.concat([plain(" whole", 0x80), plain("next")]));
    const text = await wire.all();
    const said = "\x88\x15\x03\xf0LEASE_REVOKED rcp_1";
    expect(text.endsWith(`half\x80\x06 whole${said}`)).toBe(true);
    await expect.poll(() => upstream.heard[0]?.slice(-8, -6)).toBe("\x88\x82");
    expect(upstream.heard[0]).not.toContain("never");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });

  test("that is cut within a frame hears nothing more: our own would be taken for its rest", async () => {
    const limits = { maxActions: UNLIMITED, ratePerMinute: UNLIMITED, maxConcurrent: UNLIMITED };
    const scopes = [{ name: "use:echo", limits: { ...limits, maxBytes: 4 } }];
    rig.authority.adopt(leaseFrom(Date.now() * 1000, { leaseSeq: 2, scopes }));
    await open();
    const frame = plain("halfrest");
    up.write(frame.subarray(0, 6));
    await wire.hears(/half$/);
    up.write(frame.subarray(6));
    expect(await wire.all()).toMatch(/half$/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LIMIT_SPENT" }]);
  });

  test("is cut in the middle of a message that does not go on", async () => {
    await open();
    up.write(plain("half", 0x01));
    await wire.hears(/half$/);
    rig.authority.revoke();
    await wire.all();
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });

  test.each([
    ["the agent", "FRAMING_INVALID", () => wire.say(plain("not masked"))],
    ["the upstream", "UPSTREAM_FAILED", () => void up.write(masked("masked"))],
  ])("ends at a malformed frame of %s", async (_, reason, say) => {
    await open();
    say();
    await wire.all();
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason }]);
    expect(upstream.heard[0]).not.toContain("not masked");
  });

  test("that just breaks is no success", async () => {
    await open();
    up.destroy();
    await wire.all();
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });
});

describe("what is no WebSocket", () => {
  test.each([
    [
      "h2c",
      "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ],
    ["a WebSocket by POST", "Connection: Upgrade\r\nUpgrade: websocket\r\n"],
    [
      "a WebSocket with a body",
      `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nContent-Length: 0\r\n`,
    ],
    ["a choice of two", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"],
  ])("%s is not asked for", async (_, more) => {
    switched = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    const method = /HTTP2|Key/.test(more) ? "GET" : "POST";
    wire.say(
      `${method} http://${host()}/ok HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}${more}\r\n`,
    );
    await wire.hears(/hi$/);
    expect(upstream.heard[0]).not.toMatch(/upgrade|http2/i);
  });

  test("a 101 that nobody asked for is a failure of the upstream", async () => {
    wire.say(`GET http://${host()}/ok HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}\r\n`);
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 502 UPSTREAM_FAILED\r\n/);
  });
});

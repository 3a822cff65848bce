import { once } from "node:events";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { field, openRig, RawClient, type Rig } from "./harness.ts";
import { type SocketUpstream, socketUpstream } from "./http-client.ts";

/** HTTP/2 that is not gRPC: the same actions, and HTTP/1.1 to the upstream. */
let rig: Rig;
let upstream: SocketUpstream;
let client: RawClient;
let answer: (socket: Socket, heard: string) => void;

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nhi";

beforeEach(async () => {
  answer = (socket, heard) => {
    if (heard.endsWith("\r\n\r\n")) socket.write(OK);
  };
  upstream = await socketUpstream((socket, heard) => answer(socket, heard));
  rig = await openRig();
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

const PLAIN = ["content-type", "text/plain"];
const get = (path: string, more: string[] = []) => {
  const { stream, closed } = client.start(path, [":method", "GET", ...PLAIN, ...more]);
  stream.end();
  return closed;
};

describe("an HTTP/2 request that is not gRPC", () => {
  test("is one action, sent on as HTTP/1.1 as it was judged", async () => {
    const seen = await get("//ok/./x?q=1", [
      "cookie",
      "a=1",
      "cookie",
      "b=2",
      "x-a",
      "1",
      "x-a",
      "2",
    ]);
    expect(seen.head.slice(0, 2)).toEqual([":status", "200"]);
    expect(seen.head.filter((_, i) => seen.head[i - 1] === "x-twice")).toEqual(["1", "2"]);
    expect(seen.body.toString()).toBe("hi");
    const host = `127.0.0.1:${upstream.port}`;
    expect(upstream.heard).toEqual([
      `GET /ok/x?q=1 HTTP/1.1\r\nHost: ${host}\r\ncontent-type: text/plain\r\nx-a: 1\r\nx-a: 2\r\ncookie: a=1; b=2\r\nConnection: TE\r\nTE: trailers\r\n\r\n`,
    ]);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([
      { verdict: "COMPLETED", draft: { claim: { protocol: "HTTP", verb: "GET", path: "/ok/x" } } },
    ]);
  });

  test("is refused as problem+json, with its receipt", async () => {
    const seen = await client.call("/secret", Buffer.from("body"), PLAIN);
    expect(field(seen.head, ":status")).toBe("403");
    expect(field(seen.head, "dragons-receipt")).toBe("rcp_denial_1");
    expect(JSON.parse(seen.body.toString())).toMatchObject({ title: "SCOPE_NOT_GRANTED" });
    expect(upstream.heard).toEqual([]);
  });

  test("streams its body and the answer's, with trailers both ways", async () => {
    answer = (socket, heard) => {
      if (!heard.endsWith("x-sum: 3\r\n\r\n")) return;
      socket.write(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Out: 1\r\n\r\n",
      );
    };
    const options = { waitForTrailers: true };
    const { stream, closed } = client.start("/ok", [":method", "PUT", ...PLAIN], options);
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "3" }));
    stream.end("xyz");
    const seen = await closed;
    expect(seen.body.toString()).toBe("abc");
    expect(seen.trailers).toEqual(["x-out", "1"]);
    expect(upstream.heard[0]).toContain("Transfer-Encoding: chunked\r\n");
    expect(upstream.heard[0]).toContain("3\r\nxyz\r\n0\r\nx-sum: 3\r\n\r\n");
  });

  test("holds back an upstream that its client does not read", async () => {
    let sent = 0;
    const piece = Buffer.alloc(65_536, "x");
    const PIECES = 400;
    answer = (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${PIECES * piece.length}\r\n\r\n`);
      const more = (): void => {
        while (sent < PIECES) {
          sent++;
          if (!socket.write(piece)) {
            socket.once("drain", more);
            return;
          }
        }
      };
      more();
    };
    const stream = client.session.request({
      ":path": "/ok",
      ":authority": `127.0.0.1:${upstream.port}`,
    });
    await once(stream, "response");
    await expect.poll(() => sent).toBeGreaterThan(0);
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
    expect(sent).toBeLessThan(PIECES);
    let bytes = 0;
    for await (const chunk of stream) bytes += chunk.length;
    expect(bytes).toBe(PIECES * piece.length);
  });

  test("ends upstream when its client resets it", async () => {
    answer = () => {};
    const { stream } = client.start("/ok", [":method", "POST", ...PLAIN]);
    stream.write("some");
    await expect.poll(() => upstream.heard[0] ?? "").toContain("some");
    stream.close(8);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "CLIENT_CANCELLED" }]);
  });

  test("whose upstream breaks off is reset, and does not look whole", async () => {
    answer = (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    const seen = await get("/ok");
    expect(seen.rstCode).not.toBe(0);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("HEAD has a length and no body", async () => {
    answer = (socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    const { stream, closed } = client.start("/ok", [":method", "HEAD", ...PLAIN]);
    stream.end();
    const seen = await closed;
    expect(field(seen.head, "content-length")).toBe("500");
    expect(seen.body.length).toBe(0);
  });

  test.each([
    [[":scheme", "https"], "AUTHORITY_MISMATCH"],
    [[":authority", "evil.example"], "AUTHORITY_MISMATCH"],
    [["host", "evil.example"], "AUTHORITY_MISMATCH"],
    [[":method", "GET /x HTTP/1.1"], "REQUEST_NOT_NORMAL"],
    [[":path", "/ok/../../x"], "REQUEST_NOT_NORMAL"],
    [[":path", "/ok%00"], "REQUEST_NOT_NORMAL"],
    [["content_length", "4"], "REQUEST_NOT_NORMAL"],
  ])("with %j is %s", async (fields, reason) => {
    const seen = await client.call("/ok", Buffer.alloc(0), [...PLAIN, ...fields]);
    expect(JSON.parse(seen.body.toString())).toMatchObject({ title: reason });
    expect(upstream.heard).toEqual([]);
  });

  test("is cut with its lease", async () => {
    answer = (socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    const closed = get("/ok");
    await expect.poll(() => upstream.heard.length).toBe(1);
    await expect.poll(() => rig.ledger.opened.length).toBe(1);
    rig.authority.revoke();
    const seen = await closed;
    expect(seen.ended && seen.rstCode === 0 && field(seen.head, ":status") === "200").toBe(false);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });
});

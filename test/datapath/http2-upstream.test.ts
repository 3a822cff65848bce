import { once } from "node:events";
import http2, {
  type ClientHttp2Session,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { connect as connectTls, createServer } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ActionBody, EvidenceBody, OutcomeBody } from "../../src/domain/payload.ts";
import { type CertificateAuthority, createCa, issueServer } from "../../src/native/pki.ts";
import { MINUTE_US, openRig, type Rig, tunnel } from "./harness.ts";

/** An agent that agreed on HTTP/2 has its upstream spoken to by HTTP/2, where that offers it. */

const nowUs = Date.now() * 1000;
let rig: Rig;
let ca: CertificateAuthority;
let server: Http2SecureServer | ReturnType<typeof createServer>;
let sessions: http2.ServerHttp2Session[];
let client: ClientHttp2Session | null;

beforeEach(async () => {
  sessions = [];
  client = null;
  ca = await createCa("Upstreams", { nowUs, ttlUs: 60 * MINUTE_US });
  rig = await openRig({ upstreamCa: ca.certPem });
});
afterEach(async () => {
  client?.destroy();
  for (const session of sessions) session.destroy();
  server.close();
  await rig.close();
});

const certificate = async () => {
  const leaf = await issueServer(ca, ["localhost"], { nowUs, ttlUs: MINUTE_US });
  return { cert: leaf.certPem, key: leaf.keyPem };
};

/** An upstream that speaks HTTP/2 and nothing else. */
async function serve(
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  settings: http2.Settings = {},
): Promise<string> {
  const h2 = http2.createSecureServer({ ...(await certificate()), settings });
  h2.on("session", (session) => sessions.push(session));
  h2.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    onStream(stream, headers);
  });
  server = h2;
  h2.listen(0, "127.0.0.1");
  await once(h2, "listening");
  return `localhost:${(h2.address() as AddressInfo).port}`;
}

/** An agent that speaks HTTP/2 by TLS inside of a tunnel. */
async function agent(target: string): Promise<ClientHttp2Session> {
  const socket = await tunnel(rig.stack.proxyAddress.port, target);
  const createConnection = () =>
    connectTls({ socket, servername: "localhost", ca: rig.ca.certPem, ALPNProtocols: ["h2"] });
  client = http2.connect(`https://${target}`, { createConnection });
  client.on("error", () => {});
  return client;
}

async function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string) {
  const stream = session.request(headers, { endStream: body === undefined });
  let trailers: IncomingHttpHeaders = {};
  const informed: unknown[] = [];
  stream.on("headers", (h) => informed.push(h[":status"]));
  stream.on("trailers", (t) => {
    trailers = t;
  });
  if (body !== undefined) stream.end(body);
  const [head] = (await once(stream, "response")) as [IncomingHttpHeaders];
  let text = "";
  for await (const piece of stream) text += piece;
  return { head, text, trailers, informed, code: stream.rstCode };
}

describe("an upstream that offers HTTP/2", () => {
  test("is spoken to by it, on one connection, and sees the request that was judged", async () => {
    const seen: IncomingHttpHeaders[] = [];
    const target = await serve((stream, headers) => {
      seen.push(headers);
      stream.respond({ ":status": 200, "x-a": ["1", "2"], "alt-svc": 'h3=":443"' });
      stream.end(`${headers[":method"]} ${headers[":path"]}`);
    });
    const session = await agent(target);
    const answers = await Promise.all([
      ask(session, { ":path": "//ok/./a?q=1", cookie: ["a=1", "b=2"], "x-b": "c" }),
      ask(session, { ":path": "/ok", ":method": "DELETE" }),
    ]);
    expect(answers.map((a) => a.text).sort()).toEqual(["DELETE /ok", "GET /ok/a?q=1"]);
    expect(answers[0]?.head).toMatchObject({ ":status": 200, "x-a": "1, 2" });
    expect(answers[0]?.head["alt-svc"]).toBeUndefined();
    const get = seen.find((headers) => headers[":method"] === "GET");
    expect(get).toMatchObject({
      ":authority": target,
      ":scheme": "https",
      cookie: "a=1; b=2",
      "x-b": "c",
    });
    expect(get).not.toHaveProperty("host");
    expect(get).not.toHaveProperty("connection");
    expect(sessions).toHaveLength(1);
    await rig.ledger.receipts(2);
    const closing = rig.ledger.closed.find((c) => c.draft.claim.verb === "GET");
    expect(closing).toMatchObject({
      verdict: "COMPLETED",
      draft: { claim: { protocol: "HTTP", target, path: "/ok/a", scheme: "HTTPS" } },
    });
    const evidence = EvidenceBody.decode(closing?.evidence as Uint8Array);
    expect(evidence.dialled).toBe(`127.0.0.1:${target.split(":")[1]}`);
    expect(evidence.peerCertificate).toHaveLength(32);
  });

  test("passes bodies both ways with their trailers, and what it says before its answer", async () => {
    const target = await serve((stream) => {
      stream.additionalHeaders({ ":status": 103, link: "</a>" });
      let said = "";
      let sum: unknown;
      stream.on("trailers", (t) => {
        sum = t["x-sum"];
      });
      stream.on("data", (piece: Buffer) => {
        said += piece.toString();
      });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-said": String(sum) }));
      stream.on("end", () => {
        stream.respond({ ":status": 201 }, { waitForTrailers: true });
        stream.end(said.toUpperCase());
      });
    });
    const session = await agent(target);
    const stream = session.request(
      { ":path": "/ok", ":method": "PUT" },
      { waitForTrailers: true, endStream: false },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "3" }));
    const early = once(stream, "headers");
    const answer = once(stream, "response");
    stream.end("x".repeat(300_000));
    let trailers: IncomingHttpHeaders = {};
    stream.on("trailers", (t) => {
      trailers = t;
    });
    expect((await early)[0]).toMatchObject({ ":status": 103, link: "</a>" });
    expect((await answer)[0]).toMatchObject({ ":status": 201 });
    let text = "";
    for await (const piece of stream) text += piece;
    expect(text).toBe("X".repeat(300_000));
    expect(trailers["x-said"]).toBe("3");
    await rig.ledger.receipts(1);
    const [closing] = rig.ledger.closed as [(typeof rig.ledger.closed)[0]];
    expect(ActionBody.decode(closing.action).bodyBytes).toBe(300_000);
    expect(OutcomeBody.decode(closing.outcome)).toMatchObject({
      status: "http 201",
      bodyBytes: 300_000,
      trailerNames: ["x-said"],
    });
  });

  test.each([
    ["HEAD", 200, { "content-length": "5" }],
    ["GET", 204, {}],
    ["GET", 304, { etag: '"a"' }],
  ])("answers %s with %d and no body", async (method, status, fields) => {
    const target = await serve((stream) => {
      stream.respond({ ":status": status, ...fields }, { endStream: true });
    });
    const { head, text, code } = await ask(await agent(target), {
      ":path": "/ok",
      ":method": method,
    });
    expect(head).toMatchObject({ ":status": status, ...fields });
    expect([text, code]).toEqual(["", 0]);
  });

  test("that breaks off within its answer is seen to, and told", async () => {
    const target = await serve((stream) => {
      stream.respond({ ":status": 200 });
      stream.write("half", () => stream.session?.destroy());
    });
    const session = await agent(target);
    await expect(ask(session, { ":path": "/ok" })).rejects.toThrow(/INTERNAL_ERROR/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("that resets what it does not want to read has answered all the same", async () => {
    const target = await serve((stream) => {
      stream.respond({ ":status": 413 });
      stream.end("too much", () => stream.close(http2.constants.NGHTTP2_NO_ERROR));
    });
    const session = await agent(target);
    const stream = session.request({ ":path": "/ok", ":method": "POST" });
    stream.on("error", () => {});
    stream.write("more is to come");
    const [head] = (await once(stream, "response")) as [IncomingHttpHeaders];
    expect(head[":status"]).toBe(413);
    let text = "";
    stream.on("data", (piece) => {
      text += piece;
    });
    await once(stream, "close");
    expect(text).toBe("too much");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
    expect(OutcomeBody.decode(rig.ledger.closed[0]?.outcome as Uint8Array).status).toBe("http 413");
  });

  test("that takes one request at a time is asked by more connections, and no more than it must", async () => {
    const held: ServerHttp2Stream[] = [];
    let full = (): void => {};
    const two = new Promise<void>((resolve) => {
      full = resolve;
    });
    const target = await serve(
      (stream) => {
        held.push(stream);
        if (held.length === 2) full();
      },
      { maxConcurrentStreams: 1 },
    );
    const session = await agent(target);
    const asked = [ask(session, { ":path": "/ok" }), ask(session, { ":path": "/ok" })];
    await two;
    for (const stream of held) {
      stream.respond({ ":status": 200 });
      stream.end("done");
    }
    expect((await Promise.all(asked)).map((a) => a.text)).toEqual(["done", "done"]);
    expect(sessions).toHaveLength(2);
  });

  test("that reads nothing holds its agent back, and nothing waiting leaves once leave is gone", async () => {
    let heard = 0;
    let reading = (_stream: ServerHttp2Stream): void => {};
    const reached = new Promise<ServerHttp2Stream>((resolve) => {
      reading = resolve;
    });
    const target = await serve((stream) => reading(stream));
    const session = await agent(target);
    const stream = session.request({ ":path": "/ok", ":method": "POST" });
    stream.on("error", () => {});
    const piece = Buffer.alloc(16_384);
    let taken = 0;
    const say = (): void => {
      while (taken < 400 && stream.write(piece)) taken++;
      if (taken < 400) stream.once("drain", say);
    };
    say();
    const up = await reached;
    // Nothing moves any more once every window is full; what it is told then is all that had left.
    rig.gate.cutAll("LEASE_REVOKED", "taken back");
    up.on("data", (chunk: Buffer) => {
      heard += chunk.length;
    });
    await once(up, "close");
    expect(taken).toBeLessThan(400);
    expect(heard).toBeLessThan(400 * piece.length);
    await rig.ledger.receipts(1);
    const [closing] = rig.ledger.closed as [(typeof rig.ledger.closed)[0]];
    expect(closing).toMatchObject({ verdict: "CUT", reason: "LEASE_REVOKED" });
    expect(up.rstCode).toBe(http2.constants.NGHTTP2_CANCEL);
  });
});

test("an MCP server that speaks HTTP/2 is asked by it, and what it asks is answered", async () => {
  const call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}';
  const result = '{"jsonrpc":"2.0","id":1,"result":{"content":[]}}';
  const asks = '{"jsonrpc":"2.0","id":9,"method":"roots/list"}';
  const heard: string[] = [];
  let calling: ServerHttp2Stream | null = null;
  const target = await serve((stream) => {
    let body = "";
    stream.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    stream.on("end", () => {
      heard.push(body);
      if (body === call) {
        calling = stream;
        stream.respond({ ":status": 200, "content-type": "text/event-stream" });
        stream.write(`data: ${asks}\n\n`);
      } else {
        stream.respond({ ":status": 202 }, { endStream: true });
        calling?.end(`data: ${result}\n\n`);
      }
    });
  });
  rig.servers.push({ name: "tracker", scheme: "HTTPS", target, path: "/mcp" });
  const headers = { ":path": "/mcp", ":method": "POST", "content-type": "application/json" };
  const { head, text } = await ask(await agent(target), headers, call);
  expect([head[":status"], text]).toEqual([200, `data: ${result}\n\n`]);
  expect(heard).toEqual([call, expect.stringContaining('"id":9,"error":{"code":-31403')]);
  expect(sessions).toHaveLength(1);
  await rig.ledger.receipts(2);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
});

test("an upstream without HTTP/2 is asked for it once, and spoken to by HTTP/1.1", async () => {
  let connections = 0;
  server = createServer({ ...(await certificate()), ALPNProtocols: ["http/1.1"] }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  });
  server.on("connection", () => connections++);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const target = `localhost:${(server.address() as AddressInfo).port}`;
  const session = await agent(target);
  for (let n = 0; n < 3; n++) {
    expect((await ask(session, { ":path": "/ok" })).text).toBe("hi");
  }
  // One to find out, and one that was kept.
  expect(connections).toBe(2);
});

test("an agent that speaks HTTP/1.1 has HTTP/1.1 spoken to its upstream", async () => {
  const seen: string[] = [];
  const h2 = http2.createSecureServer({ ...(await certificate()), allowHTTP1: true });
  h2.on("request", (request, response) => {
    seen.push(request.httpVersion);
    response.end("hi");
  });
  server = h2;
  h2.listen(0, "127.0.0.1");
  await once(h2, "listening");
  const target = `localhost:${(h2.address() as AddressInfo).port}`;
  const socket = await tunnel(rig.stack.proxyAddress.port, target);
  const secure = connectTls({ socket, servername: "localhost", ca: rig.ca.certPem });
  await once(secure, "secureConnect");
  secure.write(`GET /ok HTTP/1.1\r\nHost: ${target}\r\nConnection: close\r\n\r\n`);
  let text = "";
  for await (const piece of secure) text += piece;
  expect(text).toMatch(/^HTTP\/1.1 200 OK[\s\S]*hi/);
  expect(seen).toEqual(["1.1"]);
});

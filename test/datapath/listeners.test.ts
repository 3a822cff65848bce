import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ManualClock, systemClock } from "../../src/native/clock.ts";
import {
  CREDENTIAL,
  field,
  framed,
  openRig,
  RawClient,
  type Rig,
  rawUpstream,
  tunnel,
} from "./harness.ts";

const HI = framed(Buffer.from("hi"));
let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;

beforeEach(async () => {
  upstream = await rawUpstream((s) => {
    s.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
    s.on("data", (c) => s.write(c));
    s.on("end", () => s.end());
  });
  rig = await openRig();
});
afterEach(async () => {
  await rig.close();
  upstream.close();
});

/** Everything that comes back for some bytes, and whether it ended in a reset. */
async function say(bytes: string | Buffer, at?: Socket): Promise<{ text: string; reset: boolean }> {
  const socket = at ?? connect(rig.stack.proxyAddress.port, "127.0.0.1");
  let text = "";
  let reset = false;
  socket.on("data", (c) => {
    text += c;
  });
  socket.on("error", (e: NodeJS.ErrnoException) => {
    reset = e.code === "ECONNRESET";
  });
  socket.write(bytes);
  await new Promise((closed) => socket.once("close", closed));
  return { text, reset };
}

describe("a caller", () => {
  test.each([
    ["with a wrong credential", "guessed"],
    ["with one that only begins right", CREDENTIAL.slice(0, -1)],
  ])("%s gets its tunnel, and every call inside refused UNAUTHENTICATED", async (_, credential) => {
    const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`, credential);
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "grpc-status")).toBe("16");
    expect(field(seen.head, "grpc-message")).toContain("CALLER_UNIDENTIFIED");
    expect(rig.ledger.recorded).toMatchObject([{ reason: "CALLER_UNIDENTIFIED" }]);
    client.close();
  });

  test("without a credential is asked for one, since many clients wait for that", async () => {
    const { text } = await say("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    expect(text).toMatch(/^HTTP\/1.1 407 CALLER_UNIDENTIFIED\r\n/);
    expect(text).toContain('proxy-authenticate: Basic realm="dragons"\r\n');
    expect(rig.ledger.recorded).toMatchObject([{ reason: "CALLER_UNIDENTIFIED" }]);
  });

  test("that speaks HTTP/2 to the port itself is not known either", async () => {
    const socket = connect(rig.stack.proxyAddress.port, "127.0.0.1");
    const client = new RawClient(socket, `127.0.0.1:${upstream.port}`);
    expect(field((await client.call("/test.Echo/Unary", HI)).head, "grpc-status")).toBe("16");
    client.close();
  });

  test("whose tunnel is to no host and port is refused inside it", async () => {
    const client = await RawClient.open(rig, "nowhere:0");
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "grpc-message")).toContain("REQUEST_NOT_NORMAL");
    client.close();
  });
});

describe("one port", () => {
  const basic = Buffer.from(`d:${CREDENTIAL}`).toString("base64");

  test("answers plain HTTP/1 with problem+json and a receipt", async () => {
    const { text } = await say(
      `GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nProxy-Authorization: Basic ${basic}\r\n\r\n`,
    );
    expect(text).toMatch(/^HTTP\/1.1 403 /);
    expect(text).toContain("application/problem+json");
    expect(text).toContain("dragons-receipt: rcp_denial_1");
    expect(rig.ledger.recorded).toMatchObject([{ reason: "SCOPE_NOT_GRANTED" }]);
  });

  test("answers malformed HTTP/1 with 400 and a receipt", async () => {
    const { text } = await say("GET / HTTP/9.9\r\n\r\n");
    expect(text).toMatch(/^HTTP\/1.1 400 /);
    expect(rig.ledger.recorded).toMatchObject([{ reason: "REQUEST_NOT_NORMAL" }]);
  });

  test("asks a stranger's HTTP/1 for its credential", async () => {
    const { text } = await say("GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\n\r\n");
    expect(text).toMatch(/^HTTP\/1.1 407 /);
    expect(text.toLowerCase()).toContain("proxy-authenticate: basic");
    expect(rig.ledger.recorded).toMatchObject([{ reason: "CALLER_UNIDENTIFIED" }]);
  });

  test.each([
    ["binary noise", Buffer.from([0, 1, 2, 3, 4, 5, 6, 7])],
    ["an SSH greeting", Buffer.from("SSH-2.0-OpenSSH_9.2\r\n")],
    ["a TLS record of no version", Buffer.from([0x16, 9, 9, 0, 1, 0])],
  ])("resets %s, with a receipt", async (_, bytes) => {
    expect((await say(bytes)).reset).toBe(true);
    expect(rig.ledger.recorded).toMatchObject([{ reason: "PROTOCOL_UNSUPPORTED" }]);
  });

  test("resets garbage inside a tunnel too", async () => {
    const socket = await tunnel(rig.stack.proxyAddress.port, "db.example:5432");
    expect((await say(Buffer.from([0, 0, 0, 8, 4, 0xd2]), socket)).reset).toBe(true);
    expect(rig.ledger.recorded).toMatchObject([{ reason: "PROTOCOL_UNSUPPORTED" }]);
  });

  test("resets a connection that waits to be spoken to", async () => {
    await rig.close();
    const clock = new ManualClock(systemClock.nowUs());
    rig = await openRig({}, clock);
    const socket = await tunnel(rig.stack.proxyAddress.port, "mail.example:25");
    const reset = once(socket, "error");
    await expect
      .poll(() => {
        clock.advance(2_000_000);
        return rig.ledger.recorded.length;
      })
      .toBe(1);
    expect(((await reset)[0] as NodeJS.ErrnoException).code).toBe("ECONNRESET");
  });

  test("finds the protocol when its bytes come one by one", async () => {
    const socket = await tunnel(rig.stack.proxyAddress.port, `127.0.0.1:${upstream.port}`);
    const write = socket.write.bind(socket) as (b: Buffer) => boolean;
    let held: Buffer = Buffer.alloc(0);
    socket.write = ((b: Buffer) => {
      held = Buffer.concat([held, b]);
      return true;
    }) as typeof socket.write;
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for (const byte of preface) {
      write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    socket.write = write as typeof socket.write;
    // An empty SETTINGS frame; the sidecar's own comes back.
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer[3]).toBe(4);
    expect(held.length).toBe(0);
    socket.destroy();
  });

  test("refuses a tunnel inside a tunnel", async () => {
    const socket = await tunnel(rig.stack.proxyAddress.port, "a.example:80");
    const { text } = await say("CONNECT b.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n", socket);
    expect(text).toMatch(/^HTTP\/1.1 501 /);
    expect(rig.ledger.recorded).toMatchObject([{ reason: "PROTOCOL_UNSUPPORTED" }]);
  });

  test("lives through a broken TLS handshake", async () => {
    const socket = await tunnel(rig.stack.proxyAddress.port, "a.example:443");
    await say(Buffer.from("16030100050100000100", "hex"), socket);
    const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.trailers, "grpc-status")).toBe("0");
    client.close();
  });
});

test("a TLS server name other than the tunnel's is AUTHORITY_MISMATCH", async () => {
  const socket = await tunnel(rig.stack.proxyAddress.port, "payments.example:443");
  const secure = connectTls({
    socket,
    servername: "evil.example",
    ca: rig.ca.certPem,
    ALPNProtocols: ["h2"],
  });
  await once(secure, "secureConnect");
  const client = new RawClient(secure, "payments.example:443");
  const seen = await client.call("/test.Echo/Unary", HI);
  expect(field(seen.head, "grpc-message")).toContain("AUTHORITY_MISMATCH");
  expect(rig.ledger.opened).toEqual([]);
  client.close();
});

describe("a reverse route", () => {
  const routed = async (agentUid: number) => {
    await rig.close();
    const target = `127.0.0.1:${upstream.port}`;
    const listen = { host: "127.0.0.1", port: 0 };
    rig = await openRig({ agentUid, routes: [{ listen, scheme: "http", target }] });
    const socket = connect(rig.stack.routeAddresses[0]?.port ?? 0, "127.0.0.1");
    return new RawClient(socket, "whatever.example:1");
  };

  test("carries the agent's user's calls to its upstream, whatever authority they name", async () => {
    const client = await routed(process.getuid?.() ?? -1);
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.trailers, "grpc-status")).toBe("0");
    expect(rig.ledger.opened[0]?.claim.target).toBe(`127.0.0.1:${upstream.port}`);
    client.close();
  });

  test("refuses every other user's", async () => {
    const client = await routed(54_321);
    expect(field((await client.call("/test.Echo/Unary", HI)).head, "grpc-status")).toBe("16");
    client.close();
  });
});

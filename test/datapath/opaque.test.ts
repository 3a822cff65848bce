import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, type Socket } from "node:net";
import {
  type ConnectionOptions,
  connect,
  createServer,
  type Server,
  type TLSSocket,
} from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ClaimBody } from "../../src/domain/claim.ts";
import { ActionBody, EvidenceBody, OutcomeBody } from "../../src/domain/payload.ts";
import { native } from "../../src/native/crypto.ts";
import { type CertificateAuthority, createCa, issueServer } from "../../src/native/pki.ts";
import { leaseFrom, MINUTE_US, openRig, type Rig, tunnel } from "./harness.ts";
import { clientHello, type HelloParts } from "./hello.ts";
import { type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** TLS that the manifest names as opaque: passed on untouched, by explicit rule alone. */

const nowUs = Date.now() * 1000;
let rig: Rig;
let ca: CertificateAuthority;
let server: Server | null;
let raw: SocketUpstream | null;

beforeEach(async () => {
  ca = await createCa("A bank", { nowUs, ttlUs: 60 * MINUTE_US });
  rig = await openRig();
  server = null;
  raw = null;
});
afterEach(async () => {
  server?.close();
  raw?.close();
  await rig.close();
});

/** A server that asks for a client's certificate, and says back what it is told, and whom it sees. */
async function bank(): Promise<string> {
  const leaf = await issueServer(ca, ["localhost"], { nowUs, ttlUs: MINUTE_US });
  const options = {
    cert: leaf.certPem,
    key: leaf.keyPem,
    ca: ca.certPem,
    requestCert: true,
    rejectUnauthorized: false,
  };
  server = createServer(options, (socket) => {
    const who = String(socket.getPeerCertificate().subject?.CN ?? "nobody");
    socket.on("error", () => {});
    socket.on("data", (said: Buffer) => socket.end(`${who} says ${said.toString()}`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `localhost:${(server.address() as AddressInfo).port}`;
}

/** An upstream of bare bytes, which says so. */
async function bytes(answer = "answer"): Promise<string> {
  raw = await socketUpstream((socket) => socket.write(answer));
  return `localhost:${raw.port}`;
}

async function secure(target: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = await tunnel(rig.stack.proxyAddress.port, target);
  // It trusts the bank alone, and not its sidecar: as a client that pins does.
  const secured = connect({ socket, servername: "localhost", ca: ca.certPem, ...options });
  secured.on("error", () => {});
  await once(secured, "secureConnect");
  return secured;
}

async function said(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (piece) => {
    text += piece;
  });
  await once(socket, "end");
  return text;
}

/** A tunnel with these bytes in it. */
async function hello(target: string, parts: HelloParts = {}, more = ""): Promise<Wire> {
  const wire = new Wire(await tunnel(rig.stack.proxyAddress.port, target));
  wire.socket.write(Buffer.concat([clientHello(parts), Buffer.from(more)]));
  return wire;
}

const ALERT = "\x15\x03\x03\0\x02\x02\x31";

describe("a client that pins its server's certificate, and shows one of its own", () => {
  test("is carried, and the receipt says opaque", async () => {
    const target = await bank();
    rig.opaque.add(target);
    const own = await issueServer(ca, ["agent"], { nowUs, ttlUs: MINUTE_US });
    const socket = await secure(target, { cert: own.certPem, key: own.keyPem });
    socket.write("hello");
    expect(await said(socket)).toBe("agent says hello");
    socket.destroy();
    await rig.ledger.receipts(1);
    const [{ verdict, draft, ...closing }] = rig.ledger.closed as [(typeof rig.ledger.closed)[0]];
    expect(verdict).toBe("COMPLETED");
    const shown = { protocol: "OPAQUE", target, verb: "", path: "", scheme: "HTTPS" };
    expect(draft).toMatchObject({ claim: shown, listens: true });
    expect(ActionBody.decode(closing.action)).toMatchObject({ ...shown, headerNames: [] });
    expect(EvidenceBody.decode(closing.evidence).dialled).toBe(`127.0.0.1:${target.split(":")[1]}`);
    expect(OutcomeBody.decode(closing.outcome).status).toMatch(/^opaque: closed by the /);
  });

  test("cannot be carried where no rule says opaque: it sees the sidecar's certificate, and goes", async () => {
    const target = await bank();
    await expect(secure(target)).rejects.toThrow(/certificate/);
    expect(rig.ledger.opened).toEqual([]);
  });
});

test("bytes pass as they are, both ways, and are counted and digested", async () => {
  const target = await bytes("\x16\x03\x03 whatever");
  rig.opaque.add(target);
  const wire = await hello(target, {}, "\0\x01early");
  await wire.hears(/whatever$/);
  wire.socket.end();
  await rig.ledger.receipts(1);
  const sent = Buffer.concat([clientHello(), Buffer.from("\0\x01early")]);
  expect(Buffer.from(raw?.heard[0] ?? "", "latin1")).toEqual(sent);
  const [closing] = rig.ledger.closed as [(typeof rig.ledger.closed)[0]];
  expect(ActionBody.decode(closing.action)).toMatchObject({
    bodyBytes: sent.length,
    bodySha256: new Uint8Array(native.sha256(sent)),
    messages: 0,
  });
  expect(OutcomeBody.decode(closing.outcome)).toMatchObject({
    bodyBytes: 12,
    bodySha256: new Uint8Array(native.sha256(Buffer.from("\x16\x03\x03 whatever"))),
  });
});

describe("a hello is refused, and dials nothing,", () => {
  const refused = async (target: string, parts: HelloParts, reason: string) => {
    rig.opaque.add(target);
    const wire = await hello(target, parts);
    expect(await wire.all()).toBe(ALERT);
    await rig.ledger.receipts(1);
    const [{ claim, ...record }] = rig.ledger.recorded as [(typeof rig.ledger.recorded)[0]];
    expect(record).toMatchObject({ kind: "DENIAL", reason });
    expect(ClaimBody.decode(claim)).toMatchObject({ protocol: "OPAQUE", target });
    expect(raw?.heard).toEqual([]);
  };

  test.each<[string, HelloParts, string]>([
    ["that names another server", { serverName: "front.example" }, "AUTHORITY_MISMATCH"],
    ["that names no server", { serverName: null }, "AUTHORITY_MISMATCH"],
    ["that names one in no way that is one", { serverName: "a b" }, "AUTHORITY_MISMATCH"],
    ["that hides a name", { extensions: [[0xfe0d, Buffer.alloc(9)]] }, "REQUEST_NOT_NORMAL"],
    ["that offers no TLS from 1.2 on", { version: 0x0301 }, "REQUEST_NOT_NORMAL"],
  ])("%s", async (_, parts, reason) => {
    await refused(await bytes(), parts, reason);
  });

  test("that names a server where the tunnel is to an address", async () => {
    const [, port] = (await bytes()).split(":");
    await refused(`127.0.0.1:${port}`, { serverName: "localhost" }, "AUTHORITY_MISMATCH");
  });
});

test("an address is named by none, and judged as it is", async () => {
  const [, port] = (await bytes()).split(":");
  rig.opaque.add(`127.0.0.1:${port}`);
  const wire = await hello(`127.0.0.1:${port}`, { serverName: null });
  await wire.hears(/answer$/);
  wire.close();
});

test("a name is written in any case, and is the same", async () => {
  const target = await bytes();
  rig.opaque.add(target);
  const wire = await hello(target, { serverName: "LocalHost" });
  await wire.hears(/answer$/);
  wire.close();
});

test("without a lease nothing passes, and the client is told so", async () => {
  const target = await bytes();
  rig.opaque.add(target);
  rig.authority.set({ quarantined: true });
  expect(await (await hello(target)).all()).toBe(ALERT);
  expect(rig.ledger.recorded).toMatchObject([{ reason: "QUARANTINED" }]);
  expect(raw?.heard).toEqual([]);
});

test("an upstream that is not there is told, with a receipt", async () => {
  const target = await bytes();
  raw?.close();
  rig.opaque.add(target);
  expect(await (await hello(target)).all()).toBe(ALERT);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_UNREACHABLE" }]);
});

test("not a byte passes beyond max_bytes, either way", async () => {
  const target = await bytes("0123456789");
  rig.opaque.add(target);
  const sent = clientHello().length;
  const [scope] = leaseFrom(nowUs).body.scopes as [
    ReturnType<typeof leaseFrom>["body"]["scopes"][0],
  ];
  const limits = { ...scope.limits, maxBytes: sent + 12 };
  rig.authority.adopt(leaseFrom(nowUs, { leaseSeq: 2, scopes: [{ ...scope, limits }] }));
  const wire = await hello(target);
  await wire.hears(/9$/);
  wire.say("abc");
  await wire.all();
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([
    { verdict: "CUT", reason: "LIMIT_SPENT", spentBytes: sent + 10 },
  ]);
  expect(raw?.heard[0]).toHaveLength(sent);
});

test("a client that goes before it has said hello leaves nothing behind", async () => {
  const target = await bytes();
  rig.opaque.add(target);
  const wire = new Wire(await tunnel(rig.stack.proxyAddress.port, target));
  wire.socket.write(clientHello().subarray(0, 20));
  wire.close();
  const other = await hello(target);
  await other.hears(/answer$/);
  other.close();
  expect(raw?.heard).toHaveLength(1);
});

test("a tunnel without the credential is refused as ever", async () => {
  const target = await bytes();
  rig.opaque.add(target);
  const wire = new Wire(await tunnel(rig.stack.proxyAddress.port, target, "wrong"));
  wire.socket.write(clientHello());
  expect(await wire.all()).toBe(ALERT);
  expect(rig.ledger.recorded).toMatchObject([{ reason: "CALLER_UNIDENTIFIED" }]);
  expect(raw?.heard).toEqual([]);
});

test("TLS on the proxy's own port is never passed on", async () => {
  rig.opaque.add("");
  const socket = connectTcp(rig.stack.proxyAddress.port, "127.0.0.1");
  const wire = new Wire(socket);
  wire.socket.write(clientHello());
  await wire.all();
  expect(rig.ledger.opened).toEqual([]);
});

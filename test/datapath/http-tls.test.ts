import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from "node:net";
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer,
  type Server,
  type TLSSocket,
  type TlsOptions,
} from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EvidenceBody } from "../../src/domain/payload.ts";
import {
  type CertificateAuthority,
  createCa,
  type Issued,
  issueLeaf,
  issueServer,
} from "../../src/native/pki.ts";
import { MINUTE_US, openRig, type Rig, tunnel } from "./harness.ts";
import { Wire } from "./http-client.ts";

const nowUs = Date.now() * 1000;
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

let rig: Rig;
let servers: Server[];
let heard: string;
let upstreamCa: CertificateAuthority;

beforeEach(async () => {
  servers = [];
  heard = "";
  upstreamCa = await createCa("Upstreams", { nowUs, ttlUs: 60 * MINUTE_US });
  rig = await openRig({ upstreamCa: upstreamCa.certPem });
});
afterEach(async () => {
  for (const server of servers) server.close();
  await rig.close();
});

/** An HTTPS server on localhost that answers every request. */
async function serve({ certPem, keyPem }: Issued, options: TlsOptions = {}): Promise<number> {
  const server = createServer({ cert: certPem, key: keyPem, ...options }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      heard += chunk;
      socket.write(OK);
    });
  });
  server.on("tlsClientError", () => {});
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** TLS inside of a tunnel, as an agent that trusts its sidecar's authority. */
async function secure(target: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = await tunnel(rig.stack.proxyAddress.port, target);
  const name = target.slice(0, target.lastIndexOf(":"));
  const secured = connectTls({ socket, servername: name, ca: rig.ca.certPem, ...options });
  await once(secured, "secureConnect");
  return secured;
}

async function ask(target: string, host = target, options: ConnectionOptions = {}) {
  const wire = new Wire(await secure(target, options));
  wire.say(`GET /ok HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  return wire.all();
}

const good = () => issueServer(upstreamCa, ["localhost"], { nowUs, ttlUs: MINUTE_US });

describe("HTTPS", () => {
  test("is judged inside, and the upstream is verified", async () => {
    const leaf = await good();
    const target = `localhost:${await serve(leaf)}`;
    expect(await ask(target)).toMatch(/^HTTP\/1.1 200 OK\r\n[\s\S]*hi$/);
    expect(heard).toBe(`GET /ok HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
    // The receipt names the certificate that the upstream showed.
    const { peerCertificate } = EvidenceBody.decode(rig.ledger.closed[0]?.evidence as Uint8Array);
    expect(peerCertificate).toEqual(leaf.fingerprint);
  });

  test("that is broken off with bytes that are no TLS ends the call, and not with its lease", async () => {
    const port = await serve(await good());
    // Between us and the upstream: whoever can write there, once something has been asked.
    const between = createTcpServer((socket) => {
      const onward = connectTcp(port, "127.0.0.1");
      for (const end of [socket, onward]) end.on("error", () => end.destroy());
      onward.on("data", (chunk) => socket.write(heard === "" ? chunk : "no TLS"));
      socket.pipe(onward);
      socket.on("close", () => onward.destroy());
    });
    between.listen(0, "127.0.0.1");
    await once(between, "listening");
    const target = `localhost:${(between.address() as AddressInfo).port}`;
    expect(await ask(target)).toMatch(/^HTTP\/1.1 502 UPSTREAM_FAILED\r\n/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
    between.close();
  });

  test("is refused inside, where the client can read it", async () => {
    const target = `localhost:${await serve(await good())}`;
    const wire = new Wire(await secure(target));
    wire.say(`GET /secret HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 403 SCOPE_NOT_GRANTED\r\n/);
    expect(heard).toBe("");
    wire.close();
  });

  test("for another host than the server name is AUTHORITY_MISMATCH", async () => {
    const target = `localhost:${await serve(await good())}`;
    const evil = await ask(target, "evil.example");
    expect(evil).toMatch(/^HTTP\/1.1 403 AUTHORITY_MISMATCH\r\n/);
    const fronted = await ask(target, target, { servername: "front.example" });
    expect(fronted).toMatch(/^HTTP\/1.1 403 AUTHORITY_MISMATCH\r\n/);
    expect(heard).toBe("");
  });

  test("that is broken off within its handshake is told in a receipt", async () => {
    const target = `localhost:${await serve(await good())}`;
    // It trusts the upstream's authority alone, as one that pins it does.
    const trusting = { ca: upstreamCa.certPem };
    await expect(secure(target, trusting)).rejects.toThrow(/certificate|self-signed/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.recorded).toMatchObject([{ kind: "DENIAL", reason: "PROTOCOL_UNSUPPORTED" }]);
    const socket = await tunnel(rig.stack.proxyAddress.port, target);
    socket.write(Buffer.from("16030100040200000000", "hex"));
    await rig.ledger.receipts(2);
    expect(rig.ledger.recorded[1]).toMatchObject({ reason: "PROTOCOL_UNSUPPORTED" });
    socket.destroy();
    expect(heard).toBe("");
  });

  test("shows a certificate for that name alone, short-lived, on P-256", async () => {
    const socket = await secure("payments.example:443");
    const leaf = new X509Certificate(socket.getPeerX509Certificate()?.raw as Buffer);
    expect(leaf.subjectAltName).toBe("DNS:payments.example");
    expect(leaf.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
    expect(Date.parse(leaf.validTo) - Date.now()).toBeLessThanOrEqual(24 * 3600 * 1000);
    expect(leaf.ca).toBe(false);
    socket.destroy();
  });

  test.each([
    [["h2", "http/1.1"], "h2"],
    [["http/1.1", "h2"], "http/1.1"],
    [["http/1.1"], "http/1.1"],
    [["h2"], "h2"],
    [[], false],
  ])("answers an agent that offers %j with %j", async (offered, agreed) => {
    const options = offered.length === 0 ? {} : { ALPNProtocols: offered };
    const socket = await secure("payments.example:443", options);
    expect(socket.alpnProtocol).toBe(agreed);
    socket.destroy();
  });
});

describe("an upstream is not believed", () => {
  const old = { nowUs: nowUs - 60 * MINUTE_US, ttlUs: MINUTE_US };
  const stranger = () => createCa("Strangers", { nowUs, ttlUs: MINUTE_US });
  const clientOnly = async (): Promise<Issued> => {
    const keys = await good();
    const { publicKey } = new X509Certificate(keys.certPem);
    const subject = {
      commonName: "localhost",
      hosts: ["localhost"],
      uris: [],
      usages: ["client"] as const,
    };
    const spki = publicKey.export({ type: "spki", format: "der" });
    const leaf = issueLeaf(upstreamCa, subject, spki, { nowUs, ttlUs: MINUTE_US });
    return { ...leaf, keyPem: keys.keyPem };
  };
  test.each<[string, () => Promise<Issued>, TlsOptions, RegExp]>([
    [
      "whose certificate has expired",
      () => issueServer(upstreamCa, ["localhost"], old),
      {},
      /expired/,
    ],
    [
      "whose certificate has not begun",
      () =>
        issueServer(upstreamCa, ["localhost"], {
          nowUs: nowUs + 20 * MINUTE_US,
          ttlUs: MINUTE_US,
        }),
      {},
      /not yet valid/,
    ],
    [
      "whose certificate names another host",
      () => issueServer(upstreamCa, ["other.example"], { nowUs, ttlUs: MINUTE_US }),
      {},
      /does not match/,
    ],
    [
      "whose certificate nobody knows the issuer of",
      async () => issueServer(await stranger(), ["localhost"], { nowUs, ttlUs: MINUTE_US }),
      {},
      /unable to verify|unable to get/,
    ],
    ["whose certificate signed itself", stranger, {}, /self-signed|purpose/],
    [
      "whose certificate the agent's own authority signed",
      () => issueServer(rig.ca, ["localhost"], { nowUs, ttlUs: MINUTE_US }),
      {},
      /unable to verify|unable to get/,
    ],
    [
      "whose certificate is for clients",
      clientOnly,
      {},
      /unsuitable certificate purpose|unsupported/,
    ],
    [
      "that speaks TLS 1.1",
      good,
      { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
      /protocol|version/,
    ],
    [
      "that agrees on HTTP/2 alone",
      good,
      { ALPNProtocols: ["h2"] },
      /no application protocol|alert/i,
    ],
  ])("%s", async (_, issue, options, why) => {
    const target = `localhost:${await serve(await issue(), options)}`;
    const text = await ask(target);
    expect(text).toMatch(/^HTTP\/1.1 502 UPSTREAM_UNREACHABLE\r\n/);
    expect(text).toMatch(why);
    expect(heard).toBe("");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([
      { verdict: "FAILED", reason: "UPSTREAM_UNREACHABLE", spentBytes: 0 },
    ]);
  });
});

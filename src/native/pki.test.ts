import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { createCa, issueLeaf, issueServer, loadCa } from "./pki.ts";

const HOUR_US = 3_600_000_000;
const options = { nowUs: Date.now() * 1000, ttlUs: HOUR_US };

async function handshake(
  cert: { certPem: string; keyPem: string },
  caPem: string,
  servername: string,
): Promise<string> {
  const server = createServer({ cert: cert.certPem, key: cert.keyPem });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const socket = connect({ port, host: "127.0.0.1", ca: caPem, servername });
  const outcome = await once(socket, "secureConnect").then(
    () => "trusted",
    (e: NodeJS.ErrnoException) => e.code ?? String(e),
  );
  socket.destroy();
  server.close();
  return outcome;
}

test("a server certificate is trusted for its names alone, by those who trust its CA", async () => {
  const ca = await createCa("Dragons test", options);
  const other = await createCa("Dragons test", options);
  const server = await issueServer(ca, ["payments.internal", "127.0.0.1"], options);
  expect(await handshake(server, ca.certPem, "payments.internal")).toBe("trusted");
  expect(await handshake(server, ca.certPem, "ledger.internal")).toBe(
    "ERR_TLS_CERT_ALTNAME_INVALID",
  );
  expect(await handshake(server, other.certPem, "payments.internal")).not.toBe("trusted");
});

test("a client certificate names its holder to a server that asks for one", async () => {
  const ca = loadCa(...(await createCa("Dragons test", options).then(pems)));
  const server = await issueServer(ca, ["localhost"], options);
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const client = issueLeaf(
    ca,
    { commonName: "sidecar", hosts: [], uris: ["dragons:instance/abc"], usages: ["client"] },
    keys.publicKey.export({ type: "spki", format: "der" }),
    options,
  );
  const listener = createServer({
    cert: server.certPem,
    key: server.keyPem,
    ca: ca.certPem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as { port: number };
  const socket = connect({
    port,
    host: "127.0.0.1",
    ca: ca.certPem,
    servername: "localhost",
    cert: client.certPem,
    key: keys.privateKey.export({
      type: "pkcs8",
      format: "pem",
    }),
  });
  const [accepted] = (await once(listener, "secureConnection")) as [TLSSocket];
  expect(accepted.getPeerCertificate().subjectaltname).toBe("URI:dragons:instance/abc");
  expect(Buffer.from(client.fingerprint).equals(fingerprint(accepted))).toBe(true);
  socket.destroy();
  accepted.destroy();
  listener.close();
});

test("a server certificate names addresses in whatever spelling they came, and each once as it is", async () => {
  const ca = await createCa("Dragons test", options);
  const hosts = [
    "a.example",
    "10.0.0.255",
    "::1",
    "2001:db8:0:0:0:ff00:42:8329",
    "::ffff:1.2.3.4",
    "::",
  ];
  const cert = new X509Certificate((await issueServer(ca, hosts, options)).certPem);
  expect(cert.subjectAltName?.split(", ")).toEqual([
    "DNS:a.example",
    "IP Address:10.0.0.255",
    "IP Address:0:0:0:0:0:0:0:1",
    "IP Address:2001:DB8:0:0:0:FF00:42:8329",
    "IP Address:0:0:0:0:0:FFFF:102:304",
    "IP Address:0:0:0:0:0:0:0:0",
  ]);
});

test("no certificate is made for a name that readers could take for another", async () => {
  const ca = await createCa("Dragons test", options);
  for (const host of ["pa\u0443ments.internal", "a\0.example", "a b", "", "fe80::1%eth0"]) {
    await expect(issueServer(ca, [host], options)).rejects.toThrow();
  }
});

test("an authority signs leaves and nothing below them, and says by which key", async () => {
  const ca = await createCa("Drachen über allem", options);
  const root = new X509Certificate(ca.certPem);
  expect([root.ca, root.subject]).toEqual([true, "CN=Drachen über allem"]);
  const server = new X509Certificate((await issueServer(ca, ["a"], options)).certPem);
  expect([server.ca, server.checkIssued(root), server.verify(root.publicKey)]).toEqual([
    false,
    true,
    true,
  ]);
  // Another authority of the same name: by its key's id, nobody even tries its key.
  const other = new X509Certificate((await createCa("Drachen über allem", options)).certPem);
  expect(server.checkIssued(other)).toBe(false);
});

test("what is loaded as an authority is a certificate and its own key", async () => {
  const [a, b] = [await createCa("a", options), await createCa("b", options)];
  expect(() => loadCa(a.certPem, b.keyPem)).toThrow();
  const { fingerprint, notBeforeUs, notAfterUs, certPem, keyPem } = loadCa(a.certPem, a.keyPem);
  expect({ fingerprint, notBeforeUs, notAfterUs, certPem, keyPem }).toEqual({
    fingerprint: a.fingerprint,
    notBeforeUs: a.notBeforeUs,
    notAfterUs: a.notAfterUs,
    certPem: a.certPem,
    keyPem: a.keyPem,
  });
  const leaf = await issueServer(a, ["a"], options);
  expect(() => loadCa(leaf.certPem, leaf.keyPem)).toThrow("no authority");
});

test("a certificate says its time to the second, in two digits of the year and in four", async () => {
  const until2049 = { nowUs: Date.UTC(2026, 1, 3, 4, 5, 6, 789) * 1000, ttlUs: HOUR_US };
  const from2050 = { nowUs: Date.UTC(2050, 0, 1, 0, 6) * 1000, ttlUs: HOUR_US };
  for (const times of [until2049, from2050]) {
    const { certPem, notAfterUs } = await createCa("a", times);
    const cert = new X509Certificate(certPem);
    const end = Math.floor((times.nowUs + times.ttlUs) / 1e6) * 1e6;
    expect([cert.validToDate.getTime() * 1000, notAfterUs]).toEqual([end, end]);
    const begin = Math.floor(times.nowUs / 1e6 - 300) * 1000;
    expect(cert.validFromDate.getTime()).toBe(begin);
  }
});

test("a leaf never outlives its issuer", async () => {
  const ca = await createCa("Dragons test", options);
  const leaf = await issueServer(ca, ["a"], { ...options, ttlUs: 10 * HOUR_US });
  expect(leaf.notAfterUs).toBe(ca.notAfterUs);
});

const pems = (ca: { certPem: string; keyPem: string }): [string, string] => [ca.certPem, ca.keyPem];

const fingerprint = (socket: TLSSocket): Buffer =>
  Buffer.from(socket.getPeerCertificate().fingerprint256.replaceAll(":", ""), "hex");

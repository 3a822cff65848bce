import { generateKeyPairSync } from "node:crypto";
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
  const ca = await loadCa(...(await createCa("Dragons test", options).then(pems)));
  const server = await issueServer(ca, ["localhost"], options);
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const client = await issueLeaf(
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

test("a leaf never outlives its issuer", async () => {
  const ca = await createCa("Dragons test", options);
  const leaf = await issueServer(ca, ["a"], { ...options, ttlUs: 10 * HOUR_US });
  expect(leaf.notAfterUs).toBe(ca.notAfterUs);
});

const pems = (ca: { certPem: string; keyPem: string }): [string, string] => [ca.certPem, ca.keyPem];

const fingerprint = (socket: TLSSocket): Buffer =>
  Buffer.from(socket.getPeerCertificate().fingerprint256.replaceAll(":", ""), "hex");

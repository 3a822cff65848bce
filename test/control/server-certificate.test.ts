import { once } from "node:events";
import tls from "node:tls";
import { expect, test } from "vitest";
import { ServerCertificate } from "../../src/control/server-certificate.ts";
import { controlLeafTtlUs, retryRenewalUs } from "../../src/domain/limits.ts";
import { ManualClock, systemClock } from "../../src/native/clock.ts";
import {
  createCa,
  ed25519Spki,
  generateTlsKey,
  issueLeaf,
  issueServer,
} from "../../src/native/pki.ts";
import { tlsListener } from "../../src/native/tls-listener.ts";

test("a control plane shows a new certificate at half of the old one's life, and again, whatever fails", async () => {
  const now = { nowUs: Date.now() * 1000, ttlUs: 3_600_000_000 };
  const ca = await createCa("centre", now);
  const first = await issueServer(ca, ["localhost"], now);
  const listener = tlsListener({
    identity: first,
    clientCa: ca.certPem,
    limits: {
      certifiedMax: 9,
      waitingMax: 9,
      waitingUsMax: 10e6,
      anonymousMax: 9,
      anonymousPerAddressMax: 9,
      handshakesPerTurn: 1,
      handshakesAtOnce: 8,
      handshakeSlowUs: 500_000,
      handshakeUs: 10e6,
    },
    clock: systemClock,
  });
  const open: tls.TLSSocket[] = [];
  /** Whether the last client's certificate was taken. */
  let authorized = false;
  const port = await listener.listen("127.0.0.1:0", (socket) => {
    ({ authorized } = socket);
    open.push(socket);
    // A word, after which the client knows that it was accepted.
    socket.write("x");
  });
  const { publicKey, keyPem: key } = generateTlsKey();
  const subject = {
    commonName: "x",
    hosts: [],
    uris: ["dragons://x"],
    usages: ["client"] as const,
  };
  const { certPem: cert } = issueLeaf(ca, subject, ed25519Spki(publicKey), now);
  const shown = async (): Promise<string> => {
    const options = { port, host: "127.0.0.1", ca: ca.certPem, servername: "localhost", key, cert };
    const socket = tls.connect({ ...options, ALPNProtocols: ["h2"] });
    await once(socket, "secureConnect");
    await once(socket, "data");
    expect(authorized).toBe(true);
    const { fingerprint256 } = socket.getPeerCertificate();
    expect(socket.getProtocol()).toBe("TLSv1.3");
    open.push(socket);
    return fingerprint256;
  };
  const clock = new ManualClock(now.nowUs);
  const faults: unknown[] = [];
  let issued = 0;
  let told = Promise.withResolvers<void>();
  const certificate = new ServerCertificate({
    issue: () => {
      if (issued++ === 1) return Promise.reject(new Error("not now"));
      return issueServer(ca, ["localhost"], now);
    },
    present: (next) => {
      listener.present(next);
      told.resolve();
    },
    clock,
    onFault: (error) => {
      faults.push(error);
      told.resolve();
    },
  });
  const after = async (us: number): Promise<string> => {
    told = Promise.withResolvers<void>();
    clock.advance(us);
    await told.promise;
    // Its next timer is set in the turn that follows.
    await new Promise((resolve) => setImmediate(resolve));
    return shown();
  };

  const a = await shown();
  clock.advance(controlLeafTtlUs / 2 - 1);
  expect(issued).toBe(0);
  const b = await after(1);
  expect(b).not.toBe(a);
  // One that cannot be made leaves the other on show, and is tried again soon.
  expect(await after(controlLeafTtlUs / 2)).toBe(b);
  expect(faults).toHaveLength(1);
  const c = await after(retryRenewalUs);
  expect(c).not.toBe(b);
  certificate.close();
  clock.advance(controlLeafTtlUs);
  expect(issued).toBe(3);
  // What was open before went on all the while.
  expect(open.some((socket) => socket.destroyed)).toBe(false);
  for (const socket of open) socket.destroy();
  await listener.close();
});

import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { enrolMessage } from "../../src/domain/enrolment.ts";
import { dockRetryUs, sidecarCertificateTtlUs } from "../../src/domain/limits.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { TetherService } from "../../src/gen/dragons/v1/tether_pb.ts";
import { ManualClock, systemClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { generateSeed, seedSigner } from "../../src/native/keys.ts";
import { createCa, ed25519Spki, issueLeaf, issueServer } from "../../src/native/pki.ts";
import { tlsListener } from "../../src/native/tls-listener.ts";
import { openServer, type RpcServer, serve } from "../../src/wire/grpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { type ControlClient, controlClient, dockWhenReached } from "./control-client.ts";
import type { TetherClient } from "./tether.ts";

/** A centre that certifies whom it should, and says which certificate each attachment came with. */

const HOUR_US = 3_600_000_000;
const ledgerSigner = seedSigner(generateSeed());
const ledgerId = new Uint8Array(32).fill(7);
const genesis = { body: ledgerId, signatures: [] };
const ledger = { ledgerId, ledgerSigner, genesis };

let server: RpcServer;
let control: ControlClient;
let tether: TetherClient;
let clock: ManualClock;
/** Authorities that the newest keyset names, DER. */
let named: Uint8Array[];
/** TLS keys that were certified, hex. */
let enrolled: string[];
/** Genesis bodies that were docked, hex. */
let docked: string[];
/** What the centre answers to an enrolment or an attachment instead, one each. */
let refusals: StatusError[];
let attachRefusals: StatusError[];
/** Certificates that attachments came with, DER in hex. */
let shown: string[];
/** Ends the attachments that are under way. */
let release: () => void;

beforeEach(async () => {
  const now = { nowUs: Date.now() * 1000, ttlUs: 24 * HOUR_US };
  const [ca, clientCa] = [await createCa("centre", now), await createCa("sidecars", now)];
  const identity = await issueServer(ca, ["localhost"], now);
  const limits = {
    certifiedMax: 100,
    waitingMax: 100,
    waitingUsMax: 10_000_000,
    anonymousMax: 100,
    anonymousPerAddressMax: 100,
    handshakesPerTurn: 8,
    handshakesAtOnce: 8,
    handshakeSlowUs: 500_000,
    handshakeUs: 10_000_000,
  };
  server = openServer({
    transport: {
      listener: tlsListener({ identity, clientCa: clientCa.certPem, limits, clock: systemClock }),
      clock: systemClock,
    },
    limits: {
      messageBytesMax: 1 << 20,
      streamsPerConnectionMax: 100,
      sessionMemoryMb: 32,
      idleUs: 60e6,
      ageUs: 3600e6,
      ageGraceUs: 1e6,
      keepaliveUs: 30e6,
      keepaliveTimeoutUs: 10e6,
    },
    onFault: (error) => {
      throw error;
    },
  });
  clock = new ManualClock(Date.now() * 1000);
  [enrolled, docked, refusals, attachRefusals, shown, named] = [[], [], [], [], [], []];
  const released = Promise.withResolvers<void>();
  release = released.resolve;
  const never = () => Promise.reject(new Error("not asked for here"));
  serve(server, DockService, {
    async dock(request) {
      docked.push(toHex(request.genesis?.body ?? new Uint8Array(0)));
      return {};
    },
    recordDock: never,
    listDocks: never,
    async enrol({ tlsKey, askedAtUs, signature }) {
      const said = enrolMessage({ ledgerId, tlsKey, askedAtUs: Number(askedAtUs) });
      expect(native.verify(ledgerSigner.publicKey, said, signature)).toBe(true);
      const refusal = refusals.shift();
      if (refusal !== undefined) throw refusal;
      enrolled.push(toHex(tlsKey));
      const subject = {
        commonName: "x",
        hosts: [],
        uris: ["dragons://x"],
        usages: ["client"] as const,
      };
      const leaf = issueLeaf(clientCa, subject, ed25519Spki(tlsKey), now);
      const notAfterUs = BigInt(clock.nowUs() + sidecarCertificateTtlUs);
      return { certificate: leaf.certPem, notAfterUs };
    },
  });
  serve(server, TetherService, {
    async *attach(_, { certificate }) {
      shown.push(certificate === null ? "none" : toHex(certificate));
      const refusal = attachRefusals.shift();
      if (refusal !== undefined) throw refusal;
      yield { message: { case: "challenge", value: { nonce: new Uint8Array(32) } } };
      await released.promise;
    },
  });
  const port = await server.listen("127.0.0.1:0");
  control = controlClient({
    version: 1,
    tenantId: "acme",
    joinSeed: new Uint8Array(0),
    dockRef: ledgerId,
    manifestHash: ledgerId,
    rootKey: ledgerId,
    controlAddress: `127.0.0.1:${port}`,
    keysetVersion: 1,
    controlCa: ca.certPem,
  });
  tether = control.tether({ ...ledger, controlCas: () => named }, clock);
});
afterEach(async () => {
  release();
  control.close();
  await server.close(0);
});

const wrong = (reason: "CREDENTIAL_INVALID" | "SESSION_UNKNOWN") =>
  new StatusError("UNAUTHENTICATED", reason, "no");

async function* silence() {
  // Says nothing, and goes on until the other side ends.
  await new Promise<void>(() => {});
  yield {};
}

/** Begins an attachment. Resolves to how to end it. */
async function attach(): Promise<() => Promise<unknown>> {
  const abort = new AbortController();
  const stream = tether.attach(silence(), abort.signal)[Symbol.asyncIterator]();
  await stream.next();
  const rest = stream.next().catch(() => {});
  return () => {
    abort.abort();
    return rest;
  };
}

test("an attachment comes with a certificate, the same for as long as it is fresh", async () => {
  await (await attach())();
  await (await attach())();
  expect(enrolled).toHaveLength(1);
  expect(new Set(shown).size).toBe(1);
  expect(shown).not.toContain("none");
});

test("from half of its life on the next attachment enrols first, with a key of its own; one under way goes on", async () => {
  const leave = await attach();
  clock.advance(sidecarCertificateTtlUs / 2);
  await (await attach())();
  expect(new Set(enrolled).size).toBe(2);
  expect(new Set(shown).size).toBe(2);
  await leave();
});

test("one that still holds serves while nobody renews it", async () => {
  await (await attach())();
  clock.advance(sidecarCertificateTtlUs / 2);
  refusals.push(new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "later"));
  await (await attach())();
  expect(shown[1]).toBe(shown[0]);
  await (await attach())();
  expect(shown[2]).not.toBe(shown[0]);
});

test("one that is not taken is dropped: the ledger key is enough for another", async () => {
  attachRefusals.push(wrong("CREDENTIAL_INVALID"));
  await expect(attach()).rejects.toThrow("no");
  await (await attach())();
  expect(enrolled).toHaveLength(2);
  // Other refusals say nothing of the certificate.
  attachRefusals.push(wrong("SESSION_UNKNOWN"));
  await expect(attach()).rejects.toThrow("no");
  await (await attach())();
  expect(enrolled).toHaveLength(2);
});

test("one that expired long ago stands in nobody's way", async () => {
  await (await attach())();
  clock.advance(100 * sidecarCertificateTtlUs);
  await (await attach())();
  expect(enrolled).toHaveLength(2);
});

test("with a clock that is wrong it says its word for the time that it is told, once", async () => {
  const skew = (nowUs: number) =>
    new StatusError("FAILED_PRECONDITION", "CLOCK_SKEW", "no", { now_us: `${nowUs}` });
  clock = new ManualClock(Date.now() * 1000 + 1000 * HOUR_US);
  tether = control.tether({ ...ledger, controlCas: () => named }, clock);
  refusals.push(skew(Date.now() * 1000));
  await (await attach())();
  expect(enrolled).toHaveLength(1);

  tether = control.tether({ ...ledger, controlCas: () => named }, clock);
  refusals.push(skew(1), skew(2));
  await expect(attach()).rejects.toMatchObject({ reason: "CLOCK_SKEW" });
  refusals.push(new StatusError("FAILED_PRECONDITION", "CLOCK_SKEW", "no", { now_us: "soon" }));
  await expect(attach()).rejects.toMatchObject({ reason: "CLOCK_SKEW" });
  expect(enrolled).toHaveLength(1);
});

test("where its ledger is not known any more it docks again by its genesis, and only there", async () => {
  refusals.push(new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", "no such ledger"));
  await (await attach())();
  expect(docked).toEqual([toHex(genesis.body)]);
  expect(enrolled).toHaveLength(1);
  clock.advance(sidecarCertificateTtlUs);
  refusals.push(wrong("CREDENTIAL_INVALID"));
  await (await attach())();
  expect(docked).toHaveLength(1);
});

test("two that begin at once enrol once", async () => {
  const both = await Promise.all([attach(), attach()]);
  expect(enrolled).toHaveLength(1);
  for (const leave of both) await leave();
});

test("docking waits for a centre that is away, or that has no time; any other refusal is final", async () => {
  const said = [
    new StatusError("UNAVAILABLE", "", "nobody there"),
    new StatusError("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS", "later"),
    new StatusError("PERMISSION_DENIED", "QUOTA_REACHED", "spent"),
  ];
  const reported: string[] = [];
  const dock = () => Promise.reject(said.shift() as StatusError);
  const docking = dockWhenReached(dock, {
    clock,
    report: (_, facts) => {
      reported.push(String(facts?.detail));
      // Time passes once it waits.
      setImmediate(() => clock.advance(dockRetryUs));
    },
    stopped: new AbortController().signal,
  });
  await expect(docking(genesis)).rejects.toThrow("docking was refused: spent");
  expect(reported).toEqual(["nobody there", "later"]);
});

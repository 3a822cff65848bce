import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { Attended } from "../../sidecar/agent/launch.ts";
import { AuthorityHolder } from "../../sidecar/gate/authority.ts";
import { authorityDecider } from "../../sidecar/gate/decide.ts";
import { ArtifactFiles } from "../../sidecar/identity/artifact-files.ts";
import { HeldAuthority } from "../../sidecar/identity/held-authority.ts";
import { Latch } from "../../sidecar/identity/latch.ts";
import { LeaseLog } from "../../sidecar/identity/lease-log.ts";
import type { LedgerStats, RecordDraft, WorkLedger } from "../../sidecar/ledger/work-ledger.ts";
import { Governor } from "../../sidecar/tether/governor.ts";
import type { TetherClient } from "../../sidecar/tether/tether.ts";
import { DIRECTIVE, type DirectiveBody } from "../../src/domain/directive.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import { ActionBody } from "../../src/domain/payload.ts";
import { Progress } from "../../src/domain/progress.ts";
import { REASONS } from "../../src/domain/reason.ts";
import { REVOCATION, type RevocationBody } from "../../src/domain/revocation.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import type { Reason } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { type SyncResponse, SyncResponseSchema } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { AttachResponseSchema } from "../../src/gen/dragons/v1/tether_pb.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { SteadyClock } from "../../src/native/steady-clock.ts";
import { toWire } from "../../src/wire/artifacts.ts";
import { Queue } from "../../src/wire/queue.ts";
import * as f from "../fixtures/authority.ts";

/** A sidecar's governor, and a control plane that says whatever the test says. */

type Down = NonNullable<MessageInitShape<typeof AttachResponseSchema>["message"]>;

let clock: ManualClock;
let steady: SteadyClock;
/** What the ledger was told of, by event. */
let noted: string[];
/** The sidecar has opened its next stream. */
let opened: PromiseWithResolvers<void>;
let chain: Awaited<ReturnType<typeof f.makeChain>>;
let holder: AuthorityHolder;
let down: Queue<Down>;
let governor: Governor;
let leases: LeaseLog;
let logFile: string;
let said: string[];
/** What the agent's files measure as; null: as they should. */
let measured: Uint8Array | null;
/** The agent that it supervises; null: none. */
let agent: Attended | null;
/** How many receipts the ledger has, and what else it says of itself. */
let size: number;
let stats: LedgerStats;
/** What came up: beats, and where batches of receipts begin. */
let beats: Queue<HeartbeatBody>;
let synced: Queue<bigint>;
let waiting: { event: string; resolve: () => void }[];

/** Resolves when the governor next says this. */
const told = (event: string): Promise<void> =>
  new Promise((resolve) => waiting.push({ event, resolve }));

function report(event: string): void {
  said.push(event);
  for (const w of waiting.filter((w) => w.event === event)) w.resolve();
  waiting = waiting.filter((w) => w.event !== event);
}

async function govern(): Promise<void> {
  const { keyset, grant, dock, genesis, manifest } = chain;
  const files = new ArtifactFiles(mkdtempSync(join(tmpdir(), "dragons-governor-")));
  const signed = {
    keyset: keyset.signed,
    grant: grant.signed,
    dock: dock.signed,
    genesis: genesis.signed,
    manifest: ManifestBody.encode(manifest),
  };
  const root = f.keys.root.publicKey;
  const authority = f.ok(HeldAuthority.verify(native, root, files, signed, clock.nowUs()));
  leases = LeaseLog.open(native, logFile);
  steady = new SteadyClock(clock);
  holder = new AuthorityHolder(steady, authorityDecider(authority));
  holder.set({ manifestRecorded: true });
  const client: TetherClient = {
    async *attach(requests, signal) {
      void (async () => {
        for await (const { message } of requests) {
          const body = message?.case === "heartbeat" ? message.value.body : undefined;
          if (body !== undefined) beats.push(HeartbeatBody.decode(body));
        }
      })();
      const mine = new Queue<Down>(16);
      down = mine;
      signal.addEventListener("abort", () => mine.end());
      opened.resolve();
      for await (const message of mine) yield create(AttachResponseSchema, { message });
    },
    sync(requests, _token, signal) {
      const answers = new Queue<SyncResponse>(1);
      void (async () => {
        for await (const { fromSeq } of requests) {
          synced.push(fromSeq ?? 0n);
          answers.push(create(SyncResponseSchema, { heldSize: BigInt(size), credit: 1 }));
        }
      })();
      signal.addEventListener("abort", () => answers.end());
      return answers;
    },
  };
  const head = { root: f.sha("root"), intentsOpened: 0, intentsHead: genesis.ref };
  const receipt = encodeSigned({ body: Uint8Array.of(1), signatures: [] });
  const ledger = {
    ledgerId: genesis.ref,
    get acknowledgedSeq() {
      return size;
    },
    head: () => ({ ...head, size }),
    headers: (fromSeq: number) => (fromSeq > size ? [] : [{ seq: fromSeq, signed: receipt }]),
    stats: () => stats,
    spent: () => ({ actions: 0, bytes: 0, reserved: 0, recent: 0 }),
    acknowledged() {},
    record({ action }: RecordDraft) {
      noted.push(ActionBody.decode(action).verb);
      return "rcp_1";
    },
  } as unknown as WorkLedger;
  governor = new Governor({
    client,
    authority,
    holder,
    enforcement: "ADVISORY",
    ledger,
    leaving: "headers",
    ledgerSigner: f.keys.ledger,
    leases,
    latch: Latch.open(`${logFile}.latch`),
    clock: steady,
    report,
    progress: new Progress(native, f.sha("novelty")),
    passing: () => 0,
    manifestHash: authority.manifestHash,
    measure: async () => measured ?? authority.manifestHash,
    agent: () => agent,
    storageFailed: (error) => {
      throw error;
    },
  });
  opened = Promise.withResolvers();
  governor.start();
  await attach(1);
}

/** Grants the session that the sidecar asks for, and tells what it missed. */
async function grant(epoch: number, ...missed: SignedBytes[]): Promise<void> {
  await opened.promise;
  opened = Promise.withResolvers();
  const value = { sessionEpoch: BigInt(epoch), sessionToken: f.sha("token"), heldSize: 1n };
  const more = { keyset: toWire(chain.keyset.signed), heartbeatIntervalUs: 10_000_000n };
  const revocations = missed.map(toWire);
  down.push({ case: "attached", value: { ...value, ...more, revocations } });
}

/** The same, until it has it. */
async function attach(epoch: number): Promise<void> {
  const attached = told("attached");
  await grant(epoch);
  await attached;
}

beforeEach(async () => {
  clock = new ManualClock(f.NOW);
  chain = await f.makeChain();
  logFile = join(mkdtempSync(join(tmpdir(), "dragons-governor-")), "leases");
  said = [];
  noted = [];
  waiting = [];
  measured = null;
  agent = null;
  size = 1;
  const idle = { scopes: [], openIntents: 0, oldestOpenedUs: null, unacknowledged: 0 };
  stats = { ...idle, health: "OK", lastReceiptId: "" };
  beats = new Queue(16);
  synced = new Queue(16);
  await govern();
});
afterEach(() => end());

async function end(): Promise<void> {
  down.end();
  holder.close();
  await governor.stop();
  leases.close();
}

const lease = (leaseSeq: number, more: Parameters<typeof f.leaseBody>[2] = {}) =>
  f.signLease(
    f.leaseBody(chain.grant.ref, chain.genesis.ref, {
      leaseSeq,
      leaseId: f.idNamed("lse", leaseSeq),
      ...more,
    }),
  );

async function send(signed: SignedBytes, event: string): Promise<void> {
  const heard = told(event);
  down.push({ case: "lease", value: toWire(signed) });
  await heard;
}

const GET = f.claimOf("/payments.v1.Payments/Get");

test("an older lease, or another with its number, never takes the place of the one in hand", async () => {
  await send(await lease(2), "lease");
  for (const seq of [1, 2]) {
    await send(await lease(seq, { leaseId: f.idNamed("lse", 9) }), "rejected");
    expect(holder.lease?.body.leaseId).toBe(f.idNamed("lse", 2));
  }
  expect(leases.entries()).toHaveLength(1);

  // A restart forgets nothing of it.
  await end();
  await govern();
  await send(await lease(2), "rejected");
  expect(holder.lease).toBeNull();
});

test("a lease that has yet to begin by our clock leaves the one in hand until then", async () => {
  await send(await lease(1), "lease");
  let allowed = true;
  holder.onChange(() => {
    allowed &&= holder.decide(GET).allowed;
  });
  const begins = f.NOW + 5_000;
  const next = { notBeforeUs: begins, issuedAtUs: begins, notAfterUs: begins + 60 * f.SECOND };
  const taken = told("lease");
  down.push({ case: "lease", value: toWire(await lease(2, next)) });
  // Told of in order: by then the lease has been looked at.
  await send(await lease(1), "rejected");
  expect(holder.lease?.body.leaseSeq).toBe(1);
  clock.advance(5_000);
  await taken;
  expect([holder.lease?.body.leaseSeq, allowed]).toEqual([2, true]);
});

test("whoever takes back a lease that has yet to begin takes back the one in hand", async () => {
  await send(await lease(1), "lease");
  const begins = f.NOW + 5_000;
  const signed = await lease(2, { notBeforeUs: begins, issuedAtUs: begins });
  down.push({ case: "lease", value: toWire(signed) });
  const revoked = told("revocation");
  const target = refOf(native, "lease", signed.body);
  const body = {
    version: 1,
    tenantId: "acme",
    epoch: 1,
    previous: new Uint8Array(0),
    kind: "LEASE" as const,
    target,
    effectiveUs: f.NOW,
    reason: "",
  };
  const revocation = await signBody(REVOCATION, body, [f.keys.issuer]);
  down.push({ case: "revocation", value: toWire(revocation) });
  await revoked;
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_REVOKED" });
  clock.advance(5_000);
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_REVOKED" });
});

/** The first revocation of the tenant: it takes back all that a grant allowed. */
const grantRevoked = (target: Uint8Array): RevocationBody => ({
  version: 1,
  tenantId: "acme",
  epoch: 1,
  previous: new Uint8Array(0),
  kind: "GRANT",
  target,
  effectiveUs: f.NOW,
  reason: "",
});

test("a revocation counts while the disk still writes it; nothing more is heard before it is kept", async () => {
  await send(await lease(1), "lease");
  const disk = Promise.withResolvers<void>();
  const writing = vi.spyOn(ArtifactFiles.prototype, "write").mockReturnValue(disk.promise);
  const body = grantRevoked(chain.grant.ref);
  const revoked = told("revocation");
  const revocation = await signBody(REVOCATION, body, [f.keys.alice]);
  down.push({ case: "revocation", value: toWire(revocation) });
  await revoked;
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_REVOKED" });
  const next = told("rejected");
  let heard = false;
  void next.then(() => {
    heard = true;
  });
  down.push({ case: "lease", value: toWire(await lease(2)) });
  await new Promise((resolve) => setImmediate(resolve));
  expect(heard).toBe(false);
  writing.mockRestore();
  disk.resolve();
  await next;
});

test("of revocations that were missed each counts before the disk has any", async () => {
  await send(await lease(1), "lease");
  const detached = told("detached");
  down.end();
  await detached;
  clock.advance(f.SECOND);
  const disk = Promise.withResolvers<void>();
  const writing = vi.spyOn(ArtifactFiles.prototype, "write").mockReturnValue(disk.promise);
  const body = grantRevoked(f.sha("another grant"));
  const first = await signBody(REVOCATION, body, [f.keys.alice]);
  const previous = refOf(native, "revocation", first.body);
  const ours = { ...body, epoch: 2, previous, target: chain.grant.ref };
  const second = await signBody(REVOCATION, ours, [f.keys.alice]);
  const revoked = told("revocation");
  await grant(2, first, second);
  await revoked;
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_REVOKED" });
  expect(said.filter((event) => event === "attached")).toHaveLength(1);
  const attached = told("attached");
  writing.mockRestore();
  disk.resolve();
  await attached;
});

test("a revocation that touches nothing of this instance is kept, and not reported", async () => {
  await send(await lease(1), "lease");
  const body = grantRevoked(f.sha("another grant"));
  const revocation = await signBody(REVOCATION, body, [f.keys.alice]);
  down.push({ case: "revocation", value: toWire(revocation) });
  await send(await lease(2, { revocationEpoch: 1 }), "lease");
  expect(said).not.toContain("revocation");
  expect(holder.decide(GET).allowed).toBe(true);
});

test("an instance whose lease was revoked on its way does not go on under the one before it", async () => {
  await send(await lease(1), "lease");
  const withheld = told("no lease");
  const value = { reason: REASONS.indexOf("LEASE_REVOKED") as Reason, detail: "revoked" };
  down.push({ case: "leaseWithheld", value });
  await withheld;
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_REVOKED" });
  await send(await lease(2), "lease");
  expect(holder.decide(GET).allowed).toBe(true);
});

test("a keyset that gives up the key behind the lease in hand takes it back at once", async () => {
  await send(await lease(1), "lease");
  expect(holder.decide(GET).allowed).toBe(true);
  const keys = f
    .keysetBody()
    .keys.map((k) => (k.role === "OPERATOR_GRANT" ? { ...k, compromisedFromUs: 1 } : k));
  const body = f.keysetBody({ keysetVersion: 2, previous: chain.keyset.ref, keys });
  const lost = told("lease lost");
  const signed = await signBody(KEYSET, body, [f.keys.root]);
  down.push({ case: "keyset", value: toWire(signed) });
  await lost;
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_REVOKED" });
});

test("a lease that has yet to begin does not outlive the key that signed it", async () => {
  const begins = f.NOW + 5_000;
  down.push({
    case: "lease",
    value: toWire(await lease(1, { notBeforeUs: begins, issuedAtUs: begins })),
  });
  const given = { compromisedFromUs: 1 };
  const keys = f.keysetBody().keys.map((k) => (k.role === "ISSUER" ? { ...k, ...given } : k));
  const body = f.keysetBody({ keysetVersion: 2, previous: chain.keyset.ref, keys });
  down.push({
    case: "keyset",
    value: toWire(await signBody(KEYSET, body, [f.keys.root])),
  });
  // Told of in order, and signed by the very key: by then the keyset is held.
  await send(await lease(2), "rejected");
  const judged = Promise.race([told("lease"), told("rejected")]);
  clock.advance(5_000);
  await judged;
  expect(holder.lease).toBeNull();
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "NO_LEASE" });
});

test("files are measured once more before the agent may start, and it hears what came of it", async () => {
  down.push({ case: "lease", value: toWire(await lease(1)) });
  expect(await governor.firstLease).toBe("MEASURED");
  expect(holder.standing.drifted).toBe(false);
});

test("files that changed while it waited for its first lease start no agent", async () => {
  measured = f.sha("something else");
  down.push({ case: "lease", value: toWire(await lease(1)) });
  expect(await governor.firstLease).toBe("DRIFTED");
  expect(holder.standing.drifted).toBe(true);
});

test("a retired manifest takes the lease away for good, by its name", async () => {
  down.push({ case: "lease", value: toWire(await lease(1)) });
  await governor.firstLease;
  const body = {
    version: 1,
    tenantId: "acme",
    epoch: 1,
    previous: new Uint8Array(0),
    kind: "MANIFEST",
    target: f.hashOf(chain.manifest),
    effectiveUs: clock.nowUs(),
    reason: "v7 leaks",
  } as const;
  const revoked = told("revocation");
  down.push({
    case: "revocation",
    value: toWire(await signBody(REVOCATION, body, [f.keys.alice])),
  });
  await revoked;
  const claim = f.claimOf("/payments.v1.Payments/Get");
  expect(holder.decide(claim)).toMatchObject({ allowed: false, reason: "MANIFEST_RETIRED" });
});

const HOUR = 3600 * f.SECOND;
const YEAR = 365 * 24 * HOUR;

test("one absurd reading of the clock ends the lease, and the next session's signed time heals it", async () => {
  await send(await lease(1), "lease");
  clock.setWall(f.NOW + 50 * YEAR);
  const detached = told("detached");
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_EXPIRED" });
  await detached;
  clock.advance(f.SECOND);
  await attach(2);
  // As long as the clock says so, no lease holds.
  await send(await lease(2, { sessionEpoch: 2 }), "rejected");

  const again = told("detached");
  clock.setWall(f.NOW + 2 * f.SECOND);
  steady.look();
  await again;
  // By its own word it is believed no more than before.
  expect(steady.nowUs()).toBeGreaterThan(f.NOW + YEAR);
  clock.advance(f.SECOND);
  await attach(3);
  const issuedAtUs = clock.nowUs();
  const fresh = { sessionEpoch: 3, issuedAtUs, notBeforeUs: issuedAtUs };
  await send(await lease(3, { ...fresh, notAfterUs: issuedAtUs + 60 * f.SECOND }), "lease");
  expect(holder.decide(GET).allowed).toBe(true);
  expect(holder.autonomyLeftUs).toBe(60 * f.SECOND);
  expect(noted).toEqual(["clock-set", "clock-set"]);
});

test("a lease of another session resets no clock", async () => {
  clock.setWall(f.NOW + YEAR);
  const detached = told("detached");
  steady.look();
  await detached;
  clock.setWall(f.NOW);
  clock.advance(f.SECOND);
  await attach(2);
  await send(await lease(1), "rejected");
  expect(steady.nowUs()).toBeGreaterThan(f.NOW + YEAR);
});

test("a machine that slept is seen to have, ends what ran out, and has it in its ledger", async () => {
  await send(await lease(1), "lease");
  expect(holder.decide(GET).allowed).toBe(true);
  clock.suspend(HOUR);
  expect(holder.decide(GET)).toMatchObject({ allowed: false, reason: "LEASE_EXPIRED" });
  expect(noted).toEqual(["suspended"]);
  expect(said).toContain("suspended");
});

test("a clock that was set back while the sidecar was away is not believed", async () => {
  await send(await lease(1), "lease");
  await end();
  clock.setWall(f.NOW - 30 * f.SECOND);
  await govern();
  expect(steady.nowUs()).toBe(LeaseBody.decode((await lease(1)).body).issuedAtUs);
});

test("files that changed without a word of inotify are found at the next renewal", async () => {
  down.push({ case: "lease", value: toWire(await lease(1)) });
  await governor.firstLease;
  measured = f.sha("something else");
  const drift = told("drift");
  down.push({ case: "lease", value: toWire(await lease(2)) });
  await drift;
  expect(holder.decide(f.claimOf("/payments.v1.Payments/Get"))).toMatchObject({
    allowed: false,
    reason: "MANIFEST_DRIFT",
  });
});

/** Tells the sidecar to do something, and resolves when it has. */
async function direct(kind: DirectiveBody["kind"], n: number): Promise<void> {
  const heard = told("directive");
  const body: DirectiveBody = {
    version: 1,
    directiveId: f.idNamed("dir", n),
    tenantId: "acme",
    instanceId: chain.genesis.body.instanceId,
    ledgerId: chain.genesis.ref,
    sessionEpoch: 1,
    kind,
    issuedAtUs: clock.nowUs(),
    expiresAtUs: clock.nowUs() + 60 * f.SECOND,
    reason: "looks odd",
  };
  down.push({ case: "directive", value: toWire(await signBody(DIRECTIVE, body, [f.keys.issuer])) });
  await heard;
}

test("what is told again at every Attach is one receipt, until something changes", async () => {
  for (const [n, kind] of (["QUARANTINE", "QUARANTINE", "RELEASE", "RELEASE"] as const).entries()) {
    await direct(kind, n + 1);
  }
  expect(noted).toEqual(["directive", "directive"]);
});

test("a restart washes off neither a quarantine nor a drift; a release takes both away", async () => {
  await direct("QUARANTINE", 1);
  measured = f.sha("something else");
  await send(await lease(1), "drift");
  expect(holder.standing).toMatchObject({ quarantined: true, drifted: true });
  await end();
  measured = null;
  await govern();
  expect(holder.standing).toMatchObject({ quarantined: true, drifted: true });

  await direct("RELEASE", 2);
  await vi.waitFor(() => expect(holder.standing.drifted).toBe(false));
  await end();
  await govern();
  expect(holder.standing).toMatchObject({ quarantined: false, drifted: false });
});

/** The next beat that comes up. */
async function beat(): Promise<HeartbeatBody> {
  const { value } = await beats.next();
  return value as HeartbeatBody;
}
const resultOf = (directiveId: number, outcome: "DONE" | "IGNORED", detail = "") => ({
  directiveId: f.idNamed("dir", directiveId),
  outcome,
  detail,
});

test("a beat says what is in flight and for how long, what waits, what is wrong, and how late it is", async () => {
  const idle = { inFlight: 0, oldestInFlightUs: 0, suspendedUs: 0, syncLag: 0 };
  expect(await beat()).toMatchObject({ counter: 1, ledgerHealth: "OK", ...idle });
  const busy = { openIntents: 1, oldestOpenedUs: clock.monotonicUs(), unacknowledged: 7 };
  stats = { ...stats, ...busy, health: "SLOW" };
  clock.advance(3 * f.SECOND);
  clock.suspend(HOUR);
  // Whatever else is to be done in this turn of the loop is done before the beat.
  setImmediate(() => {
    for (const until = performance.now() + 5; performance.now() < until; );
  });
  governor.beatNow();
  const second = await beat();
  expect(second).toMatchObject({
    counter: 2,
    inFlight: 1,
    oldestInFlightUs: 3 * f.SECOND,
    suspendedUs: HOUR,
    syncLag: 7,
    ledgerHealth: "SLOW",
  });
  expect(second.loopLagUs).toBeGreaterThanOrEqual(5_000);
});

test("what became of a directive stands in the next beat: done, or why not", async () => {
  await beat();
  const results = async (kind: DirectiveBody["kind"], n: number) => {
    await direct(kind, n);
    return (await beat()).directiveResults;
  };
  const alone = resultOf(1, "IGNORED", "no agent is supervised");
  expect(await results("RESTART_AGENT", 1)).toEqual([alone]);
  let restarts = 0;
  let may = false;
  const restart = () => {
    restarts += may ? 1 : 0;
    return may;
  };
  agent = { state: () => "RUNNING", exitCode: () => null, restart } as unknown as Attended;
  const never = resultOf(2, "IGNORED", "its policy is never to restart");
  expect(await results("RESTART_AGENT", 2)).toEqual([alone, never]);
  may = true;
  expect(await results("RESTART_AGENT", 3)).toEqual([alone, never, resultOf(3, "DONE")]);
  expect(restarts).toBe(1);
});

test("a re-sync sends the receipts that wait, and a beat by which a lease is earned, at once", async () => {
  expect((await beat()).size).toBe(1);
  size = 2;
  await direct("RESYNC", 1);
  expect((await synced.next()).value).toBe(2n);
  expect(await beat()).toMatchObject({ counter: 2, directiveResults: [resultOf(1, "DONE")] });
});

test("told to attach again it opens another session, whose first beat says so; nothing else is undone", async () => {
  await send(await lease(1), "lease");
  await direct("RESTART_AGENT", 1);
  const detached = told("detached");
  await direct("REATTACH", 2);
  await detached;
  expect(holder.decide(GET).allowed).toBe(true);
  clock.advance(f.SECOND);
  await attach(2);
  let first = await beat();
  while (first.sessionEpoch === 1) first = await beat();
  expect(first).toMatchObject({
    sessionEpoch: 2,
    counter: 1,
    directiveResults: [resultOf(1, "IGNORED", "no agent is supervised"), resultOf(2, "DONE")],
  });
});

/** Whether it tries to attach now that so much time has passed. */
async function triesAfter(us: number): Promise<boolean> {
  let tried = false;
  void opened.promise.then(() => {
    tried = true;
  });
  clock.advance(us);
  await new Promise((resolve) => setImmediate(resolve));
  return tried;
}

/** Ends whatever the sidecar has open, and resolves once it waits to try again. */
async function hangUp(): Promise<void> {
  down.end();
  await new Promise((resolve) => setImmediate(resolve));
}

test("its place among those who come back is what was left of its lease when it lost its session, until it has another", async () => {
  await end();
  const chance = vi.spyOn(Math, "random").mockReturnValue(0);
  await govern();
  onTestFinished(() => chance.mockRestore());
  await send(await lease(1), "lease");
  await hangUp();
  // The whole lease was left: half of a quarter of a second, without chance.
  expect(await triesAfter(124_999)).toBe(false);
  expect(await triesAfter(1)).toBe(true);
  opened = Promise.withResolvers();
  // That try took until half of the lease was gone, and failed: it waits as who lost a whole one, half as long, twice over.
  clock.advance(30 * f.SECOND - 125_000);
  await hangUp();
  expect(await triesAfter(124_999)).toBe(false);
  expect(await triesAfter(1)).toBe(true);
  await attach(2);
  // Of the lease in hand less than two thirds were left when this session ended.
  await hangUp();
  expect(await triesAfter(0)).toBe(true);
});

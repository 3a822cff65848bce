import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { openNote } from "../../src/domain/checkpoint.ts";
import { verifyDirective } from "../../src/domain/directive.ts";
import { verifyGenesis } from "../../src/domain/genesis.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { LeaseBody, verifyLease } from "../../src/domain/lease.ts";
import { REASONS } from "../../src/domain/reason.ts";
import { REVOCATION, RevocationBody } from "../../src/domain/revocation.ts";
import { signBody } from "../../src/domain/signing.ts";
import { OrganismState } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { GrantService, LeaseService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { OrganismService } from "../../src/gen/dragons/v1/organism_pb.ts";
import { type AttachRequestSchema, TetherService } from "../../src/gen/dragons/v1/tether_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { Queue } from "../../src/wire/queue.ts";
import { type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  type House,
  makeHouse,
  newSigner,
  random32,
  refusalOf,
  requestId,
  startWorld,
  type World,
} from "./world.ts";

let world: World;
let house: House;
let berth: Berth;
let sidecar: SimSidecar;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `house-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  await sidecar.work(1);
});

const organism = async (instanceId = sidecar.instanceId) => {
  const answer = await world
    .client(OrganismService)
    .getOrganism({ instanceId }, await house.as("VIEWER"));
  if (answer.organism === undefined) throw new Error("no organism");
  return answer.organism;
};
/** Resolves when the organism's state is durable and this. */
async function reaches(state: OrganismState): Promise<void> {
  const abort = new AbortController();
  const stream = world
    .client(OrganismService)
    .watch({}, { ...(await house.as("VIEWER")), signal: abort.signal });
  for await (const { organism: o } of stream) {
    if (o?.instanceId === sidecar.instanceId && o.state === state) break;
  }
}

test("an attachment, a beat, a sync: a cosigned head and the first lease", async () => {
  const a = await sidecar.attach();
  expect(a.attached).toMatchObject({ sessionEpoch: 1n, heldSize: 0n });
  expect(a.attached.state).toBe(OrganismState.DOCKED);
  await a.beat();
  expect((await a.next("heartbeatAck")).counter).toBe(1n);
  expect(await a.syncAll()).toBe(1);

  const { note } = await a.next("cosigned");
  const tenant = world.running.tenants.get(house.tenantId);
  if (tenant === null) throw new Error("no tenant");
  const cosigner = {
    role: "COSIGNER",
    name: "control",
    key: tenant.cosignerSigner.publicKey,
  } as const;
  const opened = openNote(native, note, [cosigner]);
  if (isInvalid(opened)) throw new Error(opened.detail);
  expect(opened.checkpoint).toEqual({
    ledgerId: sidecar.ledgerId,
    size: 1,
    root: sidecar.chain.head().root,
  });

  // The sidecar verifies the whole chain from what it pinned: so do we.
  const record = tenant.ledger(sidecar.ledgerId);
  const grant = tenant.grant(berth.grantRef);
  const dock = tenant.dock(berth.dockRef);
  if (record === null || grant === null || dock === null) throw new Error("not recorded");
  const genesis = verifyGenesis(native, (await tenant.genesis(record)).signed, dock.artifact);
  if (isInvalid(genesis)) throw new Error(genesis.detail);
  const lease = verifyLease(native, await a.next("lease"), {
    keyset: tenant.keyset(),
    grant: grant.artifact,
    genesis,
    manifest: null,
    nowUs: world.clock.nowUs(),
  });
  if (isInvalid(lease)) throw new Error(lease.detail);
  expect(lease.body).toMatchObject({
    leaseSeq: 1,
    sessionEpoch: 1,
    headSize: 1,
    headRoot: sidecar.chain.head().root,
    notAfterUs: lease.body.notBeforeUs + 60_000_000,
  });
  expect(lease.body.controlSize).toBeGreaterThan(0);

  sidecar.leaseRef = Uint8Array.from(lease.ref);
  await a.beat();
  await reaches(OrganismState.RUNNING);
});

test("whoever has not the ledger key, or names another ledger, is not attached", async () => {
  expect(await refusalOf(sidecar.attach({ key: newSigner() }))).toMatchObject({
    code: "UNAUTHENTICATED",
    reason: "CREDENTIAL_INVALID",
  });
  const up = new Queue<MessageInitShape<typeof AttachRequestSchema>>(1);
  up.push({ message: { case: "hello", value: { ledgerId: random32() } } });
  const own = await sidecar.certified();
  const stream = own.client(TetherService).attach(up)[Symbol.asyncIterator]();
  expect(await refusalOf(stream.next())).toMatchObject({
    code: "PERMISSION_DENIED",
    reason: "CREDENTIAL_INVALID",
  });
});

test("a sidecar that never proves itself is not waited for", async () => {
  const up = new Queue<MessageInitShape<typeof AttachRequestSchema>>(1);
  up.push({ message: { case: "hello", value: { ledgerId: sidecar.ledgerId } } });
  const own = await sidecar.certified();
  const stream = own.client(TetherService).attach(up)[Symbol.asyncIterator]();
  expect((await stream.next()).value?.message.case).toBe("challenge");
  const ended = refusalOf(stream.next());
  world.clock.advance(11_000_000);
  expect(await ended).toMatchObject({ code: "DEADLINE_EXCEEDED" });
});

test("a lease is renewed when a third of it has passed, not before, and only for held receipts", async () => {
  const a = await sidecar.attach();
  await a.syncAll();
  expect((await a.earn()).leaseSeq).toBe(1);
  world.clock.advance(10_000_000);
  await a.beat();
  await a.next("heartbeatAck");
  world.clock.advance(11_000_000);
  await sidecar.work(3);
  // The beat is ahead of what is held: it waits, and the sync lets it through.
  await a.beat();
  await a.next("heartbeatAck");
  expect(a.skipped.filter((m) => m.case === "lease")).toEqual([]);
  await a.syncAll();
  const lease = LeaseBody.decode((await a.next("lease")).body);
  expect(lease).toMatchObject({ leaseSeq: 2, headSize: 4 });
  expect(a.skipped.filter((m) => m.case === "lease")).toEqual([]);
});

test("a head that stands still is cosigned again once a minute, and told at once on a new stream", async () => {
  const timeOf = (note: string) => {
    const blob = Buffer.from(note.trim().split(" ").at(-1) ?? "", "base64");
    return Number(blob.readBigUInt64BE(4)) * 1_000_000;
  };
  const a = await sidecar.attach();
  await a.syncAll();
  await a.earn();
  const first = timeOf((await a.take("cosigned")).note);
  for (let s = 10; s <= 70; s += 10) {
    world.clock.advance(10_000_000);
    await a.beat();
    await a.next("heartbeatAck");
    // Judged, too: nothing that it led to is under way.
    await world.running.tenants.settled();
  }
  const again = timeOf((await a.take("cosigned")).note);
  expect(again - first).toBe(60_000_000);
  expect(a.skipped.filter((m) => m.case === "cosigned")).toEqual([]);

  const b = await sidecar.attach();
  await b.beat();
  expect(timeOf((await b.next("cosigned")).note)).toBe(again);
});

test("a lease never outlasts what its grant allows", async () => {
  const short = await makeBerth(world, house, { leaseTtlMaxUs: 12_000_000 });
  const other = await SimSidecar.dock(world, house, short);
  const a = await other.attach();
  // Six beats in a lease, so that one may be renewed in time.
  expect(a.attached.heartbeatIntervalUs).toBe(2_000_000n);
  const lease = await a.earn();
  expect(lease.notAfterUs - lease.notBeforeUs).toBe(12_000_000);
});

test("a newer attachment ends the older, in the next epoch; its token is dead", async () => {
  const first = await sidecar.attach();
  const second = await sidecar.attach();
  expect(second.epoch).toBe(2);
  expect((await first.next("superseded")).sessionEpoch).toBe(2n);
  const dead = first.sync();
  expect(await refusalOf(dead.held())).toMatchObject({
    code: "UNAUTHENTICATED",
    reason: "SESSION_UNKNOWN",
  });
  // In flight when it was told: nothing is held against it, and it is not answered.
  await first.beat();
  await second.beat();
  await second.next("heartbeatAck");
  expect((await organism()).state).toBe(OrganismState.DOCKED);
});

test("one that still beats long after it was told has a key that it must not have", async () => {
  const first = await sidecar.attach();
  await sidecar.attach();
  await first.next("superseded");
  world.clock.advance(11_000_000);
  await first.beat();
  await reaches(OrganismState.QUARANTINED);
  const { conditions } = await organism();
  expect(conditions.map((c) => c.type)).toContain(11);
});

test("epochs go on across a restart of the control plane", async () => {
  const { epoch } = await sidecar.attach();
  await world.restart();
  expect((await sidecar.attach()).epoch).toBeGreaterThan(epoch);
});

test("a ledger that came back shorter is not attached, and quarantined unless it said so", async () => {
  await sidecar.work(4);
  const a = await sidecar.attach();
  await a.syncAll();
  await a.leave();
  sidecar.restore(2);
  const declared = await refusalOf(sidecar.attach({ regressed: true }));
  expect(declared).toMatchObject({ reason: "REGRESS", metadata: { held_size: "5" } });
  expect((await organism()).state).toBe(OrganismState.DOCKED);
  const undeclared = await refusalOf(sidecar.attach());
  expect(undeclared).toMatchObject({ code: "FAILED_PRECONDITION", reason: "REGRESS" });
  expect((await organism()).state).toBe(OrganismState.QUARANTINED);
});

test("a successor is told heads of its own alone", async () => {
  const a = await sidecar.attach();
  await a.syncAll();
  await a.earn();
  await a.take("cosigned");
  const { instanceId, ledgerId: predecessor } = sidecar;
  const successor = await SimSidecar.dock(world, house, berth, { instanceId, predecessor });
  const b = await successor.attach();
  await b.earn();
  const [origin] = (await b.take("cosigned")).note.split("\n");
  expect(origin).toBe(`dragons/ledger/${toHex(successor.ledgerId)}`);
});

test("a successor takes the older ledger's place", async () => {
  const more = { instanceId: sidecar.instanceId, predecessor: sidecar.ledgerId };
  const successor = await SimSidecar.dock(world, house, berth, more);
  expect(await refusalOf(sidecar.attach())).toMatchObject({ reason: "STATE_UNFIT" });
  await successor.attach();
});

test("beats that are not this ledger's, or of a session not granted, end the stream", async () => {
  const a = await sidecar.attach();
  const beat = await sidecar.beat(1, 1, {}, newSigner());
  a.up.push({ message: { case: "heartbeat", value: beat } });
  expect(await refusalOf(a.next("heartbeatAck"))).toMatchObject({ reason: "E_KEY_UNKNOWN" });
  const b = await sidecar.attach();
  b.up.push({ message: { case: "heartbeat", value: await sidecar.beat(99, 1) } });
  expect(await refusalOf(b.next("heartbeatAck"))).toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("drift earns no lease, and quarantines", async () => {
  const a = await sidecar.attach();
  await a.syncAll();
  await a.earn();
  await a.beat({ manifestHash: random32() });
  const tenant = world.running.tenants.get(house.tenantId);
  const record = tenant?.ledger(sidecar.ledgerId);
  if (!tenant || !record) throw new Error("no ledger");
  const directive = verifyDirective(native, await a.next("directive"), {
    keyset: tenant.keyset(),
    genesis: await tenant.genesis(record),
    sessionEpoch: a.epoch,
    nowUs: world.clock.nowUs(),
  });
  if (isInvalid(directive)) throw new Error(directive.detail);
  expect(directive.body.kind).toBe("QUARANTINE");
  const revocation = await a.next("revocation");
  expect(RevocationBody.decode(revocation.body)).toMatchObject({
    kind: "LEASE",
    target: sidecar.leaseRef,
  });
  expect((await organism()).state).toBe(OrganismState.QUARANTINED);
  await a.beat();
  expect((await a.next("leaseWithheld")).reason).toBe(REASONS.indexOf("QUARANTINED"));
});

test("a lease revoked by an operator is pushed at once, and no other is given", async () => {
  const a = await sidecar.attach();
  await a.syncAll();
  const lease = await a.earn();
  const operator = await house.as("OPERATOR");
  await world
    .client(LeaseService)
    .revokeLease({ requestId: requestId(), leaseId: lease.leaseId, reason: "too eager" }, operator);
  const pushed = RevocationBody.decode((await a.next("revocation")).body);
  expect(pushed).toMatchObject({ kind: "LEASE", epoch: 1, target: sidecar.leaseRef });
  await a.beat();
  const withheld = await a.next("leaseWithheld");
  expect(withheld.reason).toBe(REASONS.indexOf("LEASE_REVOKED"));
  expect(withheld.detail).toContain("too eager");
  // A sidecar that attaches later learns of every epoch that it missed.
  const later = await sidecar.attach();
  expect(later.attached.revocations).toHaveLength(1);
});

test("a grant revoked ends what was cut from it", async () => {
  const a = await sidecar.attach();
  await a.syncAll();
  await a.earn();
  const signed = await signBody(
    REVOCATION,
    {
      version: 1,
      tenantId: house.tenantId,
      epoch: 1,
      previous: new Uint8Array(0),
      kind: "GRANT",
      target: berth.grantRef,
      effectiveUs: world.clock.nowUs(),
      reason: "",
    },
    [house.grantKey],
  );
  await world
    .client(GrantService)
    .recordRevocation({ requestId: requestId(), revocation: signed }, await house.as("OPERATOR"));
  expect(toHex((await a.next("revocation")).body)).toBe(toHex(signed.body));
  await a.beat();
  expect((await a.next("leaseWithheld")).reason).toBe(REASONS.indexOf("LEASE_REVOKED"));
});

test("no more instances hold authority than the grant allows", async () => {
  const narrow = await makeBerth(world, house, { instancesMax: 1 });
  const one = await SimSidecar.dock(world, house, narrow);
  const a = await one.attach();
  await a.earn();
  const two = await refusalOf(SimSidecar.dock(world, house, narrow));
  expect(two.reason).toBe("QUOTA_REACHED");
});

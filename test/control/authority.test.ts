import { readFile } from "node:fs/promises";
import tls from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { newId } from "../../src/domain/ids.ts";
import { KEYSET, KeysetBody } from "../../src/domain/keyset.ts";
import { LEASE, type LeaseBody } from "../../src/domain/lease.ts";
import { REVOCATION, RevocationBody } from "../../src/domain/revocation.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import {
  AuditService,
  GrantService,
  KeyService,
  LeaseService,
  ManifestService,
  TenantService,
} from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { grpcRule } from "../fixtures/authority.ts";
import {
  dockBody,
  genesis,
  grantBody,
  type House,
  hashOf,
  ids,
  keysetBody,
  makeHouse,
  manifest,
  manifestBytes,
  newSigner,
  random32,
  refusalOf,
  requestId,
  signDock,
  signGrant,
  startWorld,
  type World,
} from "./world.ts";

let world: World;
let house: House;
const NONE = new Uint8Array(0);

beforeEach(async () => {
  world = await startWorld();
  house = await makeHouse(world, "acme");
});
afterEach(() => world.end());

const recordManifest = async (m = manifest()) =>
  world
    .client(ManifestService)
    .recordManifest(
      { requestId: requestId(), manifest: manifestBytes(m) },
      await house.as("OPERATOR"),
    );

async function recordGrant(more: Parameters<typeof grantBody>[2] = {}) {
  const grant = await signGrant(house, grantBody(world, house, more));
  const request = { requestId: requestId(), grant };
  return world.client(GrantService).recordGrant(request, await house.as("OPERATOR"));
}

async function recordDock(grantRef: Uint8Array, ledgersMax = 2) {
  const join = newSigner();
  const body = dockBody(world, house, grantRef, [{ key: join.publicKey, ledgersMax }]);
  const dock = await signDock(house, body);
  const request = { requestId: requestId(), dock };
  const answer = await world.client(DockService).recordDock(request, await house.as("OPERATOR"));
  return { join, ...answer };
}

/** Manifest, grant and dock: all that a sidecar needs. */
async function berth(grant: Parameters<typeof grantBody>[2] = {}, ledgersMax = 2) {
  await recordManifest();
  const { grantRef } = await recordGrant(grant);
  return { grantRef, ...(await recordDock(grantRef, ledgersMax)) };
}

const openLedger = (signed: SignedBytes) => world.client(DockService).dock({ genesis: signed });

/** A lease as the issuer would cut it, recorded as the tether would. */
async function issueLease(g: Awaited<ReturnType<typeof genesis>>, grantRef: Uint8Array) {
  const tenant = world.running.tenants.get("acme");
  if (tenant === null) throw new Error("no tenant");
  const nowUs = world.clock.nowUs();
  const body: LeaseBody = {
    version: 1,
    leaseId: newId("lse", ids),
    tenantId: "acme",
    instanceId: g.body.instanceId,
    ledgerId: g.ledgerId,
    manifestHash: g.body.manifestHash,
    grantRef,
    leaseSeq: 1,
    scopes: [],
    notBeforeUs: nowUs,
    notAfterUs: nowUs + 60_000_000,
    issuedAtUs: nowUs,
    headSize: 0,
    headRoot: random32(),
    intentsOpened: 0,
    intentsHead: g.ledgerId,
    revocationEpoch: tenant.revocationEpoch(),
    sessionEpoch: 1,
    controlSize: tenant.controlHead().size,
    controlRoot: tenant.controlHead().root,
    observeUntilUs: 0,
  };
  const lease = await tenant.issue(LEASE, body);
  await tenant.record({ entries: [{ what: "lease", artifact: lease }] });
  return lease;
}

async function records() {
  const audit = world.client(AuditService);
  const found = [];
  for (let pageToken = ""; ; ) {
    const page = await audit.listRecords({ pageSize: 3, pageToken }, await house.as("VIEWER"));
    found.push(...page.records);
    if (page.nextPageToken === "") return found;
    pageToken = page.nextPageToken;
  }
}

describe("the chain of authority, over TLS", () => {
  test("from keyset to open ledger, each step recorded under the name of who asked", async () => {
    const { join, dockRef, grantRef } = await berth();
    const g = await genesis(world, house, dockRef, join);
    const docked = await openLedger(g.signed);
    expect(docked.ledgerId).toEqual(g.ledgerId);
    expect(docked.manifest).toEqual(manifestBytes(manifest()));
    expect(refOf(native, "grant", docked.grant?.body ?? NONE)).toEqual(grantRef);
    expect(refOf(native, "dock", docked.dock?.body ?? NONE)).toEqual(dockRef);
    expect(docked.keyset?.body).toEqual(house.keyset.body);

    const all = await records();
    expect(all.map((r) => r.what)).toEqual(["keyset", "manifest", "grant", "dock", "genesis"]);
    const operator = house.logins.OPERATOR.publicKey;
    expect(all.map((r) => r.actor)).toEqual([NONE, operator, operator, operator, NONE]);
    expect(SignedBytes.decode(all[4]?.artifact ?? NONE).body).toEqual(g.signed.body);
  });

  test("nothing of it is lost in a restart", async () => {
    const { join, dockRef, grantRef } = await berth({}, 2);
    const g = await genesis(world, house, dockRef, join);
    await openLedger(g.signed);
    const lease = await issueLease(g, grantRef);
    const before = await records();
    await world.restart();
    expect(await records()).toEqual(before);
    const tenant = world.running.tenants.get("acme");
    expect(tenant?.ledger(g.ledgerId)?.instanceId).toBe(g.body.instanceId);
    expect(tenant?.controlHead().size).toBe(before.length);
    // The join key's count goes on where it was: one of two is left.
    const viewer = await house.as("VIEWER");
    const { docks } = await world.client(DockService).listDocks({}, viewer);
    expect(docks.map((d) => d.ledgers)).toEqual([1n]);
    const { leases } = await world.client(LeaseService).listLeases({}, viewer);
    expect(leases.map((l) => l.leaseRef)).toEqual([lease.ref]);
    // And the ledger goes on behind what it held.
    await recordManifest(manifest({ agentVersion: "v8" }));
    expect((await records()).map((r) => r.what).at(-1)).toBe("manifest");
  });

  test("a manifest with a rule that decides nothing is refused, with the rule and the reason", async () => {
    const rules = [
      grpcRule("/payments.v1.Payments/*"),
      { ...grpcRule("/payments.v1.Payments/Pay"), when: 'header["x-limit"] <= 100' },
    ];
    const refusal = recordManifest(manifest({ capabilities: [{ name: "use:payments", rules }] }));
    await expect(refusal).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(
        /use:payments"\]\.rules\[1\] allows nothing that rule 1 does not allow, without its condition/,
      ),
    });
  });

  test("calls under way when it stops are answered, and what was answered is kept", async () => {
    const credentials = await house.as("OPERATOR");
    const manifests = world.client(ManifestService);
    const calls = Array.from({ length: 30 }, (_, i) =>
      manifests.recordManifest(
        { requestId: requestId(), manifest: manifestBytes(manifest({ agentVersion: `v${i}` })) },
        credentials,
      ),
    );
    await calls[0];
    const closing = world.running.close();
    const settled = await Promise.allSettled(calls);
    await closing;
    const answered = settled.flatMap((r) => (r.status === "fulfilled" ? [r.value] : []));
    for (const r of settled) {
      if (r.status === "rejected") expect(r.reason).toMatchObject({ code: "UNAVAILABLE" });
    }
    await world.restart();
    const kept = (await records()).filter((r) => r.what === "manifest");
    expect(kept).toHaveLength(answered.length);
    expect(answered.length).toBeGreaterThan(0);
  });

  test("is reached over TLS whatever time it goes by itself", async () => {
    world.clock.advance(400 * 24 * 3_600_000_000);
    await world.restart();
    expect(await world.client(TenantService).listTenants({}, world.owner)).toMatchObject({
      tenants: [{ tenantId: "acme" }],
    });
  });

  test("only TLS 1.3 is spoken", async () => {
    const { control, controlCa } = world.running.ready;
    const [host, port] = control.split(":");
    const ca = await readFile(controlCa);
    const connect = (maxVersion: "TLSv1.2" | "TLSv1.3") =>
      new Promise<string>((resolve) => {
        const socket = tls.connect(
          {
            host: host as string,
            port: Number(port),
            ca,
            ALPNProtocols: ["h2"],
            minVersion: "TLSv1.2",
            maxVersion,
          },
          () => {
            resolve(socket.getProtocol() ?? "none");
            socket.destroy();
          },
        );
        socket.on("error", () => resolve("refused"));
      });
    expect(await connect("TLSv1.2")).toBe("refused");
    expect(await connect("TLSv1.3")).toBe("TLSv1.3");
  });
});

describe("requests", () => {
  test("again with the same id: the first answer, and nothing recorded twice", async () => {
    await recordManifest();
    const grant = await signGrant(house, grantBody(world, house));
    const request = { requestId: "once", grant };
    const grants = world.client(GrantService);
    const first = await grants.recordGrant(request, await house.as("OPERATOR"));
    expect(await grants.recordGrant(request, await house.as("OPERATOR"))).toEqual(first);
    await world.restart();
    const again = world.client(GrantService).recordGrant(request, await house.as("OPERATOR"));
    expect(await again).toEqual(first);
    expect((await records()).filter((r) => r.what === "grant")).toHaveLength(1);
  });

  test("twice at once: carried out once", async () => {
    const credentials = await house.as("OPERATOR");
    const request = { requestId: "twin", manifest: manifestBytes(manifest()) };
    const manifests = world.client(ManifestService);
    const both = await Promise.all([
      manifests.recordManifest(request, credentials),
      manifests.recordManifest(request, credentials),
    ]);
    expect(both[0]).toEqual(both[1]);
    expect(await records()).toHaveLength(2);
  });

  test("the same id for something else is refused, and names the field", async () => {
    const manifests = world.client(ManifestService);
    const credentials = await house.as("OPERATOR");
    const ask = (m: Uint8Array) =>
      manifests.recordManifest({ requestId: "reused", manifest: m }, credentials);
    await ask(manifestBytes(manifest()));
    expect(await refusalOf(ask(manifestBytes(manifest({ agentVersion: "v8" }))))).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "REQUEST_ID_REUSED",
      metadata: { field: "request_id" },
    });
  });

  test("the same id of another operator is another request", async () => {
    const manifests = world.client(ManifestService);
    const ask = (m: Uint8Array, as: Awaited<ReturnType<House["as"]>>) =>
      manifests.recordManifest({ requestId: "mine", manifest: m }, as);
    const a = await ask(manifestBytes(manifest()), await house.as("OPERATOR"));
    const b = await ask(manifestBytes(manifest({ agentVersion: "v8" })), await house.as("ADMIN"));
    expect(b.manifestHash).not.toEqual(a.manifestHash);
  });

  test.each(["", "has space", "é", "x".repeat(129)])("an unusable id %j is refused", async (id) => {
    const call = world
      .client(ManifestService)
      .recordManifest(
        { requestId: id, manifest: manifestBytes(manifest()) },
        await house.as("OPERATOR"),
      );
    expect(await refusalOf(call)).toMatchObject({
      code: "INVALID_ARGUMENT",
      metadata: { field: "request_id" },
    });
  });

  test("what was refused can be asked again once its cause is gone", async () => {
    const grant = await signGrant(house, grantBody(world, house));
    const ask = async () =>
      world
        .client(GrantService)
        .recordGrant({ requestId: "later", grant }, await house.as("OPERATOR"));
    expect(await refusalOf(ask())).toMatchObject({
      code: "FAILED_PRECONDITION",
      reason: "MANIFEST_NOT_RECORDED",
    });
    await recordManifest();
    expect((await ask()).revision).toBe(3n);
  });
});

describe("tenants", () => {
  const create = async (more: object) => {
    const tenants = world.client(TenantService);
    const prepared = await tenants.prepareTenant({ tenantId: "other" }, world.owner);
    const people = { ...house, tenantId: "other" };
    const body = { ...keysetBody(people, world.clock.nowUs(), prepared), ...more };
    const keyset = await signBody(KEYSET, body, [house.root]);
    const request = { requestId: requestId(), tenantId: "other", keyset };
    return tenants.createTenant({ ...request, rootKey: house.root.publicKey }, world.owner);
  };

  test("a tenant's keys are the same however often they are asked for", async () => {
    const tenants = world.client(TenantService);
    const first = await tenants.prepareTenant({ tenantId: "other" }, world.owner);
    expect(await tenants.prepareTenant({ tenantId: "other" }, world.owner)).toEqual(first);
  });

  test.each(["", "UPPER", "-a", "a/../b", "a".repeat(64)])(
    "%j is no tenant id",
    async (tenantId) => {
      const call = world.client(TenantService).prepareTenant({ tenantId }, world.owner);
      expect(await refusalOf(call)).toMatchObject({
        code: "INVALID_ARGUMENT",
        metadata: { field: "tenant_id" },
      });
    },
  );

  test("a keyset that leaves out one of the control plane's keys makes no tenant", async () => {
    const { issuerKey, cosignerKey } = await world
      .client(TenantService)
      .prepareTenant({ tenantId: "other" }, world.owner);
    const controlLedgerKey = newSigner().publicKey;
    const { keys } = keysetBody(house, world.clock.nowUs(), {
      issuerKey,
      cosignerKey,
      controlLedgerKey,
    });
    const refused = await refusalOf(create({ keys }));
    expect(refused.message).toContain("CONTROL_LEDGER");
    expect(refused.code).toBe("INVALID_ARGUMENT");
  });

  test("a keyset by another root, of another tenant, or not the first makes no tenant", async () => {
    expect(await refusalOf(create({ tenantId: "acme" }))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(await refusalOf(create({ keysetVersion: 2, previous: random32() }))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    const forged = await signBody(KEYSET, KeysetBody.decode(house.keyset.body), [newSigner()]);
    const call = world.client(TenantService).createTenant(
      {
        requestId: requestId(),
        tenantId: "acme-2",
        rootKey: house.root.publicKey,
        keyset: forged,
      },
      world.owner,
    );
    expect(await refusalOf(call)).toMatchObject({ reason: "E_KEY_UNKNOWN" });
  });

  test("a tenant that exists is not made again; its own request gets its answer", async () => {
    expect(await create({})).toMatchObject({ tenantId: "other", revision: 1n });
    expect(await refusalOf(create({}))).toMatchObject({ code: "ALREADY_EXISTS" });
    const page = await world.client(TenantService).listTenants({ pageSize: 1 }, world.owner);
    expect(page.tenants.map((t) => t.tenantId)).toEqual(["acme"]);
    const rest = await world
      .client(TenantService)
      .listTenants({ pageSize: 1, pageToken: page.nextPageToken }, world.owner);
    expect(rest.tenants.map((t) => t.tenantId)).toEqual(["other"]);
    expect(rest.nextPageToken).toBe("");
  });

  test("the next keyset must follow the current one", async () => {
    const keys = world.client(KeyService);
    const current = KeysetBody.decode(house.keyset.body);
    const next = {
      ...current,
      keysetVersion: 2,
      previous: refOf(native, "keyset", house.keyset.body),
    };
    const record = async (body: KeysetBody) =>
      keys.recordKeyset(
        { requestId: requestId(), keyset: await signBody(KEYSET, body, [house.root]) },
        await house.as("ADMIN"),
      );
    expect(await refusalOf(record({ ...next, previous: random32() }))).toMatchObject({
      code: "ABORTED",
      metadata: { keyset_version: "1" },
    });
    expect(await refusalOf(record({ ...next, keysetVersion: 3 }))).toMatchObject({
      code: "ABORTED",
    });
    expect(await refusalOf(record(current))).toMatchObject({ reason: "E_ROLLBACK" });
    expect(await record(next)).toMatchObject({ keysetVersion: 2n, revision: 2n });
    const got = await keys.getKeyset({}, await house.as("VIEWER"));
    expect(KeysetBody.decode(got.keyset?.body ?? NONE).keysetVersion).toBe(2);
  });
});

describe("manifests and grants", () => {
  test("a manifest recorded again is the same record", async () => {
    const first = await recordManifest();
    expect(await recordManifest()).toEqual(first);
    expect(first.manifestHash).toEqual(hashOf(manifest()));
    expect(await records()).toHaveLength(2);
  });

  test.each([
    ["nothing", NONE],
    ["bytes that are none", new Uint8Array([0xff])],
    ["a default written out", new Uint8Array([0x08, 0x00])],
  ])("%s is no manifest", async (_, bytes) => {
    const call = world
      .client(ManifestService)
      .recordManifest({ requestId: requestId(), manifest: bytes }, await house.as("OPERATOR"));
    expect(await refusalOf(call)).toMatchObject({
      code: "INVALID_ARGUMENT",
      metadata: { field: "manifest" },
    });
  });

  test("a grant by a key that may not grant is refused", async () => {
    await recordManifest();
    const impostor = { ...house, grantKey: house.logins.ADMIN };
    const grant = await signGrant(impostor, grantBody(world, house));
    const call = world
      .client(GrantService)
      .recordGrant({ requestId: requestId(), grant }, await house.as("ADMIN"));
    expect(await refusalOf(call)).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "E_KEY_UNKNOWN",
    });
  });

  test("a grant changed after signing is refused", async () => {
    await recordManifest();
    const grant = await signGrant(house, grantBody(world, house));
    const body = grantBody(world, house, { instancesMax: 9 });
    const altered = await signGrant(house, body);
    const request = { requestId: requestId(), grant: { ...grant, body: altered.body } };
    const call = world.client(GrantService).recordGrant(request, await house.as("OPERATOR"));
    expect(await refusalOf(call)).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "E_SIGNATURE",
    });
  });

  test("a grant without signed bytes, or ended already, is refused by field", async () => {
    await recordManifest();
    const call = world
      .client(GrantService)
      .recordGrant({ requestId: requestId() }, await house.as("OPERATOR"));
    expect(await refusalOf(call)).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("grant"),
    });
    const nowUs = world.clock.nowUs();
    const over = recordGrant({ notBeforeUs: nowUs - 2, notAfterUs: nowUs });
    expect(await refusalOf(over)).toMatchObject({ metadata: { field: "grant.not_after_us" } });
  });

  test("a page is cut where its bytes are many, and goes on behind", async () => {
    const heavy = (v: number) =>
      manifest({
        agentVersion: `v${v}`,
        code: Array.from({ length: 6000 }, (_, i) => ({
          path: `${"d".repeat(150)}/${String(i).padStart(5, "0")}.py`,
          sha256: native.sha256(NONE),
          size: 1,
        })),
      });
    for (let v = 0; v < 4; v++) await recordManifest(heavy(v));
    const manifests = world.client(ManifestService);
    const sizes = [];
    let pageToken = "";
    do {
      const page = await manifests.listManifests({ pageToken }, await house.as("VIEWER"));
      sizes.push(page.manifests.length);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(sizes.reduce((a, b) => a + b)).toBe(4);
    expect(sizes.length).toBeGreaterThan(1);
    expect(await records()).toHaveLength(5);
  });

  test("an id names one grant for ever", async () => {
    await recordManifest();
    const grantId = newId("grt", ids);
    const first = await recordGrant({ grantId });
    expect(await refusalOf(recordGrant({ grantId, purpose: "another" }))).toMatchObject({
      code: "ALREADY_EXISTS",
    });
    const { grant } = await world
      .client(GrantService)
      .getGrant({ grantId }, await house.as("VIEWER"));
    expect(grant?.grantRef).toEqual(first.grantRef);
  });

  test("lists page by page, each grant once", async () => {
    await recordManifest();
    const recorded = [];
    for (let i = 0; i < 5; i++) recorded.push((await recordGrant()).grantRef);
    const grants = world.client(GrantService);
    const seen = [];
    let pageToken = "";
    do {
      const page = await grants.listGrants({ pageSize: 2, pageToken }, await house.as("VIEWER"));
      expect(page.grants.length).toBeLessThanOrEqual(2);
      seen.push(...page.grants.map((g) => g.grantRef));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen).toEqual(recorded);
  });

  test("a page token is good for its own method alone; sizes must make sense", async () => {
    await recordManifest();
    await recordGrant();
    await recordGrant();
    const viewer = await house.as("VIEWER");
    const { nextPageToken } = await world.client(GrantService).listGrants({ pageSize: 1 }, viewer);
    const manifests = world.client(ManifestService);
    for (const pageToken of [nextPageToken, "garbage", "!"]) {
      expect(await refusalOf(manifests.listManifests({ pageToken }, viewer))).toMatchObject({
        code: "INVALID_ARGUMENT",
        metadata: { field: "page_token" },
      });
    }
    expect(await refusalOf(manifests.listManifests({ pageSize: -1 }, viewer))).toMatchObject({
      metadata: { field: "page_size" },
    });
  });
});

describe("docking", () => {
  test("the same genesis again is the same ledger, and counts once", async () => {
    const { join, dockRef } = await berth({}, 1);
    const g = await genesis(world, house, dockRef, join);
    const [a, b] = await Promise.all([openLedger(g.signed), openLedger(g.signed)]);
    expect(a).toEqual(b);
    expect(await openLedger(g.signed)).toEqual(a);
    expect((await records()).filter((r) => r.what === "genesis")).toHaveLength(1);
  });

  test("a join key opens no more ledgers than its dock says", async () => {
    const { join, dockRef } = await berth({}, 1);
    await openLedger((await genesis(world, house, dockRef, join)).signed);
    const second = openLedger((await genesis(world, house, dockRef, join)).signed);
    expect(await refusalOf(second)).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "QUOTA_REACHED",
    });
  });

  test("of many that come at once, no more than the dock says come aboard", async () => {
    const { join, dockRef } = await berth({ instancesMax: 9 }, 3);
    const all = await Promise.all(
      Array.from({ length: 6 }, () => genesis(world, house, dockRef, join)),
    );
    const results = await Promise.allSettled(all.map((g) => openLedger(g.signed)));
    expect(results.filter((r) => r.status === "fulfilled")).toHaveLength(3);
  });

  test("a grant has no more instances than it says", async () => {
    const { join, dockRef } = await berth({ instancesMax: 1 }, 5);
    const first = await genesis(world, house, dockRef, join);
    await openLedger(first.signed);
    const second = openLedger((await genesis(world, house, dockRef, join)).signed);
    expect(await refusalOf(second)).toMatchObject({
      code: "FAILED_PRECONDITION",
      reason: "QUOTA_REACHED",
    });
    // The same instance goes on in a successor of its ledger: that is not one more.
    const { instanceId } = first.body;
    const successor = { instanceId, predecessor: first.ledgerId };
    await openLedger((await genesis(world, house, dockRef, join, successor)).signed);
  });

  test("an instance's further ledger must name the one before", async () => {
    const { join, dockRef } = await berth({}, 5);
    const first = await genesis(world, house, dockRef, join);
    await openLedger(first.signed);
    for (const predecessor of [NONE, random32()]) {
      const { instanceId } = first.body;
      const g = await genesis(world, house, dockRef, join, { instanceId, predecessor });
      expect(await refusalOf(openLedger(g.signed))).toMatchObject({
        metadata: { field: "genesis.predecessor" },
      });
    }
  });

  test("a dock that has closed opens nothing, however its genesis is dated", async () => {
    const { join, dockRef } = await berth();
    const inTime = await genesis(world, house, dockRef, join);
    world.clock.advance(3_600_000_000);
    expect(await refusalOf(openLedger(inTime.signed))).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "E_EXPIRED",
    });
  });

  test("a key that the dock does not name, or a forged proof, opens nothing", async () => {
    const { join, dockRef } = await berth();
    const stranger = await genesis(world, house, dockRef, newSigner());
    expect(await refusalOf(openLedger(stranger.signed))).toMatchObject({
      code: "PERMISSION_DENIED",
    });
    const g = await genesis(world, house, dockRef, join);
    const other = await genesis(world, house, dockRef, join);
    const forged = { body: g.signed.body, signatures: other.signed.signatures };
    expect(await refusalOf(openLedger(forged))).toMatchObject({ code: "PERMISSION_DENIED" });
    expect((await records()).filter((r) => r.what === "genesis")).toHaveLength(0);
  });

  test("no such dock, no such tenant: the same answer", async () => {
    const { join, dockRef } = await berth();
    const nowhere = await genesis(world, house, random32(), join);
    const foreign = await genesis(world, house, dockRef, join, { tenantId: "nobody" });
    const answers = await Promise.all(
      [nowhere, foreign].map((g) => refusalOf(openLedger(g.signed))),
    );
    for (const a of answers)
      expect(a).toMatchObject({ code: "NOT_FOUND", message: "no such dock" });
  });
});

type Issued = Awaited<ReturnType<typeof issueLease>>;

describe("revocation", () => {
  const sign = (body: Partial<RevocationBody>, signer = house.grantKey) =>
    signBody(
      REVOCATION,
      {
        version: 1,
        tenantId: "acme",
        epoch: 1,
        previous: NONE,
        kind: "GRANT",
        target: NONE,
        effectiveUs: world.clock.nowUs(),
        reason: "over",
        ...body,
      },
      [signer],
    );
  const record = async (revocation: SignedBytes) =>
    world
      .client(GrantService)
      .recordRevocation({ requestId: requestId(), revocation }, await house.as("OPERATOR"));

  test("a revoked grant says so, and docks nobody", async () => {
    const { join, dockRef, grantRef } = await berth();
    expect(await record(await sign({ target: grantRef }))).toMatchObject({ epoch: 1n });
    const viewer = await house.as("VIEWER");
    const { grants } = await world.client(GrantService).listGrants({}, viewer);
    expect(grants.map((g) => g.revokedEpoch)).toEqual([1n]);
    const late = await genesis(world, house, dockRef, join);
    expect(await refusalOf(openLedger(late.signed))).toMatchObject({ reason: "E_REVOKED" });
    await world.restart();
    expect(await refusalOf(openLedger(late.signed))).toMatchObject({ reason: "E_REVOKED" });
  });

  test("epochs follow one another; of two that sign the same one, one must sign again", async () => {
    const { grantRef } = await berth();
    const [a, b] = [await sign({ target: grantRef }), await sign({ target: random32() })];
    const results = await Promise.allSettled([record(a), record(b)]);
    const refused = results.flatMap((r) => (r.status === "rejected" ? [r.reason] : []));
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({
      code: "ABORTED",
      reason: "EPOCH_TAKEN",
      metadata: { next_epoch: "2" },
    });
    const unchained = await sign({ epoch: 2, previous: random32(), target: random32() });
    expect(await refusalOf(record(unchained))).toMatchObject({ code: "ABORTED" });
    const [first] = (await world.client(GrantService).listRevocations({}, await house.as("VIEWER")))
      .revocations;
    const previous = refOf(native, "revocation", first?.body ?? NONE);
    expect(await record(await sign({ epoch: 2, previous, target: random32() }))).toMatchObject({
      epoch: 2n,
    });
  });

  test.each([
    ["its grant", "GRANT", (_: Issued, grantRef: Uint8Array) => grantRef],
    ["the key that signed its grant", "KEY", () => house.grantKey.publicKey],
    ["the key that signed it", "KEY", ({ signed }: Issued) => signed.signatures[0]?.key ?? NONE],
    ["its manifest", "MANIFEST", ({ body }: Issued) => body.manifestHash],
  ] as const)("of %s ends its lease, which is listed no more", async (_, kind, target) => {
    const { join, dockRef, grantRef } = await berth();
    const g = await genesis(world, house, dockRef, join);
    await openLedger(g.signed);
    const lease = await issueLease(g, grantRef);
    const list = async () =>
      (await world.client(LeaseService).listLeases({}, await house.as("VIEWER"))).leases;
    expect(await list()).toHaveLength(1);
    await record(await sign({ kind, target: target(lease, grantRef) }));
    expect(await list()).toEqual([]);
    await world.restart();
    expect(await list()).toEqual([]);
  });

  test("an operator's login key cannot revoke what grant keys gave", async () => {
    const { grantRef } = await berth();
    const forged = await sign({ target: grantRef }, house.logins.ADMIN);
    expect(await refusalOf(record(forged))).toMatchObject({ code: "PERMISSION_DENIED" });
  });

  test("a revoked login key logs nobody in", async () => {
    const viewer = await house.as("VIEWER");
    const keys = world.client(KeyService);
    await keys.getKeyset({}, viewer);
    await record(await sign({ kind: "KEY", target: house.logins.VIEWER.publicKey }));
    expect(await refusalOf(keys.getKeyset({}, viewer))).toMatchObject({ code: "UNAUTHENTICATED" });
  });
});

describe("leases", () => {
  async function held() {
    const { join, dockRef, grantRef } = await berth();
    const g = await genesis(world, house, dockRef, join);
    await openLedger(g.signed);
    return { g, grantRef, lease: await issueLease(g, grantRef) };
  }

  test("are listed while they hold, and found by their id for ever", async () => {
    const { g, grantRef, lease } = await held();
    const leases = world.client(LeaseService);
    const list = async () => (await leases.listLeases({}, await house.as("VIEWER"))).leases;
    expect((await list()).map((l) => l.leaseRef)).toEqual([lease.ref]);
    const next = await issueLease(g, grantRef);
    expect((await list()).map((l) => l.leaseRef)).toEqual([next.ref]);
    const { leaseId } = lease.body;
    const found = await leases.getLease({ leaseId }, await house.as("VIEWER"));
    expect(found.lease?.leaseRef).toEqual(lease.ref);
    world.clock.advance(60_000_000);
    expect(await list()).toEqual([]);
    for (const absent of [newId("lse", ids), "", "lse_\0", "x".repeat(999)]) {
      const call = leases.getLease({ leaseId: absent }, await house.as("VIEWER"));
      expect(await refusalOf(call)).toMatchObject({ code: "NOT_FOUND" });
    }
  });

  test("are revoked at once, by lease or by instance, and whoever listens hears of it", async () => {
    const { g, lease } = await held();
    const heard: string[] = [];
    world.running.tenants
      .get("acme")
      ?.subscribe((e) => heard.push(...e.entries.map((x) => x.what)));
    const leases = world.client(LeaseService);
    const request = { requestId: "rv", instanceId: g.body.instanceId, reason: "wrong invoice" };
    const answer = await leases.revokeLease(request, await house.as("OPERATOR"));
    expect(answer.epoch).toBe(1n);
    const body = RevocationBody.decode(answer.revocation?.body ?? NONE);
    expect(body).toMatchObject({ kind: "LEASE", target: lease.ref, reason: "wrong invoice" });
    expect(heard).toEqual(["revocation"]);
    expect((await leases.listLeases({}, await house.as("VIEWER"))).leases).toEqual([]);
    expect(await leases.revokeLease(request, await house.as("OPERATOR"))).toEqual(answer);
    const again = { requestId: requestId(), leaseId: lease.body.leaseId };
    expect(await refusalOf(leases.revokeLease(again, await house.as("OPERATOR")))).toMatchObject({
      reason: "STATE_UNFIT",
    });
  });

  test("name what is missing in a request to revoke", async () => {
    const { g, lease } = await held();
    const leases = world.client(LeaseService);
    const ask = async (more: object) =>
      refusalOf(
        leases.revokeLease({ requestId: requestId(), ...more }, await house.as("OPERATOR")),
      );
    const both = { leaseId: lease.body.leaseId, instanceId: g.body.instanceId };
    expect(await ask({})).toMatchObject({ metadata: { field: "lease_id" } });
    expect(await ask(both)).toMatchObject({ metadata: { field: "lease_id" } });
    expect(await ask({ leaseId: newId("lse", ids) })).toMatchObject({ code: "NOT_FOUND" });
    expect(await ask({ instanceId: "0".repeat(32) })).toMatchObject({ code: "NOT_FOUND" });
    expect(await ask({ ...both, instanceId: "", reason: "\u0007" })).toMatchObject({
      metadata: { field: "reason" },
    });
    world.clock.advance(60_000_000);
    expect(await ask({ leaseId: lease.body.leaseId })).toMatchObject({ reason: "LEASE_EXPIRED" });
  });
});

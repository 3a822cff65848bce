import { type DescMethod, fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex, utf8 } from "../../src/domain/bytes.ts";
import { newId } from "../../src/domain/ids.ts";
import { KEYSET, KeysetBody } from "../../src/domain/keyset.ts";
import { LEASE } from "../../src/domain/lease.ts";
import { RECEIPT } from "../../src/domain/receipt.ts";
import { REVOCATION } from "../../src/domain/revocation.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { GrantService, ManifestService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { StatusError } from "../../src/wire/status.ts";
import { accessTo, answersTo, METHODS_OF_OPERATORS, nameOf } from "./rpcs.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import {
  dockBody,
  genesis,
  grantBody,
  type House,
  hashOf,
  ids,
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

/**
 * Two tenants on one control plane, of which one has everything and the other nothing. Whatever the
 * other asks, by listing or by names that it should not even know, nothing of the first comes out.
 */
let world: World;
let rich: House;
let poor: House;
/** Names that only the rich tenant's things have, by the field that takes them. */
let names: Record<string, string | Uint8Array>;
/** What its keys signed, by the field that takes it; each is as good as any that it has recorded. */
let signed: Record<string, SignedBytes>;
const RICH_NAME = "rich-reconciler";

beforeAll(async () => {
  world = await startWorld();
  rich = await makeHouse(world, "rich");
  poor = await makeHouse(world, "poor");
  names = await enrich();
  signed = await signedByRich();
});
afterAll(() => world.end());

async function enrich() {
  const operator = await rich.as("OPERATOR");
  const mine = manifest({ name: RICH_NAME });
  const manifestHash = hashOf(mine);
  await world
    .client(ManifestService)
    .recordManifest({ requestId: requestId(), manifest: manifestBytes(mine) }, operator);
  const body = grantBody(world, rich, { manifestHash });
  const { grantRef, grantId } = await world
    .client(GrantService)
    .recordGrant({ requestId: requestId(), grant: await signGrant(rich, body) }, operator);
  const join = newSigner();
  const dock = dockBody(world, rich, grantRef, [{ key: join.publicKey, ledgersMax: 1 }]);
  const { dockRef } = await world
    .client(DockService)
    .recordDock({ requestId: requestId(), dock: await signDock(rich, dock) }, operator);
  const g = await genesis(world, rich, dockRef, join, { manifestHash });
  await world.client(DockService).dock({ genesis: g.signed });
  const tenant = world.running.tenants.get("rich");
  if (tenant === null) throw new Error("no tenant");
  const nowUs = world.clock.nowUs();
  const lease = await tenant.issue(LEASE, {
    version: 1,
    leaseId: newId("lse", ids),
    tenantId: "rich",
    instanceId: g.body.instanceId,
    ledgerId: g.ledgerId,
    manifestHash,
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
    revocationEpoch: 0,
    sessionEpoch: 1,
    controlSize: tenant.controlHead().size,
    controlRoot: tenant.controlHead().root,
    observeUntilUs: 0,
  });
  await tenant.record({ entries: [{ what: "lease", artifact: lease }] });
  return {
    manifest_hash: manifestHash,
    grant_id: grantId,
    lease_id: lease.body.leaseId,
    instance_id: g.body.instanceId,
    ledger_id: g.ledgerId,
    receipt_id: await heldReceipt(),
  };
}

/** The id of a receipt that the control plane holds of the rich tenant. */
async function heldReceipt(): Promise<string> {
  const sidecar = await SimSidecar.dock(world, rich, await makeBerth(world, rich));
  await sidecar.work(1);
  await (await sidecar.attach()).syncAll();
  return RECEIPT.body.decode(sidecar.receipts[0]?.body ?? new Uint8Array(0)).receiptId;
}

async function signedByRich(): Promise<Record<string, SignedBytes>> {
  const { grantRef } = await makeBerth(world, rich);
  const keyset = KeysetBody.decode(rich.keyset.body);
  const previous = refOf(native, "keyset", rich.keyset.body);
  const join = [{ key: newSigner().publicKey, ledgersMax: 1 }];
  return {
    keyset: await signBody(KEYSET, { ...keyset, keysetVersion: 2, previous }, [rich.root]),
    grant: await signGrant(rich, grantBody(world, rich)),
    dock: await signDock(rich, dockBody(world, rich, grantRef, join)),
    revocation: await signBody(
      REVOCATION,
      {
        version: 1,
        tenantId: "rich",
        epoch: 1,
        previous: new Uint8Array(0),
        kind: "GRANT",
        target: grantRef,
        effectiveUs: world.clock.nowUs(),
        reason: "over",
      },
      [rich.grantKey],
    ),
  };
}

/** Any message of a watch. */
interface Told {
  readonly resumeToken: string;
}

/** What a field of an operator's request may be. */
const FIELDS = {
  /** Names one of the tenant's things: of another tenant's, it names nothing. See `names`. */
  name: ["manifest_hash", "grant_id", "lease_id", "instance_id", "ledger_id", "receipt_id"],
  /** Signed by a tenant's keys: another's are not taken. See `signed`. */
  signed: ["keyset", "grant", "dock", "revocation"],
  /** Good for its tenant alone. */
  token: ["resume_token"],
  /**
   * Says nothing of any tenant: where in a listing, which of one's own, why, or what one brings along.
   * A condition is asked of one's own alone.
   */
  plain: [
    "request_id",
    "page_size",
    "page_token",
    "reason",
    "role",
    "conditions",
    "state",
    "name",
    "agent_version",
    "scope",
    "when",
    "verdict",
    "manifest",
    "from_seq",
    "to_seq",
  ],
} as const;

/** The fields of an RPC's request that are of this kind. */
const fieldsOf = (method: DescMethod, kind: keyof typeof FIELDS) =>
  method.input.fields.filter((f) => (FIELDS[kind] as readonly string[]).includes(f.name));

/** A request whose one interesting field is this. */
function asking(method: DescMethod, field: string, value: unknown): object {
  const fresh = method.input.fields.some((f) => f.name === "request_id");
  return { ...(fresh ? { requestId: requestId(), reason: "curious" } : {}), [field]: value };
}

const poorSize = (): number => world.running.tenants.get("poor")?.controlHead().size ?? 0;

const contains = (haystack: Uint8Array, needle: Uint8Array): boolean =>
  toHex(haystack).includes(toHex(needle));

function canaries(): Uint8Array[] {
  const own = Object.values(names).map((n) => (typeof n === "string" ? utf8(n) : n));
  return [...own, utf8(RICH_NAME), rich.root.publicKey, rich.logins.ADMIN.publicKey];
}

test("every field of every request is one of these kinds, so that none can be forgotten", () => {
  const known: string[] = Object.values(FIELDS).flat();
  const all = METHODS_OF_OPERATORS.flatMap((m) => m.input.fields.map((f) => [nameOf(m), f.name]));
  expect(all.filter(([, field]) => !known.includes(String(field)))).toEqual([]);
  const used = new Set(all.map(([, field]) => field));
  expect(known.filter((field) => !used.has(field))).toEqual([]);
  expect(Object.keys(names).sort()).toEqual([...FIELDS.name].sort());
  expect(Object.keys(signed).sort()).toEqual([...FIELDS.signed].sort());
});

describe("another tenant", () => {
  test("gets NOT_FOUND for every name that is not its own, and its owner does not", async () => {
    const admin = await poor.as("ADMIN");
    const before = poorSize();
    let asked = 0;
    for (const method of METHODS_OF_OPERATORS) {
      for (const { name, localName } of fieldsOf(method, "name")) {
        const request = asking(method, localName, names[name]);
        const answer = await answersTo(world, method, request, admin);
        asked++;
        expect(answer, `${nameOf(method)} by ${name}`).toMatchObject({ code: "NOT_FOUND" });
        if (accessTo(method) !== "VIEWER") continue;
        const own = await answersTo(world, method, request, await rich.as("VIEWER"));
        expect(own, `${nameOf(method)} by ${name}`).not.toMatchObject({ code: "NOT_FOUND" });
      }
    }
    expect(asked).toBeGreaterThan(12);
    expect(poorSize()).toBe(before);
  });

  test("has nothing recorded that the other's keys signed", async () => {
    const admin = await poor.as("ADMIN");
    const before = poorSize();
    let asked = 0;
    for (const method of METHODS_OF_OPERATORS) {
      for (const { name, localName } of fieldsOf(method, "signed")) {
        const request = asking(method, localName, signed[name]);
        const answer = await answersTo(world, method, request, admin);
        asked++;
        expect(answer, `${nameOf(method)} with ${name}`).toBeInstanceOf(StatusError);
        expect(["INTERNAL", "UNKNOWN"]).not.toContain((answer as StatusError).code);
      }
    }
    expect(asked).toBeGreaterThan(3);
    expect(poorSize()).toBe(before);
  });

  test("does not go on where the other's watch was", async () => {
    const admin = await poor.as("ADMIN");
    const watching = METHODS_OF_OPERATORS.filter((m) => fieldsOf(m, "token").length > 0);
    expect(watching.length).toBeGreaterThan(1);
    for (const method of watching) {
      const told = await answersTo(world, method, {}, await rich.as("VIEWER"));
      if (told instanceof StatusError) throw told;
      const tokens = told.map((m) => (fromBinary(method.output, m) as unknown as Told).resumeToken);
      const resumeToken = tokens.findLast((t) => t !== "");
      const answer = await answersTo(world, method, { resumeToken }, admin);
      expect(answer, nameOf(method)).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  test("is refused alike for what exists elsewhere and for what exists nowhere", async () => {
    const admin = await poor.as("ADMIN");
    const grants = world.client(GrantService);
    const elsewhere = grants.getGrant({ grantId: String(names.grant_id) }, admin);
    const nowhere = grants.getGrant({ grantId: newId("grt", ids) }, admin);
    const [a, b] = [await refusalOf(elsewhere), await refusalOf(nowhere)];
    expect([a.code, a.reason, a.message]).toEqual([b.code, b.reason, b.message]);
  });

  test("sees nothing of it in anything that is listed, watched or read", async () => {
    const asPoor = await poor.as("VIEWER");
    const asRich = await rich.as("VIEWER");
    const seenByRich: Uint8Array[] = [];
    for (const method of METHODS_OF_OPERATORS) {
      if (accessTo(method) !== "VIEWER") continue;
      const own = await answersTo(world, method, {}, asRich);
      if (!(own instanceof StatusError)) seenByRich.push(...own);
      const answers = await answersTo(world, method, {}, asPoor);
      if (answers instanceof StatusError) continue;
      for (const answer of answers) {
        for (const canary of canaries()) {
          expect(contains(answer, canary), `${nameOf(method)}: ${toHex(canary)}`).toBe(false);
        }
      }
    }
    // The same search does find them where they belong.
    const found = canaries().filter((c) => seenByRich.some((answer) => contains(answer, c)));
    expect(found.length).toBeGreaterThan(5);
  });

  test("cannot record what is signed for the rich one, nor under its manifest", async () => {
    const operator = await poor.as("OPERATOR");
    const grants = world.client(GrantService);
    const manifestHash = names.manifest_hash as Uint8Array;
    const theirs = await signGrant(rich, grantBody(world, rich, { manifestHash }));
    const ours = await signGrant(poor, grantBody(world, poor, { manifestHash }));
    for (const grant of [theirs, ours]) {
      const call = grants.recordGrant({ requestId: requestId(), grant }, operator);
      expect(await refusalOf(call)).toMatchObject({ reason: "MANIFEST_NOT_RECORDED" });
    }
    // With the manifest in its own house, it is the signature that does not fit.
    const mine = manifestBytes(manifest({ name: RICH_NAME }));
    await world
      .client(ManifestService)
      .recordManifest({ requestId: requestId(), manifest: mine }, operator);
    const call = grants.recordGrant({ requestId: requestId(), grant: theirs }, operator);
    expect(await refusalOf(call)).toMatchObject({ reason: "E_TENANT" });
  });

  test("does not get the answer to the other's request of the same id", async () => {
    const manifests = world.client(ManifestService);
    const ask = async (house: House, agentVersion: string) =>
      manifests.recordManifest(
        { requestId: "shared", manifest: manifestBytes(manifest({ agentVersion })) },
        await house.as("OPERATOR"),
      );
    const a = await ask(rich, "v1");
    const b = await ask(poor, "v2");
    expect(b.manifestHash).not.toEqual(a.manifestHash);
  });
});

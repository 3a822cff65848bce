import { type DescMethod, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { accessOf } from "../../src/control/access.ts";
import { toHex, utf8 } from "../../src/domain/bytes.ts";
import { newId } from "../../src/domain/ids.ts";
import { LEASE } from "../../src/domain/lease.ts";
import { GrantService, ManifestService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import type { CallOptions } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
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
const RICH_NAME = "rich-reconciler";

beforeAll(async () => {
  world = await startWorld();
  rich = await makeHouse(world, "rich");
  poor = await makeHouse(world, "poor");
  names = await enrich();
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
    receipt_id: newId("rcp", ids),
  };
}

const nameOf = (m: DescMethod): string => `${m.parent.typeName}/${m.name}`;
const forOperators = (): DescMethod[] =>
  world.running.services
    .flatMap((s) => s.methods)
    .filter((m) => ["VIEWER", "OPERATOR", "ADMIN"].includes(accessOf(m.parent, m.name)));

/** Everything that an RPC answers within reach, as bytes; or its refusal. */
async function answersTo(
  method: DescMethod,
  request: object,
  options: CallOptions,
): Promise<Uint8Array[] | StatusError> {
  type Any = Record<string, (request: unknown, o: CallOptions) => unknown>;
  const client = world.client(method.parent) as unknown as Any;
  const found: Uint8Array[] = [];
  const take = (message: unknown): void => {
    found.push(toBinary(method.output, message as never));
  };
  try {
    const answer = client[method.localName]?.(request, {
      ...options,
      timeoutUs: method.methodKind === "unary" ? 5_000_000 : 300_000,
    });
    if (answer instanceof Promise) take(await answer);
    else for await (const message of answer as AsyncIterable<unknown>) take(message);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    // A watch goes on for as long as one lets it.
    return error.code === "DEADLINE_EXCEEDED" ? found : error;
  }
  return found;
}

/** The rich tenant's names in every field that has one, alone or all at once. */
function requestsFor(method: DescMethod): { field: string; request: object }[] {
  const known = method.input.fields.filter((f) => f.name in names);
  const base = method.input.fields.some((f) => f.name === "request_id")
    ? { requestId: requestId() }
    : {};
  return known.map((f) => ({
    field: f.name,
    request: { ...base, [f.localName]: names[f.name] },
  }));
}

const contains = (haystack: Uint8Array, needle: Uint8Array): boolean =>
  toHex(haystack).includes(toHex(needle));

function canaries(): Uint8Array[] {
  const own = Object.values(names).map((n) => (typeof n === "string" ? utf8(n) : n));
  return [...own, utf8(RICH_NAME), rich.root.publicKey, rich.logins.ADMIN.publicKey];
}

describe("another tenant", () => {
  test("gets NOT_FOUND for every name that is not its own", async () => {
    const admin = await poor.as("ADMIN");
    let asked = 0;
    for (const method of forOperators()) {
      for (const { field, request } of requestsFor(method)) {
        const answer = await answersTo(method, request, admin);
        asked++;
        expect(answer, `${nameOf(method)} by ${field}`).toMatchObject({ code: "NOT_FOUND" });
      }
    }
    expect(asked).toBeGreaterThan(4);
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
    for (const method of forOperators()) {
      if (accessOf(method.parent, method.name) !== "VIEWER") continue;
      const own = await answersTo(method, {}, asRich);
      if (!(own instanceof StatusError)) seenByRich.push(...own);
      const answers = await answersTo(method, {}, asPoor);
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

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { KEYSET, KeysetBody } from "../../src/domain/keyset.ts";
import { REVOCATION } from "../../src/domain/revocation.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { ConditionType } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import {
  AuditService,
  type Record as Entry,
  TenantService,
} from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { native } from "../../src/native/crypto.ts";
import type { CallOptions } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { accessTo, answersTo, METHODS, nameOf } from "./rpcs.ts";
import { type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  dockBody,
  genesis,
  grantBody,
  type House,
  keysetBody,
  makeHouse,
  manifest,
  manifestBytes,
  newSigner,
  refusalOf,
  requestId,
  signDock,
  signGrant,
  startWorld,
  type World,
} from "./world.ts";

/**
 * Every RPC of the contract that changes something leaves a record that says who asked, by which call
 * and by which request; one that is refused leaves none, and neither does one that only reads.
 */

let world: World;
let house: House;
let berth: Berth;
/** Two, since stopping is for good. */
let sidecar: SimSidecar;
let other: SimSidecar;

beforeAll(async () => {
  world = await startWorld();
  house = await makeHouse(world, "acme");
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  other = await SimSidecar.dock(world, house, berth);
});
afterAll(() => world.end());

/** How one RPC is made to change something. */
interface Mutation {
  /** The field of the request, beside request_id, and who asks. Made when it is its turn. */
  readonly request: () => Promise<object>;
  /** What it records, in order. */
  readonly records: readonly string[];
}

const operated =
  (instanceId: () => string, more: object = {}) =>
  async () => ({
    instanceId: instanceId(),
    reason: "audit",
    ...more,
  });

/** By name, in the order in which one can follow the other. */
const MUTATIONS: Record<string, Mutation> = {
  "dragons.v1.ManifestService/RecordManifest": {
    request: async () => ({ manifest: manifestBytes(manifest({ agentVersion: "audited" })) }),
    records: ["manifest"],
  },
  "dragons.v1.GrantService/RecordGrant": {
    request: async () => ({ grant: await signGrant(house, grantBody(world, house)) }),
    records: ["grant"],
  },
  "dragons.v1.DockService/RecordDock": {
    request: async () => {
      const join = [{ key: newSigner().publicKey, ledgersMax: 1 }];
      return { dock: await signDock(house, dockBody(world, house, berth.grantRef, join)) };
    },
    records: ["dock"],
  },
  "dragons.v1.LeaseService/RevokeLease": {
    request: async () => {
      const a = await sidecar.attach();
      await a.syncAll();
      const { leaseId } = await a.earn();
      return { leaseId, reason: "audit" };
    },
    records: ["revocation"],
  },
  "dragons.v1.OrganismService/Quarantine": {
    request: operated(() => other.instanceId),
    records: ["transition", "directive"],
  },
  "dragons.v1.OrganismService/Release": {
    request: operated(() => other.instanceId, { conditions: [ConditionType.HELD] }),
    records: ["transition", "directive"],
  },
  "dragons.v1.OrganismService/Stop": {
    request: operated(() => other.instanceId),
    // Its order to the sidecar, and, nothing being held any more, what the end of it means to it.
    records: ["transition", "directive", "directive"],
  },
  "dragons.v1.GrantService/RecordRevocation": {
    request: async () => {
      const epoch = (world.running.tenants.get("acme")?.revocationEpoch() ?? 0) + 1;
      const previous = world.running.tenants.get("acme")?.revocations().at(-1)?.ref;
      const body = {
        version: 1,
        tenantId: "acme",
        epoch,
        previous: previous ?? new Uint8Array(0),
        kind: "GRANT" as const,
        target: berth.grantRef,
        effectiveUs: world.clock.nowUs(),
        reason: "audit",
      };
      return { revocation: await signBody(REVOCATION, body, [house.grantKey]) };
    },
    records: ["revocation"],
  },
  "dragons.v1.KeyService/RecordKeyset": {
    request: async () => {
      const current = KeysetBody.decode(house.keyset.body);
      const previous = refOf(native, "keyset", house.keyset.body);
      const next = { ...current, keysetVersion: 2, previous };
      return { keyset: await signBody(KEYSET, next, [house.root]) };
    },
    records: ["keyset"],
  },
};

/** Those that change something and are tested by themselves, or leave no record; and why. */
const APART: Record<string, string> = {
  "dragons.v1.TenantService/CreateTenant": "the owner's: its record is the first of a new ledger",
  "dragons.v1.TenantService/PrepareTenant": "makes keys for a tenant that has no ledger yet",
  "dragons.v1.KeyService/PrepareKey": "makes a key; the keyset that names it is recorded",
  "dragons.v1.DockService/Dock": "a sidecar's: who asked is in the genesis that it records",
  "dragons.v1.DockService/Enrol":
    "certifies what the ledger key signed; nothing of the tenant changes",
  "dragons.v1.TetherService/Attach":
    "what comes of it is recorded as leases, heads and transitions",
  "dragons.v1.LedgerService/Sync": "fills a ledger of its own, which is evidence by itself",
};

const READS = /\/(Get|List|Watch|Export)[A-Za-z]*$/;

test("every RPC reads, is walked below, or stands apart with a reason", () => {
  const unread = METHODS.map(nameOf).filter((name) => !READS.test(name));
  expect(unread.sort()).toEqual([...Object.keys(MUTATIONS), ...Object.keys(APART)].sort());
  // Whatever takes a request_id changes something, and says so by its name.
  const asking = METHODS.filter((m) => m.input.fields.some((f) => f.name === "request_id"));
  expect(asking.map(nameOf).filter((name) => READS.test(name))).toEqual([]);
  const needs = new Set(asking.map(nameOf));
  expect(Object.keys(MUTATIONS).filter((name) => !needs.has(name))).toEqual([]);
});

const methodNamed = (name: string) => {
  const method = METHODS.find((m) => nameOf(m) === name);
  if (method === undefined) throw new Error(`no RPC ${name}`);
  return method;
};

async function recorded(asker: House = house): Promise<Entry[]> {
  const options = await asker.as("VIEWER");
  const all: Entry[] = [];
  for (let pageToken = ""; ; ) {
    const page = await world
      .client(AuditService)
      .listRecords({ pageSize: 1000, pageToken }, options);
    all.push(...page.records);
    pageToken = page.nextPageToken;
    if (pageToken === "") return all;
  }
}

const call = (name: string, request: object, options: CallOptions) =>
  answersTo(world, methodNamed(name), request, options);

describe.each(Object.keys(MUTATIONS))("%s", (name) => {
  test("records who asked, by which call and which request, once; and nothing when refused", async () => {
    const { request, records } = MUTATIONS[name] as Mutation;
    const asked = { ...(await request()), requestId: requestId() };
    const role = accessTo(methodNamed(name)) as "OPERATOR" | "ADMIN";
    const before = (await recorded()).length;

    // Of too low a role, without a request_id, and with nothing to do.
    const refused: [object, CallOptions][] = [
      [asked, await house.as("VIEWER")],
      [asked, {}],
      [{ ...asked, requestId: "" }, await house.as(role)],
      [{ requestId: requestId() }, await house.as(role)],
    ];
    for (const [what, options] of refused) {
      expect(await call(name, what, options)).toBeInstanceOf(StatusError);
    }
    expect(await recorded()).toHaveLength(before);

    const first = await call(name, asked, await house.as(role));
    expect(first).not.toBeInstanceOf(StatusError);
    // Asked again, as after an answer that was lost.
    expect(await call(name, asked, await house.as(role))).toEqual(first);
    const own = (await recorded()).filter((r) => r.requestId === asked.requestId);
    expect(own.map((r) => r.what)).toEqual(records);
    for (const entry of own) {
      expect(entry.method).toBe(name);
      expect(toHex(entry.actor)).toBe(toHex(house.logins[role].publicKey));
    }
  });
});

test("what only reads records nothing", async () => {
  const before = await recorded();
  const names = { instanceId: sidecar.instanceId, ledgerId: sidecar.ledgerId };
  for (const method of METHODS.filter((m) => READS.test(nameOf(m)))) {
    await answersTo(world, method, names, await house.as("ADMIN"));
    await answersTo(world, method, names, world.owner);
  }
  expect(await recorded()).toEqual(before);
});

test("a tenant's first record is of the call that made it; a second call with another id makes none", async () => {
  const tenants = world.client(TenantService);
  const prepared = await tenants.prepareTenant({ tenantId: "late" }, world.owner);
  const people = {
    tenantId: "late",
    root: newSigner(),
    grantKey: newSigner(),
    logins: { VIEWER: newSigner(), OPERATOR: newSigner(), ADMIN: newSigner() },
  };
  const body = keysetBody(people, world.clock.nowUs(), prepared);
  const keyset = await signBody(KEYSET, body, [people.root]);
  const request = { tenantId: "late", rootKey: people.root.publicKey, keyset };
  await refusalOf(
    tenants.createTenant({ ...request, requestId: "late-1" }, await house.as("ADMIN")),
  );
  await tenants.createTenant({ ...request, requestId: "late-1" }, world.owner);
  await refusalOf(tenants.createTenant({ ...request, requestId: "late-2" }, world.owner));
  const late = { ...house, ...people, as: asOf(people) };
  expect(await recorded(late)).toMatchObject([
    { what: "keyset", method: "dragons.v1.TenantService/CreateTenant", requestId: "late-1" },
  ]);
});

/** Tokens as `house` makes them, for these people. */
function asOf(people: Pick<House, "tenantId" | "logins">): House["as"] {
  return (role, claims) =>
    house.as(role, { ...claims, tenant: people.tenantId }, people.logins[role]);
}

test("a ledger is recorded by the call that opened it, with the genesis; a refused one is not", async () => {
  const open = await makeBerth(world, house);
  const born = await genesis(world, house, open.dockRef, open.join);
  const forged = await genesis(world, house, open.dockRef, newSigner());
  const before = (await recorded()).length;
  const docks = world.client(DockService);
  await refusalOf(docks.dock({ genesis: forged.signed }));
  expect(await recorded()).toHaveLength(before);
  await docks.dock({ genesis: born.signed });
  await docks.dock({ genesis: born.signed });
  const [entry, ...more] = (await recorded()).slice(before);
  expect(more).toEqual([]);
  expect(entry).toMatchObject({ what: "genesis", method: "dragons.v1.DockService/Dock" });
  expect(toHex(entry?.artifact ?? new Uint8Array(0))).toContain(toHex(born.body.joinKey));
});

import { type DescMessage, fromBinary, getOption } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Alarm, AlarmBody } from "../../src/domain/alarm.ts";
import { toHex } from "../../src/domain/bytes.ts";
import type { Codec } from "../../src/domain/canonical.ts";
import { DockBody } from "../../src/domain/dock.ts";
import { GenesisBody } from "../../src/domain/genesis.ts";
import { GrantBody } from "../../src/domain/grant.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { KeysetBody } from "../../src/domain/keyset.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { manifestHash } from "../../src/domain/manifest.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { RevocationBody } from "../../src/domain/revocation.ts";
import { SignedBytes, type SignedName } from "../../src/domain/signed.ts";
import { refOf } from "../../src/domain/signing.ts";
import { TransitionBody } from "../../src/domain/transition.ts";
import { AuditService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { LedgerService } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { OrganismService } from "../../src/gen/dragons/v1/organism_pb.ts";
import { source } from "../../src/gen/dragons/v1/sources_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { StatusError } from "../../src/wire/status.ts";
import { accessTo, answersTo, METHODS_OF_OPERATORS, nameOf } from "./rpcs.ts";
import { type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  dockBody,
  type House,
  makeHouse,
  newSigner,
  refusalOf,
  requestId,
  signDock,
  startWorld,
  type World,
} from "./world.ts";

/**
 * What the options in the contract say of numbers is true of what is served: each is looked up in the
 * artifact that it names, by nothing but what a viewer is served.
 */
let world: World;
let house: House;
let berth: Berth;
let sidecar: SimSidecar;
let records: Recorded[];
let receipts: number;

interface Recorded {
  readonly what: string;
  readonly artifact: Uint8Array;
  readonly recordedAtUs: number;
}

beforeAll(async () => {
  world = await startWorld();
  house = await makeHouse(world, "sources");
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  await sidecar.work(5);
  const attached = await sidecar.attach();
  await attached.syncAll();
  await attached.earn();
  await attached.beat();
  await attached.next("heartbeatAck");
  const { instanceId } = sidecar;
  const operator = await house.as("OPERATOR");
  await world
    .client(OrganismService)
    .quarantine({ requestId: requestId(), instanceId, reason: "to have a condition" }, operator);
  records = await allRecords();
  const { ledgerId } = sidecar;
  const listed = await world
    .client(LedgerService)
    .listReceipts({ ledgerId, pageSize: 100 }, await house.as("VIEWER"));
  receipts = listed.receipts.length;
});
afterAll(() => world.end());

async function allRecords(): Promise<Recorded[]> {
  const found: Recorded[] = [];
  for (let pageToken = ""; ; ) {
    const page = await world
      .client(AuditService)
      .listRecords({ pageToken }, await house.as("VIEWER"));
    for (const { receipt, what, artifact } of page.records) {
      const { seq, closedAtUs } = ReceiptHeader.decode(receipt?.body as Uint8Array);
      expect(seq).toBe(found.length + 1);
      found.push({ what, artifact, recordedAtUs: closedAtUs });
    }
    pageToken = page.nextPageToken;
    if (pageToken === "") return found;
  }
}

const BODIES: Record<string, Codec<object>> = {
  grant: GrantBody,
  dock: DockBody,
  genesis: GenesisBody,
  lease: LeaseBody,
  transition: TransitionBody,
  heartbeat: HeartbeatBody,
  revocation: RevocationBody,
  keyset: KeysetBody,
};

/** How others cite what was recorded, hex. */
function refsOf({ what, artifact }: Recorded): string {
  if (what === "manifest") return toHex(manifestHash(native, artifact));
  if (!(what in BODIES)) return "";
  return toHex(refOf(native, what as SignedName, SignedBytes.decode(artifact).body));
}

type Served = Record<string, unknown>;

/** What an artifact, or a ref to one, says in one of its fields. */
function inArtifact(named: string, value: unknown, path: string): unknown {
  if (value instanceof Uint8Array) {
    const record = records.find((r) => refsOf(r) === toHex(value));
    if (record === undefined) throw new Error(`what ${named} names is not recorded`);
    const body = (BODIES[record.what] as Codec<object>).decode(
      SignedBytes.decode(record.artifact).body,
    );
    return (body as Served)[path];
  }
  const { body } = value as { body: Uint8Array };
  return ((BODIES[named] as Codec<object>).decode(body) as Served)[path];
}

function recordedAt(value: unknown): number | undefined {
  const bytes = value instanceof Uint8Array ? value : (value as { body: Uint8Array }).body;
  return records.find((r) => refsOf(r) === toHex(bytes) || toHex(r.artifact) === toHex(bytes))
    ?.recordedAtUs;
}

const camel = (name: string): string => name.replace(/_(.)/g, (_, c: string) => c.toUpperCase());

/** Holds one served number against what its field's option names. */
function holdsSource(named: string, number: unknown, message: Served): void {
  const n = Number(number);
  if (named === "record") expect(records[n - 1], `record ${n}`).toBeDefined();
  else if (named === "receipt") expect(n).toBeLessThanOrEqual(receipts);
  else if (named === "revocation") expect([0, ...numbersIn("revocation", "epoch")]).toContain(n);
  else if (named === "keyset") expect(numbersIn("keyset", "version")).toContain(n);
  else if (named === "revision") expect(plainAlarm(number)).toEqual(alarmAt(message.revision));
  else holdsBeside(named, number, message);
}

/** The numbers of an alarm, as they are served, and as its record has them. */
const plainAlarm = (alarm: unknown) => ({ version: (alarm as Alarm).version });
const alarmAt = (revision: unknown) =>
  plainAlarm(AlarmBody.decode((records[Number(revision) - 1] as Recorded).artifact));

/** A number of every recorded artifact of one kind. */
const numbersIn = (what: string, field: string): number[] =>
  records
    .filter((r) => r.what === what)
    .map(({ artifact }) => SignedBytes.decode(artifact).body)
    .map((body) => Number(((BODIES[what] as Codec<object>).decode(body) as Served)[field]));

function holdsBeside(named: string, number: unknown, message: Served): void {
  const [beside, path] = named.split(/[.@]/).map((s) => camel(s)) as [string, string?];
  const value = message[beside];
  if (value === undefined) {
    // Docked, and nothing has changed since.
    expect(beside, named).toBe("transition");
  } else if (named.includes("@record")) {
    expect(Number(number), named).toBe(recordedAt(value));
  } else if (path !== undefined) {
    const said = inArtifact(beside, value, path);
    expect(plain(number), named).toEqual(plain(said));
  }
}

/** Numbers and bytes in one form, whoever decoded them; what else a condition says is no number. */
function plain(value: unknown): unknown {
  if (!Array.isArray(value)) return Number(value);
  return value.map(({ sinceUs, artifact }) => [Number(sinceUs), toHex(artifact)]);
}

/** Walks one answer; tells which numbers it held against something. */
function walk(desc: DescMessage, message: Served, held: Set<string>): void {
  for (const field of desc.fields) {
    const value = message[field.localName];
    if (value === undefined) continue;
    const named = getOption(field, source);
    if (named !== "") {
      holdsSource(named, value, message);
      held.add(`${desc.name}.${field.name}`);
    } else if (field.message !== undefined) {
      for (const inner of Array.isArray(value) ? value : [value]) walk(field.message, inner, held);
    }
  }
}

test("each number that a viewer is served is in the artifact that it names", async () => {
  const { instanceId, ledgerId } = sidecar;
  const viewer = await house.as("VIEWER");
  const grants = records.filter((r) => r.what === "grant");
  const lease = records.findLast((r) => r.what === "lease") as Recorded;
  const manifest = records.find((r) => r.what === "manifest") as Recorded;
  const bodyOf = ({ artifact }: Recorded) => SignedBytes.decode(artifact).body;
  const names: Served = {
    instanceId,
    ledgerId,
    grantId: GrantBody.decode(bodyOf(grants[0] as Recorded)).grantId,
    leaseId: LeaseBody.decode(bodyOf(lease)).leaseId,
    manifestHash: manifestHash(native, manifest.artifact),
  };
  const held = new Set<string>();
  for (const method of METHODS_OF_OPERATORS.filter((m) => accessTo(m) === "VIEWER")) {
    const wanted = method.input.fields.filter((f) => f.localName in names);
    const request = Object.fromEntries(wanted.map((f) => [f.localName, names[f.localName]]));
    const answers = await answersTo(world, method, request, viewer, 2);
    if (answers instanceof StatusError) {
      // By the id of a receipt, of which there are none here that have one to be asked for.
      expect(answers.code, nameOf(method)).toBe("NOT_FOUND");
      continue;
    }
    for (const bytes of answers) {
      walk(method.output, fromBinary(method.output, bytes) as unknown as Served, held);
    }
  }
  expect([...held].sort()).toEqual(
    expect.arrayContaining([
      "Dock.not_after_us",
      "Grant.revoked_epoch",
      "Lease.revoked_epoch",
      "Organism.conditions",
      "Organism.docked_at_us",
      "Organism.observe_until_us",
      "Organism.revision",
      "Organism.since_us",
      "Pulse.held_size",
      "RecordedManifest.recorded_at_us",
      "GetManifestResponse.recorded_at_us",
      "WatchResponse.revision",
    ]),
  );
});

test("an alarm is told as the record of its revision has it", async () => {
  const viewer = await house.as("VIEWER");
  const { resumeToken } = await world.client(OrganismService).listOrganisms({}, viewer);
  const join = newSigner();
  const body = dockBody(world, house, berth.grantRef, [{ key: join.publicKey, ledgersMax: 1 }]);
  const dock = await signDock(house, body);
  const { dockRef } = await world
    .client(DockService)
    .recordDock({ requestId: requestId(), dock }, await house.as("OPERATOR"));
  await SimSidecar.dock(world, house, { ...berth, dockRef, join });
  const again = SimSidecar.dock(world, house, { ...berth, dockRef, join });
  expect(await refusalOf(again)).toMatchObject({ reason: "QUOTA_REACHED" });

  records = await allRecords();
  const { watch } = OrganismService.method;
  const answers = await answersTo(world, watch, { resumeToken }, viewer, 3);
  const held = new Set<string>();
  for (const bytes of answers as Uint8Array[]) {
    walk(watch.output, fromBinary(watch.output, bytes) as unknown as Served, held);
  }
  expect([...held]).toContain("WatchResponse.alarm");
});

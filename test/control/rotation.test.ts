import { readFileSync } from "node:fs";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { dataFiles, makeNextCa, switchCa } from "../../src/control/identity.ts";
import type { Tenant } from "../../src/control/tenant.ts";
import { compare, equal, toHex } from "../../src/domain/bytes.ts";
import { openNote } from "../../src/domain/checkpoint.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { newId } from "../../src/domain/ids.ts";
import { KEY_ROLES, KEYSET, type KeyEntry, KeysetBody } from "../../src/domain/keyset.ts";
import { LEASE } from "../../src/domain/lease.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { KeyRole } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { KeyService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { generateSeed, seedSigner } from "../../src/native/keys.ts";
import { certificateDer, pemBlocks } from "../../src/native/pki.ts";
import { type Attachment, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  type House,
  ids,
  makeHouse,
  newSigner,
  refusalOf,
  requestId,
  startWorld,
  type World,
} from "./world.ts";

/** Keys of the control plane and of the tenant root are exchanged while everything runs. */

const DAY_US = 24 * 3_600_000_000;
let world: World;
let house: House;
let sidecar: SimSidecar;
let attached: Attachment;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `rotate-${++houses}`);
  sidecar = await SimSidecar.dock(world, house, await makeBerth(world, house));
  await sidecar.work(1);
  attached = await sidecar.attach();
  await attached.syncAll();
  await attached.earn();
});

const prepare = async (role: KeyRole) => {
  const { key } = await world.client(KeyService).prepareKey({ role }, await house.as("ADMIN"));
  return Uint8Array.from(key);
};

async function record(
  bend: (body: KeysetBody) => Partial<KeysetBody>,
  by: readonly Signer[] = [house.root],
): Promise<void> {
  const current = KeysetBody.decode(house.keyset.body);
  const body = {
    ...current,
    keysetVersion: current.keysetVersion + 1,
    previous: refOf(native, "keyset", house.keyset.body),
    rootKey: new Uint8Array(0),
  };
  const keyset = await signBody(KEYSET, { ...body, ...bend(body) }, by);
  const request = { requestId: requestId(), keyset };
  await world.client(KeyService).recordKeyset(request, await house.as("ADMIN"));
  house.keyset = keyset;
}

const order = (a: KeyEntry, b: KeyEntry): number =>
  KEY_ROLES.indexOf(a.role) - KEY_ROLES.indexOf(b.role) || compare(a.key, b.key);

/** The keyset with a key more, and what was there of its role bent. */
const adding =
  (role: "ISSUER" | "COSIGNER", key: Uint8Array, before: Partial<KeyEntry> = {}) =>
  ({ keys }: KeysetBody): Partial<KeysetBody> => {
    const old = keys.find((k) => k.role === role) as KeyEntry;
    const rest = keys.map((k) => (k.role === role ? { ...k, ...before } : k));
    return { keys: [...rest, { ...old, key, compromisedFromUs: 0 }].sort(order) };
  };

const tenant = () => world.running.tenants.get(house.tenantId);
const signerOf = (lease: { signatures: readonly { key: Uint8Array }[] }) =>
  toHex(lease.signatures[0]?.key ?? new Uint8Array(0));

/** The key that the next lease is signed by. */
async function nextIssuer(a: Attachment): Promise<string> {
  await a.beat();
  const lease = await a.next("lease");
  sidecar.leaseRef = refOf(native, "lease", lease.body);
  return signerOf(lease);
}

describe("the issuer key", () => {
  test("is exchanged at runtime: from the keyset that names it on it signs, restarts included", async () => {
    const old = toHex(tenant()?.issuerSigner.publicKey ?? new Uint8Array(0));
    const next = await prepare(KeyRole.ISSUER);
    expect(await prepare(KeyRole.ISSUER)).toEqual(next);
    world.clock.advance(21_000_000);
    expect(await nextIssuer(attached)).toBe(old);
    await record(adding("ISSUER", next));
    expect((await attached.next("keyset")).body).toEqual(house.keyset.body);
    world.clock.advance(21_000_000);
    expect(await nextIssuer(attached)).toBe(toHex(next));
    await world.restart();
    attached = await sidecar.attach();
    await attached.syncAll();
    expect(await nextIssuer(attached)).toBe(toHex(next));
  });

  test("that is given up in the same keyset costs a beat: the lease that it signed is replaced", async () => {
    const next = await prepare(KeyRole.ISSUER);
    await record(adding("ISSUER", next, { compromisedFromUs: world.clock.nowUs() - DAY_US }));
    expect(await nextIssuer(attached)).toBe(toHex(next));
  });

  test("that is given up locks nobody out whose last lease, lost here, it had signed", async () => {
    const last = tenant()?.ledger(sidecar.ledgerId)?.lease?.artifact.body;
    if (last === undefined) throw new Error("no lease");
    const body = { ...last, leaseId: newId("lse", ids), leaseSeq: last.leaseSeq + 1 };
    const lost = await (tenant() as Tenant).issue(LEASE, body);
    const next = await prepare(KeyRole.ISSUER);
    await record(adding("ISSUER", next, { compromisedFromUs: world.clock.nowUs() - DAY_US }));
    await attached.leave();
    const back = await sidecar.attach({ lease: lost.signed });
    await back.syncAll();
    sidecar.leaseRef = lost.ref;
    expect(await nextIssuer(back)).toBe(toHex(next));
  });

  test("may not be given up without another in its place", async () => {
    const giveUp = record(({ keys }) => ({
      keys: keys.map((k) =>
        k.role === "ISSUER" ? { ...k, compromisedFromUs: world.clock.nowUs() - 1 } : k,
      ),
    }));
    const refused = await refusalOf(giveUp);
    expect(refused).toMatchObject({ code: "INVALID_ARGUMENT", metadata: { field: "keyset" } });
    expect(refused.message).toContain("rotate it in the same keyset");
  });

  test("is made in the roles of the control plane alone, and for admins", async () => {
    const keys = world.client(KeyService);
    for (const role of [KeyRole.UNSPECIFIED, KeyRole.WITNESS, KeyRole.OPERATOR_GRANT]) {
      const refused = await refusalOf(keys.prepareKey({ role }, await house.as("ADMIN")));
      expect(refused.metadata).toMatchObject({ field: "role" });
    }
    const operator = await house.as("OPERATOR");
    expect(await refusalOf(keys.prepareKey({ role: KeyRole.ISSUER }, operator))).toMatchObject({
      code: "PERMISSION_DENIED",
    });
  });
});

describe("the key of the tenant's ledger", () => {
  const recordsBy = async (from: number): Promise<string[]> => {
    const records = (await tenant()?.records(from, 99)) ?? [];
    return records.map(({ receipt }) => signerOf(receipt));
  };
  const naming =
    (key: Uint8Array) =>
    (body: KeysetBody): Partial<KeysetBody> => {
      const old = body.keys.find((k) => k.role === "CONTROL_LEDGER") as KeyEntry;
      const next = { ...old, key, notBeforeUs: old.notBeforeUs + 1 };
      return { keys: [...body.keys, next].sort(order) };
    };

  test("is exchanged at runtime: the keyset is the last that the old one signs, restarts included", async () => {
    const first = await recordsBy(1);
    const [old] = first;
    const next = await prepare(KeyRole.CONTROL_LEDGER);
    await record(naming(next));
    world.clock.advance(21_000_000);
    await nextIssuer(attached);
    await tenant()?.settled();
    const after = await recordsBy(first.length + 1);
    expect(after.length).toBeGreaterThan(1);
    expect(after[0]).toBe(old);
    expect(new Set(after.slice(1))).toEqual(new Set([toHex(next)]));
    await world.restart();
    await record(() => ({}));
    expect((await recordsBy(first.length + after.length + 1)).at(-1)).toBe(toHex(next));
  });

  test("is none that this control plane does not hold: nothing could be recorded any more", async () => {
    const refused = await refusalOf(record(naming(newSigner().publicKey)));
    expect(refused).toMatchObject({ code: "INVALID_ARGUMENT", metadata: { field: "keyset" } });
    expect(refused.message).toContain("must be one of its own");
  });
});

test("no keyset drops a key: what it signed would count no more, unseen", async () => {
  const dropping = record(({ keys }) => ({
    keys: keys.filter((k) => k.role !== "OPERATOR_LOGIN" || k.loginRole !== "VIEWER"),
  }));
  const refused = await refusalOf(dropping);
  expect(refused).toMatchObject({ code: "INVALID_ARGUMENT", metadata: { field: "keyset" } });
  expect(refused.message).toContain("drops OPERATOR_LOGIN key");
});

/** Syncs one receipt more and gives the note with which its head, the second, was countersigned. */
async function secondNote(): Promise<string> {
  await sidecar.work(1);
  await attached.syncAll();
  await attached.beat();
  // The head before it may still be on its way, by the key before.
  const { note } = await attached.take("cosigned");
  return note.includes("\n1\n") ? (await attached.take("cosigned")).note : note;
}

const countersignedBy = (note: string, key: Uint8Array) =>
  openNote(native, note, [{ role: "COSIGNER", name: "control", key }]);

test("the cosigner key is exchanged at runtime: the next head is countersigned by it", async () => {
  const next = await prepare(KeyRole.COSIGNER);
  await record(adding("COSIGNER", next));
  expect(tenant()?.cosignerSigner.publicKey).toEqual(next);
  expect(countersignedBy(await secondNote(), next)).toMatchObject({ checkpoint: { size: 2 } });
});

describe("behind a command, where the control plane has no seed of it", () => {
  /** A key that only a command can sign by, put where the control plane looks for its next. */
  async function behindCommand(name: string): Promise<Uint8Array> {
    const seed = generateSeed();
    const { publicKey } = seedSigner(seed);
    const folder = join(`${world.running.ready.data}.keys`, "tenants", house.tenantId);
    // The secret is where the command finds it, not in what starts it.
    const script = join(folder, "kms.cjs");
    await writeFile(
      script,
      `const { createPrivateKey, sign } = require("node:crypto");
       const der = Buffer.from("302e020100300506032b657004220420${toHex(seed.reveal())}", "hex");
       const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
       process.stdout.write(sign(null, require("node:fs").readFileSync(0), key));`,
    );
    const signer = { publicKey: toHex(publicKey), command: [process.execPath, script] };
    await writeFile(join(folder, `${name}.signer`), JSON.stringify(signer), { mode: 0o600 });
    onTestFinished(async () => {
      expect(await readdir(folder)).not.toContain(`${name}.seed`);
      await rm(script);
    });
    return publicKey;
  }

  test("the issuer key signs leases", async () => {
    const key = await behindCommand("issuer-2");
    expect(await prepare(KeyRole.ISSUER)).toEqual(key);
    await record(adding("ISSUER", key));
    world.clock.advance(21_000_000);
    expect(await nextIssuer(attached)).toBe(toHex(key));
  });

  test("the cosigner key countersigns heads", async () => {
    const key = await behindCommand("cosigner-2");
    expect(await prepare(KeyRole.COSIGNER)).toEqual(key);
    await record(adding("COSIGNER", key));
    expect(countersignedBy(await secondNote(), key)).toMatchObject({ checkpoint: { size: 2 } });
  });
});

describe("the authority of the control plane's certificate", () => {
  const other = new Uint8Array(400).fill(0xff);
  const files = () => dataFiles(world.running.ready.data);
  /** What `ca.pem` holds, DER: the one in use first. */
  const held = (): Uint8Array[] => pemBlocks(readFileSync(files().ca, "utf8")).map(derOf);
  const derOf = (certPem: string): Uint8Array => certificateDer({ certPem });
  const named = (...controlCas: Uint8Array[]) => ({ controlCas: controlCas.sort(compare) });

  test("is named with others, and pushed to those who are attached", async () => {
    await record(() => named(...held(), other));
    expect((await attached.next("keyset")).body).toEqual(house.keyset.body);
  });

  test("is never left out by a keyset that names any: nobody would believe the control plane", async () => {
    const refused = await refusalOf(record(() => named(other)));
    expect(refused).toMatchObject({ code: "INVALID_ARGUMENT", metadata: { field: "keyset" } });
    expect(refused.message).toContain("dragons key rotate control-ca");
    await record(() => named(...held()));
    await record(() => named());
  });

  test("is exchanged whole or not at all, whenever that is cut off", async () => {
    const { data } = world.running.ready;
    const [old] = held();
    const next = await makeNextCa(data, Date.now() * 1000);
    const [certificates, keys] = [readFileSync(files().ca), readFileSync(files().caKey)];
    // Made, and its certificate not written any more: it is made again.
    await writeFile(files().ca, pemBlocks(certificates.toString("utf8"))[0] ?? "");
    await world.restart();
    expect(held()).toEqual([old]);
    // Switched, and the old key not forgotten any more: it is switched.
    await writeFile(files().ca, certificates);
    await switchCa(data, next);
    await writeFile(files().caKey, keys);
    await world.restart();
    expect(held()).toEqual([derOf(next.certPem)]);
  });

  test("that was switched before a tenant named it keeps nobody from giving up a key", async () => {
    await record(() => named(...held()));
    const { data } = world.running.ready;
    await switchCa(data, await makeNextCa(data, Date.now() * 1000));
    await world.restart();
    const next = await prepare(KeyRole.ISSUER);
    await record(adding("ISSUER", next, { compromisedFromUs: world.clock.nowUs() - DAY_US }));
    expect(await refusalOf(record(() => named(other)))).toMatchObject({ code: "INVALID_ARGUMENT" });
    await record(() => named(...held()));
  });
});

describe("the tenant root", () => {
  test("hands over: both sign, and from then on the new one alone", async () => {
    const root = newSigner();
    await record(() => ({ rootKey: root.publicKey }), [house.root, root]);
    expect(tenant()?.rootKey).toEqual(root.publicKey);
    const stale = await refusalOf(record(() => ({})));
    expect(stale).toMatchObject({ reason: "E_KEY_UNKNOWN" });
    await record(() => ({}), [root]);
    await world.restart();
    expect(tenant()?.rootKey).toEqual(root.publicKey);
    await record(() => ({}), [root]);
  });

  test("does not hand over by one signature, whichever it is", async () => {
    const root = newSigner();
    for (const by of [[house.root], [root], [house.root, newSigner()]]) {
      const refused = await refusalOf(record(() => ({ rootKey: root.publicKey }), by));
      expect(refused).toMatchObject({ reason: "E_KEY_UNKNOWN" });
    }
  });

  test("that handed over while a sidecar was away is told of before the newest keyset", async () => {
    await attached.leave();
    const [first, second] = [newSigner(), newSigner()];
    await record(() => ({ rootKey: first.publicKey }), [house.root, first]);
    await record(() => ({}), [first]);
    await record(() => ({ rootKey: second.publicKey }), [first, second]);
    await record(() => ({}), [second]);
    const back = await sidecar.attach();
    const told = back.skipped.flatMap((m) => (m.case === "keyset" ? [m.value.body] : []));
    expect(told.map((body) => KeysetBody.decode(body).keysetVersion)).toEqual([2, 4]);
    expect(equal(back.attached.keyset?.body ?? new Uint8Array(0), house.keyset.body)).toBe(true);
  });
});

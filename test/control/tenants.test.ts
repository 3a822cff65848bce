import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  RequestReused,
  type Tenant,
  TenantFailed,
  type TenantWorld,
} from "../../src/control/tenant.ts";
import { fileKeyring } from "../../src/control/tenant-keys.ts";
import { Tenants } from "../../src/control/tenants.ts";
import { equal, text, utf8 } from "../../src/domain/bytes.ts";
import { leafHash } from "../../src/domain/chain.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { verifyControlGenesis } from "../../src/domain/genesis.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { KEYSET, verifyKeyset } from "../../src/domain/keyset.ts";
import { rootOf } from "../../src/domain/merkle.ts";
import { RECEIPT } from "../../src/domain/receipt.ts";
import { openSigned, signBody } from "../../src/domain/signing.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { embeddedControlStore } from "../../src/storage/control-embedded.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { StorageFailed, type Store, type Write } from "../../src/storage/store.ts";
import { keysetBody, newSigner, random32 } from "./world.ts";

/** A disk whose flushes wait for a word, and may fail. What was flushed outlives its opener. */
function disk() {
  const rows = memoryStore();
  let held: (() => void)[] | null = null;
  let failure: Error | null = null;
  const store: Store = {
    ...rows,
    async commit(writes: readonly Write[]) {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (held === null) resolve();
      else held.push(resolve);
      await promise;
      if (failure !== null) throw failure;
      await rows.commit(writes);
    },
    close: async () => {},
  };
  return {
    store,
    rows,
    hold: () => {
      held = [];
    },
    release: () => {
      const waiting = held ?? [];
      held = null;
      for (const go of waiting) go();
    },
    fail: (error: Error) => {
      failure = error;
    },
  };
}

let keys: string;
let clock: ManualClock;
let under: ReturnType<typeof disk>;
let tenants: Tenants;
let tenant: Tenant;
let said: string[];
const root = newSigner();

const world = (): TenantWorld => ({
  store: embeddedControlStore(under.store),
  keyring: fileKeyring(keys),
  clock,
  crypto: native,
  random: (n) => globalThis.crypto.getRandomValues(new Uint8Array(n)),
  say: (line) => said.push(line),
});
const request = (id: string, digest = "d") => ({ id, digest: utf8(digest) });

beforeEach(async () => {
  keys = await mkdtemp(join(tmpdir(), "dragons-tenant-keys-"));
  clock = new ManualClock(1_700_000_000_000_000);
  under = disk();
  said = [];
  tenants = await Tenants.open(world());
  tenant = await make("acme");
});
afterEach(() => rm(keys, { recursive: true }));

async function make(tenantId: string): Promise<Tenant> {
  const { issuer, cosigner, controlLedger } = await tenants.prepare(tenantId);
  const people = {
    tenantId,
    grantKey: newSigner(),
    logins: { VIEWER: newSigner(), OPERATOR: newSigner(), ADMIN: newSigner() },
  };
  const body = keysetBody(people, clock.nowUs(), {
    issuerKey: (issuer[0] as Signer).publicKey,
    cosignerKey: (cosigner[0] as Signer).publicKey,
    controlLedgerKey: (controlLedger[0] as Signer).publicKey,
  });
  const signed = await signBody(KEYSET, body, [root]);
  const keyset = verifyKeyset(native, signed, root.publicKey, 1);
  if (isInvalid(keyset)) throw new Error(keyset.detail);
  await tenants.create({ rootKey: root.publicKey, keyset, asked: {} }, request("make"), () =>
    utf8("made"),
  );
  const made = tenants.get(tenantId);
  if (made === null) throw new Error("not made");
  return made;
}

/** Something to record that needs no ceremony. */
const head = (note: string) => ({ what: "head", artifact: note }) as const;

async function reopened(): Promise<Tenant> {
  const again = await Tenants.open(world());
  const found = again.get("acme");
  if (found === null) throw new Error("lost");
  return found;
}

describe("the tenant ledger", () => {
  test("is a ledger like any other: genesis, chain, signatures, root", async () => {
    await tenant.record({ entries: [head("one"), head("two")] });
    const genesis = tenant.controlGenesis;
    const born = verifyControlGenesis(native, genesis.signed, tenant.keyset(), clock.nowUs());
    expect(isInvalid(born) ? born.detail : born.ref).toEqual(tenant.controlLedgerId);
    const records = await tenant.records(1, 99);
    let previous = tenant.controlLedgerId;
    for (const [i, { seq, receipt, header }] of records.entries()) {
      expect(seq).toBe(i + 1);
      expect(header).toMatchObject({ kind: "RECORD", verdict: "COMPLETED", prevHash: previous });
      const opened = openSigned(native, RECEIPT, receipt);
      expect(isInvalid(opened) ? opened.detail : opened.signers).toEqual([genesis.body.ledgerKey]);
      previous = leafHash(native, receipt.body);
    }
    expect(records.map((r) => r.record.what)).toEqual(["keyset", "head", "head"]);
    expect(records.slice(1).map((r) => text(r.artifact))).toEqual(["one", "two"]);
    const root = rootOf(
      native,
      records.map((r) => leafHash(native, r.receipt.body)),
    );
    expect(tenant.controlHead()).toMatchObject({ size: 3, root });
  });

  test("goes on after a restart where it was, with ids above those it gave", async () => {
    await tenant.record({ entries: [head("one")] });
    const before = await tenant.records(1, 99);
    // A clock that fell must not make an id twice, nor one that sorts earlier.
    clock.setWall(1_600_000_000_000_000);
    const again = await reopened();
    expect(again.controlHead()).toEqual(tenant.controlHead());
    await again.record({ entries: [head("two")] });
    const after = await again.records(1, 99);
    expect(after.slice(0, 2)).toEqual(before);
    const ids = after.map((r) => r.header.receiptId);
    expect([...ids].sort()).toEqual(ids);
  });

  test("of any stored byte that changed, the control plane does not start", async () => {
    await tenant.record({ entries: [head("one")] });
    const from = utf8("lacme\0");
    const [first] = under.rows.range({ from, below: utf8("lacme\x01"), limit: 1 });
    if (first === undefined) throw new Error("no row");
    for (let at = 0; at < first.value.length; at += 11) {
      const value = Uint8Array.from(first.value);
      value[at] = (value[at] as number) ^ 1;
      await under.rows.commit([{ key: first.key, value }]);
      await expect(Tenants.open(world()), `byte ${at}`).rejects.toThrow();
    }
    await under.rows.commit([first]);
    await reopened();
  });

  test("of a row that is missing in the middle, it does not start either", async () => {
    await tenant.record({ entries: [head("one"), head("two")] });
    const rows = under.rows.range({ from: utf8("lacme\0"), below: utf8("lacme\x01"), limit: 9 });
    await under.rows.commit([{ key: (rows[1] as Write).key, value: null }]);
    await expect(Tenants.open(world())).rejects.toThrow(TenantFailed);
  });
});

describe("one writer", () => {
  test("nobody is told of anything before it is durable", async () => {
    const told: string[] = [];
    tenant.subscribe((e) => told.push(`heard ${e.revision}`));
    under.hold();
    const recorded = tenant.record({ entries: [head("one")] }).then(() => told.push("recorded"));
    const settled = tenant.settled().then(() => told.push("settled"));
    const durable = tenant.controlHead();
    await Promise.resolve();
    expect(told).toEqual([]);
    expect(tenant.controlHead()).toEqual(durable);
    expect(durable.size).toBe(1);
    under.release();
    await Promise.all([recorded, settled]);
    expect(told).toEqual(expect.arrayContaining(["heard 2", "recorded", "settled"]));
    expect(told[0]).toBe("heard 2");
    expect(tenant.controlHead().size).toBe(2);
  });

  test("records in the order of the calls, and shares flushes", async () => {
    const heard: number[] = [];
    tenant.subscribe((e) => heard.push(e.revision));
    const all = Array.from({ length: 50 }, (_, i) => tenant.record({ entries: [head(`${i}`)] }));
    const revisions = (await Promise.all(all)).map((r) => r.revision);
    expect(revisions).toEqual(Array.from({ length: 50 }, (_, i) => i + 2));
    expect(heard).toEqual(revisions);
  });

  test("a draft's rows and logs are written with its records or not at all", async () => {
    await tenant.record({
      entries: [head("one")],
      writes: [{ key: "mine", value: utf8("x") }],
      appends: [{ log: "beats", seq: 1, value: utf8("b") }],
    });
    const again = await reopened();
    expect((await again.get("mine"))?.value).toEqual(utf8("x"));
    expect(await again.read("beats", 1, 9)).toHaveLength(1);
    expect(again.controlHead().size).toBe(2);
  });

  test("who was overtaken by another owner writes nothing, and must end", async () => {
    const usurper = await reopened();
    await expect(tenant.record({ entries: [head("late")] })).rejects.toThrow(/FENCED/);
    expect(await tenants.failed).toBeInstanceOf(TenantFailed);
    await usurper.record({ entries: [head("mine")] });
    expect((await usurper.records(2, 9)).map((r) => text(r.artifact))).toEqual(["mine"]);
  });

  test("a disk that fails ends it: what was under way, what comes later, and the readers", async () => {
    const heard: number[] = [];
    tenant.subscribe((e) => heard.push(e.revision));
    under.fail(new StorageFailed("EIO"));
    await expect(tenant.record({ entries: [head("one")] })).rejects.toThrow(TenantFailed);
    await expect(tenant.record({ entries: [head("two")] })).rejects.toThrow(/EIO/);
    await expect(tenant.settled()).rejects.toThrow(TenantFailed);
    await expect(
      tenant.mutate(request("r"), async () => ({ entries: [], answer: () => utf8("done") })),
    ).rejects.toThrow();
    expect((await tenants.failed).message).toContain("EIO");
    expect(heard).toEqual([]);
    expect(tenant.controlHead().size).toBe(1);
  });
});

describe("requests", () => {
  const answer = (what: string) => async () => ({
    entries: [head(what)],
    answer: (revision: number) => utf8(`${what} ${revision}`),
  });

  test("are carried out once, also when asked again meanwhile, and after a restart", async () => {
    under.hold();
    const first = tenant.mutate(request("r"), answer("a"));
    const second = tenant.mutate(request("r"), answer("b"));
    under.release();
    expect(text(await first)).toBe("a 2");
    expect(equal(await second, await first)).toBe(true);
    const again = await reopened();
    expect(text(await again.mutate(request("r"), answer("c")))).toBe("a 2");
    expect(again.controlHead().size).toBe(2);
  });

  test("do not change their meaning: neither while under way nor later", async () => {
    const first = tenant.mutate(request("r"), answer("a"));
    const other = tenant.mutate(request("r", "another digest"), answer("b"));
    await expect(other).rejects.toThrow(RequestReused);
    await first;
    const later = tenant.mutate(request("r", "another digest"), answer("b"));
    await expect(later).rejects.toThrow(RequestReused);
  });

  test("that were refused leave nothing behind and hold nobody up", async () => {
    const refused = tenant.mutate(request("r"), async () => {
      throw new Error("no");
    });
    await expect(refused).rejects.toThrow("no");
    expect(text(await tenant.mutate(request("r"), answer("a")))).toBe("a 2");
  });

  test("decide one after another, each seeing what the one before decided", async () => {
    const seen: number[] = [];
    const revoke = (id: string) =>
      tenant.mutate(request(id), async () => {
        seen.push(tenant.revocationEpoch());
        const target = random32();
        const artifact = await tenant.issueRevocation({ target, reason: "" });
        return {
          entries: [{ what: "revocation", artifact }],
          answer: () => utf8(`${artifact.body.epoch}`),
        };
      });
    const answers = await Promise.all([revoke("a"), revoke("b"), revoke("c")]);
    expect(answers.map(text)).toEqual(["1", "2", "3"]);
    expect(seen).toEqual([0, 1, 2]);
    const [first, second] = tenant.revocations();
    expect(second?.body.previous).toEqual(first?.ref);
  });
});

describe("tenants", () => {
  test("that are made twice at once are made once", async () => {
    await expect(Promise.all([make("twin"), make("twin")])).resolves.toHaveLength(2);
    expect(tenants.get("twin")?.controlHead().size).toBe(1);
  });

  test("that were owned and never made are nobody", async () => {
    await embeddedControlStore(under.store).own("ghost");
    const again = await Tenants.open(world());
    expect(again.all().map((t) => t.tenantId)).toEqual(["acme"]);
  });

  test("whose control-ledger key is gone or another do not start", async () => {
    await rm(join(keys, "acme", "control-ledger.seed"));
    await expect(Tenants.open(world())).rejects.toThrow(/control-ledger.seed/);
    await fileKeyring(keys).prepare("acme");
    await expect(Tenants.open(world())).rejects.toThrow(
      /signs the tenant's ledger.*put the file back/,
    );
  });

  test.each(["issuer", "cosigner"])(
    "whose %s key on disk is not the one that the keyset names do not start, and say the fix",
    async (name) => {
      await rm(join(keys, "acme", `${name}.seed`));
      await fileKeyring(keys).prepare("acme");
      await expect(Tenants.open(world())).rejects.toThrow(
        new RegExp(`names none of the ${name.toUpperCase()} keys.*dragons key rotate ${name}`),
      );
    },
  );

  test("whose issuer key has expired start: the keyset that helps comes through us", async () => {
    clock.advance(1001 * 3_600_000_000);
    const again = await Tenants.open(world());
    expect(again.get("acme")?.mayIssue).toBe(false);
  });
});

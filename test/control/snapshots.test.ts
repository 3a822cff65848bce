import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Projection } from "../../src/control/projection.ts";
import { replay } from "../../src/control/replay.ts";
import {
  draftSnapshot,
  SNAPSHOT,
  SNAPSHOT_KEY,
  SnapshotBody,
  snapshotRows,
} from "../../src/control/snapshot.ts";
import { Snapshots } from "../../src/control/snapshots.ts";
import {
  LEDGER_LOG,
  type Tenant,
  TenantFailed,
  type TenantWorld,
} from "../../src/control/tenant.ts";
import { fileKeyring, type TenantKeys } from "../../src/control/tenant-keys.ts";
import { controlGenesis, TenantLedger } from "../../src/control/tenant-ledger.ts";
import { Tenants } from "../../src/control/tenants.ts";
import { text, toHex, u64be, utf8 } from "../../src/domain/bytes.ts";
import { bytes, message, u64 } from "../../src/domain/canonical.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { KEYSET, type KeysetBody } from "../../src/domain/keyset.ts";
import {
  lookBackAfterUs,
  snapshotBytesPerRecord,
  snapshotRecordsMin,
} from "../../src/domain/limits.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { embeddedControlStore } from "../../src/storage/control-embedded.ts";
import type { ControlStore, KeyWrite } from "../../src/storage/control-store.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import type { Store, Write } from "../../src/storage/store.ts";
import { Random } from "../fuzz/random.ts";
import { everythingOf, Historian } from "./histories.ts";
import { ids, keysetBody, newSigner, random32 } from "./world.ts";

/** How the embedded store wraps a row. */
const StoredRow = message("row", { version: u64(1), value: bytes(2) });

describe("a projection from a snapshot and what was recorded since", () => {
  const keys = { issuer: [], cosigner: [], controlLedger: [newSigner(), newSigner()] };

  /** A ledger with a random history, and a snapshot after each record. */
  async function lived(seed: number, records: number) {
    const said: string[] = [];
    const store = embeddedControlStore(memoryStore());
    const world: TenantWorld = {
      store,
      keyring: fileKeyring("/nowhere"),
      clock: new ManualClock(0),
      crypto: native,
      random: (n) => globalThis.crypto.getRandomValues(new Uint8Array(n)),
      say: (line) => said.push(line),
    };
    const signer = keys.controlLedger[0] as Signer;
    const genesis = await controlGenesis(native, {
      tenantId: "acme",
      signer,
      nonce: random32(),
      nowUs: 1,
    });
    const ledger = new TenantLedger(native, genesis, keys.controlLedger, world.random);
    const view = new Projection();
    const historian = new Historian(new Random(seed), keys.controlLedger, view);
    const ownerEpoch = await store.own("acme");
    const write = (writes: KeyWrite[], rows: Uint8Array[] = [], seq = 0) =>
      store.apply({
        tenant: "acme",
        ownerEpoch,
        expected: [],
        writes,
        appends: rows.map((value) => ({ log: LEDGER_LOG, seq, value })),
      });
    const snapshots: KeyWrite[][] = [];
    for (let n = 1; n <= records; n++) {
      const entry = await historian.next();
      const chained = ledger.append(entry, {}, ids, n);
      view.apply(entry, { ...chained, recordedAtUs: n });
      await write([], [await ledger.seal(chained)], n);
      const of = { tenantId: "acme", ledgerId: genesis.ref };
      const draft = draftSnapshot(native, of, ledger.end(), view);
      snapshots.push(await snapshotRows(draft, ledger.signer as Signer));
    }
    return { world, said, genesis, ledger, view, snapshots, write };
  }

  test.each(Array.from({ length: 8 }, (_, seed) => seed))(
    "is what replaying everything makes of it, wherever the snapshot was taken (history %i)",
    async (seed) => {
      const { world, said, genesis, ledger, view, snapshots, write } = await lived(seed, 70);
      const whole = await replay({ world, genesis, keys });
      expect(whole.begun).toBeNull();
      expect(everythingOf(whole.view)).toEqual(everythingOf(view));
      for (const [i, rows] of snapshots.entries()) {
        await write(rows);
        const { begun, ...again } = await replay({ world, genesis, keys });
        expect(said).toEqual([]);
        expect(begun?.seq).toBe(i + 1);
        expect(everythingOf(again.view), `snapshot of ${i + 1}`).toEqual(everythingOf(whole.view));
        expect(again.ledger.end()).toEqual(ledger.end());
        expect(again.lastReceiptId).toBe(whole.lastReceiptId);
      }
    },
  );

  test("names what still counts, and nothing of what was overtaken", async () => {
    const { view } = await lived(1, 400);
    const counted = view.kept.seqs();
    expect(counted.length).toBeLessThan(300);
    const current = [...view.leases.values()].map((l) => l.seq);
    expect(counted).toEqual(expect.arrayContaining(current));
  });

  test("has a version: whoever changes what it says, or what records do, counts it up here as well", async () => {
    const { view, genesis, ledger } = await lived(2, 100);
    const of = { tenantId: "acme", ledgerId: genesis.ref };
    const { body, contents } = draftSnapshot(native, of, ledger.end(), view);
    expect([body.version, toHex(native.sha256(contents))]).toEqual([
      1,
      "583ae11e6d69dd6a5b9e042e66ee4455b96c7e0933f8a766d4b1dd659b89ccf6",
    ]);
  });
});

describe("a start from a snapshot", () => {
  let folder: string;
  let clock: ManualClock;
  let rows: Store;
  let said: string[];
  /** Records of ledgers that were read since the start. */
  let read: number;
  /** Commits since the beginning, each as it was. */
  let commits: (readonly Write[])[];
  let keys: TenantKeys;
  let keyset: KeysetBody;
  let last: Tenants;
  const root = newSigner();

  const storeOn = (under: Store): ControlStore =>
    embeddedControlStore({
      ...under,
      range(asked) {
        const found = under.range(asked);
        // Entries of logs, and there is but one.
        if (asked.from[0] === "l".charCodeAt(0)) read += found.length;
        return found;
      },
      async commit(writes) {
        commits.push(writes.map((w) => ({ ...w })));
        await under.commit(writes);
      },
      close: async () => {},
    });

  /** null only before it is made. */
  async function open(under = rows, keyring = fileKeyring(folder)): Promise<Tenant> {
    read = 0;
    said = [];
    last = await Tenants.open({
      store: storeOn(under),
      keyring,
      clock,
      crypto: native,
      random: (n) => globalThis.crypto.getRandomValues(new Uint8Array(n)),
      say: (line) => said.push(line),
    });
    return last.get("acme") as Tenant;
  }

  const head = (note: string) => ({ what: "head", artifact: note }) as const;
  const record = (tenant: Tenant, ...notes: string[]) =>
    tenant.record({ entries: notes.map(head) });
  const revoke = async (tenant: Tenant): Promise<void> => {
    const artifact = await tenant.issueRevocation({ target: random32(), reason: "" });
    await tenant.record({ entries: [{ what: "revocation", artifact }] });
  };
  const known = (tenant: Tenant) => ({
    head: tenant.controlHead(),
    revocations: tenant.revocations(),
    keyset: tenant.keyset(),
  });
  const rowOf = (key: string): Write => {
    const found = rows.get(utf8(`kacme\0${key}`));
    if (found === null) throw new Error(`no row ${key}`);
    return { key: utf8(`kacme\0${key}`), value: found };
  };
  const entryKey = (seq: number) => Uint8Array.of(...utf8(`lacme\0${LEDGER_LOG}\0`), ...u64be(seq));
  const everyRow = () =>
    rows.range({ from: Uint8Array.of(0), below: Uint8Array.of(255), limit: 1e6 });
  const storeOf = async (these: readonly Write[]): Promise<Store> => {
    const copy = memoryStore();
    await copy.commit(these);
    return copy;
  };
  const flipped = ({ key, value }: Write, at: number): Write => {
    const other = Uint8Array.from(value as Uint8Array);
    other[at] = (other[at] as number) ^ 1;
    return { key, value: other };
  };

  /** Five records that count, and fifty that do not. */
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dragons-snapshots-"));
    clock = new ManualClock(1_700_000_000_000_000);
    rows = memoryStore();
    commits = [];
    await open();
    keys = await last.prepare("acme");
    const people = {
      tenantId: "acme",
      grantKey: newSigner(),
      logins: { VIEWER: newSigner(), OPERATOR: newSigner(), ADMIN: newSigner() },
    };
    keyset = keysetBody(people, clock.nowUs(), {
      issuerKey: (keys.issuer[0] as Signer).publicKey,
      cosignerKey: (keys.cosigner[0] as Signer).publicKey,
      controlLedgerKey: (keys.controlLedger[0] as Signer).publicKey,
    });
    await last.create(
      { rootKey: root.publicKey, keyset: await asSigned(keyset), asked: {} },
      { id: "make", digest: utf8("d") },
      () => utf8("made"),
    );
    const tenant = last.get("acme") as Tenant;
    for (let n = 0; n < 4; n++) {
      await revoke(tenant);
      await record(tenant, ...Array.from({ length: 12 }, (_, i) => `${n} ${i}`));
    }
    await record(tenant, "last", "but one");
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function asSigned(body: KeysetBody) {
    const signed = await signBody(KEYSET, body, [root]);
    return { body, signed, ref: refOf(native, "keyset", signed.body) };
  }

  /** Ends as a process does that is asked to. */
  async function stopped(): Promise<ReturnType<typeof known>> {
    const before = known(last.get("acme") as Tenant);
    await last.close();
    return before;
  }

  test("after a stop reads what still counts, not what was recorded", async () => {
    const before = await stopped();
    expect(known(await open())).toEqual(before);
    expect(read).toBeLessThan(before.head.size / 2);
    expect(said).toEqual([]);
  });

  test("goes on where it was: what is recorded after it is there at the next start, and at the one after", async () => {
    await stopped();
    const second = await open();
    await record(second, "more");
    await revoke(second);
    const before = await stopped();
    const third = await open();
    expect(known(third)).toEqual(before);
    await record(third, "still more");
    const now = known(third);
    // Killed: the snapshot is older than the ledger.
    expect(known(await open())).toEqual(now);
    expect(read).toBeLessThan(now.head.size / 2);
    expect(said).toEqual([]);
    // And all of it is one chain.
    await rows.commit([{ ...rowOf(SNAPSHOT_KEY), value: null }]);
    expect(known(await open())).toEqual(now);
    expect(read).toBe(now.head.size);
  });

  test("is not to be had where no snapshot can be signed: that is said, and nothing else suffers", async () => {
    const before = known(last.get("acme") as Tenant);
    const own = fileKeyring(folder);
    const unwilling = (signer: Signer): Signer => ({
      ...signer,
      sign: async (message) => {
        if (text(message.subarray(0, 60)).includes("snapshot")) throw new Error("no such kind");
        return signer.sign(message);
      },
    });
    const opened = async (tenantId: string): Promise<TenantKeys> => {
      const all = await own.open(tenantId);
      return { ...all, controlLedger: all.controlLedger.map(unwilling) };
    };
    await record(await open(rows, { ...own, open: opened }), "more");
    await last.close();
    expect(said).toEqual([expect.stringMatching(/no snapshot was written: no such kind/)]);
    expect((await open()).controlHead().size).toBe(before.head.size + 1);
  });

  test("a stop after which nothing was recorded writes nothing", async () => {
    await stopped();
    await open();
    commits = [];
    await stopped();
    expect(commits).toEqual([]);
  });

  test("follows the ledger's key through its exchange", async () => {
    const tenant = last.get("acme") as Tenant;
    const next = await last.prepareNext(tenant, "CONTROL_LEDGER");
    const [old] = keyset.keys.filter((k) => k.role === "CONTROL_LEDGER");
    if (old === undefined) throw new Error("no key");
    const entry = { ...old, key: next, notBeforeUs: old.notBeforeUs + 1 };
    const body = { ...keyset, keysetVersion: 2, keys: [...keyset.keys, entry] };
    await tenant.record({ entries: [{ what: "keyset", artifact: await asSigned(body) }] });
    const before = await stopped();
    const again = await open();
    expect(known(again)).toEqual(before);
    expect(said).toEqual([]);
    await record(again, "by the next key");
    const [newest] = await again.records(again.controlHead().size, 1);
    expect(newest?.receipt.signatures.map((s) => s.key)).toEqual([next]);
    // By the key before it, which is still held here, nothing is vouched for any more.
    const { body: signed } = SignedBytes.decode(stored(rowOf(SNAPSHOT_KEY)));
    await resigned(SnapshotBody.decode(signed), keys.controlLedger[0] as Signer);
    await open();
    expect(said).toEqual([expect.stringMatching(/not signed by the key whose place it was/)]);
  });

  /** What a row says, without what the store puts around it. */
  const stored = ({ value }: Write): Uint8Array => StoredRow.decode(value as Uint8Array).value;
  async function resigned(body: SnapshotBody, signer: Signer): Promise<void> {
    const signed = SignedBytes.encode(await signBody(SNAPSHOT, body, [signer]));
    const { key, value } = rowOf(SNAPSHOT_KEY);
    const { version } = StoredRow.decode(value as Uint8Array);
    await rows.commit([{ key, value: StoredRow.encode({ version, value: signed }) }]);
  }

  test.each([SNAPSHOT_KEY, `${SNAPSHOT_KEY}/0`])(
    "of which a byte of %s changed does not believe it: everything is replayed, and said so",
    async (name) => {
      const before = await stopped();
      const row = rowOf(name);
      // Where the store's own wrapping ends.
      const from = (row.value as Uint8Array).length - stored(row).length;
      for (let at = from; at < (row.value as Uint8Array).length; at += 5) {
        await rows.commit([flipped(row, at)]);
        expect(known(await open()), `byte ${at}`).toEqual(before);
        expect(said, `byte ${at}`).toEqual([expect.stringMatching(/all 55 records are replayed/)]);
      }
      await rows.commit([{ key: row.key, value: null }]);
      expect(known(await open())).toEqual(before);
      expect(read).toBe(before.head.size);
    },
  );

  test("by a stranger's key, of another form or of another ledger is not believed", async () => {
    const before = await stopped();
    const body = SnapshotBody.decode(SignedBytes.decode(stored(rowOf(SNAPSHOT_KEY))).body);
    const own = keys.controlLedger[0] as Signer;
    const cases: [SnapshotBody, Signer, RegExp][] = [
      [body, newSigner(), /not signed by one key that is held here/],
      [body, keys.issuer[0] as Signer, /not signed by one key that is held here/],
      [{ ...body, version: 2 }, own, /its form is 2/],
      [{ ...body, tenantId: "other" }, own, /another ledger's/],
      [{ ...body, ledgerId: random32() }, own, /another ledger's/],
      [{ ...body, frontier: [] }, own, /no tree of 55 records/],
      [{ ...body, keptHash: random32() }, own, /not those that are stored/],
    ];
    for (const [other, signer, why] of cases) {
      await resigned(other, signer);
      expect(known(await open()), `${why}`).toEqual(before);
      expect(said).toEqual([expect.stringMatching(why)]);
    }
  });

  test("finds a record that counts changed or missing, and does not start", async () => {
    const before = await stopped();
    // The first keyset, and a revocation.
    for (const seq of [1, 15]) {
      let refused = 0;
      const key = entryKey(seq);
      const value = rows.get(key) as Uint8Array;
      for (let at = 0; at < value.length; at += 97) {
        await rows.commit([flipped({ key, value }, at)]);
        const opened = await open().catch(() => null);
        if (opened === null) refused++;
        // Its receipt's signature stands for nothing: that of the snapshot does.
        else expect(known(opened), `record ${seq}, byte ${at}`).toEqual(before);
      }
      expect(refused).toBeGreaterThan(3);
      await rows.commit([{ key, value: null }]);
      await expect(open()).rejects.toThrow(TenantFailed);
      await rows.commit([{ key, value }]);
    }
    await open();
  });

  test("does not start on a ledger that ends before its snapshot does", async () => {
    const older = everyRow();
    await record(last.get("acme") as Tenant, "lost");
    await stopped();
    const snapshot = everyRow().filter(({ key }) => isSnapshot(key));
    await expect(open(await storeOf([...older, ...snapshot]))).rejects.toThrow(
      /has 55 records, and had 56 when a snapshot of it was signed/,
    );
  });

  test("does not start on another history than the one that its snapshot was signed of", async () => {
    const older = await storeOf(everyRow());
    await record(last.get("acme") as Tenant, "one way");
    await stopped();
    const snapshot = everyRow().filter(({ key }) => isSnapshot(key));
    const other = await open(older);
    await record(other, "the other way", "and on");
    await older.commit(snapshot);
    await expect(open(older)).rejects.toThrow(
      /record 56 is .*, and was .* when a snapshot was signed/,
    );
  });

  test("takes an older snapshot for what it is: the beginning of the same history", async () => {
    const before = await stopped();
    const older = everyRow().filter(({ key }) => isSnapshot(key));
    const tenant = await open();
    await revoke(tenant);
    await record(tenant, "after it");
    const now = await stopped();
    await rows.commit(older);
    expect(known(await open())).toEqual(now);
    expect(now.revocations.length).toBe(before.revocations.length + 1);
    expect(said).toEqual([]);
  });

  const isSnapshot = (key: Uint8Array): boolean =>
    new TextDecoder().decode(key).startsWith(`kacme\0${SNAPSHOT_KEY}`);

  test("killed after any commit, it starts with all that was durable", async () => {
    const tenant = last.get("acme") as Tenant;
    for (let n = 0; n < 6; n++) {
      const recorded = [record(tenant, `a ${n}`), revoke(tenant)];
      const written = tenant.snapshot();
      recorded.push(record(tenant, `b ${n}`));
      await Promise.all([...recorded, written]);
    }
    const all = [...commits];
    let size = 0;
    for (let n = 1; n <= all.length; n++) {
      const found = await open(await storeOf(all.slice(0, n).flat()));
      // Not made yet.
      if (found === null) continue;
      expect(said, `commit ${n}`).toEqual([]);
      expect(found.controlHead().size).toBeGreaterThanOrEqual(size);
      size = found.controlHead().size;
    }
    expect(size).toBe(tenant.controlHead().size);
  });

  describe("looks back at what it did not walk", () => {
    /** Lets time pass until it has been looked back at everything, or something was found. */
    async function lookedBack(): Promise<Error | null> {
      const done = Promise.race([last.lookBack().then(() => null), last.failed]);
      let over = false;
      void done.then(() => {
        over = true;
      });
      while (!over) {
        clock.advance(lookBackAfterUs);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return done;
    }

    test("and finds nothing where nothing is", async () => {
      const { head: before } = await stopped();
      await open();
      read = 0;
      expect(await lookedBack()).toBeNull();
      expect(read).toBe(before.size);
    });

    test.each([
      ["changed", (row: Write) => flipped(row, 200)],
      ["missing", (row: Write) => ({ ...row, value: null })],
    ])("a record %s fails the tenant, and the next start refuses it", async (_, harm) => {
      await stopped();
      const key = entryKey(20);
      await rows.commit([harm({ key, value: rows.get(key) as Uint8Array })]);
      const tenant = await open();
      expect(await lookedBack()).toBeInstanceOf(TenantFailed);
      await expect(record(tenant, "more")).rejects.toThrow(TenantFailed);
      await expect(last.close()).rejects.toThrow(TenantFailed);
      await expect(open()).rejects.toThrow(TenantFailed);
    });

    test("no more once it is closed", async () => {
      await stopped();
      await open();
      void last.lookBack();
      await last.close();
      read = 0;
      clock.advance(10 * lookBackAfterUs);
      await new Promise((resolve) => setImmediate(resolve));
      expect(read).toBe(0);
    });
  });
});

describe("snapshots are written", () => {
  /** Stands for a tenant of which as much is durable as is said. */
  function growing(bytes: number) {
    let size = 0;
    const taken: number[] = [];
    let listener: (event: { revision: number }) => void = () => {};
    const tenant = {
      tenantId: "acme",
      get durableSize() {
        return size;
      },
      subscribe(one: typeof listener) {
        listener = one;
        return () => {
          listener = () => {};
        };
      },
      async snapshot() {
        taken.push(size);
        return bytes;
      },
    };
    const grow = async (records: number): Promise<void> => {
      for (let n = 0; n < records; n++) listener({ revision: ++size });
      // What a snapshot takes is known a moment later.
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { tenant: tenant as unknown as Tenant, taken, grow };
  }

  test("each so many records, counted from the one that was started from, and at the end", async () => {
    const { tenant, taken, grow } = growing(1000);
    await grow(100);
    const snapshots = new Snapshots(tenant, 100, () => {});
    await grow(snapshotRecordsMin - 1);
    expect(taken).toEqual([]);
    await grow(1);
    expect(taken).toEqual([100 + snapshotRecordsMin]);
    await grow(snapshotRecordsMin - 1);
    expect(taken.length).toBe(1);
    await snapshots.close();
    expect(taken[1]).toBe(100 + 2 * snapshotRecordsMin - 1);
    await grow(2 * snapshotRecordsMin);
    expect(taken.length).toBe(2);
  });

  test("the less often, the larger they are", async () => {
    const { tenant, taken, grow } = growing(3 * snapshotRecordsMin * snapshotBytesPerRecord);
    const snapshots = new Snapshots(tenant, 0, () => {});
    await grow(snapshotRecordsMin);
    expect(taken.length).toBe(1);
    await grow(3 * snapshotRecordsMin - 1);
    expect(taken.length).toBe(1);
    await grow(1);
    expect(taken.length).toBe(2);
    await snapshots.close();
    expect(taken.length).toBe(2);
  });
});

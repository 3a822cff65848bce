import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { journalHalfBytes, mappedBytesMax } from "../domain/limits.ts";
import { openJournaled } from "./journaled.ts";
import { memoryStore } from "./memory.ts";
import { StorageFailed, type Store, type Write } from "./store.ts";

// The contract itself: test/contract/store.ts.

const BLOCK = 4096;
/** Fills a half. */
const FULL = journalHalfBytes - 100;
const ALL = { from: Uint8Array.of(1), below: Uint8Array.of(255), limit: 1e9 };

let folder: string;
let journal: string;
/** What is beneath outlives the journal's process, as a disk does; its commits can be held or failed. */
let beneath: Store & { held: Promise<void> | null; failWith: Error | null; commits: number };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dragons-journal-"));
  journal = join(folder, "journal");
  const rows = memoryStore();
  beneath = {
    held: null,
    failWith: null,
    commits: 0,
    get: (key) => rows.get(key),
    range: (range) => rows.range(range),
    async commit(writes) {
      await this.held;
      if (this.failWith !== null) throw this.failWith;
      this.commits += 1;
      await rows.commit(writes);
    },
    close: async () => {},
  };
});

/** As a process that was killed leaves it: nothing is closed. */
const open = (): Promise<Store> => openJournaled(folder, () => beneath);

const row = (n: number, size = 1): Write => ({
  key: Uint8Array.of(n >> 8 || 1, n & 255),
  value: new Uint8Array(size).fill(n),
});
const rowsOf = (store: Store) => store.range(ALL).map(({ key, value }) => [...key, value.length]);

const firstHalf = BLOCK;
const secondHalf = BLOCK + journalHalfBytes;

function spoil(at: number, bytes = 1): void {
  const file = readFileSync(journal);
  for (let i = at; i < at + bytes; i++) file.writeUInt8(file.readUInt8(i) ^ 0xff, i);
  writeFileSync(journal, file);
}

describe("a start", () => {
  test("has everything that was committed, though nothing of it was beneath", async () => {
    const first = await open();
    await first.commit([row(1), row(2)]);
    await first.commit([{ key: row(1).key, value: null }, row(3, 0)]);
    expect(beneath.range(ALL)).toEqual([]);
    const second = await open();
    expect(rowsOf(second)).toEqual(rowsOf(first));
    expect(rowsOf(second)).toHaveLength(2);
  });

  test("applies nothing twice: a later start does not bring back what changed since", async () => {
    await (await open()).commit([row(1), row(2)]);
    const second = await open();
    await second.commit([{ key: row(1).key, value: null }]);
    await second.close();
    expect(rowsOf(await open())).toHaveLength(1);
    expect(rowsOf(await open())).toHaveLength(1);
  });

  test("leaves out a last record that is torn, wherever it was torn", async () => {
    const first = await open();
    await first.commit([row(1)]);
    await first.commit([row(2, 9000)]);
    const whole = readFileSync(journal);
    for (const at of [0, 16, 24, 28, 40, 4096, 8192]) {
      writeFileSync(journal, whole);
      spoil(firstHalf + BLOCK + at);
      const fresh = memoryStore();
      expect(rowsOf(await openJournaled(folder, () => fresh))).toHaveLength(1);
    }
  });

  test("refuses a journal with a damaged record before a whole one", async () => {
    const first = await open();
    for (const n of [1, 2, 3]) await first.commit([row(n)]);
    spoil(firstHalf + BLOCK + 40);
    await expect(open()).rejects.toThrow(/journal has lost record 2/);
  });

  test("refuses a journal that is not the one its store had", async () => {
    const first = await open();
    await first.commit([row(1)]);
    await first.close();
    rmSync(journal);
    await expect(open()).rejects.toThrow(/journal ends at 0, its store is at 1/);
  });

  test("refuses a journal of another size", async () => {
    await (await open()).close();
    writeFileSync(journal, readFileSync(journal).subarray(1));
    await expect(open()).rejects.toThrow(StorageFailed);
  });

  test("takes no row for a record, whatever is written in it", async () => {
    const first = await open();
    await first.commit([row(1)]);
    // A copy of a record, block for block, under another journal's id.
    const record = Buffer.from(readFileSync(journal).subarray(firstHalf, firstHalf + BLOCK));
    record[0] = (record[0] as number) ^ 1;
    const value = Buffer.concat([Buffer.alloc(2 * BLOCK - 40), record, record]);
    await first.commit([{ key: Uint8Array.of(9), value }]);
    expect(rowsOf(await open())).toHaveLength(2);
  });
});

describe("both halves in turn", () => {
  test("a million bytes a commit, over and over, in a file that does not grow", async () => {
    const first = await open();
    const before = statSync(journal).size;
    for (let n = 1; n <= 9; n++) await first.commit([row(n, FULL)]);
    expect(statSync(journal).size).toBe(before);
    expect(rowsOf(await open())).toEqual(rowsOf(first));
    expect(rowsOf(first)).toHaveLength(9);
  });

  test("a torn write over the oldest record loses nothing that was committed", async () => {
    const first = await open();
    for (let n = 1; n <= 3; n++) await first.commit([row(n, FULL)]);
    await first.close();
    // Record 3 lies where record 1 lay; as if it had been torn, and its store had not heard of it.
    const older = memoryStore();
    await older.commit([{ key: Uint8Array.of(0), value: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1) }]);
    spoil(firstHalf + 100);
    expect(rowsOf(await openJournaled(folder, () => older))).toEqual([[1, 2, FULL]]);
    expect(readFileSync(journal).readUInt32BE(secondHalf + 20)).toBe(2);
  });

  test("while the store beneath is slow, commits go on until both halves are full", async () => {
    const first = await open();
    const gate = Promise.withResolvers<void>();
    beneath.held = gate.promise;
    await first.commit([row(1, FULL)]);
    await first.commit([row(2, FULL)]);
    let third = false;
    const waits = first.commit([row(3)]).then(() => {
      third = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(third).toBe(false);
    expect(rowsOf(first)).toHaveLength(2);
    gate.resolve();
    await waits;
    expect(rowsOf(first)).toHaveLength(3);
  });

  test("the store beneath is opened anew now and then, and nobody notices", async () => {
    let opened = 0;
    const store = await openJournaled(folder, () => {
      opened += 1;
      return beneath;
    });
    const value = new Uint8Array(FULL - 100);
    for (let written = 0; written < 2 * mappedBytesMax; written += FULL) {
      await store.commit([{ key: Uint8Array.of(1), value }, row(2)]);
      expect(rowsOf(store)).toEqual([
        [1, value.length],
        [1, 2, 1],
      ]);
    }
    expect(opened).toBe(2);
    await store.close();
  });

  test("a commit that no half takes goes beneath, after all that came before it", async () => {
    const first = await open();
    const large = first.commit([row(1, journalHalfBytes)]);
    await Promise.all([first.commit([row(1, 5)]), large]);
    expect(rowsOf(first)).toEqual([[1, 1, 5]]);
    expect(rowsOf(await open())).toEqual([[1, 1, 5]]);
  });
});

describe("a failure", () => {
  test("beneath ends the store: what was acknowledged is still in the journal", async () => {
    const first = await open();
    beneath.failWith = new StorageFailed("a write failed: EIO");
    await first.commit([row(1, FULL)]);
    await new Promise((resolve) => setImmediate(resolve));
    await expect(first.commit([row(2)])).rejects.toThrow(/EIO/);
    expect(rowsOf(first)).toHaveLength(1);
    await first.close();
    beneath.failWith = null;
    expect(rowsOf(await open())).toEqual([[1, 1, FULL]]);
  });

  test("beneath while commits wait for room: they are told", async () => {
    const first = await open();
    const gate = Promise.withResolvers<void>();
    beneath.held = gate.promise;
    beneath.failWith = new StorageFailed("a write failed: EIO");
    await first.commit([row(1, FULL)]);
    await first.commit([row(2, FULL)]);
    const waits = first.commit([row(3)]);
    gate.resolve();
    await expect(waits).rejects.toThrow(/EIO/);
  });
});

test("rows above and beneath read as one: the same as a plain store, whatever is written", async () => {
  const write = fc.record({
    key: fc.integer({ min: 1, max: 9 }).map((n) => Uint8Array.of(n)),
    value: fc.oneof(
      fc.constant(null),
      fc.integer({ min: 0, max: 40 }).map((n) => new Uint8Array(n * 10_000).fill(n)),
    ),
  });
  const range = fc.record({
    from: fc.integer({ min: 0, max: 10 }),
    below: fc.integer({ min: 0, max: 10 }),
    limit: fc.integer({ min: 0, max: 5 }),
    newestFirst: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(write)),
      range,
      async (commits, { from, below, ...rest }) => {
        const path = mkdtempSync(join(tmpdir(), "dragons-journal-"));
        const rows = memoryStore();
        const plain = memoryStore();
        const journaled = await openJournaled(path, () => rows);
        const wanted = { from: Uint8Array.of(from), below: Uint8Array.of(below), ...rest };
        // From 1: the store beneath keeps a row of its own below all keys.
        if (from === 0) wanted.from = Uint8Array.of(1);
        for (const writes of commits) {
          await Promise.all([journaled.commit(writes), plain.commit(writes)]);
          expect(journaled.range(wanted)).toEqual(plain.range(wanted));
        }
        const again = await openJournaled(path, () => rows);
        expect(again.range(wanted)).toEqual(plain.range(wanted));
        await journaled.close();
        rmSync(path, { recursive: true });
      },
    ),
    { numRuns: 40 },
  );
});

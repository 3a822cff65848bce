import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { utf8 } from "../domain/bytes.ts";
import { openLmdb } from "./lmdb.ts";
import { StorageFailed } from "./store.ts";

// The contract itself: test/contract/store.ts.

const folder = (): string => mkdtempSync(join(tmpdir(), "dragons-lmdb-"));
const KEY = Uint8Array.of(1);

async function written(): Promise<string> {
  const path = folder();
  const store = openLmdb(path);
  await store.commit([{ key: KEY, value: utf8("kept") }]);
  await store.close();
  return path;
}

test("what was committed is there when it is opened again", async () => {
  const store = openLmdb(await written());
  expect(store.get(KEY)).toEqual(utf8("kept"));
  await store.close();
});

test("a folder whose name looks like a file is a folder", async () => {
  const path = join(folder(), "ledger.v1");
  const store = openLmdb(path);
  await store.commit([{ key: KEY, value: utf8("kept") }]);
  await store.close();
  expect(readFileSync(join(path, "data.mdb")).length).toBeGreaterThan(0);
});

test("an empty file is a new store", async () => {
  const path = folder();
  writeFileSync(join(path, "data.mdb"), "");
  const store = openLmdb(path);
  expect(store.get(KEY)).toBeNull();
  await store.close();
});

test("what is no LMDB file is refused in words, not by a signal", async () => {
  const path = await written();
  const file = join(path, "data.mdb");
  const whole = readFileSync(file);
  const spoilt = (at: number, byte: number): Uint8Array => {
    const copy = Uint8Array.from(whole);
    copy[at] = byte;
    return copy;
  };
  for (const [content, why] of [
    [new Uint8Array(100), /not an LMDB file/],
    [new Uint8Array(20_000), /not an LMDB file/],
    [new Uint8Array(20_000).fill(0x5a), /not an LMDB file/],
    [whole.subarray(0, 30), /not an LMDB file/],
    [whole.subarray(0, 4096), /second meta page/],
    [spoilt(24, 0), /not an LMDB file/],
    [spoilt(28, 1), /data format 1, not 2/],
    [spoilt(48, 1), /pages of/],
    [spoilt(4096 + 24, 0), /not an LMDB file/],
  ] as const) {
    writeFileSync(file, content);
    expect(() => openLmdb(path)).toThrow(StorageFailed);
    expect(() => openLmdb(path)).toThrow(why);
  }
  writeFileSync(file, whole);
  const store = openLmdb(path);
  expect(store.get(KEY)).toEqual(utf8("kept"));
  await store.close();
});

test("a file that was cut off is told in words, too, by whatever reads there", async () => {
  const path = folder();
  const store = openLmdb(path);
  const keys = Array.from({ length: 2000 }, (_, i) => Uint8Array.of(i >> 8, i & 255));
  await store.commit(keys.map((key) => ({ key, value: new Uint8Array(200).fill(1) })));
  await store.close();
  const file = join(path, "data.mdb");
  const whole = readFileSync(file);
  for (const kept of [8192, whole.length >> 2, whole.length >> 1, whole.length - 4096]) {
    writeFileSync(file, whole.subarray(0, kept));
    const read = (): unknown => {
      const cut = openLmdb(path);
      return keys.map((key) => cut.get(key)?.length);
    };
    expect(read, `${kept} bytes`).toThrow(StorageFailed);
  }
});

import { beforeEach, expect, test } from "vitest";
import { utf8 } from "../domain/bytes.ts";
import { checkFormat, type Format, FormatUnknown, LEDGER_FORMAT, upgradeFormat } from "./format.ts";
import { memoryStore } from "./memory.ts";
import type { Store } from "./store.ts";

const OLD = utf8("a");
let store: Store;
beforeEach(() => {
  store = memoryStore();
});

const at = (version: number): Format => ({
  what: "ledger",
  version,
  steps: new Map([[version - 1, () => [{ key: OLD, value: utf8("new") }]]]),
});

test("a new store is of this release's form", async () => {
  expect(checkFormat(store, LEDGER_FORMAT)).toBeNull();
  await upgradeFormat(store, LEDGER_FORMAT);
  expect(checkFormat(store, LEDGER_FORMAT)).toBe(LEDGER_FORMAT.version);
});

test("the form before this one of the ledger is read and brought up to it", async () => {
  await store.commit([{ key: OLD, value: utf8("old") }]);
  expect(checkFormat(store, LEDGER_FORMAT)).toBe(LEDGER_FORMAT.version - 1);
  await upgradeFormat(store, LEDGER_FORMAT);
  expect(checkFormat(store, LEDGER_FORMAT)).toBe(LEDGER_FORMAT.version);
  expect(store.get(OLD)).toEqual(utf8("old"));
});

test("what a step writes is there, once", async () => {
  await store.commit([{ key: OLD, value: utf8("old") }]);
  await upgradeFormat(store, at(1));
  expect(store.get(OLD)).toEqual(utf8("new"));
  await store.commit([{ key: OLD, value: utf8("newer") }]);
  await upgradeFormat(store, at(1));
  expect(store.get(OLD)).toEqual(utf8("newer"));
});

test("a newer form is refused by name, and so is one too old; neither is touched", async () => {
  await upgradeFormat(store, at(3));
  const before = store.range({ from: Uint8Array.of(0), below: Uint8Array.of(255), limit: 9 });
  await expect(upgradeFormat(store, at(2))).rejects.toThrow(
    "the ledger has format 3, written by a newer release; this one reads up to 2",
  );
  await expect(upgradeFormat(store, at(5))).rejects.toThrow(
    "the ledger has format 3, and this release reads 4 to 5",
  );
  expect(() => checkFormat(store, at(2))).toThrow(FormatUnknown);
  expect(store.range({ from: Uint8Array.of(0), below: Uint8Array.of(255), limit: 9 })).toEqual(
    before,
  );
});

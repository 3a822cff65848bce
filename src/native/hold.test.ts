import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FolderHeld, holdFolder } from "./hold.ts";

// Other processes, living and killed: test/ledger/disk.test.ts.

const folder = (): string => mkdtempSync(join(tmpdir(), "dragons-hold-"));

test("a folder is held once, by this process too, until it is released", () => {
  const path = folder();
  const hold = holdFolder(path);
  expect(() => holdFolder(path)).toThrow(FolderHeld);
  expect(() => holdFolder(path)).toThrow(`${path} is held by process ${process.pid}`);
  hold.release();
  holdFolder(path).release();
});

test("what a dead process left behind holds nothing", () => {
  const path = folder();
  writeFileSync(join(path, "lock"), "");
  writeFileSync(join(path, "holder"), "1\n");
  holdFolder(path).release();
});

test("a holder that has not said who it is", () => {
  const path = folder();
  const hold = holdFolder(path);
  writeFileSync(join(path, "holder"), "");
  expect(() => holdFolder(path)).toThrow(`${path} is held by another process`);
  hold.release();
});

test("two folders have nothing to do with each other", () => {
  const [a, b] = [holdFolder(folder()), holdFolder(folder())];
  a.release();
  b.release();
});

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { refusalsIn } from "./refusals.ts";

const folder = (): string => mkdtempSync(join(tmpdir(), "dragons-refusals-"));

test("the count outlives the process that counted", () => {
  const path = folder();
  const first = refusalsIn(path);
  expect(first.count).toBe(0);
  for (let n = 0; n < 300; n++) first.add();
  first.close();
  const second = refusalsIn(path);
  expect(second.count).toBe(300);
  second.add();
  second.told(300);
  second.close();
  expect(refusalsIn(path).count).toBe(1);
});

test("a torn or foreign file counts from nothing", () => {
  for (const content of ["", "abc", "\xff\xff\xff\xff\xff\xff\xff\xff"]) {
    const path = folder();
    writeFileSync(join(path, "refused"), content, "latin1");
    const refusals = refusalsIn(path);
    expect(refusals.count).toBe(0);
    refusals.add();
    refusals.close();
    expect(refusalsIn(path).count).toBe(1);
  }
});

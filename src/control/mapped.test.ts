import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLmdb } from "../storage/lmdb.ts";
import { forgetCode, forgetMapped } from "./mapped.ts";

/** Kilobytes of a mapped file that count as this process'; only Linux tells, and has something to let go of. */
function residentKb(path: string): number | null {
  if (process.platform !== "linux") return null;
  let kb = 0;
  let ours = false;
  for (const line of readFileSync("/proc/self/smaps", "latin1").split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) ours = line.endsWith(path);
    else if (ours && line.startsWith("Rss:")) kb += Number(/\d+/.exec(line)?.[0]);
  }
  return kb;
}

test("what was read of a database counts as ours no longer, and reads the same", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dragons-mapped-"));
  const store = openLmdb(folder);
  const rows = Array.from({ length: 256 }, (_, i) => ({
    key: Uint8Array.of(1, i),
    value: new Uint8Array(4096).fill(i),
  }));
  await store.commit(rows);
  const read = () => rows.map(({ key }) => store.get(key)?.[4095]);
  const before = read();
  const path = join(folder, "data.mdb");
  expect(residentKb(path) ?? Number.POSITIVE_INFINITY).toBeGreaterThan(1000);
  forgetMapped(path);
  expect(residentKb(path) ?? 0).toBeLessThan(100);
  expect(read()).toEqual(before);
  await store.close();
  rmSync(folder, { recursive: true });
});

test("code that was run once counts as ours no longer, and runs the same", () => {
  const before = residentKb(process.execPath) ?? Number.POSITIVE_INFINITY;
  forgetCode();
  expect(residentKb(process.execPath) ?? 0).toBeLessThan(before);
  expect(JSON.parse('{"runs":[true]}')).toEqual({ runs: [true] });
});

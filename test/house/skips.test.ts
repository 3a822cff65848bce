import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SKIPS } from "../skips.ts";

const HOME = join(import.meta.dirname, "../..");

const testFiles = ["src", "sidecar", "test"]
  .flatMap((folder) =>
    readdirSync(join(HOME, folder), { recursive: true, encoding: "utf8" }).map(
      (f) => `${folder}/${f}`,
    ),
  )
  .filter((f) => f.endsWith(".ts"));

describe("test/skips.json", () => {
  test("names tests that are there, each once, with what is missing and why", () => {
    expect(new Set(SKIPS.map((s) => s.test)).size).toBe(SKIPS.length);
    for (const { test: name, missing, reason } of SKIPS) {
      expect(reason.length, name).toBeGreaterThan(20);
      expect(missing, name).not.toBe("");
      const [file = "", ...titles] = name.split(" > ");
      expect(testFiles, name).toContain(file);
      // Titles that are made of a table's rows are not to be found as they are.
      if (titles.length === 1) expect(readFileSync(join(HOME, file), "utf8")).toContain(titles[0]);
    }
  });

  test("is the only way to skip: no test is left out, or alone, by a word in its file", () => {
    const words = /\b(?:test|it|describe)\.(?:skip|only|todo|runIf)\b|skipIf\((?!lacks\()/;
    const offenders = testFiles
      .filter((f) => f !== "test/house/skips.test.ts")
      .filter((f) => words.test(readFileSync(join(HOME, f), "utf8")));
    expect(offenders).toEqual([]);
  });
});

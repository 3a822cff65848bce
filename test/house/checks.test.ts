import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { buildPage, sums } from "../../bin/page.ts";

const HOME = join(import.meta.dirname, "../..");

function run(command: string, ...args: string[]): { code: number | null; output: string } {
  const done = spawnSync(command, args, { cwd: HOME, encoding: "utf8" });
  return { code: done.status, output: `${done.stdout}${done.stderr}${done.error ?? ""}` };
}

const clean = (result: { code: number | null; output: string }): void => {
  expect(result.code === 0 ? "" : result.output).toBe("");
};

describe("the house is in order", () => {
  test("formatted and linted", () => clean(run("biome", "ci", "--colors=off", ".")), 120_000);

  test(
    "no promise is left floating",
    () =>
      clean(run("oxlint", "--type-aware", "--deny-warnings", "src", "sidecar", "test", "bench")),
    120_000,
  );

  test("types hold", () => clean(run("tsc", "--noEmit")), 120_000);

  test(
    "types hold in a browser, which has no Node",
    () => clean(run("tsc", "--noEmit", "-p", "src/console")),
    120_000,
  );

  test("nothing is unused", () => clean(run("knip", "--no-progress")), 120_000);

  test("the contract keeps buf's standard", () => clean(run("buf", "lint")));

  test("the contract breaks nobody who used the last release", () => {
    // The last release's descriptors are committed with it; before the first, there is nothing to break.
    const against = join("proto", "released.binpb");
    clean(run("buf", "breaking", "--against", against));
  });

  test("generated code is what the contract generates", () => {
    const out = mkdtempSync(join(tmpdir(), "dragons-gen-"));
    try {
      clean(run("buf", "generate", "--output", out));
      expect(read(join(out, "src/gen"))).toEqual(read(join(HOME, "src/gen")));
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  });

  test("the auditor's page is what its sources make, and the published hashes are those of the verifiers", async () => {
    const page = await buildPage();
    const stale = "not what the sources make: run npm run page, and commit what it wrote";
    const kept = (path: string) => readFileSync(join(HOME, "verifiers", path), "utf8");
    expect(kept("page/auditor.html") === page, `the page is ${stale}`).toBe(true);
    expect(kept("SHA256SUMS") === sums(page), `the hashes are ${stale}`).toBe(true);
  });

  test("the lockfile is whole and names no registry host", () => {
    const lock = JSON.parse(readFileSync(join(HOME, "package-lock.json"), "utf8")) as {
      packages: Record<
        string,
        { resolved?: string; integrity?: string; optionalDependencies?: Record<string, string> }
      >;
    };
    const missing: string[] = [];
    for (const [path, entry] of Object.entries(lock.packages)) {
      for (const name of Object.keys(entry.optionalDependencies ?? {})) {
        if (
          !(
            `${path}/node_modules/${name}` in lock.packages ||
            `node_modules/${name}` in lock.packages
          )
        ) {
          missing.push(`${name} of ${path || "the root"}`);
        }
      }
      if (path !== "" && entry.integrity === undefined) missing.push(`integrity of ${path}`);
      if (entry.resolved !== undefined) missing.push(`${path} names where it was fetched`);
    }
    expect(missing).toEqual([]);
  });
});

function read(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((e) => e.isFile())
      .map((e) => join(e.parentPath, e.name))
      .sort()
      .map((path) => [relative(folder, path), readFileSync(path, "utf8")]),
  );
}

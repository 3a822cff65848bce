import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import type { Manifest } from "../../domain/manifest.ts";
import { leaf, OPERATOR, run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { printOne, printRows, type Row, say } from "../output.ts";
import { short, showTime } from "../units.ts";

const FILE = "dragon.yaml";

export function register(program: Command): void {
  const manifest = program
    .command("manifest")
    .description("who an agent is, and what it can ask for");
  leaf(manifest, "init [command...]", "draft a dragon.yaml for an agent in this folder", [])
    .option("--name <name>", "its name [the folder's]")
    .option("--file <file>", "where to write it", FILE)
    .action(
      run<{ name?: string; file: string }>(async (context, options, command) => {
        const { draftManifest } = await import("../../native/manifest-file.ts");
        const path = resolve(options.file);
        if (existsSync(path)) {
          throw new Failure(EXIT.failed, `${path} exists; it is not replaced`);
        }
        const folder = dirname(path);
        const name = options.name === undefined ? {} : { name: options.name };
        await writeFile(path, await draftManifest({ folder, command, ...name }), { flag: "wx" });
        say("add the scopes that it needs under capabilities, then: dragons manifest record");
        printOne(context.format, { name: path, cells: { manifest: path }, data: { file: path } });
      }),
    );
  leaf(manifest, "hash [file]", "measure an agent and print its identity", []).action(
    run(async (context, _options, [file = FILE]) => {
      const { measureFile } = await import("../actions/manifest.ts");
      const { manifest, hash } = await measureFile(file);
      printOne(context.format, row(manifest, hash));
    }),
  );
  leaf(
    manifest,
    "record [file]",
    "record an agent's identity, so that it may be granted",
    OPERATOR,
  ).action(
    run(async (context, _options, [file = FILE]) => {
      const { measureFile, recordManifest } = await import("../actions/manifest.ts");
      const measured = await measureFile(file);
      await recordManifest(await context.control(), measured);
      printOne(context.format, row(measured.manifest, measured.hash));
    }),
  );
  leaf(manifest, "list", "list recorded manifests", OPERATOR).action(
    run(async (context) => {
      const { listManifests } = await import("../actions/manifest.ts");
      const all = await listManifests(await context.control());
      printRows(
        context.format,
        all.map((m) => {
          const r = row(m.manifest, m.hash);
          const cells = { ...r.cells, hash: short(r.name), recorded: showTime(m.recordedAtUs) };
          return { ...r, cells, data: { ...(r.data as object), recordedAtUs: m.recordedAtUs } };
        }),
      );
    }),
  );
  leaf(
    manifest,
    "show <manifest>",
    "show one: a hash, name@version, or a dragon.yaml",
    OPERATOR,
  ).action(
    run(async (context, _options, [name = ""]) => {
      const { findManifest } = await import("../actions/manifest.ts");
      const found = await findManifest(await context.control(), name);
      if (context.format !== "table")
        return printOne(context.format, row(found.manifest, found.hash));
      const { renderManifestYaml } = await import("../../native/manifest-file.ts");
      process.stdout.write(renderManifestYaml(found.manifest));
    }),
  );
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function row(manifest: Manifest, hash: Uint8Array): Row {
  const scopes = manifest.capabilities.map((c) => c.name);
  const files = (list: Manifest["code"]) =>
    list.map((f) => ({ path: f.path, sha256: hex(f.sha256), size: f.size }));
  return {
    name: hex(hash),
    cells: {
      manifest: `${manifest.name}@${manifest.agentVersion}`,
      hash: hex(hash),
      files: `${manifest.code.length + manifest.config.length}`,
      scopes: scopes.join(", ") || "-",
    },
    data: {
      manifestHash: hex(hash),
      name: manifest.name,
      version: manifest.agentVersion,
      runtime: manifest.runtime,
      code: files(manifest.code),
      config: files(manifest.config),
      capabilities: manifest.capabilities.map((c) => ({
        name: c.name,
        rules: c.rules.map((r) => ({ ...r })),
      })),
    },
  };
}

import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import type { Command } from "commander";
import type { Manifest } from "../../domain/manifest.ts";
import type {
  FileChange,
  ManifestDiff,
  ScopeChange,
  ServerChange,
} from "../../domain/manifest-diff.ts";
import { serverUrl } from "../../domain/mcp-server.ts";
import type { Docking, RecordedManifest } from "../actions/manifest.ts";
import { collect, leaf, OPERATOR, run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { printOne, printRows, type Row, say } from "../output.ts";
import { plural, short, showRule, showTime } from "../units.ts";
import { COSIGN, grantSigners } from "./grant.ts";
import { outletOf, PROPOSE, proposed } from "./proposal.ts";

interface Retire {
  reason: string;
  cosign: string[];
  propose?: string;
}

const FILE = "dragon.yaml";

export function register(program: Command): void {
  const manifest = program
    .command("manifest")
    .description("who an agent is, and what it can ask for");
  registerFiles(manifest);
  registerRecorded(manifest);
}

/** What needs no control plane. */
function registerFiles(manifest: Command): void {
  leaf(manifest, "init [command...]", "draft a dragon.yaml for an agent in this folder", [])
    .option("--name <name>", "its name [the folder's]")
    .option("--file <file>", "where to write it", FILE)
    .option("--force", "replace the file if it is there")
    .action(
      run<{ name?: string; file: string; force?: boolean }>(async (context, options, command) => {
        const { draftFor } = await import("../actions/manifest.ts");
        const path = resolve(options.file);
        if (existsSync(path) && options.force !== true) {
          throw new Failure(EXIT.failed, `${path} exists; --force replaces it`);
        }
        const name = options.name === undefined ? {} : { name: options.name };
        const runtime = basename(command[0] ?? "");
        const text = await draftFor(dirname(path), { runtime, ...name });
        await writeFile(path, text, { flag: options.force === true ? "w" : "wx" });
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
  leaf(manifest, "diff <before> <after>", "what tells two apart; exit 1 if anything does", OPERATOR)
    .addHelpText("after", "\nEach is a dragon.yaml, a folder with one, a hash or a name@version.")
    .action(
      run(async (context, _options, [a = "", b = ""]) => {
        const { eitherManifest } = await import("../actions/manifest.ts");
        const { diffManifests } = await import("../../domain/manifest-diff.ts");
        const before = await eitherManifest(() => context.control(), a);
        const after = await eitherManifest(() => context.control(), b);
        const rows = diffRows(diffManifests(before.manifest, after.manifest));
        if (rows.length > 0 || context.format !== "table") printRows(context.format, rows);
        const same = hex(before.hash) === hex(after.hash);
        say(same ? "one identity" : `${plural(rows.length, "change")}: another identity`);
        if (!same) process.exitCode = EXIT.failed;
      }),
    );
}

function registerRecorded(manifest: Command): void {
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
  leaf(manifest, "list", "list recorded manifests, and when each docked last", OPERATOR).action(
    run(async (context) => {
      const { dockingOrder, listManifests } = await import("../actions/manifest.ts");
      const control = await context.control();
      const all = await listManifests(control);
      const dockings = await dockingOrder(control, all);
      printRows(
        context.format,
        all.map((m) => recordedRow(m, dockings)),
      );
    }),
  );
  leaf(manifest, "history [name]", "which versions docked when, oldest first", OPERATOR).action(
    run(async (context, _options, [name]) => {
      const { dockingOrder, listManifests } = await import("../actions/manifest.ts");
      const control = await context.control();
      const dockings = await dockingOrder(control, await listManifests(control));
      const wanted = dockings.filter(
        (d) => (name ?? d.manifest.manifest.name) === d.manifest.manifest.name,
      );
      printRows(context.format, wanted.map(dockingRow));
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
      if ("retiredEpoch" in found && found.retiredEpoch > 0) {
        say(`retired by revocation ${found.retiredEpoch}: nothing new stands on it`);
      }
      process.stdout.write(renderManifestYaml(found.manifest));
    }),
  );
  leaf(manifest, "retire <manifest>", "take an identity back for good: no docks, no leases", [
    ...OPERATOR,
    "grantKey",
  ])
    .requiredOption("--reason <text>", "why; recorded")
    .option("--cosign <key>", COSIGN, collect, [])
    .option(...PROPOSE)
    .action(
      run<Retire>(async (context, options, [name = ""]) => {
        const { findManifest, retireManifest } = await import("../actions/manifest.ts");
        const signers = await grantSigners(context, options.cosign);
        const control = await context.control();
        const { manifest: found, hash } = await findManifest(control, name);
        const { reason, propose } = options;
        const outlet = await outletOf(context, propose);
        const { epoch } = await retireManifest(control, signers, { hash, reason }, outlet);
        const base = row(found, hash);
        const how = propose === undefined ? { retired: `epoch ${epoch}` } : proposed(propose);
        const cells = { manifest: label(found), hash: hex(hash), ...how };
        printOne(context.format, { ...base, cells, data: { manifestHash: hex(hash), epoch } });
      }),
    );
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const label = (m: Manifest): string => `${m.name}@${m.agentVersion}`;

function row(manifest: Manifest, hash: Uint8Array): Row {
  const scopes = manifest.capabilities.map((c) => c.name);
  const files = (list: Manifest["code"]) =>
    list.map((f) => ({ path: f.path, sha256: hex(f.sha256), size: f.size }));
  return {
    name: hex(hash),
    cells: {
      manifest: label(manifest),
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
      servers: manifest.servers.map((s) => ({ name: s.name, url: serverUrl(s) })),
      listens: [...manifest.listens],
    },
  };
}

function recordedRow(m: RecordedManifest, dockings: readonly Docking[]): Row {
  const base = row(m.manifest, m.hash);
  const last = dockings.findLast((d) => d.manifest === m);
  const { recordedAtUs, retiredEpoch } = m;
  return {
    ...base,
    cells: {
      ...base.cells,
      hash: short(base.name),
      recorded: showTime(recordedAtUs),
      state: retiredEpoch === 0 ? "in force" : `retired by epoch ${retiredEpoch}`,
      docked: last === undefined ? "-" : showTime(last.atUs) + rollback(last),
    },
    data: { ...(base.data as object), recordedAtUs, retiredEpoch, dockedAtUs: last?.atUs ?? 0 },
  };
}

function dockingRow(docking: Docking): Row {
  const { atUs, instanceId, manifest } = docking;
  return {
    name: instanceId,
    cells: {
      docked: showTime(atUs),
      manifest: label(manifest.manifest) + rollback(docking),
      hash: short(hex(manifest.hash)),
      instance: instanceId,
    },
    data: {
      dockedAtUs: atUs,
      instanceId,
      manifest: label(manifest.manifest),
      manifestHash: hex(manifest.hash),
      rollbackFrom: docking.rollbackFrom && label(docking.rollbackFrom.manifest),
    },
  };
}

/** An older version that came back after a newer one stands out. */
const rollback = ({ rollbackFrom }: Docking): string =>
  rollbackFrom === null ? "" : ` (ROLLBACK from ${label(rollbackFrom.manifest)})`;

/** A row for each change, for people. */
export function diffRows({ texts, code, config, scopes, servers, listens }: ManifestDiff): Row[] {
  const files = (list: readonly FileChange[], what: string) => list.map((f) => fileRow(f, what));
  return [
    ...texts.map(({ field, before, after }) => {
      const what = field === "agentVersion" ? "version" : field;
      return changeRow(what, "changed", what, `${before || "-"} → ${after || "-"}`);
    }),
    ...files(code, "code"),
    ...files(config, "config"),
    ...scopes.map(scopeRow),
    ...servers.map(serverRow),
    ...listens.come.map((scope) => changeRow("listens", "added", scope, LISTENS_SAYS.come)),
    ...listens.gone.map((scope) => changeRow("listens", "removed", scope, LISTENS_SAYS.gone)),
  ];
}

const LISTENS_SAYS = {
  come: "its open calls are no work in hand from now on",
  gone: "its open calls are work in hand again",
} as const;

function fileRow({ path, before, after }: FileChange, what: string): Row {
  const change = before === null ? "added" : after === null ? "removed" : "changed";
  const digests = [before, after].filter((f) => f !== null).map((f) => short(hex(f.sha256)));
  return changeRow(what, change, path, digests.join(" → "));
}

const WIDTH_SAYS = {
  ADDED: "may be asked for from now on",
  REMOVED: "may no longer be asked for",
  WIDENED: "allows all that it did, and more",
  NARROWED: "allows less than it did",
  CHANGED: "allows other actions than it did",
  REWORDED: "allows the same in other words",
} as const;

function scopeRow({ scope, width, gone, come }: ScopeChange): Row {
  const rules = [...come.map((r) => `+ ${showRule(r)}`), ...gone.map((r) => `− ${showRule(r)}`)];
  const said = `${WIDTH_SAYS[width]}: ${rules.join("; ")}`;
  return changeRow("capability", width.toLowerCase(), scope, said);
}

function serverRow({ name, before, after }: ServerChange): Row {
  const change = before === null ? "added" : after === null ? "removed" : "changed";
  const urls = [before, after].filter((s) => s !== null).map(serverUrl);
  return changeRow("server", change, name, urls.join(" → "));
}

const changeRow = (what: string, change: string, name: string, detail: string): Row => ({
  name,
  cells: { what, change, name, detail },
  data: { what, change, name, detail },
});

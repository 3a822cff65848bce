import type { Dirent } from "node:fs";
import { lstat, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { manifestWalkMax } from "../domain/limits.ts";
import { type Capability, DRAFT, NAME } from "../domain/manifest.ts";
import type { McpServer } from "../domain/mcp-server.ts";
import { listensLines, scalar, scopeLines, serverLines } from "../domain/remedy.ts";
import type { ManifestText } from "./manifest-yaml.ts";
import { YamlFileError } from "./strict-yaml.ts";

/** What `dragons run` knows of an agent that has no manifest yet. */
export interface Draft {
  readonly name?: string;
  readonly folder: string;
  readonly command: readonly string[];
  readonly capabilities?: readonly Capability[];
  readonly servers?: readonly McpServer[];
}

/** Lists of what an agent is built from: whoever changes one changes the agent. */
const COMPANIONS = [
  "requirements.txt",
  "pyproject.toml",
  "uv.lock",
  "poetry.lock",
  "package.json",
  "package-lock.json",
  "pnpm-lock.yaml",
  "yarn.lock",
  "go.mod",
  "go.sum",
  "Cargo.toml",
  "Cargo.lock",
  "Gemfile",
  "Gemfile.lock",
];
const CODE =
  /\.(?:py|js|mjs|cjs|jsx|ts|mts|cts|tsx|rb|go|rs|java|kt|scala|cs|php|pl|lua|ex|exs|swift|c|h|cc|cpp|hpp|sh|sql|wasm|jar)$/;
/** At the top of an agent's folder; what it reads there decides what it does. */
const CONFIG = /^(?:app-?)?(?:config|settings|application)[^/]*\.(?:json|ya?ml|toml|ini|cfg)$/;
const CONFIG_FOLDERS = ["config", "prompts", "skills"];
/** Made by tools, or somebody else's code: lists such as a lock file stand for it. */
const PASSED_OVER = /^(?:\..*|node_modules|__pycache__|venv|env|target|coverage|dragon\.ya?ml)$/;

/**
 * Drafts `dragon.yaml` for a command: the script that it names with its siblings of the same kind,
 * and what usually lies beside. It can do nothing until scopes are added: refusals print the lines.
 */
export async function draftManifest(draft: Draft): Promise<string> {
  const { folder, command, capabilities = [], servers = [] } = draft;
  const code: string[] = [];
  for (const word of command.slice(1)) {
    const script = /^(?:\.\/)?([^/\\{}*?]+)$/.exec(word)?.[1];
    if (script === undefined || !(await isFile(join(folder, script)))) continue;
    const dot = script.lastIndexOf(".");
    code.push(dot > 0 ? `*${script.slice(dot)}` : script);
  }
  for (const name of COMPANIONS) if (await isFile(join(folder, name))) code.push(name);
  return renderDraft({
    name: draft.name ?? nameFor(basename(folder)),
    agentVersion: DRAFT,
    runtime: basename(command[0] ?? ""),
    code: [...new Set(code)],
    config: [],
    capabilities,
    servers,
    listens: [],
  });
}

/** The same text with more rules: what `dragons run --allow` adds to a draft of its own. */
export const redraft = (text: ManifestText, capabilities: readonly Capability[]): string =>
  renderDraft({
    ...text,
    code: text.code.map(({ glob }) => glob.source),
    config: text.config.map(({ glob }) => glob.source),
    capabilities,
  });

/**
 * Drafts `dragon.yaml` for a folder, from what is there: code by its kinds, folder by folder, and
 * what configures it. Tools' folders and links are passed over, so that the draft can be measured.
 *
 * @param runtime what starts the agent; empty: not said
 * @throws YamlFileError when there is too much to look through
 */
export async function draftFromFolder(
  folder: string,
  { name, runtime }: { readonly name?: string; readonly runtime: string },
): Promise<string> {
  const top = await survey(folder, [], { seen: 0 });
  const own = top.files.filter((f) => !PASSED_OVER.test(f));
  const inside = top.folders.filter((f) => !CONFIG_FOLDERS.includes(f.path.join("/")));
  const code = [
    ...codeGlobs({ ...top, files: own, folders: inside, whole: false }),
    ...COMPANIONS.filter((name) => own.includes(name)),
  ];
  const config = [
    ...own.filter((f) => CONFIG.test(f)).map(literal),
    ...top.folders
      .filter((f) => CONFIG_FOLDERS.includes(f.path.join("/")))
      .flatMap((f) => everyGlob(f)),
  ];
  const draft = renderDraft({
    name: name ?? nameFor(basename(folder)),
    agentVersion: "v1",
    runtime,
    code,
    config: config.filter((glob) => !code.includes(glob)),
    capabilities: [],
    servers: [],
    listens: [],
  });
  return draft + EXAMPLE;
}

const EXAMPLE = `# What it may ask for, by scope. A refusal prints the lines that are missing here.
# capabilities:
#   read:payments:
#     - grpc: payments.v1.Payments/{Get,List}*
#       at: payments.internal:443
`;

/** A folder with what is in it, as far as a manifest could name it. */
interface Surveyed {
  readonly path: readonly string[];
  /** Names of regular files. */
  readonly files: readonly string[];
  /** Names that a glob must not reach: links, sockets. */
  readonly barred: readonly string[];
  readonly folders: readonly Surveyed[];
  /** Nothing beneath it is passed over or barred, so one glob may stand for all of it. */
  readonly whole: boolean;
}

async function survey(
  root: string,
  path: readonly string[],
  count: { seen: number },
): Promise<Surveyed> {
  const files: string[] = [];
  const barred: string[] = [];
  const folders: Surveyed[] = [];
  let whole = true;
  const entries = await readdir(join(root, ...path), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (++count.seen > manifestWalkMax) {
      const detail = `more than ${manifestWalkMax} files to look through; name what the agent is by hand`;
      throw new YamlFileError(0, detail);
    }
    if (entry.isDirectory()) {
      const passed = PASSED_OVER.test(entry.name) || entry.name.includes("\\");
      if (passed) whole = false;
      else folders.push(await survey(root, [...path, entry.name], count));
    } else if (entry.isFile()) files.push(entry.name);
    else {
      barred.push(entry.name);
      if (await barsGlobs(root, path, entry)) whole = false;
    }
  }
  return { path, files, barred, folders, whole: whole && folders.every((f) => f.whole) };
}

/** A link to a folder bars every `**` above it; one that looks like code bars its kind. */
async function barsGlobs(root: string, path: readonly string[], entry: Dirent): Promise<boolean> {
  if (CODE.test(entry.name)) return true;
  if (!entry.isSymbolicLink()) return false;
  const led = await stat(join(root, ...path, entry.name)).catch(() => null);
  return led?.isDirectory() ?? false;
}

function codeGlobs({ path, files, barred, folders, whole }: Surveyed): string[] {
  if (whole) {
    return [...kindsOf({ files, folders })]
      .sort()
      .map((k) => [...path.map(literal), "**", k].join("/"));
  }
  const here = files.filter((f) => CODE.test(f));
  const kinds = [...new Set(here.map(kindOf))].sort();
  const globs = kinds.flatMap((kind) =>
    barred.some((b) => kindOf(b) === kind)
      ? here.filter((f) => kindOf(f) === kind).map(literal)
      : [kind],
  );
  return [...globs.map((g) => [...path.map(literal), g].join("/")), ...folders.flatMap(codeGlobs)];
}

/** All of a folder of configuration, file by file where something in it is barred. */
function everyGlob({ path, files, barred, folders, whole }: Surveyed): string[] {
  const at = path.map(literal);
  const holds = ({ files: f, folders: d }: Pick<Surveyed, "files" | "folders">): boolean =>
    f.length > 0 || d.some(holds);
  if (!holds({ files, folders })) return [];
  if (whole && !anyBarred({ barred, folders })) return [[...at, "**"].join("/")];
  return [...files.map((f) => [...at, literal(f)].join("/")), ...folders.flatMap(everyGlob)];
}

const anyBarred = ({ barred, folders }: Pick<Surveyed, "barred" | "folders">): boolean =>
  barred.length > 0 || folders.some(anyBarred);

const kindOf = (file: string): string => `*${CODE.exec(file)?.[0] ?? ""}`;

const kindsOf = ({ files, folders }: Pick<Surveyed, "files" | "folders">): Set<string> =>
  new Set([
    ...files.filter((f) => CODE.test(f)).map(kindOf),
    ...folders.flatMap((f) => [...kindsOf(f)]),
  ]);

/** A name as a glob: there is no escape, so what means something in one becomes `?`. */
const literal = (name: string): string => name.replace(/[*?{}\\]/g, "?");

/** A whole `dragon.yaml`. `lines` are its capabilities, in place of `capabilities` where they are given. */
export function renderDraft(text: {
  readonly name: string;
  readonly agentVersion: string;
  readonly runtime: string;
  readonly code: readonly string[];
  readonly config: readonly string[];
  readonly capabilities: readonly Capability[];
  readonly lines?: readonly string[];
  readonly servers: readonly McpServer[];
  readonly listens: readonly string[];
}): string {
  const list = (key: string, globs: readonly string[]): string[] =>
    globs.length === 0 ? [`${key}: []`] : [`${key}:`, ...globs.map((g) => `  - ${scalar(g)}`)];
  const scopes =
    text.lines ?? text.capabilities.flatMap(({ name, rules }) => scopeLines(name, rules));
  return [
    `name: ${scalar(text.name)}`,
    `version: ${scalar(text.agentVersion)}`,
    ...list("code", text.code),
    ...(text.config.length === 0 ? [] : list("config", text.config)),
    ...(text.runtime === "" ? [] : [`runtime: ${scalar(text.runtime)}`]),
    ...(scopes.length === 0 ? ["capabilities: {}"] : ["capabilities:", ...scopes]),
    ...serverLines(text.servers),
    ...listensLines(text.listens),
    "",
  ].join("\n");
}

const isFile = async (path: string): Promise<boolean> => {
  try {
    return (await lstat(path)).isFile();
  } catch {
    return false;
  }
};

function nameFor(folder: string): string {
  const name = folder
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 63)
    .replace(/^-+|-+$/g, "");
  return NAME.test(name) ? name : "agent";
}

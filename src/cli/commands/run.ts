import { existsSync, mkdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { fromHex, toHex } from "../../domain/bytes.ts";
import { isOpaque, NO_LIMITS } from "../../domain/grant.ts";
import { opaqueBytesOffered, runGrantUs, runInstancesMax } from "../../domain/limits.ts";
import { type Capability, manifestLabel } from "../../domain/manifest.ts";
import { isServerName, type McpServer, readServerUrl, serverUrl } from "../../domain/mcp-server.ts";
import { listensLines, scopeLines, serverLines, suggestScopeFor } from "../../domain/remedy.ts";
import { RESTARTS, type Restart } from "../../domain/restart.ts";
import { coversRule, type Rule } from "../../domain/rule.ts";
import { draftManifest, redraft } from "../../native/manifest-draft.ts";
import type { Measured } from "../../native/manifest-file.ts";
import { parseManifestYaml, parseRuleLine } from "../../native/manifest-yaml.ts";
import { YamlFileError } from "../../native/strict-yaml.ts";
import { bringAboard } from "../actions/aboard.ts";
import { createGrant, listGrants } from "../actions/grant.ts";
import { openSigner } from "../actions/keys.ts";
import { measureFile, recordManifest } from "../actions/manifest.ts";
import { readTrust } from "../actions/trust.ts";
import type { Control } from "../client.ts";
import { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { say } from "../output.ts";
import { isCommand } from "../profile.ts";
import { sealable, sidecar } from "./processes.ts";

const USAGE = `dragons run [--manifest FILE] [--contain require|off] [options] -- CMD...

Launches an unmodified agent under a sidecar of its own, and ends as it does: its exit code is ours.

  --manifest FILE   dragon.yaml of the agent  [./dragon.yaml, else one is drafted once: nothing allowed]
  --allow RULE      allow this in the drafted manifest, from now on; may repeat:
                    'grpc payments.v1.Payments/{Get,List}* at 127.0.0.1:50051'
                    'http GET https://ledger.internal/v1/entries/*'
                    'mcp tools/call create_ticket at tracker'
  --mcp-server N=U  in the drafted manifest, N is the MCP server at the URL U, from now on; may repeat
  --contain MODE    require: the agent cannot go round the sidecar; off: it could  [require]
  --mcp-lists WHICH all: the agent sees what MCP servers list; leased: only what it may ask for  [all]
  --restart WHEN    start the agent again: never, on-failure or always  [never]
  --rw DIR          let a sealed agent write there, beside where it is started; may repeat
  --allow-unix      let a sealed agent use unix sockets by path, the host's in sight too
  --goal TEXT       what this run is for; stands in every receipt
  --yes             grant what the manifest asks for without a question
  --profile FILE    which control plane and keys      [.dragons/profile.json]
`;

/** What is to be run, and how. */
export interface Wanted {
  readonly manifest: string | null;
  readonly allow: readonly Rule[];
  /** MCP servers by HTTP, for the drafted manifest. */
  readonly servers: readonly McpServer[];
  /** Which entries of MCP servers' lists the agent sees. */
  readonly mcpLists: "all" | "leased";
  readonly restart: Restart;
  readonly sealed: boolean;
  readonly writable: readonly string[];
  readonly allowUnix: boolean;
  readonly goal: string;
  readonly yes: boolean;
  readonly profile: string | undefined;
  readonly command: readonly string[];
}

/** Runs an agent under a sidecar. Resolves with the agent's exit code. */
export async function run(args: readonly string[]): Promise<number> {
  const { wanted } = parse("run", args, {});
  if (wanted === null) {
    process.stdout.write(USAGE);
    return EXIT.ok;
  }
  return launch(wanted, wanted.command);
}

/**
 * Runs a command under a sidecar, by the identity of what is wanted. Resolves with its exit code.
 *
 * @param command what is started, where that is not what the identity is drafted from.
 */
export async function launch(wanted: Wanted, command: readonly string[]): Promise<number> {
  if (wanted.sealed) {
    // Before anything is recorded for an agent that cannot be started.
    const refused = await sealable(process.cwd(), wanted.writable);
    if (refused !== null) return refused;
  }
  const context = new Context({ profile: wanted.profile }, process.env);
  let launched: string[];
  try {
    launched = await admit(context, wanted);
  } finally {
    context.close();
  }
  const own = launched.slice(0, launched.indexOf("--") + 1);
  return wanted.sealed ? becomeKeeper([...own, ...command]) : sidecar([...own, ...command]);
}

/** Begins this process anew, same pid, same terminal, and without any key that it has read. */
function becomeKeeper(args: readonly string[]): never {
  const { execArgv, execPath, argv } = process;
  const words = [execPath, ...execArgv, argv[1] as string, "keeper", ...args];
  process.execve?.(execPath, words, process.env as Record<string, string>);
  throw new Error("this Node cannot become another process");
}

/** Flags of one's own, with a value each. */
type OwnFlags = Readonly<Record<string, { readonly type: "string" }>>;

/**
 * The flags of `dragons run`, and those of a command that runs agents otherwise. `wanted` is null where
 * help was asked for. @throws Failure
 */
export function parse(
  verb: string,
  args: readonly string[],
  ownFlags: OwnFlags,
): { readonly wanted: Wanted | null; readonly own: Readonly<Record<string, string | undefined>> } {
  const end = args.indexOf("--");
  const own = end < 0 ? args : args.slice(0, end);
  const command = end < 0 ? [] : args.slice(end + 1);
  let values: ReturnType<typeof parseFlags>["values"];
  try {
    ({ values } = parseFlags(own, ownFlags));
  } catch (error) {
    throw new Failure(
      EXIT.usage,
      `${(error as Error).message}; the agent's command stands after --`,
    );
  }
  if (values.help) return { wanted: null, own: {} };
  if (command.length === 0) {
    throw new Failure(EXIT.usage, `name the agent's command after --: dragons ${verb} … -- CMD`);
  }
  const contain = values.contain ?? "require";
  if (contain !== "require" && contain !== "off") {
    throw new Failure(EXIT.usage, `--contain: ${contain} is neither require nor off`);
  }
  const sealed = contain === "require";
  if (!sealed && (values.rw !== undefined || values["allow-unix"])) {
    throw new Failure(EXIT.usage, "--rw, --allow-unix: only a sealed agent is kept from anything");
  }
  const restart = RESTARTS.find((r) => r === (values.restart ?? "never"));
  if (restart === undefined) {
    throw new Failure(EXIT.usage, `--restart: ${values.restart} is none of ${RESTARTS.join(", ")}`);
  }
  const mcpLists = values["mcp-lists"] ?? "all";
  if (mcpLists !== "all" && mcpLists !== "leased") {
    throw new Failure(EXIT.usage, `--mcp-lists: ${mcpLists} is neither all nor leased`);
  }
  const wanted: Wanted = {
    manifest: values.manifest ?? null,
    allow: (values.allow ?? []).map(parseAllow),
    servers: (values["mcp-server"] ?? []).map(parseServer),
    mcpLists,
    restart,
    sealed,
    writable: (values.rw ?? []).map(writableFolder),
    allowUnix: values["allow-unix"] ?? false,
    goal: values.goal ?? "",
    yes: values.yes ?? false,
    profile: values.profile,
    command,
  };
  return { wanted, own: values as Record<string, string | undefined> };
}

const parseFlags = (args: readonly string[], ownFlags: OwnFlags) =>
  parseArgs({
    args: [...args],
    strict: true,
    options: {
      ...ownFlags,
      manifest: { type: "string" },
      allow: { type: "string", multiple: true },
      "mcp-server": { type: "string", multiple: true },
      "mcp-lists": { type: "string" },
      contain: { type: "string" },
      restart: { type: "string" },
      rw: { type: "string", multiple: true },
      "allow-unix": { type: "boolean" },
      goal: { type: "string" },
      yes: { type: "boolean" },
      profile: { type: "string" },
      help: { type: "boolean" },
    },
  });

function writableFolder(path: string): string {
  if (!isFolder(path)) throw new Failure(EXIT.usage, `--rw: ${path} is not a folder`);
  return realpathSync(path);
}

function parseAllow(text: string): Rule {
  const rule = parseRuleLine(text.trim());
  if (typeof rule === "string") throw new Failure(EXIT.usage, `--allow: ${text} ${rule}`);
  return rule;
}

function parseServer(text: string): McpServer {
  const [name = "", ...url] = text.split("=");
  if (!isServerName(name) || url.length === 0) {
    throw new Failure(EXIT.usage, `--mcp-server: ${text} is not NAME=URL`);
  }
  const server = readServerUrl(name, url.join("="));
  if (typeof server === "string") throw new Failure(EXIT.usage, `--mcp-server: ${text} ${server}`);
  return server;
}

/** Everything up to the start: the identity, its grant, a dock for this run. The sidecar's arguments. */
async function admit(context: Context, wanted: Wanted): Promise<string[]> {
  const control = await context.control();
  const { file, folder, drafted } = await manifestOf(wanted, context);
  const measured = await measureFile(file, folder);
  const label = manifestLabel(measured.manifest);
  if (drafted) {
    say(`dragons: ${label} is what ${file} says, drafted here`);
    if (measured.manifest.capabilities.length === 0) {
      say("dragons: it allows nothing yet; each refusal prints the --allow that would allow it");
    }
  } else if (!wanted.yes) {
    await ask(label, measured);
  }
  await recordManifest(control, measured);
  const grantKey = context.required("grantKey");
  const grantRef = await grantFor(control, grantKey, measured, wanted.goal);
  return (await board(context, wanted, { file, folder, measured, grantRef })).args;
}

/** An agent that may be started: its manifest is recorded, and granted. */
export interface Admitted {
  readonly file: string;
  readonly folder: string;
  readonly measured: Measured;
  readonly grantRef: Uint8Array;
}

/** A dock for this run, and how its sidecar, or its keeper, is started on it, whose data lie in `data`. */
export async function board(
  context: Context,
  wanted: Wanted,
  { file, folder, measured, grantRef }: Admitted,
): Promise<{ readonly data: string; readonly args: string[] }> {
  const control = await context.control();
  const label = manifestLabel(measured.manifest);
  const grantKey = context.required("grantKey");
  const agents = agentsFolder(context);
  const aboard = await bringAboard(control, {
    signers: [await openSigner(grantKey)],
    grantRef,
    manifestHash: measured.hash,
    rootKey: (await readTrust(context.required("trust"))).rootKey,
    folder: join(agents, measured.manifest.name),
  });
  if (wanted.sealed)
    say(`dragons: ${label} runs sealed: what it dials comes to the sidecar, or fails`);
  else
    say(`dragons: ${label} runs advisory: --contain off means that it could go round the sidecar`);
  const flags = {
    "--data": aboard.data,
    "--keys": aboard.keys,
    "--token": aboard.token,
    "--manifest": file,
    "--folder": folder,
    "--goal": wanted.goal,
    "--mcp-lists": wanted.mcpLists,
    "--restart": wanted.restart,
    "--orphans": dirname(aboard.data),
  };
  const own = Object.entries(flags).flat();
  const more = wanted.sealed ? cageFlags(context, wanted) : ["--proxy", "127.0.0.1:0"];
  return { data: aboard.data, args: [...own, ...more, "--", ...wanted.command] };
}

/** What a keeper is told of the cage: more to write to, and what must not be seen, our keys above all. */
function cageFlags(context: Context, { writable, allowUnix }: Wanted): string[] {
  const keys = (["loginKey", "grantKey", "rootKey", "bootstrap"] as const)
    .map((setting) => context.optional(setting))
    .filter((path) => path !== null && !isCommand(path));
  const ours = [dirname(context.profilePath), ...keys, context.optional("sidecar"), INSTALLED];
  return [
    ...writable.flatMap((folder) => ["--rw", folder]),
    ...ours.flatMap((path) => (path !== null && existsSync(path) ? ["--hide", path] : [])),
    ...(allowUnix ? ["--allow-unix"] : []),
  ];
}

/** Where an installed control plane or sidecar keeps its data. */
const INSTALLED = "/var/lib/dragons";

/** Where drafts and runs lie. */
const agentsFolder = (context: Context): string => join(dirname(context.profilePath), "agents");

/** The manifest to run by: the one given, the one here, or one drafted from the command. */
export async function manifestOf(wanted: Wanted, context: Context) {
  const agents = agentsFolder(context);
  const given = wanted.manifest ?? (existsSync("dragon.yaml") ? "dragon.yaml" : null);
  if (given !== null) {
    if (wanted.allow.length + wanted.servers.length > 0) {
      const flag = wanted.allow.length > 0 ? "--allow" : "--mcp-server";
      throw new Failure(EXIT.usage, `${flag}: there is ${given}; write it into that instead`);
    }
    const file = resolve(isFolder(given) ? join(given, "dragon.yaml") : given);
    return { file, folder: dirname(file), drafted: false };
  }
  const script = wanted.command.slice(1).find((word) => isFile(word));
  const folder = script === undefined ? process.cwd() : dirname(resolve(script));
  const name = nameOf(script ?? (wanted.command[0] as string));
  mkdirSync(join(agents, name), { recursive: true, mode: 0o700 });
  const file = join(agents, name, "dragon.yaml");
  if (!isFile(file)) {
    const command = [
      wanted.command[0] as string,
      ...(script === undefined ? [] : [basename(script)]),
    ];
    const { servers } = wanted;
    const draft = { name, folder, command, capabilities: capabilitiesFrom(wanted.allow), servers };
    await writeFile(file, await draftManifest(draft));
  } else if (wanted.allow.length + wanted.servers.length > 0) {
    await writeFile(file, allowMore(file, wanted.allow, wanted.servers));
  }
  return { file, folder, drafted: true };
}

/**
 * A draft from an earlier run, with more rules. Whatever else was written into it stays: drafts are
 * there to be worked on.
 */
function allowMore(file: string, more: readonly Rule[], servers: readonly McpServer[]): string {
  const before = readFileSync(file, "utf8");
  try {
    const text = parseManifestYaml(before);
    const listened = text.capabilities.filter(({ name }) => text.listens.includes(name));
    const heard = listened.flatMap(({ rules }) => rules);
    const rules = more.filter((rule) => !heard.some((h) => coversRule(h, rule)));
    const capabilities = addRules(text.capabilities, capabilitiesFrom(rules, text.listens));
    const known = new Map(text.servers.map((server) => [server.name, serverUrl(server)]));
    const news = servers.filter((server) => known.get(server.name) !== serverUrl(server));
    if (capabilities === text.capabilities && news.length === 0) return before;
    const kept = text.servers.filter((server) => !news.some((n) => n.name === server.name));
    return redraft({ ...text, servers: [...kept, ...news] }, capabilities);
  } catch (error) {
    if (!(error instanceof YamlFileError)) throw error;
    throw new Failure(EXIT.config, `manifest ${file}: ${error.message}`);
  }
}

/** The same list, unless it lacks something. A rule that a wider one makes idle is dropped for it. */
function addRules(held: readonly Capability[], more: readonly Capability[]): readonly Capability[] {
  const scopes = new Map(held.map((c) => [c.name, c.rules]));
  let added = false;
  for (const { name, rules } of more) {
    for (const rule of rules) {
      const before = scopes.get(name) ?? [];
      if (before.some((b) => coversRule(b, rule))) continue;
      scopes.set(name, [...before.filter((b) => !coversRule(rule, b)), rule]);
      added = true;
    }
  }
  return added ? [...scopes].map(([name, rules]) => ({ name, rules })) : held;
}

/** One scope for each service and kind of method, named as a refusal would suggest it. */
function capabilitiesFrom(
  rules: readonly Rule[],
  listens: readonly string[] = [],
): readonly Capability[] {
  const scopes = rules.map((rule): Capability => {
    return { name: suggestScopeFor(rule, listens) ?? "use:allowed", rules: [rule] };
  });
  return addRules([], scopes);
}

/** What the manifest asks for, and whether whoever holds the grant key wants it. */
async function ask(label: string, { manifest }: Measured): Promise<void> {
  const lines = [
    ...manifest.capabilities.flatMap((c) => scopeLines(c.name, c.rules)),
    ...serverLines(manifest.servers),
    ...listensLines(manifest.listens),
  ];
  say(`dragons: ${label} asks for\n${lines.join("\n")}`);
  if (!process.stdin.isTTY) {
    throw new Failure(
      EXIT.notPermitted,
      "nobody is there to grant it; say --yes to grant it as it is",
    );
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question("dragons: grant it for a day? [y/N] ");
  prompt.close();
  if (!/^y(?:es)?$/i.test(answer.trim())) {
    throw new Failure(EXIT.notPermitted, "not granted, so nothing was started");
  }
}

/** A grant of all that the manifest asks for: one in force, else a new one, signed here. */
async function grantFor(
  control: Control,
  grantKey: string,
  { manifest, hash }: Measured,
  goal: string,
): Promise<Uint8Array> {
  const names = manifest.capabilities.map((c) => c.name).join();
  const nowUs = control.clock.nowUs();
  const held = (await listGrants(control)).find(
    (g) =>
      g.manifestHash === toHex(hash) &&
      g.revokedEpoch === 0 &&
      g.instancesMax === runInstancesMax &&
      g.notAfterUs - nowUs > runGrantUs / 2 &&
      g.scopes.map((s) => s.name).join() === names,
  );
  if (held !== undefined) return fromHex(held.ref);
  const grant = await createGrant(control, [await openSigner(grantKey)], {
    manifest,
    manifestHash: hash,
    scopes: manifest.capabilities.map((capability) => ({
      name: capability.name,
      limits: isOpaque(capability) ? { ...NO_LIMITS, maxBytes: opaqueBytesOffered } : NO_LIMITS,
    })),
    purpose: goal === "" ? `dragons run ${manifest.name}` : goal,
    forUs: runGrantUs,
    instancesMax: runInstancesMax,
  });
  return grant.ref;
}

const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile();
const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

const nameOf = (path: string): string =>
  basename(path)
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63) || "agent";

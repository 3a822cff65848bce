import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, realpath, rm, stat } from "node:fs/promises";
import { homedir, platform } from "node:os";
import { join, resolve } from "node:path";
import { isServerName } from "../../domain/mcp-server.ts";
import { writeAtomic } from "../../native/atomic-file.ts";
import { EXIT, Failure } from "../failure.ts";

/** What became of one server of a client's configuration. */
export interface Rewritten {
  readonly server: string;
  readonly change: "wrapped" | "routed" | "unchanged" | "left" | "restored";
  readonly detail: string;
}

export interface InstallOptions {
  /** The `dragons` that clients are to start: an absolute path. */
  readonly launcher: string;
  /** Only these; none: all. */
  readonly servers: readonly string[];
  /** `name=host:port`: where a sidecar's reverse route stands for a server by HTTP. */
  readonly routes: readonly string[];
  /** Flags of `dragons mcp`, put before each server's command. */
  readonly options: readonly string[];
}

type Entry = Record<string, unknown>;
type Config = Record<string, unknown>;

/** Where clients keep the servers that they start. */
const CLIENTS: Readonly<Record<string, () => string>> = {
  "claude-desktop": () =>
    platform() === "darwin"
      ? join(homedir(), "Library/Application Support/Claude/claude_desktop_config.json")
      : join(homedir(), ".config/Claude/claude_desktop_config.json"),
  "claude-code": () => join(homedir(), ".claude.json"),
  cursor: () => join(homedir(), ".cursor/mcp.json"),
  vscode: () => resolve(".vscode/mcp.json"),
  windsurf: () => join(homedir(), ".codeium/windsurf/mcp_config.json"),
};
/** Under which key; VS Code has one of its own. */
const KEYS = ["mcpServers", "servers"];

/** The file that is meant: the one given, or a client's own. @throws Failure */
export function configOf(file: string | undefined, client: string | undefined): string {
  if ((file === undefined) === (client === undefined)) {
    throw new Failure(EXIT.usage, "name a configuration file, or a client by --client");
  }
  if (file !== undefined) return resolve(file);
  const where = CLIENTS[client as string];
  if (where !== undefined) return where();
  const known = Object.keys(CLIENTS).join(", ");
  throw new Failure(EXIT.usage, `--client: ${client} is none of ${known}; name its file instead`);
}

/** What was there before, beside the file: with what we made of it, so that changes since are seen. */
interface Kept {
  readonly version: 1;
  /** SHA-256 of what was written, hex. */
  readonly written: string;
  /** The file as it was, base64. */
  readonly original: string;
}

/**
 * Puts `dragons mcp` before the servers of an MCP client. What is wrapped already stays as it is.
 * @throws Failure naming the file and what is wrong with it
 */
export async function install(file: string, options: InstallOptions): Promise<Rewritten[]> {
  const { path, text, mode, config, key } = await read(file);
  const entries = config[key] as Record<string, Entry>;
  const routes = new Map(options.routes.map(parseRoute));
  const unknown = [...options.servers, ...routes.keys()].find((name) => !(name in entries));
  if (unknown !== undefined) {
    const has = Object.keys(entries).join(", ") || "none";
    throw new Failure(EXIT.usage, `--server: ${file} has no server ${unknown}; it has ${has}`);
  }
  const before = await kept(path);
  const originals = originalServers(before, key);
  const names = new Set<string>();
  const done = Object.entries(entries).map(([name, entry]): Rewritten => {
    if (options.servers.length > 0 && !options.servers.includes(name)) {
      return { server: name, change: "left", detail: "not asked for" };
    }
    const called = nameOf(name);
    if (names.has(called)) {
      throw new Failure(EXIT.config, `${file}: two servers would be called ${called} by rules`);
    }
    names.add(called);
    if (unwrap(entry) !== null || isRouted(entry, originals[name])) {
      return { server: name, change: "unchanged", detail: `${called} is wrapped already` };
    }
    return rewrite(name, called, entry, routes.get(name) ?? null, options);
  });
  if (!done.some((d) => d.change === "wrapped" || d.change === "routed")) return done;
  const written = render(config, text);
  // Of two installs the first one's original is the client's own.
  const original = before === null ? Buffer.from(text).toString("base64") : before.original;
  const record: Kept = { version: 1, written: digest(written), original };
  // Whatever stands in a client's configuration may be secret. The way back is there first.
  await writeAtomic(keptPath(path), `${JSON.stringify(record)}\n`, 0o600);
  await writeAtomic(path, written, mode);
  return done;
}

/** Puts a client's own configuration back: byte for byte, unless it was changed since; then entry by entry. */
export async function uninstall(file: string): Promise<Rewritten[]> {
  const { path, text, mode, config, key } = await read(file);
  const before = await kept(path);
  const entries = config[key] as Record<string, Entry>;
  if (before !== null && before.written === digest(text)) {
    const original = Buffer.from(before.original, "base64");
    await writeAtomic(path, original, mode);
    await rm(keptPath(path));
    return Object.keys(entries).map((server) => {
      return { server, change: "restored", detail: "as it was, byte for byte" };
    });
  }
  const originals = originalServers(before, key);
  const done = Object.entries(entries).map(([server, entry]): Rewritten => {
    const mine = unwrap(entry) ?? (isRouted(entry, originals[server]) ? originals[server] : null);
    if (mine === null || mine === undefined) return { server, change: "left", detail: "not ours" };
    entries[server] = mine;
    return { server, change: "restored", detail: "the file was changed since, so its entry alone" };
  });
  if (done.some((d) => d.change === "restored")) {
    await writeAtomic(path, render(config, text), mode);
  }
  if (before !== null) await rm(keptPath(path));
  return done;
}

const keptPath = (path: string): string => `${path}.dragons`;
const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

async function kept(path: string): Promise<Kept | null> {
  if (!existsSync(keptPath(path))) return null;
  return JSON.parse(await readFile(keptPath(path), "utf8")) as Kept;
}

function originalServers(before: Kept | null, key: string): Readonly<Record<string, Entry>> {
  if (before === null) return {};
  const config = JSON.parse(Buffer.from(before.original, "base64").toString("utf8")) as Config;
  return (config[key] ?? {}) as Record<string, Entry>;
}

/** A link is followed: what it leads to is rewritten, and it stays. */
async function read(file: string) {
  if (!existsSync(file)) throw new Failure(EXIT.config, `${file}: there is no such file`);
  const path = await realpath(file);
  const text = await readFile(path, "utf8");
  const mode = (await stat(path)).mode & 0o777;
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (error) {
    const why = (error as Error).message;
    throw new Failure(EXIT.config, `${file}: is not plain JSON, as comments make it none: ${why}`);
  }
  const key = isObject(config) ? KEYS.find((k) => isObject(config[k])) : undefined;
  if (key === undefined) {
    throw new Failure(EXIT.config, `${file}: has no mcpServers`);
  }
  const odd = Object.entries((config as Config)[key] as object).find(([, e]) => !isObject(e));
  if (odd !== undefined) throw new Failure(EXIT.config, `${file}: ${odd[0]} is no server`);
  return { path, text, mode, config: config as Config, key };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** As it was indented, and ended. */
function render(config: Config, like: string): string {
  const indent = /\n([ \t]+)"/.exec(like)?.[1] ?? (like.includes("\n") ? "  " : "");
  const end = /\r?\n$/.exec(like)?.[0] ?? "";
  const text = JSON.stringify(config, null, indent);
  return `${like.includes("\r\n") ? text.replaceAll("\n", "\r\n") : text}${end}`;
}

/** What rules call a server that a client knows by any text. */
function nameOf(name: string): string {
  const called = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63)
    .replace(/-+$/, "");
  if (isServerName(called)) return called;
  throw new Failure(EXIT.config, `no name for rules comes of ${JSON.stringify(name)}; rename it`);
}

function parseRoute(text: string): [string, string] {
  const parts = /^(.+)=([^\s/=]+:[0-9]{1,5})$/.exec(text);
  if (parts === null) {
    throw new Failure(EXIT.usage, `--route: ${text} is not NAME=HOST:PORT`);
  }
  return [parts[1] as string, parts[2] as string];
}

/** Rewrites one entry in place. */
function rewrite(
  server: string,
  called: string,
  entry: Entry,
  route: string | null,
  { launcher, options }: InstallOptions,
): Rewritten {
  const { command, args = [], url } = entry;
  if (
    typeof command === "string" &&
    Array.isArray(args) &&
    args.every((a) => typeof a === "string")
  ) {
    entry.command = launcher;
    entry.args = ["mcp", "--server", called, ...options, "--", command, ...args];
    return { server, change: "wrapped", detail: `rules call it server: ${called}` };
  }
  if (typeof url !== "string" || !URL.canParse(url)) {
    return { server, change: "left", detail: "has neither a command nor a url" };
  }
  if (route === null) {
    const line = `servers: { ${called}: ${url.replace(/[?#].*$/, "")} }`;
    return {
      server,
      change: "left",
      detail: `by HTTP: write ${line} in dragon.yaml and start the client by dragons run, or give --route`,
    };
  }
  const { origin } = new URL(url);
  entry.url = url.replace(/^[a-z]+:\/\/[^/?#]*/i, `http://${route}`);
  return { server, change: "routed", detail: `the sidecar needs --route ${route}=${origin}` };
}

/** An entry that goes by a sidecar's route, by what it was before we came. */
const isRouted = (entry: Entry, original: Entry | undefined): boolean =>
  typeof entry.url === "string" && typeof original?.url === "string" && entry.url !== original.url;

/** The entry that we wrapped; null: we did not. */
function unwrap({ command, args, ...rest }: Entry): Entry | null {
  if (typeof command !== "string" || !/(?:^|[/\\])dragons$/.test(command)) return null;
  if (!Array.isArray(args) || args[0] !== "mcp" || !args.includes("--")) return null;
  const [file, ...own] = (args as string[]).slice((args as string[]).indexOf("--") + 1);
  return { command: file, ...(own.length === 0 ? {} : { args: own }), ...rest };
}

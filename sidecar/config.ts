import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { normaliseAuthority } from "../src/domain/claim.ts";
import { purposeMax } from "../src/domain/limits.ts";
import { isPrintable } from "../src/domain/printable.ts";
import { RESTARTS, type Restart } from "../src/domain/restart.ts";

/** A setting that cannot be used: names it and says what would do. The process exits 78. */
export class ConfigError extends Error {
  override readonly name: string = "ConfigError";
}

/** A flag that is missing, unknown or not of its form: to be seen without looking at anything else. */
export class UsageError extends ConfigError {
  override readonly name = "UsageError";
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * A socket that whoever started this process opened, and left open for it: its number, or Node's own
 * object for one that was handed over later.
 */
export interface Passed {
  readonly fd: number;
}

/** What a keeper that started this process holds for it. */
export interface Kept {
  /** The kernel hands over what the agent dials here. */
  readonly listener: Passed;
  /** The agent's look-ups come in here: by IPv4, and by IPv6 where there is any. */
  readonly dns: readonly { readonly at: Passed; readonly type: "udp4" | "udp6" }[];
  /**
   * pid of the agent, if a sidecar before this one had it started, 0 between two starts of it; null: it
   * is yet to be.
   */
  readonly running: number | null;
}

/** One listener that leads to one upstream. */
export interface Route {
  readonly listen: Address;
  /** `http://host:port` or `https://host:port`. */
  readonly scheme: "http" | "https";
  readonly target: string;
}

/** Everything that a sidecar is told, once, before it starts. */
export interface SidecarConfig {
  /** Ledger, authority and admin socket: one instance. */
  readonly dataFolder: string;
  /** Secrets, beside the data and never in it. */
  readonly keysFolder: string;
  /** File with the join token; read only while the instance has not docked. */
  readonly tokenFile: string | null;
  /** The ledger came back shorter than it was: another is to follow it, by the token's leave. */
  readonly succeed: boolean;
  /** Bring the ledger here to its end, and act no more. */
  readonly close: boolean;
  /** A folder of data folders: the ledgers there whose sidecars are gone are to be closed; null: none. */
  readonly orphans: string | null;
  /** File with a newer keyset, for one that was away when authorities were switched; null: none. */
  readonly keysetFile: string | null;
  /** `dragon.yaml` of the agent. */
  readonly manifestFile: string;
  /** What is measured: the folder that the manifest's globs start from. */
  readonly agentFolder: string;
  /** null: there is none, since the agent needs none. */
  readonly proxy: Address | null;
  /** null: nobody holds an agent for this process. */
  readonly kept: Kept | null;
  /** Where the kernel hands over what whoever is behind this machine dials; null: nobody is. */
  readonly gateway: Address | null;
  /** File with this launch's proxy password; null: a fresh one is made. */
  readonly credentialFile: string | null;
  readonly routes: readonly Route[];
  /** Lists of MCP servers show only what the lease in hand allows to ask for. */
  readonly leasedLists: boolean;
  /** More certificate authorities to trust upstream, PEM. */
  readonly upstreamCaFile: string | null;
  /** What leaves of each receipt for the control plane. */
  readonly sync: "headers" | "hashes";
  /** What this run is for; goes into each receipt's goal. */
  readonly goal: string;
  readonly readyFile: string | null;
  /** End when standard input ends: how a parent's death is noticed. */
  readonly stdinEof: boolean;
  /** The agent to launch once authority is held; empty: it is started by somebody else. */
  readonly agent: readonly string[];
  /** When that agent is started again. */
  readonly restart: Restart;
}

/** How the agent is measured, and whether it could go round: as every receipt says. */
export const standingOf = ({ gateway, kept }: Pick<SidecarConfig, "gateway" | "kept">) =>
  kept === null
    ? ({ measure: "FILES", enforcement: gateway === null ? "ADVISORY" : "GATEWAY" } as const)
    : ({ measure: "LAUNCHED", enforcement: "SEALED" } as const);

export const SIDECAR_USAGE = `dragons sidecar --data DIR --manifest FILE [--token FILE] [options]

  --data DIR           ledger, authority and admin socket of one instance
  --keys DIR           secrets of the instance              [DIR.keys beside --data]
  --token FILE         join token; needed until the instance has docked
  --succeed            begin a ledger that follows the one here, with a key of its own and a fresh
                       token: it was restored from a backup, or its key is lost, stolen or old
  --close              close the ledger that a sidecar left here and deliver it, with --data and --keys
                       alone: no agent is started, and the organism ends
  --orphans DIR        close so whatever sidecars left in folders of DIR, where nobody lives any more
  --keyset FILE        a newer keyset, by dragons key export: for a sidecar that was away while
                       the control plane's certificate authority was exchanged
  --manifest FILE      dragon.yaml of the agent
  --folder DIR         the agent's folder, measured         [the manifest's]
  --proxy HOST:PORT    where the forward proxy listens      [127.0.0.1:7071]
  --gateway HOST:PORT  where the kernel hands over what a pod or machine behind this one dials;
                       dragons gateway rules prints what has it do so
  --credential FILE    proxy password of this launch        [a fresh one is made]
  --route L=U          reverse route, 127.0.0.1:9000=http://host:port; may repeat
  --mcp-lists WHICH    all: agents see what MCP servers list; leased: only what
                       their lease lets them ask for         [all]
  --upstream-ca FILE   more certificate authorities to trust upstream, PEM
  --sync headers|hashes  what the control plane gets of each receipt: its signed header, or the
                       header's hash alone [headers]
  --goal TEXT          what this run is for; stands in every receipt
  --ready-file FILE    written whole once calls are accepted
  --stdin-eof          end when standard input ends
  --restart WHEN       start the agent again: never, on-failure or always   [never]
`;

function parseAddress(text: string, field: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new UsageError(`${field}: ${text} is not HOST:PORT; write for example 127.0.0.1:7071`);
  }
  return { host: (match[1] ?? match[2]) as string, port };
}

/** With its port, which the kernel's rules name. */
function parseGateway(text: string): Address {
  const at = parseAddress(text, "--gateway");
  if (at.port === 0) throw new UsageError(`--gateway: ${text} has no port; write [::]:15001`);
  return at;
}

function parsePassed(text: string, field: string): Passed {
  const fd = /^fd:([0-9]{1,4})$/.exec(text)?.[1];
  if (fd === undefined) throw new UsageError(`${field}: ${text} is not fd:N`);
  return { fd: Number(fd) };
}

/** The flags of a process that a keeper started: no person gives these. */
function parseKept({ transparent, dns, dns6, running }: Record<string, string | undefined>): Kept {
  const sockets = [
    { type: "udp4", text: dns },
    { type: "udp6", text: dns6 },
  ] as const;
  return {
    listener: parsePassed(transparent ?? "", "--transparent"),
    dns: sockets.flatMap(({ type, text }) =>
      text === undefined ? [] : [{ type, at: parsePassed(text, "--dns") }],
    ),
    running: running === undefined ? null : Number(running),
  };
}

function parseRoute(text: string): Route {
  const [listen, upstream, more] = text.split("=");
  if (listen === undefined || upstream === undefined || more !== undefined) {
    throw new UsageError(`--route: ${text} is not LISTEN=UPSTREAM`);
  }
  const match = /^(https?):\/\/([^/]+)\/?$/.exec(upstream);
  if (match === null) {
    throw new UsageError(
      `--route: upstream ${upstream} must be http://HOST:PORT or https://HOST:PORT`,
    );
  }
  const scheme = match[1] as "http" | "https";
  const target = normaliseAuthority(match[2] as string, scheme === "https" ? 443 : 80);
  if (typeof target !== "string") throw new UsageError(`--route: ${upstream}: ${target.detail}`);
  return { listen: parseAddress(listen, "--route"), scheme, target };
}

function leasedLists(which: string): boolean {
  if (which === "all" || which === "leased") return which === "leased";
  throw new UsageError(`--mcp-lists: ${which} is neither all nor leased`);
}

function syncOf(text: string): SidecarConfig["sync"] {
  if (text === "headers" || text === "hashes") return text;
  throw new UsageError(`--sync: ${text} is neither headers nor hashes`);
}

/** It is shown whole, in receipts and on terminals, beside the grant's purpose. */
function goalOf(text: string): string {
  if (text.length <= purposeMax && (text === "" || isPrintable(text))) return text;
  throw new UsageError(`--goal: must be one line of at most ${purposeMax} printable characters`);
}

function restartOf(text: string): Restart {
  const restart = RESTARTS.find((r) => r === text);
  if (restart !== undefined) return restart;
  throw new UsageError(`--restart: ${text} is none of ${RESTARTS.join(", ")}`);
}

/** @throws UsageError */
export function parseSidecarArgs(args: readonly string[]): SidecarConfig {
  let values: ReturnType<typeof parse>["values"];
  let positionals: string[];
  try {
    ({ values, positionals } = parse(args));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const required = (name: "data" | "manifest"): string => {
    const value = values[name];
    if (value === undefined || value === "") throw new UsageError(`--${name} is missing`);
    return value;
  };
  const dataFolder = required("data").replace(/\/+$/, "");
  const close = values.close ?? false;
  if (close && (values.manifest !== undefined || positionals.length > 0)) {
    throw new UsageError("--close: starts no agent; it takes --data, --keys and --sync alone");
  }
  const manifestFile = close ? "" : required("manifest");
  return {
    dataFolder,
    keysFolder: values.keys ?? `${dataFolder}.keys`,
    tokenFile: values.token ?? null,
    succeed: values.succeed ?? false,
    close,
    orphans: values.orphans ?? null,
    keysetFile: values.keyset ?? null,
    manifestFile,
    agentFolder: values.folder ?? dirname(manifestFile),
    proxy: values.kept ? null : parseAddress(values.proxy ?? "127.0.0.1:7071", "--proxy"),
    kept: values.kept ? parseKept(values as Record<string, string | undefined>) : null,
    gateway: values.gateway === undefined ? null : parseGateway(values.gateway),
    credentialFile: values.credential ?? null,
    routes: (values.route ?? []).map(parseRoute),
    leasedLists: leasedLists(values["mcp-lists"] ?? "all"),
    upstreamCaFile: values["upstream-ca"] ?? null,
    sync: syncOf(values.sync ?? "headers"),
    goal: goalOf(values.goal ?? ""),
    readyFile: values["ready-file"] ?? null,
    stdinEof: values["stdin-eof"] ?? false,
    agent: positionals,
    restart: restartOf(values.restart ?? "never"),
  };
}

const parse = (args: readonly string[]) =>
  parseArgs({
    args: [...args],
    allowPositionals: true,
    strict: true,
    options: {
      data: { type: "string" },
      keys: { type: "string" },
      token: { type: "string" },
      succeed: { type: "boolean" },
      close: { type: "boolean" },
      orphans: { type: "string" },
      keyset: { type: "string" },
      manifest: { type: "string" },
      folder: { type: "string" },
      proxy: { type: "string" },
      gateway: { type: "string" },
      transparent: { type: "string" },
      kept: { type: "boolean" },
      dns: { type: "string" },
      dns6: { type: "string" },
      running: { type: "string" },
      credential: { type: "string" },
      route: { type: "string", multiple: true },
      "mcp-lists": { type: "string" },
      "upstream-ca": { type: "string" },
      sync: { type: "string" },
      goal: { type: "string" },
      "ready-file": { type: "string" },
      "stdin-eof": { type: "boolean" },
      restart: { type: "string" },
    },
  });

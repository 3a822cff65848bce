import { normaliseAuthority, type Scheme, schemeOf } from "../domain/claim.ts";
import { deadRule } from "../domain/dead-rules.ts";
import { manifestYamlBytesMax } from "../domain/limits.ts";
import type { Capability } from "../domain/manifest.ts";
import { type McpServer, readServerUrl } from "../domain/mcp-server.ts";
import { type Rule, ruleProblem } from "../domain/rule.ts";
import { compileGlob, type Glob } from "./glob.ts";
import { type Node, readYaml, YamlFileError, YamlReader } from "./strict-yaml.ts";

export interface GlobLine {
  readonly glob: Glob;
  readonly line: number;
}

/** What `dragon.yaml` says, before any file is looked at. */
export interface ManifestText {
  readonly name: string;
  readonly agentVersion: string;
  readonly runtime: string;
  readonly code: readonly GlobLine[];
  readonly config: readonly GlobLine[];
  readonly capabilities: readonly Capability[];
  readonly servers: readonly McpServer[];
  /** Scopes, sorted. */
  readonly listens: readonly string[];
}

/**
 * Reads `dragon.yaml` strictly, see strict-yaml.ts.
 * @throws YamlFileError with the line and what to write instead.
 */
export function parseManifestYaml(text: string): ManifestText {
  const { document, lines } = readYaml(text, manifestYamlBytesMax);
  const reader = new ManifestReader(lines);
  const top = reader.map(document, "the file", [
    "name",
    "version",
    "code",
    "config",
    "runtime",
    "capabilities",
    "servers",
    "listens",
  ]);
  const required = (key: string): Node => {
    const node = top.get(key);
    if (node === undefined) throw new YamlFileError(0, `has no \`${key}\``);
    return node;
  };
  const globs = (node: Node | undefined, key: string) =>
    node === undefined ? [] : reader.list(node, key).map((item) => reader.glob(item, key));
  const runtime = top.get("runtime");
  const capabilities = top.get("capabilities");
  const servers = top.get("servers");
  const listens = top.get("listens");
  const scopes = capabilities === undefined ? [] : reader.capabilities(capabilities);
  return {
    name: reader.text(required("name"), "name"),
    agentVersion: reader.text(required("version"), "version"),
    code: globs(required("code"), "code"),
    config: globs(top.get("config"), "config"),
    runtime: runtime === undefined ? "" : reader.text(runtime, "runtime"),
    capabilities: scopes,
    servers: servers === undefined ? [] : reader.servers(servers),
    listens: listens === undefined ? [] : reader.listens(listens, scopes),
  };
}

class ManifestReader extends YamlReader {
  glob(node: Node, what: string): GlobLine {
    const source = this.text(node, what);
    const glob = compileGlob(source);
    if (typeof glob === "string") this.fail(node, `${what}: the glob ${source} ${glob}`);
    return { glob, line: this.line(node) };
  }

  capabilities(node: Node): Capability[] {
    return Array.from(this.map(node, "capabilities", []))
      .map(([name, rules]) => {
        const items = this.list(rules, name);
        const read = items.map((item) => this.rule(item, name));
        const dead = deadRule(read);
        if (dead !== null) this.fail(items[dead.index] as Node, `a rule of ${name} ${dead.why}`);
        return { name, rules: read };
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  servers(node: Node): McpServer[] {
    return Array.from(this.map(node, "servers", []))
      .map(([name, url]) => {
        const said = this.text(url, name);
        const server = readServerUrl(name, said);
        if (typeof server === "string") this.fail(url, `servers: ${name}: ${said} ${server}`);
        return server as McpServer;
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  listens(node: Node, scopes: readonly Capability[]): string[] {
    const names = scopes.map(({ name }) => name).join(", ");
    const found = new Set<string>();
    for (const item of this.list(node, "listens")) {
      const scope = this.text(item, "listens");
      if (!scopes.some(({ name }) => name === scope)) {
        const those = names === "" ? "there are none" : `those are ${names}`;
        this.fail(item, `listens: ${scope} is none of the capabilities; ${those}`);
      }
      if (found.has(scope)) this.fail(item, `listens: ${scope} stands there twice`);
      found.add(scope);
    }
    return [...found].sort();
  }

  rule(node: Node, scope: string): Rule {
    const keys = this.map(node, `a rule of ${scope}`, [
      "grpc",
      "http",
      "mcp",
      "opaque",
      "at",
      "server",
      "when",
    ]);
    const kinds = (["grpc", "http", "mcp", "opaque"] as const).filter((k) => keys.has(k));
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1) {
      this.fail(node, `a rule of ${scope} has one of \`grpc\`, \`http\`, \`mcp\` and \`opaque\``);
    }
    const place = { grpc: "at", mcp: "server", http: "", opaque: "" }[
      kind as NonNullable<typeof kind>
    ];
    for (const other of ["at", "server"].filter((k) => k !== place && keys.has(k))) {
      this.fail(keys.get(other) as Node, `\`${other}\` does not stand with \`${kind}\``);
    }
    const text = (key: string): string => {
      const value = keys.get(key);
      if (value === undefined)
        this.fail(node, `a rule of ${scope} has \`${kind}\` but no \`${key}\``);
      return this.text(value as Node, key);
    };
    const action = text(kind);
    // What a folded scalar leaves at its end is no part of a condition.
    const when = keys.has("when") ? text("when").trim() : "";
    const rule =
      kind === "grpc"
        ? grpcRule(action, text("at"), when)
        : kind === "http"
          ? httpRule(action, when)
          : kind === "mcp"
            ? mcpRule(action, text("server"), when)
            : opaqueRule(action, when);
    const problem = typeof rule === "string" ? rule : ruleProblem(rule);
    if (problem !== null) this.fail(node, `a rule of ${scope} ${problem}`);
    return rule as Rule;
  }
}

/**
 * A rule on one line, as it is typed: `grpc a.v1.B/Get* at h:443`, `http GET https://h/v1/*`,
 * `mcp tools/call create_ticket at tracker`.
 * A string: what is wrong with it, to follow the text.
 */
export function parseRuleLine(line: string): Rule | string {
  const grpc = /^grpc\s+(\S+)\s+at\s+(\S+)$/.exec(line);
  const http = /^http\s+(\S+)\s+(\S+)$/.exec(line);
  const mcp = /^mcp\s+(\S+(?:\s+\S+)?)\s+at\s+(\S+)$/.exec(line);
  if (mcp !== null) {
    const [, said, server] = mcp as unknown as [string, string, string];
    const rule = mcpRule(said.replace(/\s+/, " "), server, "");
    return typeof rule === "string" ? rule : (ruleProblem(rule) ?? rule);
  }
  if (grpc === null && http === null) {
    return "is none of 'grpc SERVICE/METHOD at HOST:PORT', 'http METHOD URL' and 'mcp METHOD [NAME] at SERVER'";
  }
  const [, action, place] = (grpc ?? http) as unknown as [string, string, string];
  const rule = grpc !== null ? grpcRule(action, place, "") : httpRule(`${action} ${place}`, "");
  return typeof rule === "string" ? rule : (ruleProblem(rule) ?? rule);
}

/** `https://ledger.internal`, `127.0.0.1:7000`: without a scheme the port must be written. */
function target(place: string): Pick<Rule, "target" | "scheme"> | string {
  const parts = /^(?:(https?):\/\/)?([^/]*)$/.exec(place);
  if (parts === null) return `has ${JSON.stringify(place)}, which is not host:port`;
  const [, said, authority = ""] = parts;
  if (said === undefined && !/:[0-9]+$/.test(authority)) {
    return `has no port; write at: ${authority}:443`;
  }
  const normal = normaliseAuthority(authority, said === "http" ? 80 : 443);
  if (typeof normal !== "string") return `has a target that is none: ${normal.detail}`;
  const scheme: Scheme = said === undefined ? "UNSPECIFIED" : schemeOf(said as "http" | "https");
  return { target: normal, scheme };
}

function grpcRule(action: string, authority: string, when: string): Rule | string {
  if (action.startsWith("/")) return `begins with /; write grpc: ${action.slice(1)}`;
  const place = target(authority);
  if (typeof place === "string") return place;
  return { protocol: "GRPC", ...place, verb: "", path: `/${action}`, when };
}

function httpRule(action: string, when: string): Rule | string {
  const parts = /^([A-Za-z]+) (https?:\/\/[^/?#@ ]+)(\/[^ ]*)$/.exec(action);
  if (parts === null) return "is not such as http: POST https://ledger.internal/v1/entries";
  const [, verb, authority, path] = parts as unknown as [string, string, string, string];
  const place = target(authority);
  if (typeof place === "string") return place;
  return { protocol: "HTTP", ...place, verb, path, when };
}

function opaqueRule(place: string, when: string): Rule | string {
  if (place.includes("://")) return "has a scheme; write opaque: HOST:PORT";
  const at = target(place);
  if (typeof at === "string") return at.replace("write at:", "write opaque:");
  return { protocol: "OPAQUE", target: at.target, verb: "", path: "", when, scheme: "HTTPS" };
}

function mcpRule(action: string, server: string, when: string): Rule | string {
  const [verb, name = "", ...more] = action.split(" ");
  if (more.length > 0) return "is not such as mcp: tools/call create_ticket";
  const said = verb as string;
  return { protocol: "MCP", target: server, verb: said, path: name, when, scheme: "UNSPECIFIED" };
}

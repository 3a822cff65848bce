import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import { normaliseAuthority, type Scheme, schemeOf } from "../domain/claim.ts";
import { manifestYamlBytesMax } from "../domain/limits.ts";
import type { Capability } from "../domain/manifest.ts";
import { type Rule, ruleProblem } from "../domain/rule.ts";
import { compileGlob, type Glob } from "./glob.ts";

/** Something in `dragon.yaml`, or in the files that it names, that a person has to put right. */
export class ManifestFileError extends Error {
  override readonly name = "ManifestFileError";
  /** From 1; 0: no line in particular. */
  readonly line: number;
  constructor(line: number, detail: string) {
    super(line === 0 ? detail : `line ${line}: ${detail}`);
    this.line = line;
  }
}

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
}

/**
 * Reads `dragon.yaml` strictly: every value is text, keys are known and stand once, nothing is an
 * alias or a tag.
 * @throws ManifestFileError with the line and what to write instead.
 */
export function parseManifestYaml(text: string): ManifestText {
  if (new TextEncoder().encode(text).length > manifestYamlBytesMax) {
    throw new ManifestFileError(0, `is longer than ${manifestYamlBytesMax} bytes`);
  }
  const lines = new LineCounter();
  // The failsafe schema has no numbers, booleans or nulls: `version: 1.10` is the text 1.10.
  const document = parseDocument(text, { lineCounter: lines, schema: "failsafe", merge: false });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const [sentence] = problem.message.split(/ at line |\n/);
    throw new ManifestFileError(lines.linePos(problem.pos[0]).line, sentence as string);
  }
  const reader = new Reader(lines);
  const top = reader.map(document.contents, "the file", [
    "name",
    "version",
    "code",
    "config",
    "runtime",
    "capabilities",
  ]);
  const required = (key: string): Node => {
    const node = top.get(key);
    if (node === undefined) throw new ManifestFileError(0, `has no \`${key}\``);
    return node;
  };
  const globs = (node: Node | undefined, key: string) =>
    node === undefined ? [] : reader.list(node, key).map((item) => reader.glob(item, key));
  const runtime = top.get("runtime");
  const capabilities = top.get("capabilities");
  return {
    name: reader.text(required("name"), "name"),
    agentVersion: reader.text(required("version"), "version"),
    code: globs(required("code"), "code"),
    config: globs(top.get("config"), "config"),
    runtime: runtime === undefined ? "" : reader.text(runtime, "runtime"),
    capabilities: capabilities === undefined ? [] : reader.capabilities(capabilities),
  };
}

class Reader {
  readonly #lines: LineCounter;
  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  fail(node: Node | null, detail: string): never {
    throw new ManifestFileError(this.line(node), detail);
  }

  line(node: Node | null): number {
    const at = node?.range?.[0];
    return at === undefined ? 0 : this.#lines.linePos(at).line;
  }

  #plain(node: Node | null): void {
    if (isAlias(node)) this.fail(node, "has an alias (*name); write the value out");
    if (node?.tag !== undefined && !node.tag.startsWith("tag:yaml.org,2002:")) {
      this.fail(node, `has the tag ${node.tag}; write the value without`);
    }
    if (node !== null && "anchor" in node && node.anchor !== undefined) {
      this.fail(node, `has the anchor &${node.anchor}; write the value without`);
    }
  }

  text(node: Node, what: string): string {
    this.#plain(node);
    if (!isScalar(node) || typeof node.value !== "string") this.fail(node, `${what} is not text`);
    return node.value as string;
  }

  list(node: Node, what: string): Node[] {
    this.#plain(node);
    if (!isSeq(node)) this.fail(node, `${what} is not a list; write ${what}: [${example(what)}]`);
    return node.items as Node[];
  }

  /** `known` empty: any key. */
  map(node: Node | null, what: string, known: readonly string[]): Map<string, Node> {
    this.#plain(node);
    if (!isMap(node)) this.fail(node, `${what} is not a mapping of keys to values`);
    const found = new Map<string, Node>();
    for (const { key, value } of node.items as { key: Node; value: Node | null }[]) {
      const name = this.text(key, "a key");
      if (known.length > 0 && !known.includes(name)) {
        this.fail(key, `${what} has the unknown key \`${name}\`; ${advice(name, known)}`);
      }
      if (value === null) this.fail(key, `\`${name}\` has no value`);
      found.set(name, value);
    }
    return found;
  }

  glob(node: Node, what: string): GlobLine {
    const source = this.text(node, what);
    const glob = compileGlob(source);
    if (typeof glob === "string") this.fail(node, `${what}: the glob ${source} ${glob}`);
    return { glob, line: this.line(node) };
  }

  capabilities(node: Node): Capability[] {
    return Array.from(this.map(node, "capabilities", []))
      .map(([name, rules]) => ({
        name,
        rules: this.list(rules, name).map((item) => this.rule(item, name)),
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  rule(node: Node, scope: string): Rule {
    const keys = this.map(node, `a rule of ${scope}`, [
      "grpc",
      "http",
      "mcp",
      "at",
      "server",
      "when",
    ]);
    const kinds = ["grpc", "http", "mcp"].filter((k) => keys.has(k));
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1) {
      this.fail(node, `a rule of ${scope} has one of \`grpc\`, \`http\` and \`mcp\``);
    }
    const place = { grpc: "at", mcp: "server", http: "" }[kind as "grpc" | "http" | "mcp"];
    for (const other of ["at", "server"].filter((k) => k !== place && keys.has(k))) {
      this.fail(keys.get(other) as Node, `\`${other}\` does not stand with \`${kind}\``);
    }
    const text = (key: string): string => {
      const value = keys.get(key);
      if (value === undefined)
        this.fail(node, `a rule of ${scope} has \`${kind}\` but no \`${key}\``);
      return this.text(value as Node, key);
    };
    const action = text(kind as string);
    const when = keys.has("when") ? text("when") : "";
    const rule =
      kind === "grpc"
        ? grpcRule(action, text("at"), when)
        : kind === "http"
          ? httpRule(action, when)
          : mcpRule(action, text("server"), when);
    const problem = typeof rule === "string" ? rule : ruleProblem(rule);
    if (problem !== null) this.fail(node, `a rule of ${scope} ${problem}`);
    return rule as Rule;
  }
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

function mcpRule(action: string, server: string, when: string): Rule | string {
  const [verb, name, ...more] = action.split(" ");
  if (name === undefined || more.length > 0) return "is not such as mcp: tools/call create_ticket";
  const said = verb as string;
  return { protocol: "MCP", target: server, verb: said, path: name, when, scheme: "UNSPECIFIED" };
}

const example = (what: string): string =>
  what === "code" ? "agent/**/*.py" : what === "config" ? "config.yaml" : "…";

/** `did you mean capabilities?` where one known key is near, else all of them. */
function advice(name: string, known: readonly string[]): string {
  const near = known.find((k) => distance(name.toLowerCase(), k) <= 2);
  return near === undefined ? `known are ${known.join(", ")}` : `did you mean \`${near}\`?`;
}

/** Levenshtein's; names are short, and longer ones are near to nothing. */
function distance(a: string, b: string): number {
  if (a.length > 32) return a.length;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

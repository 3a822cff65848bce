import { compare, utf8 } from "./bytes.ts";
import { bytes, message, nested, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import { deadRule } from "./dead-rules.ts";
import { type Invalid, invalid } from "./invalid.ts";
import {
  manifestFilesMax,
  manifestInputsMax,
  manifestPathMax,
  mcpServersMax,
  nameMax,
  rulesPerScopeMax,
  runtimeMax,
  scopeNameMax,
  scopesMax,
} from "./limits.ts";
import { McpServer, sameEndpoint, serverAt, serversProblem } from "./mcp-server.ts";
import { isPrintable } from "./printable.ts";
import { inputsOf, Rule, ruleProblem } from "./rule.ts";

export const FileDigest = message("file", {
  /** Relative, `/`-separated, no `.` or `..` segment. */
  path: str(1),
  sha256: bytes(2, 32),
  size: u64(3),
});
export type FileDigest = ReturnType<typeof FileDigest.decode>;

export const Capability = message("capability", {
  /** `read:payments` */
  name: str(1),
  rules: repeated(nested(2, Rule)),
});
export type Capability = ReturnType<typeof Capability.decode>;

/** Who an agent is: its code, its configuration, and what it says it needs. Hashed, not signed. */
export const ManifestBody = message("manifest", {
  version: u32(1),
  name: str(2),
  agentVersion: str(3),
  /** Sorted by path, unique. */
  code: repeated(nested(4, FileDigest)),
  config: repeated(nested(5, FileDigest)),
  runtime: str(6),
  /** Sorted by name, unique. */
  capabilities: repeated(nested(7, Capability)),
  /** MCP servers that speak HTTP. Sorted by name, unique. */
  servers: repeated(nested(8, McpServer)),
  /** Scopes whose calls are merely listened to: open for as long as they like, and nobody waits for their end. Sorted, unique. */
  listens: repeated(str(9)),
});
export type Manifest = ReturnType<typeof ManifestBody.decode>;

const HASH_DOMAIN = new TextEncoder().encode("dragons/v1/manifest\n");

/** SHA256("dragons/v1/manifest\n" ‖ bytes) over the encoded manifest: the identity. 32 bytes. */
export function manifestHash(crypto: Crypto, bytes: Uint8Array): Uint8Array {
  return crypto.sha256(HASH_DOMAIN, bytes);
}

const identities = new WeakMap<Manifest, Uint8Array>();

/** `manifestHash` of a manifest that was read, remembered: nobody changes one after reading it. */
export function identityOf(crypto: Crypto, manifest: Manifest): Uint8Array {
  let hash = identities.get(manifest);
  if (hash === undefined) {
    hash = manifestHash(crypto, ManifestBody.encode(manifest));
    identities.set(manifest, hash);
  }
  return hash;
}

/** `reconciler@v7`: how people name an identity. */
export const manifestLabel = (manifest: Manifest): string =>
  `${manifest.name}@${manifest.agentVersion}`;

/** The version of a manifest that `dragons run` drafted, and drafts again when it is told to. */
export const DRAFT = "draft";

/**
 * What else keeps a manifest from being recorded: a rule that decides nothing, since as a policy it would
 * only seem to say something. null: nothing does.
 */
export function checkRecording(manifest: Manifest): Invalid | null {
  const problem = checkManifest(manifest);
  if (problem !== null) return problem;
  const same = sameEndpoint(manifest.servers);
  if (same !== null) return bad("servers", same);
  for (const { name, rules } of manifest.capabilities) {
    const dead = deadRule(rules);
    if (dead !== null) return bad(`capabilities[${show(name)}].rules[${dead.index}]`, dead.why);
    for (const [index, rule] of rules.entries()) {
      const why = roundServer(manifest, rule);
      if (why !== null) return bad(`capabilities[${show(name)}].rules[${index}]`, why);
    }
  }
  return null;
}

/** Why a rule would lead round those for an MCP server, or seem to; null: it does not. */
function roundServer({ servers }: Manifest, rule: Rule): string | null {
  if (rule.protocol === "OPAQUE") {
    const there = servers.find((server) => server.target === rule.target);
    return there === undefined
      ? null
      : `passes on unread what goes to the MCP server ${there.name}, where rules for MCP decide`;
  }
  if (rule.protocol !== "HTTP" || /[*{]/.test(rule.path)) return null;
  const at = serverAt(servers, rule);
  return at === null
    ? null
    : `is for HTTP at the endpoint of the MCP server ${at.server.name}, where rules for MCP alone decide`;
}

/** What is wrong with a manifest that nevertheless decoded; null: nothing. */
export function checkManifest(manifest: Manifest): Invalid | null {
  if (manifest.version !== 1) {
    return invalid("E_VERSION", `manifest.version is ${manifest.version}, not 1`);
  }
  if (!NAME.test(manifest.name)) {
    return bad("name", `${show(manifest.name)} is not a name such as payments-reconciler`);
  }
  if (!VERSION.test(manifest.agentVersion)) {
    return bad("agentVersion", `${show(manifest.agentVersion)} is not a version such as v7`);
  }
  if (manifest.runtime.length > runtimeMax || !isPrintable(manifest.runtime)) {
    return bad("runtime", `is not printable text of at most ${runtimeMax} characters`);
  }
  const files = manifest.code.length + manifest.config.length;
  if (files > manifestFilesMax) {
    return bad("code", `${files} files are more than ${manifestFilesMax}`);
  }
  return (
    checkFiles("code", manifest.code) ??
    checkFiles("config", manifest.config) ??
    checkCapabilities(manifest.capabilities) ??
    checkServers(manifest.servers) ??
    checkListens(manifest)
  );
}

function checkListens({ listens, capabilities }: Manifest): Invalid | null {
  for (const [i, scope] of listens.entries()) {
    if (!capabilities.some(({ name }) => name === scope)) {
      return bad("listens", `names ${show(scope)}, which is none of its capabilities`);
    }
    if (scope <= (listens[i - 1] ?? "")) {
      return bad("listens", `is not sorted and unique at ${show(scope)}`);
    }
  }
  return null;
}

function checkServers(servers: readonly McpServer[]): Invalid | null {
  if (servers.length > mcpServersMax) return bad("servers", `are more than ${mcpServersMax}`);
  const why = serversProblem(servers);
  return why === null ? null : bad("servers", why);
}

/** Of a manifest, a tenant: lower case, digits, inner hyphens. */
export const NAME = new RegExp(`^[a-z0-9](?:[a-z0-9-]{0,${nameMax - 2}}[a-z0-9])?$`);
const VERSION = new RegExp(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,${nameMax - 1}}$`);
/** `read:payments` */
export const SCOPE_NAME = /^[a-z][a-z0-9-]*(?::[a-z0-9][a-z0-9._-]*)+$/;

const bad = (field: string, why: string): Invalid => invalid("E_FIELD", `manifest.${field} ${why}`);
const show = (text: string): string => JSON.stringify(text.slice(0, 80));

function checkFiles(field: "code" | "config", files: readonly FileDigest[]): Invalid | null {
  let last: FileDigest | null = null;
  for (const file of files) {
    const segments = file.path.split("/");
    const unsafe =
      file.path.length > manifestPathMax ||
      segments.some((s) => s === "" || s === "." || s === "..") ||
      /[\\\p{Cc}]/u.test(file.path);
    if (unsafe) return bad(field, `has ${show(file.path)}, which is not a relative path`);
    if (last !== null && compare(utf8(last.path), utf8(file.path)) >= 0) {
      return bad(field, `is not sorted and unique at ${show(file.path)}`);
    }
    if (file.sha256.length !== 32) return bad(field, `has no digest for ${show(file.path)}`);
    last = file;
  }
  return null;
}

function checkCapabilities(capabilities: readonly Capability[]): Invalid | null {
  if (capabilities.length > scopesMax) {
    return bad("capabilities", `are more than ${scopesMax} scopes`);
  }
  let last = "";
  const inputs = new Set<string>();
  for (const { name, rules } of capabilities) {
    const field = `capabilities[${show(name)}]`;
    if (!SCOPE_NAME.test(name) || name.length > scopeNameMax) {
      return bad(field, "is not a scope name such as read:payments");
    }
    if (name <= last) return bad(field, "is not in sorted, unique order");
    last = name;
    if (rules.length === 0) return bad(field, "has no rule, so it can match nothing");
    if (rules.length > rulesPerScopeMax)
      return bad(field, `has more than ${rulesPerScopeMax} rules`);
    for (const [i, rule] of rules.entries()) {
      const why = ruleProblem(rule);
      if (why !== null) return bad(`${field}.rules[${i}]`, why);
      for (const input of inputsOf(rule)) inputs.add(input.name);
    }
  }
  return inputs.size > manifestInputsMax
    ? bad("capabilities", `have conditions that read more than ${manifestInputsMax} inputs`)
    : null;
}

import { compare, utf8 } from "./bytes.ts";
import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import { normaliseAuthority, normaliseGrpcPath, PROTOCOLS, SCHEMES } from "./claim.ts";
import type { Crypto } from "./crypto.ts";
import { normaliseHttpPath } from "./http-path.ts";
import { type Invalid, invalid } from "./invalid.ts";
import {
  manifestFilesMax,
  manifestPathMax,
  nameMax,
  rulesPerScopeMax,
  runtimeMax,
  scopeNameMax,
  scopesMax,
} from "./limits.ts";
import { compilePattern } from "./pattern.ts";

export const FileDigest = message("file", {
  /** Relative, `/`-separated, no `.` or `..` segment. */
  path: str(1),
  sha256: bytes(2, 32),
  size: u64(3),
});
export type FileDigest = ReturnType<typeof FileDigest.decode>;

/**
 * Actions that a scope stands for. Patterns: `*` is any run of characters but `/` and `%2F`, `{a,b}` either,
 * everything else itself.
 */
export const Rule = message("rule", {
  protocol: oneOf(1, PROTOCOLS),
  /** `host:port`, exact. */
  target: str(2),
  /** Exact; absent for gRPC. */
  verb: str(3),
  /** Pattern: `/payments.v1.Payments/{Get,List}*`. */
  path: str(4),
  /** A condition over the claim's inputs; absent: none. */
  when: str(5),
  /** Absent for MCP; for gRPC also: in the clear or by TLS, as the agent asks. */
  scheme: oneOf(6, SCHEMES),
});
export type Rule = ReturnType<typeof Rule.decode>;

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
 * What is wrong with a manifest that nevertheless decoded; null: nothing. A rule that can match
 * nothing is refused here, when it is recorded, since as a policy it would only seem to say something.
 */
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
    checkCapabilities(manifest.capabilities)
  );
}

/** Of a manifest, a tenant: lower case, digits, inner hyphens. */
export const NAME = new RegExp(`^[a-z0-9](?:[a-z0-9-]{0,${nameMax - 2}}[a-z0-9])?$`);
const VERSION = new RegExp(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,${nameMax - 1}}$`);
/** `read:payments` */
export const SCOPE_NAME = /^[a-z][a-z0-9-]*(?::[a-z0-9][a-z0-9._-]*)+$/;

const bad = (field: string, why: string): Invalid => invalid("E_FIELD", `manifest.${field} ${why}`);
const show = (text: string): string => JSON.stringify(text.slice(0, 80));

/** Without control characters, which could write over what a terminal shows. */
export const isPrintable = (text: string): boolean => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text);

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
    const seen = new Set<string>();
    for (const [i, rule] of rules.entries()) {
      const why = ruleProblem(rule);
      if (why !== null) return bad(`${field}.rules[${i}]`, why);
      const key = JSON.stringify(Object.values(rule));
      if (seen.has(key)) return bad(`${field}.rules[${i}]`, "stands there twice");
      seen.add(key);
    }
  }
  return null;
}

/** Why a rule could never match, or could not be enforced; null: it can and will be. */
export function ruleProblem(rule: Rule): string | null {
  if (rule.when !== "") {
    return "has a condition (`when`); conditions are not enforced in this version, so it is refused";
  }
  const pattern = compilePattern(rule.path);
  if (typeof pattern === "string") return `has the path ${show(rule.path)}, which ${pattern}`;
  switch (rule.protocol) {
    case "GRPC":
      if (rule.verb !== "") return "has a verb, and gRPC has none";
      return targetProblem(rule.target) ?? grpcPathProblem(rule.path);
    case "HTTP":
      if (!/^[A-Z]{1,16}$/.test(rule.verb)) {
        return `has the method ${show(rule.verb)}, which is not one such as GET`;
      }
      if (rule.scheme === "UNSPECIFIED") return "has neither https:// nor http://";
      return targetProblem(rule.target) ?? httpPathProblem(rule.path);
    case "MCP":
      if (!/^[a-z]+(?:\/[a-zA-Z_]+)*$/.test(rule.verb)) {
        return `has the method ${show(rule.verb)}, which is not one such as tools/call`;
      }
      if (rule.scheme !== "UNSPECIFIED") return "has a scheme, and MCP servers are named without";
      if (!NAME.test(rule.target)) return `has ${show(rule.target)}, which is not a server's name`;
      return rule.path === "" ? "names nothing; write * for any name without a slash" : null;
    default:
      return `has the protocol ${rule.protocol}, which rules cannot speak of`;
  }
}

function targetProblem(target: string): string | null {
  const normal = normaliseAuthority(target, 0);
  if (typeof normal !== "string") return `has the target ${show(target)}: ${normal.detail}`;
  return normal === target ? null : `has the target ${show(target)}; write ${normal}`;
}

function grpcPathProblem(path: string): string | null {
  // Each `*` and `{…}` stands for characters of one segment, so any letter tells the shape.
  const shape = path.replace(/\{[^}]*\}/g, "x").replaceAll("*", "x");
  const choices = path.match(/\{[^}]*\}/g)?.join("") ?? "";
  if (/[^A-Za-z0-9_.,{}]/.test(choices) || typeof normaliseGrpcPath(shape) !== "string") {
    return `has the path ${show(path)}, which no gRPC call has; write /package.Service/Method`;
  }
  return null;
}

function httpPathProblem(path: string): string | null {
  if (!path.startsWith("/")) return `has the path ${show(path)}, which does not begin with /`;
  if (/[?#\\]/.test(path)) return `has the path ${show(path)}, and paths hold no ?, # or \\`;
  const most = Math.max(1, ...(path.match(/\{[^}]*\}/g) ?? []).map((c) => c.split(",").length));
  for (let i = 0; i < most; i++) {
    // Each `*` stands for characters of one segment, so any letter tells the shape.
    const shape = path
      .replace(/\{([^}]*)\}/g, (_, choices: string) => {
        const all = choices.split(",");
        return all[Math.min(i, all.length - 1)] as string;
      })
      .replaceAll("*", "x");
    const normal = normaliseHttpPath(shape);
    if (!("path" in normal)) return `has the path ${show(path)}, and every such ${normal.detail}`;
    if (normal.path !== shape) {
      return `has the path ${show(path)}, which no normalised path equals; such as ${normal.path} does`;
    }
  }
  return null;
}

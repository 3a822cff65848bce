import { equal } from "./bytes.ts";
import type { Capability, FileDigest, Manifest } from "./manifest.ts";
import { type McpServer, serverUrl } from "./mcp-server.ts";
import { coversRule, type Rule, sameRule } from "./rule.ts";

/** A file that two manifests measured otherwise; a digest is absent where the file is. */
export interface FileChange {
  readonly path: string;
  readonly before: FileDigest | null;
  readonly after: FileDigest | null;
}

/** REWORDED: the rules are others, and allow exactly the same. */
type Width = "ADDED" | "REMOVED" | "WIDENED" | "NARROWED" | "CHANGED" | "REWORDED";

/** A scope that stands for other actions than before. */
export interface ScopeChange {
  readonly scope: string;
  readonly width: Width;
  /** Rules that only one of the two has. */
  readonly gone: readonly Rule[];
  readonly come: readonly Rule[];
}

/** An MCP server whose name stands for another endpoint; null: for none by HTTP. */
export interface ServerChange {
  readonly name: string;
  readonly before: McpServer | null;
  readonly after: McpServer | null;
}

/** What tells two identities apart. Nothing of it: they are one. */
export interface ManifestDiff {
  readonly texts: readonly {
    readonly field: "name" | "agentVersion" | "runtime";
    readonly before: string;
    readonly after: string;
  }[];
  readonly code: readonly FileChange[];
  readonly config: readonly FileChange[];
  readonly scopes: readonly ScopeChange[];
  readonly servers: readonly ServerChange[];
  /** Scopes that only one of the two merely listens to. */
  readonly listens: { readonly gone: readonly string[]; readonly come: readonly string[] };
}

/** What has changed from one manifest to another, files by their digests, scopes by what they allow. */
export function diffManifests(before: Manifest, after: Manifest): ManifestDiff {
  const texts = (["name", "agentVersion", "runtime"] as const)
    .filter((field) => before[field] !== after[field])
    .map((field) => ({ field, before: before[field], after: after[field] }));
  return {
    texts,
    code: diffFiles(before.code, after.code),
    config: diffFiles(before.config, after.config),
    scopes: diffScopes(before.capabilities, after.capabilities),
    servers: diffServers(before.servers, after.servers),
    listens: {
      gone: before.listens.filter((scope) => !after.listens.includes(scope)),
      come: after.listens.filter((scope) => !before.listens.includes(scope)),
    },
  };
}

/** Both lists are sorted by path, and so is what comes out. */
function diffFiles(before: readonly FileDigest[], after: readonly FileDigest[]): FileChange[] {
  const [old, now] = [byKey(before, (f) => f.path), byKey(after, (f) => f.path)];
  return [...new Set([...old.keys(), ...now.keys()])].sort().flatMap((path) => {
    const change = { path, before: old.get(path) ?? null, after: now.get(path) ?? null };
    const same = change.before && change.after && equal(change.before.sha256, change.after.sha256);
    return same ? [] : [change];
  });
}

function diffScopes(before: readonly Capability[], after: readonly Capability[]): ScopeChange[] {
  const [old, now] = [byKey(before, (c) => c.name), byKey(after, (c) => c.name)];
  return [...new Set([...old.keys(), ...now.keys()])].sort().flatMap((scope) => {
    const [a, b] = [old.get(scope)?.rules ?? [], now.get(scope)?.rules ?? []];
    const gone = a.filter((r) => !b.some((s) => sameRule(r, s)));
    const come = b.filter((r) => !a.some((s) => sameRule(r, s)));
    if (gone.length + come.length === 0) return [];
    return [{ scope, width: widthOf(a, b), gone, come }];
  });
}

function diffServers(before: readonly McpServer[], after: readonly McpServer[]): ServerChange[] {
  const [old, now] = [byKey(before, (s) => s.name), byKey(after, (s) => s.name)];
  return [...new Set([...old.keys(), ...now.keys()])].sort().flatMap((name) => {
    const change = { name, before: old.get(name) ?? null, after: now.get(name) ?? null };
    const [a, b] = [change.before, change.after].map((s) => (s === null ? "" : serverUrl(s)));
    return a === b ? [] : [change];
  });
}

function widthOf(before: readonly Rule[], after: readonly Rule[]): Width {
  if (before.length === 0) return "ADDED";
  if (after.length === 0) return "REMOVED";
  const keeps = before.every((r) => after.some((s) => coversRule(s, r)));
  const kept = after.every((r) => before.some((s) => coversRule(s, r)));
  if (keeps && kept) return "REWORDED";
  if (keeps) return "WIDENED";
  return kept ? "NARROWED" : "CHANGED";
}

const byKey = <T>(list: readonly T[], key: (item: T) => string): Map<string, T> =>
  new Map(list.map((item) => [key(item), item]));

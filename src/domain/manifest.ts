import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import { PROTOCOLS } from "./claim.ts";

export const FileDigest = message("file", {
  /** Relative, `/`-separated, no `.` or `..` segment. */
  path: str(1),
  sha256: bytes(2, 32),
  size: u64(3),
});
export type FileDigest = ReturnType<typeof FileDigest.decode>;

/**
 * Actions that a scope stands for. Patterns: `*` is any run of characters but `/`, `{a,b}` either,
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

import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

/** How the manifest was measured, weakest first: said, read from files, started from what was read. */
export const MEASURES = ["UNSPECIFIED", "DECLARED", "FILES", "LAUNCHED"] as const;
export type Measure = (typeof MEASURES)[number];

/**
 * What may be spent in a scope, for one instance, cumulative over the grant.
 * 0 is none; `UNLIMITED` (2^53 − 1) must be said.
 */
export const Limits = message("limits", {
  maxActions: u64(1),
  maxBytes: u64(2),
  ratePerMinute: u64(3),
  maxConcurrent: u64(4),
});
export type Limits = ReturnType<typeof Limits.decode>;

export const UNLIMITED = Number.MAX_SAFE_INTEGER;

/** One scope of the manifest, by name, with what may be spent in it. */
export const ScopeGrant = message("scope", {
  name: str(1),
  limits: nested(2, Limits),
});
export type ScopeGrant = ReturnType<typeof ScopeGrant.decode>;

/** When silence and standstill begin to matter. Zero means the default. */
export const LivenessPolicy = message("liveness", {
  heartbeatIntervalUs: u64(1),
  stallDegradedUs: u64(2),
  stallAutohealUs: u64(3),
  /** What an organism becomes that stays silent past its authority. */
  silentBeyondLease: oneOf(4, ["UNSPECIFIED", "STOP", "QUARANTINE"] as const),
  /** Whether a stall that remedies do not cure quarantines. */
  quarantineStalled: oneOf(5, ["UNSPECIFIED", "NO", "YES"] as const),
});
export type LivenessPolicy = ReturnType<typeof LivenessPolicy.decode>;

/** An operator's word: this manifest may do these things. Signed by operator grant keys. */
export const GrantBody = message("grant", {
  version: u32(1),
  grantId: str(2),
  tenantId: str(3),
  manifestHash: bytes(4, 32),
  /** Sorted by name; each a capability of the manifest. */
  scopes: repeated(nested(5, ScopeGrant)),
  notBeforeUs: u64(6),
  notAfterUs: u64(7),
  issuedAtUs: u64(8),
  /** The longest lease the issuer may cut from it. */
  leaseTtlMaxUs: u64(9),
  /** Why: the goal of everything done under it, shown in each receipt. */
  purpose: str(10),
  instancesMax: u32(11),
  measureMin: oneOf(12, MEASURES),
  liveness: nested(13, LivenessPolicy),
});
export type GrantBody = ReturnType<typeof GrantBody.decode>;

export const GRANT: SignedKind<GrantBody> = { name: "grant", body: GrantBody };

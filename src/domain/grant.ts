import { equal } from "./bytes.ts";
import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import { isId } from "./ids.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import {
  heartbeatDeclaredUsMax,
  heartbeatIntervalUsMin,
  leaseTtlMaxUs,
  leaseTtlMinUs,
  observeUsMax,
  purposeMax,
  scopeNameMax,
  scopesMax,
  stallUsMax,
  stallUsMin,
} from "./limits.ts";
import { type Capability, identityOf, type Manifest, SCOPE_NAME } from "./manifest.ts";
import { isPrintable } from "./printable.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import {
  checkInterval,
  checkIssued,
  firstOf,
  isPresent,
  must,
  openVersion1,
  sameTenant,
} from "./verify.ts";

/** How the manifest was measured, weakest first: said, read from files, started from what was read. */
export const MEASURES = ["UNSPECIFIED", "DECLARED", "FILES", "LAUNCHED"] as const;
export type Measure = (typeof MEASURES)[number];

/**
 * What may be spent in a scope, for one instance. maxActions and maxBytes are ceilings on everything
 * ever spent there under the grant: in a lease, on what its ledger has counted since it began, so
 * that a renewal raises them and never refills anything. ratePerMinute and maxConcurrent hold at any
 * moment. Bytes are those of bodies, both directions. 0 is none; `UNLIMITED` (2^53 − 1) must be said.
 */
export const Limits = message("limits", {
  maxActions: u64(1),
  maxBytes: u64(2),
  ratePerMinute: u64(3),
  maxConcurrent: u64(4),
});
export type Limits = ReturnType<typeof Limits.decode>;

export const UNLIMITED = Number.MAX_SAFE_INTEGER;

/** How limits are written where people write them. */
export const LIMIT_NAMES = [
  ["maxActions", "max_actions"],
  ["maxBytes", "max_bytes"],
  ["ratePerMinute", "rate_per_minute"],
  ["maxConcurrent", "max_concurrent"],
] as const satisfies readonly (readonly [keyof Limits, string])[];

/** Every limit said to be none. */
export const NO_LIMITS: Limits = {
  maxActions: UNLIMITED,
  maxBytes: UNLIMITED,
  ratePerMinute: UNLIMITED,
  maxConcurrent: UNLIMITED,
};

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
  /** Sorted by name; each a capability of the manifest. None: an identity that may live and not act. */
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
  /**
   * Until then what the scopes do not allow is let pass, and its receipt says what it would have been
   * refused for. 0: it is refused, as ever. Everything but scopes and their conditions is enforced.
   */
  observeUntilUs: u64(14),
});
export type GrantBody = ReturnType<typeof GrantBody.decode>;

export const GRANT: SignedKind<GrantBody> = { name: "grant", body: GrantBody };

/**
 * Verifies a grant: signed by enough of the operators' grant keys, and saying only what this version
 * keeps. With the manifest at hand, its scopes are capabilities of exactly that manifest. Whether it
 * has begun or ended is not asked here but of its leases, and by `checkCurrent` when it is created.
 */
export function verifyGrant(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
  manifest: Manifest | null,
  nowUs: number,
): Verified<GrantBody> | Invalid {
  const opened = openVersion1(crypto, GRANT, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  return (
    sameTenant("grant.tenantId", body.tenantId, keyset.body.tenantId) ??
    checkIssued("grant.issuedAtUs", body.issuedAtUs, nowUs) ??
    checkSigners("grant", keyset, "OPERATOR_GRANT", signers, {
      signedAtUs: body.issuedAtUs,
      nowUs,
    }) ??
    checkGrant(body) ??
    (manifest === null ? null : checkGrantOf(crypto, body, manifest)) ??
    verified
  );
}

/** What is wrong with a grant's content; null: nothing. For whoever is about to sign one, too. */
export function checkGrant(body: GrantBody): Invalid | null {
  return firstOf(
    () => must(isId("grt", body.grantId), "E_FIELD", "grant.grantId is not grt_ and an id"),
    () => must(isPresent(body.manifestHash), "E_FIELD", "grant.manifestHash is absent"),
    () => checkScopes("grant", body.scopes),
    () => checkInterval("grant", body),
    () =>
      must(
        body.leaseTtlMaxUs >= leaseTtlMinUs && body.leaseTtlMaxUs <= leaseTtlMaxUs,
        "E_FIELD",
        `grant.leaseTtlMaxUs is ${body.leaseTtlMaxUs}, not from ${leaseTtlMinUs} to ${leaseTtlMaxUs}`,
      ),
    () =>
      must(
        body.purpose !== "" && body.purpose.length <= purposeMax && isPrintable(body.purpose),
        "E_FIELD",
        `grant.purpose is not printable text of 1 to ${purposeMax} characters`,
      ),
    () => must(body.instancesMax >= 1, "E_FIELD", "grant.instancesMax is 0, so it permits nobody"),
    () => must(body.measureMin !== "UNSPECIFIED", "E_FIELD", "grant.measureMin is absent"),
    () => checkLiveness(body.liveness),
    () => checkObserving(body),
  );
}

/** Each threshold is absent, or one that can be kept: nobody beats a thousand times a second. */
function checkLiveness(policy: LivenessPolicy): Invalid | null {
  const { heartbeatIntervalUs: interval, stallDegradedUs, stallAutohealUs } = policy;
  const within = (field: keyof LivenessPolicy, us: number, min: number, max: number) => () =>
    must(
      us === 0 || (us >= min && us <= max),
      "E_FIELD",
      `grant.liveness.${field} is ${us}; write ${min} to ${max} µs, or 0 for the default`,
    );
  return firstOf(
    within("heartbeatIntervalUs", interval, heartbeatIntervalUsMin, heartbeatDeclaredUsMax),
    within("stallDegradedUs", stallDegradedUs, stallUsMin, stallUsMax),
    within("stallAutohealUs", stallAutohealUs, stallUsMin, stallUsMax),
    () =>
      must(
        stallAutohealUs === 0 || stallAutohealUs >= stallDegradedUs,
        "E_FIELD",
        `grant.liveness.stallAutohealUs is ${stallAutohealUs}, less than stallDegradedUs, ${stallDegradedUs}: degraded comes first`,
      ),
  );
}

/** Observing ends by itself, soon, and within the grant. */
function checkObserving(body: GrantBody): Invalid | null {
  const { observeUntilUs, issuedAtUs, notBeforeUs, notAfterUs } = body;
  if (observeUntilUs === 0) return null;
  const fromUs = Math.max(issuedAtUs, notBeforeUs);
  const field = "grant.observeUntilUs";
  return firstOf(
    () => must(observeUntilUs > fromUs, "E_FIELD", `${field} is over before the grant begins`),
    () => must(observeUntilUs <= notAfterUs, "E_FIELD", `${field} is after the grant's end`),
    () =>
      must(
        observeUntilUs - fromUs <= observeUsMax,
        "E_FIELD",
        `${field} lasts ${observeUntilUs - fromUs} µs, at most ${observeUsMax}: observe for less`,
      ),
  );
}

/** Scopes of a grant or a lease: named, sorted, unique. */
export function checkScopes(name: string, scopes: readonly ScopeGrant[]): Invalid | null {
  if (scopes.length > scopesMax) {
    return invalid("E_FIELD", `${name}.scopes: ${scopes.length} are more than ${scopesMax}`);
  }
  let last = "";
  for (const scope of scopes) {
    const field = `${name}.scopes[${JSON.stringify(scope.name.slice(0, scopeNameMax))}]`;
    if (!SCOPE_NAME.test(scope.name) || scope.name.length > scopeNameMax) {
      return invalid("E_FIELD", `${field} is not a scope name such as read:payments`);
    }
    if (scope.name <= last) return invalid("E_FIELD", `${field} is not in sorted, unique order`);
    last = scope.name;
  }
  return null;
}

function checkGrantOf(crypto: Crypto, body: GrantBody, manifest: Manifest): Invalid | null {
  const hash = identityOf(crypto, manifest);
  if (!equal(hash, body.manifestHash)) {
    return invalid("E_MANIFEST", "grant.manifestHash is of another manifest");
  }
  const names = new Set(manifest.capabilities.map((c) => c.name));
  const foreign = body.scopes.find((s) => !names.has(s.name));
  if (foreign !== undefined) {
    return invalid("E_MANIFEST", `grant.scopes: the manifest has no capability ${foreign.name}`);
  }
  const bottomless = uncapped(body.scopes, manifest);
  return bottomless === null
    ? null
    : invalid("E_MANIFEST", `grant.scopes: ${bottomless} is opaque and has no max_bytes`);
}

/** Whether a scope lets bytes pass that nobody looks into. */
export const isOpaque = ({ rules }: Capability): boolean =>
  rules.some((rule) => rule.protocol === "OPAQUE");

/** The first scope that would let bytes pass unread without an end; null: none would. */
export function uncapped(scopes: readonly ScopeGrant[], manifest: Manifest): string | null {
  const found = scopes.find(
    ({ name, limits }) =>
      limits.maxBytes === UNLIMITED &&
      manifest.capabilities.some((c) => c.name === name && isOpaque(c)),
  );
  return found?.name ?? null;
}

import { equal, toHex } from "./bytes.ts";
import { bytes, message, nested, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import type { GenesisBody } from "./genesis.ts";
import {
  checkScopes,
  type GrantBody,
  LIMIT_NAMES,
  MEASURES,
  type Measure,
  ScopeGrant,
} from "./grant.ts";
import { isId } from "./ids.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import { clockSkewMaxUs } from "./limits.ts";
import { identityOf, type Manifest } from "./manifest.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import {
  checkInterval,
  checkIssued,
  cites,
  firstOf,
  isPresent,
  must,
  openVersion1,
  sameTenant,
} from "./verify.ts";

/**
 * A time-bounded, scope-restricted authority for ONE instance, cut from one grant by the issuer.
 * It pins the head that earned it, so nobody keeps acting without having history countersigned.
 */
export const LeaseBody = message("lease", {
  version: u32(1),
  leaseId: str(2),
  tenantId: str(3),
  instanceId: str(4),
  ledgerId: bytes(5, 32),
  manifestHash: bytes(6, 32),
  grantRef: bytes(7, 32),
  /** From 1, more at each renewal for this ledger: one, or two after a lease that never arrived. */
  leaseSeq: u64(8),
  /** A subset of the grant's scopes; limits are ceilings within the grant's. Sorted by name. */
  scopes: repeated(nested(9, ScopeGrant)),
  /** Half-open [notBefore, notAfter), microseconds since the epoch, no leeway. */
  notBeforeUs: u64(10),
  notAfterUs: u64(11),
  issuedAtUs: u64(12),
  /** The work ledger's head that earned this lease. */
  headSize: u64(13),
  headRoot: bytes(14, 32),
  intentsOpened: u64(15),
  intentsHead: bytes(16, 32),
  /** Revocations up to this epoch were considered. */
  revocationEpoch: u64(17),
  sessionEpoch: u64(18),
  /** The tenant ledger's head at the control plane when it was issued. */
  controlSize: u64(19),
  controlRoot: bytes(20, 32),
  /** As in the grant, or earlier; 0: it only permits what its scopes do. */
  observeUntilUs: u64(21),
});
export type LeaseBody = ReturnType<typeof LeaseBody.decode>;

export const LEASE: SignedKind<LeaseBody> = { name: "lease", body: LeaseBody };

/** What a lease is held against. */
export interface LeaseContext {
  readonly keyset: Verified<KeysetBody>;
  readonly grant: Verified<GrantBody>;
  /** Of the work ledger that the lease is for. */
  readonly genesis: Verified<GenesisBody>;
  /** The manifest itself, where it is at hand; null: only its hash is compared. */
  readonly manifest: Manifest | null;
  /** How the sidecar measured the manifest; absent: whoever asks did not measure it. */
  readonly measured?: Measure;
  readonly nowUs: number;
}

/**
 * Verifies that the issuer signed this lease and that it stays within the grant, field by field: so
 * an issuer key alone mints nothing that no operator signed. Ended leases are E_EXPIRED; one that has
 * yet to begin is well. Who judges the past passes its `issuedAtUs` as `nowUs`.
 */
export function verifyLease(
  crypto: Crypto,
  signed: SignedBytes,
  context: LeaseContext,
): Verified<LeaseBody> | Invalid {
  const opened = openVersion1(crypto, LEASE, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const { keyset, nowUs } = context;
  return (
    firstOf(
      () => sameTenant("lease.tenantId", body.tenantId, keyset.body.tenantId),
      () => checkIssued("lease.issuedAtUs", body.issuedAtUs, nowUs),
      () =>
        checkSigners("lease", keyset, "ISSUER", signers, { signedAtUs: body.issuedAtUs, nowUs }),
      () => checkHolder(body, context),
      () => checkManifestOf(crypto, body, context),
      () => checkWithin(body, context.grant.body),
      () => checkHead(body),
      () =>
        must(
          nowUs < body.notAfterUs,
          "E_EXPIRED",
          `lease ended at ${body.notAfterUs}, and it is ${nowUs}`,
        ),
    ) ?? verified
  );
}

function checkHolder(body: LeaseBody, { grant, genesis }: LeaseContext): Invalid | null {
  const { tenantId, instanceId } = genesis.body;
  return firstOf(
    () => must(isId("lse", body.leaseId), "E_FIELD", "lease.leaseId is not lse_ and an id"),
    () => must(body.leaseSeq >= 1, "E_FIELD", "lease.leaseSeq counts from 1"),
    () => sameTenant("genesis.tenantId", tenantId, body.tenantId),
    () => sameTenant("grant.tenantId", grant.body.tenantId, body.tenantId),
    () => cites("lease.grantRef", body.grantRef, grant.ref),
    () =>
      must(
        equal(body.ledgerId, genesis.ref),
        "E_LEDGER",
        `lease.ledgerId is not of ledger ${toHex(genesis.ref)}`,
      ),
    () =>
      must(
        body.instanceId === instanceId,
        "E_LEDGER",
        `lease.instanceId is not of instance ${instanceId}`,
      ),
  );
}

function checkManifestOf(crypto: Crypto, body: LeaseBody, context: LeaseContext): Invalid | null {
  const { grant, genesis, manifest, measured } = context;
  const same = (what: string, hash: Uint8Array) =>
    must(equal(body.manifestHash, hash), "E_MANIFEST", `lease.manifestHash is not that of ${what}`);
  const wanted = grant.body.measureMin;
  return firstOf(
    () => same("the grant", grant.body.manifestHash),
    () => same("the genesis", genesis.body.manifestHash),
    () => (manifest === null ? null : same("the manifest", identityOf(crypto, manifest))),
    () =>
      must(
        measured === undefined || MEASURES.indexOf(measured) >= MEASURES.indexOf(wanted),
        "E_MANIFEST",
        `the manifest was measured as ${measured}, and the grant asks for ${wanted}`,
      ),
  );
}

/** Every field in which a lease could say more than its grant. */
function checkWithin(body: LeaseBody, grant: GrantBody): Invalid | null {
  const ttlUs = body.notAfterUs - body.notBeforeUs;
  return firstOf(
    () => checkInterval("lease", body),
    () =>
      must(
        body.notBeforeUs >= body.issuedAtUs - clockSkewMaxUs,
        "E_WIDENED",
        "lease.notBeforeUs lies before its issue by more than clocks may differ",
      ),
    () =>
      must(
        body.notBeforeUs >= grant.notBeforeUs,
        "E_WIDENED",
        `lease.notBeforeUs is before the grant's, ${grant.notBeforeUs}`,
      ),
    () =>
      must(
        body.notAfterUs <= grant.notAfterUs,
        "E_WIDENED",
        `lease.notAfterUs is after the grant's, ${grant.notAfterUs}`,
      ),
    () =>
      must(
        ttlUs <= grant.leaseTtlMaxUs,
        "E_WIDENED",
        `lease lasts ${ttlUs} µs, and the grant allows ${grant.leaseTtlMaxUs}`,
      ),
    () =>
      must(
        body.observeUntilUs <= grant.observeUntilUs,
        "E_WIDENED",
        `lease.observeUntilUs is ${body.observeUntilUs}, and the grant observes until ${grant.observeUntilUs}`,
      ),
    () => checkScopes("lease", body.scopes),
    () => checkScopesWithin(body.scopes, grant.scopes),
  );
}

function checkScopesWithin(
  leased: readonly ScopeGrant[],
  granted: readonly ScopeGrant[],
): Invalid | null {
  const byName = new Map(granted.map((s) => [s.name, s.limits]));
  for (const { name, limits } of leased) {
    const bounds = byName.get(name);
    if (bounds === undefined) {
      return invalid("E_WIDENED", `lease.scopes: ${name} is not in the grant`);
    }
    for (const [limit] of LIMIT_NAMES) {
      if (limits[limit] > bounds[limit]) {
        return invalid(
          "E_WIDENED",
          `lease.scopes[${name}].limits.${limit} is ${limits[limit]}, and the grant allows ${bounds[limit]}`,
        );
      }
    }
  }
  return null;
}

function checkHead(body: LeaseBody): Invalid | null {
  return firstOf(
    () => must(isPresent(body.headRoot), "E_FIELD", "lease.headRoot is absent"),
    () => must(isPresent(body.intentsHead), "E_FIELD", "lease.intentsHead is absent"),
    () =>
      must(
        body.controlSize > 0 === isPresent(body.controlRoot),
        "E_FIELD",
        "lease.controlRoot stands with a controlSize, and only with one",
      ),
  );
}

import type { Subject } from "../domain/authorize.ts";
import { equal, toHex } from "../domain/bytes.ts";
import { type Codec, CodecError } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import { DOCK, type DockBody, verifyDock } from "../domain/dock.ts";
import { GENESIS, type GenesisBody, verifyGenesis } from "../domain/genesis.ts";
import { GRANT, type GrantBody, verifyGrant } from "../domain/grant.ts";
import { type Invalid, isInvalid } from "../domain/invalid.ts";
import { droppedKey, KEYSET, type KeysetBody, rootAfter, verifyKeyset } from "../domain/keyset.ts";
import { LEASE, type LeaseBody, verifyLease } from "../domain/lease.ts";
import { checkManifest, type Manifest, ManifestBody, manifestHash } from "../domain/manifest.ts";
import {
  checkEpoch,
  REVOCATION,
  type RevocationBody,
  verifyRecordedRevocation,
} from "../domain/revocation.ts";
import { compileScopes } from "../domain/scope.ts";
import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";
import { type Break, broken, type CheckName, codeOf, isBroken, type ObjectName } from "./checks.ts";

/** The authority frames of one ledger section, as they stand in the pack. */
export interface AuthorityFrames {
  readonly GENESIS: Uint8Array;
  readonly KEYSET: readonly Uint8Array[];
  readonly MANIFEST: readonly Uint8Array[];
  readonly GRANT: readonly Uint8Array[];
  readonly DOCK: readonly Uint8Array[];
  readonly LEASE: readonly Uint8Array[];
  readonly REVOCATION: readonly Uint8Array[];
}

/** Who may do what, proven from the tenant root down. Maps are keyed by ref or hash, in hex. */
export interface Authority {
  readonly tenantId: string;
  readonly keyset: Verified<KeysetBody>;
  readonly keysets: ReadonlyMap<string, Verified<KeysetBody>>;
  readonly manifests: ReadonlyMap<string, Manifest>;
  readonly manifest: Manifest;
  readonly grants: ReadonlyMap<string, Verified<GrantBody>>;
  readonly docks: ReadonlyMap<string, Verified<DockBody>>;
  readonly genesis: Verified<GenesisBody>;
  readonly leases: ReadonlyMap<string, Verified<LeaseBody>>;
  readonly revocations: readonly Verified<RevocationBody>[];
  /** Whose decisions these are, ready for the gate's own code. */
  readonly subject: Subject;
}

export interface Root {
  readonly tenant: string;
  readonly rootKey: Uint8Array;
  readonly keysetVersion: number;
}

/**
 * Proves the chain of keys: tenant root → keyset → grant → dock → genesis → lease. Each is judged at
 * the moment it was issued, since a key that has expired since then was good when it signed.
 */
export function proveAuthority(
  crypto: Crypto,
  frames: AuthorityFrames,
  root: Root,
): Authority | Break {
  const keysets = proveKeysets(crypto, frames.KEYSET, root);
  if (isBroken(keysets)) return keysets;
  const keyset = [...keysets.values()].at(-1) as Verified<KeysetBody>;
  const manifests = readManifests(crypto, frames.MANIFEST);
  if (isBroken(manifests)) return manifests;

  const grants = each("GRANT", frames.GRANT, GRANT, (signed, body) =>
    manifests.has(toHex(body.manifestHash))
      ? verifyGrant(
          crypto,
          signed,
          keyset,
          manifests.get(toHex(body.manifestHash)) as Manifest,
          Math.max(body.issuedAtUs, body.notBeforeUs),
        )
      : broken(
          "GRANT",
          "E_MANIFEST_MISSING",
          0,
          `grant ${body.grantId}: its manifest is not in the pack`,
        ),
  );
  if (isBroken(grants)) return grants;

  const docks = each("DOCK", frames.DOCK, DOCK, (signed, body) => {
    const grant = grants.get(toHex(body.grantRef));
    return grant === undefined
      ? broken("DOCK", "E_GRANT_MISSING", 0, `dock ${body.dockId}: its grant is not in the pack`)
      : verifyDock(crypto, signed, keyset, grant, Math.max(body.issuedAtUs, body.notBeforeUs));
  });
  if (isBroken(docks)) return docks;

  const genesis = proveGenesis(crypto, frames.GENESIS, root.tenant, docks);
  if (isBroken(genesis)) return genesis;
  const manifest = manifests.get(toHex(genesis.body.manifestHash));
  if (manifest === undefined) {
    return broken(
      "GENESIS",
      "E_MANIFEST_MISSING",
      0,
      "the manifest of the genesis is not in the pack",
    );
  }

  const dock = docks.get(toHex(genesis.body.dockRef)) as Verified<DockBody>;
  // What its operators granted this instance, at the dock where it came aboard: no other grant will do.
  const grant = grants.get(toHex(dock.body.grantRef)) as Verified<GrantBody>;
  const leases = each("LEASE", frames.LEASE, LEASE, (signed, body) => {
    if (!grants.has(toHex(body.grantRef))) {
      return broken(
        "LEASE",
        "E_GRANT_MISSING",
        0,
        `lease ${body.leaseId}: its grant is not in the pack`,
      );
    }
    return verifyLease(crypto, signed, {
      keyset,
      grant,
      genesis,
      manifest,
      nowUs: body.issuedAtUs,
    });
  });
  if (isBroken(leases)) return leases;

  const revocations = proveRevocations(crypto, frames.REVOCATION, keyset);
  if (isBroken(revocations)) return revocations;
  const { instanceId, manifestHash: identity } = genesis.body;
  const tenantId = root.tenant;
  return {
    tenantId,
    keyset,
    keysets,
    manifests,
    manifest,
    grants,
    docks,
    genesis,
    leases,
    revocations,
    subject: {
      tenantId,
      instanceId,
      ledgerId: genesis.ref,
      manifestHash: identity,
      scopes: compileScopes(manifest),
      granted: grant.body.scopes,
    },
  };
}

/**
 * In ascending version; the last one speaks. Each is judged by the root that the one before it leaves
 * in charge, the first by the trust file's.
 */
export function proveKeysets(
  crypto: Crypto,
  frames: readonly Uint8Array[],
  root: Root,
): Map<string, Verified<KeysetBody>> | Break {
  let { rootKey } = root;
  let newest: Verified<KeysetBody> | null = null;
  const keysets = each("KEYSET", frames, KEYSET, (signed) => {
    const keyset = verifyKeyset(crypto, signed, rootKey, 1);
    if (isInvalid(keyset)) return keyset;
    const fault = follows(newest, keyset, root.tenant);
    if (fault !== null) return fault;
    rootKey = rootAfter(keyset, rootKey);
    newest = keyset;
    return keyset;
  });
  if (isBroken(keysets)) return keysets;
  const version = [...keysets.values()].at(-1)?.body.keysetVersion;
  if (version === undefined)
    return broken("KEYSET", "E_KEYSET_MISSING", 0, "the pack has no keyset");
  if (version < root.keysetVersion) {
    return broken(
      "KEYSET",
      "E_KEYSET_ROLLBACK",
      0,
      `the newest keyset is version ${version}, the trust file asks for ${root.keysetVersion}`,
    );
  }
  return keysets;
}

/** What is wrong with a keyset in its place; null: nothing. `before` is null for the first shown. */
function follows(
  before: Verified<KeysetBody> | null,
  { body }: Verified<KeysetBody>,
  tenant: string,
): Break | null {
  if (body.tenantId !== tenant) {
    return broken("KEYSET", "E_TENANT_MISMATCH", 0, `a keyset is of tenant ${body.tenantId}`);
  }
  if (before === null) return null;
  const { keysetVersion: version } = body;
  if (version <= before.body.keysetVersion) {
    return broken("KEYSET", "E_KEYSET_DUP", 0, `keyset ${version} does not ascend`);
  }
  if (!equal(body.previous, before.ref)) {
    return broken("KEYSET", "E_KEYSET_REF", 0, `keyset ${version} does not follow the one before`);
  }
  const dropped = droppedKey(before.body, body);
  if (dropped === null) return null;
  const key = `${dropped.role} key ${toHex(dropped.key)}`;
  return broken("KEYSET", "E_KEYSET_FIELD", 0, `keyset ${version} drops ${key}`);
}

function readManifests(
  crypto: Crypto,
  frames: readonly Uint8Array[],
): Map<string, Manifest> | Break {
  const manifests = new Map<string, Manifest>();
  for (const bytes of frames) {
    const manifest = decodeStrictly("MANIFEST", ManifestBody, bytes);
    if (isBroken(manifest)) return manifest;
    const fault = checkManifest(manifest);
    if (fault !== null) return faulty("MANIFEST", "MANIFEST", fault);
    const hash = toHex(manifestHash(crypto, bytes));
    if (manifests.has(hash))
      return broken("MANIFEST", "E_MANIFEST_DUP", 0, `manifest ${hash} stands twice`);
    manifests.set(hash, manifest);
  }
  return manifests;
}

function proveGenesis(
  crypto: Crypto,
  bytes: Uint8Array,
  tenant: string,
  docks: ReadonlyMap<string, Verified<DockBody>>,
): Verified<GenesisBody> | Break {
  const signed = decodeStrictly("GENESIS", SignedBytes, bytes);
  if (isBroken(signed)) return signed;
  const body = decodeStrictly("GENESIS", GENESIS.body, signed.body);
  if (isBroken(body)) return body;
  if (body.tenantId !== tenant) {
    return broken("GENESIS", "E_TENANT_MISMATCH", 0, `the ledger is of tenant ${body.tenantId}`);
  }
  const problem = crypto.keyProblem(body.ledgerKey);
  if (problem !== null) return broken("GENESIS", problem, 0, "the ledger key is not sound");
  const dock = docks.get(toHex(body.dockRef));
  if (dock === undefined)
    return broken("GENESIS", "E_DOCK_MISSING", 0, "its dock is not in the pack");
  const genesis = verifyGenesis(crypto, signed, dock);
  return isInvalid(genesis) ? faulty("GENESIS", "GENESIS", genesis) : genesis;
}

/** Epochs without a gap among those shown, each citing the one before. */
function proveRevocations(
  crypto: Crypto,
  frames: readonly Uint8Array[],
  keyset: Verified<KeysetBody>,
): Verified<RevocationBody>[] | Break {
  const proven = each("REVOCATION", frames, REVOCATION, (signed) =>
    verifyRecordedRevocation(crypto, signed, keyset),
  );
  if (isBroken(proven)) return proven;
  const list = [...proven.values()];
  for (const [i, next] of list.entries()) {
    const before = list[i - 1];
    const gap = before === undefined ? null : checkEpoch(before, next);
    if (gap !== null) return broken("REVOCATION", "E_REVOCATION_GAP", 0, gap.detail);
  }
  return list;
}

/** Decodes and verifies every frame of a kind; keyed by ref, in the pack's order. */
export function each<T>(
  object: ObjectName & CheckName,
  frames: readonly Uint8Array[],
  kind: SignedKind<T>,
  verify: (signed: SignedBytes, body: T) => Verified<T> | Invalid | Break,
): Map<string, Verified<T>> | Break {
  const proven = new Map<string, Verified<T>>();
  for (const bytes of frames) {
    const signed = decodeStrictly(object, SignedBytes, bytes);
    if (isBroken(signed)) return signed;
    const body = decodeStrictly(object, kind.body, signed.body);
    if (isBroken(body)) return body;
    const verified = verify(signed, body);
    if (isBroken(verified)) return verified;
    if (isInvalid(verified)) return faulty(object, object, verified);
    const ref = toHex(verified.ref);
    if (proven.has(ref))
      return broken(object, `E_${object}_DUP`, 0, `${kind.name} ${ref} stands twice`);
    proven.set(ref, verified);
  }
  return proven;
}

/** A value, or the codec's own code as the break of `check`. */
export function decodeStrictly<T>(
  check: CheckName,
  codec: Pick<Codec<T>, "decode">,
  bytes: Uint8Array,
  index = 0,
): T | Break {
  try {
    return codec.decode(bytes);
  } catch (error) {
    if (error instanceof CodecError) return broken(check, error.code, index, error.message);
    throw error;
  }
}

const faulty = (check: CheckName, object: ObjectName, fault: Invalid): Break =>
  broken(check, codeOf(object, fault), 0, fault.detail);

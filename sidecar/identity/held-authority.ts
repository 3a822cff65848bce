import { equal } from "../../src/domain/bytes.ts";
import { CodecError } from "../../src/domain/canonical.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { type DirectiveBody, verifyDirective } from "../../src/domain/directive.ts";
import { type DockBody, verifyDock } from "../../src/domain/dock.ts";
import { type GenesisBody, verifyGenesis } from "../../src/domain/genesis.ts";
import { type GrantBody, type Measure, verifyGrant } from "../../src/domain/grant.ts";
import { type Invalid, invalid, isInvalid } from "../../src/domain/invalid.ts";
import { type KeysetBody, verifyKeyset } from "../../src/domain/keyset.ts";
import { type LeaseBody, verifyLease } from "../../src/domain/lease.ts";
import { type Manifest, ManifestBody, manifestHash } from "../../src/domain/manifest.ts";
import {
  checkEpoch,
  type RevocationBody,
  RevocationBody as RevocationCodec,
  verifyRevocation,
} from "../../src/domain/revocation.ts";
import type { SignedBytes, Verified } from "../../src/domain/signed.ts";
import { sameTenant } from "../../src/domain/verify.ts";
import type { ArtifactFiles } from "./artifact-files.ts";

/** How this version measures: it reads the files, and cannot vouch for what was started from them. */
export const MEASURED: Measure = "FILES";

/** What a sidecar was handed when it docked, still unbelieved. */
export interface ChainOfAuthority {
  readonly keyset: SignedBytes;
  readonly grant: SignedBytes;
  readonly dock: SignedBytes;
  readonly genesis: SignedBytes;
  readonly manifest: Uint8Array;
}

/**
 * The chain of keys as one sidecar holds it: tenant root → keyset → grant → dock → genesis, and from
 * there each lease. Nothing enters without being verified from the pinned root, so a control plane
 * that was taken over cannot widen what operators signed. Keysets and revocations only ever go on.
 */
export class HeldAuthority {
  readonly genesis: Verified<GenesisBody>;
  readonly grant: Verified<GrantBody>;
  readonly dock: Verified<DockBody>;
  readonly manifest: Manifest;
  /** Canonical, as recorded. */
  readonly manifestBytes: Uint8Array;
  readonly manifestHash: Uint8Array;
  #keyset: Verified<KeysetBody>;
  readonly #revocations: Verified<RevocationBody>[] = [];
  readonly #crypto: Crypto;
  readonly #rootKey: Uint8Array;
  readonly #files: ArtifactFiles;

  private constructor(
    crypto: Crypto,
    rootKey: Uint8Array,
    files: ArtifactFiles,
    verified: {
      genesis: Verified<GenesisBody>;
      grant: Verified<GrantBody>;
      dock: Verified<DockBody>;
      keyset: Verified<KeysetBody>;
      manifest: Manifest;
      manifestBytes: Uint8Array;
      manifestHash: Uint8Array;
    },
  ) {
    this.#crypto = crypto;
    this.#rootKey = rootKey;
    this.#files = files;
    this.genesis = verified.genesis;
    this.grant = verified.grant;
    this.dock = verified.dock;
    this.manifest = verified.manifest;
    this.manifestBytes = verified.manifestBytes;
    this.manifestHash = verified.manifestHash;
    this.#keyset = verified.keyset;
  }

  /** Verifies the whole chain from the pinned root. */
  static verify(
    crypto: Crypto,
    rootKey: Uint8Array,
    files: ArtifactFiles,
    chain: ChainOfAuthority,
    nowUs: number,
  ): HeldAuthority | Invalid {
    const keyset = verifyKeyset(crypto, chain.keyset, rootKey, 1);
    if (isInvalid(keyset)) return keyset;
    const hash = manifestHash(crypto, chain.manifest);
    const manifest = decodeManifest(chain.manifest);
    if (isInvalid(manifest)) return manifest;
    const grant = verifyGrant(crypto, chain.grant, keyset, manifest, nowUs);
    if (isInvalid(grant)) return grant;
    if (!equal(grant.body.manifestHash, hash)) {
      return invalid("E_MANIFEST", "grant: is for another manifest than the one handed out");
    }
    const dock = verifyDock(crypto, chain.dock, keyset, grant, nowUs);
    if (isInvalid(dock)) return dock;
    const genesis = verifyGenesis(crypto, chain.genesis, dock);
    if (isInvalid(genesis)) return genesis;
    const manifestBytes = chain.manifest;
    const verified = { genesis, grant, dock, keyset, manifest, manifestBytes, manifestHash: hash };
    return new HeldAuthority(crypto, rootKey, files, verified);
  }

  get keyset(): Verified<KeysetBody> {
    return this.#keyset;
  }

  /** All that were adopted, by epoch from 1. */
  get revocations(): readonly Verified<RevocationBody>[] {
    return this.#revocations;
  }

  get revocationEpoch(): number {
    return this.#revocations.length;
  }

  /** Takes over a newer keyset; an older one is refused. Durable before it counts. */
  async adoptKeyset(signed: SignedBytes): Promise<Verified<KeysetBody> | Invalid> {
    const held = this.#keyset.body.keysetVersion;
    const keyset = verifyKeyset(this.#crypto, signed, this.#rootKey, held);
    if (isInvalid(keyset)) return keyset;
    const { tenantId } = this.#keyset.body;
    // One root may speak for several tenants; which one this is was settled at docking.
    const foreign = sameTenant("keyset.tenantId", keyset.body.tenantId, tenantId);
    if (foreign !== null || keyset.body.keysetVersion === held) return foreign ?? keyset;
    await this.#files.writeSigned("keyset", signed);
    this.#keyset = keyset;
    return keyset;
  }

  /** Takes over the next revocation of the chain. Durable before it counts. */
  async adoptRevocation(
    signed: SignedBytes,
    nowUs: number,
  ): Promise<Verified<RevocationBody> | Invalid> {
    const checked = this.#checkRevocation(signed, nowUs);
    if (isInvalid(checked)) return checked;
    await this.#files.writeSigned(`revocation.${checked.body.epoch}`, signed);
    this.#revocations.push(checked);
    return checked;
  }

  /** Brings back what was adopted before this start, in order. */
  async restore(nowUs: number): Promise<Invalid | null> {
    for (let epoch = 1; ; epoch++) {
      const signed = await this.#files.readSigned(`revocation.${epoch}`);
      if (signed === null) return null;
      const checked = this.#checkRevocation(signed, nowUs);
      if (isInvalid(checked)) return checked;
      this.#revocations.push(checked);
    }
  }

  /** The revocation that retired the manifest; null: it is in force. */
  get retired(): Verified<RevocationBody> | null {
    const hit = this.#revocations.find(
      ({ body }) => body.kind === "MANIFEST" && equal(body.target, this.manifestHash),
    );
    return hit ?? null;
  }

  /** Whether a revocation in force takes this lease back, alone or with all of its kind. */
  revokes(lease: Verified<LeaseBody>): Verified<RevocationBody> | null {
    const { grantRef, ledgerId, manifestHash: hash } = lease.body;
    const targets: Partial<Record<RevocationBody["kind"], Uint8Array>> = {
      LEASE: lease.ref,
      GRANT: grantRef,
      MANIFEST: hash,
      INSTANCE: ledgerId,
    };
    // Every key that the lease rests on: the operators' and the issuer's.
    const signed = [this.grant, this.dock, lease].flatMap((a) => a.signed.signatures);
    const hit = this.#revocations.find(({ body }) => {
      if (body.kind === "TENANT") return true;
      if (body.kind === "KEY") return signed.some((s) => equal(s.key, body.target));
      const target = targets[body.kind];
      return target !== undefined && equal(target, body.target);
    });
    return hit ?? null;
  }

  /**
   * A lease for this very instance, within the grant, by the issuer, not taken back. Grant and dock
   * are judged anew, by the keyset held now: a key of theirs may have been given up since docking.
   */
  verifyLease(signed: SignedBytes, nowUs: number): Verified<LeaseBody> | Invalid {
    const [keyset, { grant, dock, genesis, manifest }] = [this.#keyset, this];
    const granted = verifyGrant(this.#crypto, grant.signed, keyset, null, nowUs);
    if (isInvalid(granted)) return granted;
    const docked = verifyDock(this.#crypto, dock.signed, keyset, grant, nowUs);
    if (isInvalid(docked)) return docked;
    const context = { keyset, grant, genesis, manifest, measured: MEASURED, nowUs };
    const lease = verifyLease(this.#crypto, signed, context);
    if (isInvalid(lease)) return lease;
    const revoked = this.revokes(lease);
    if (revoked !== null) {
      return invalid("E_REVOKED", `lease: taken back by revocation ${revoked.body.epoch}`);
    }
    return lease;
  }

  /** A directive from the issuer to this ledger in this session. */
  verifyDirective(
    signed: SignedBytes,
    sessionEpoch: number,
    nowUs: number,
  ): Verified<DirectiveBody> | Invalid {
    const { genesis } = this;
    const context = { keyset: this.#keyset, genesis, sessionEpoch, nowUs };
    return verifyDirective(this.#crypto, signed, context);
  }

  /** The next link of the chain of revocations: none may be left out, none put in between. */
  #checkRevocation(signed: SignedBytes, nowUs: number): Verified<RevocationBody> | Invalid {
    let revocation = verifyRevocation(this.#crypto, signed, this.#keyset, nowUs);
    if (isInvalid(revocation) && revocation.code === "E_NOT_YET_VALID") {
      // What takes away is never too early: a clock that is behind must not keep it out.
      const { effectiveUs } = RevocationCodec.decode(signed.body);
      revocation = verifyRevocation(this.#crypto, signed, this.#keyset, effectiveUs);
    }
    if (isInvalid(revocation)) return revocation;
    return checkEpoch(this.#revocations.at(-1) ?? null, revocation) ?? revocation;
  }
}

function decodeManifest(bytes: Uint8Array): Manifest | Invalid {
  try {
    return ManifestBody.decode(bytes);
  } catch (error) {
    if (error instanceof CodecError) return invalid("E_MANIFEST", error.message);
    throw error;
  }
}

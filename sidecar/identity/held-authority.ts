import { equal } from "../../src/domain/bytes.ts";
import { CodecError } from "../../src/domain/canonical.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { type DirectiveBody, verifyDirective } from "../../src/domain/directive.ts";
import { type DockBody, verifyDock } from "../../src/domain/dock.ts";
import { type GenesisBody, verifyGenesis } from "../../src/domain/genesis.ts";
import { type GrantBody, type Measure, verifyGrant } from "../../src/domain/grant.ts";
import { type Invalid, invalid, isInvalid } from "../../src/domain/invalid.ts";
import { type KeysetBody, rootAfter, verifyKeyset } from "../../src/domain/keyset.ts";
import { type LeaseBody, verifyLease } from "../../src/domain/lease.ts";
import { type Manifest, ManifestBody, manifestHash } from "../../src/domain/manifest.ts";
import {
  checkEpoch,
  type RevocationBody,
  takesBack,
  touches,
  verifyRecordedRevocation,
} from "../../src/domain/revocation.ts";
import type { SignedBytes, Verified } from "../../src/domain/signed.ts";
import { sameTenant } from "../../src/domain/verify.ts";
import type { ArtifactFiles } from "./artifact-files.ts";

/** Holds the tenant root's public key, 32 bytes, once it is another than the token's. */
export const ROOT_FILE = "root";

/** What a sidecar was handed when it docked, still unbelieved. */
export interface ChainOfAuthority {
  readonly keyset: SignedBytes;
  readonly grant: SignedBytes;
  readonly dock: SignedBytes;
  readonly genesis: SignedBytes;
  readonly manifest: Uint8Array;
}

/** Taken over. It counts already; once `durable` resolves, it does so after a restart, too. */
export interface Adopted<T> {
  readonly artifact: Verified<T>;
  /** Rejects when the disk refuses: then nothing more may be promised. */
  readonly durable: Promise<void>;
}

const DURABLE = Promise.resolve();

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
  readonly #measured: Measure;
  #rootKey: Uint8Array;
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
      measured: Measure;
      manifest: Manifest;
      manifestBytes: Uint8Array;
      manifestHash: Uint8Array;
    },
  ) {
    this.#crypto = crypto;
    this.#rootKey = rootAfter(verified.keyset, rootKey);
    this.#files = files;
    this.genesis = verified.genesis;
    this.grant = verified.grant;
    this.dock = verified.dock;
    this.#measured = verified.measured;
    this.manifest = verified.manifest;
    this.manifestBytes = verified.manifestBytes;
    this.manifestHash = verified.manifestHash;
    this.#keyset = verified.keyset;
  }

  /**
   * Verifies the whole chain from the pinned root.
   * @param measured how the agent is measured here: a grant may ask for more.
   */
  static verify(
    crypto: Crypto,
    rootKey: Uint8Array,
    files: ArtifactFiles,
    chain: ChainOfAuthority,
    nowUs: number,
    measured: Measure = "FILES",
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
    return new HeldAuthority(crypto, rootKey, files, { ...verified, measured });
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

  /** Takes over a newer keyset, which counts at once; an older one is refused. */
  adoptKeyset(signed: SignedBytes): Adopted<KeysetBody> | Invalid {
    const held = this.#keyset.body.keysetVersion;
    const keyset = verifyKeyset(this.#crypto, signed, this.#rootKey, held);
    if (isInvalid(keyset)) return keyset;
    const { tenantId } = this.#keyset.body;
    // One root may speak for several tenants; which one this is was settled at docking.
    const foreign = sameTenant("keyset.tenantId", keyset.body.tenantId, tenantId);
    if (foreign !== null) return foreign;
    if (keyset.body.keysetVersion === held) return { artifact: this.#keyset, durable: DURABLE };
    this.#keyset = keyset;
    this.#rootKey = rootAfter(keyset, this.#rootKey);
    return { artifact: keyset, durable: this.#keepKeyset(keyset) };
  }

  /** The tenant root that the next keyset must be signed by: what was pinned, or whom it named since. */
  get rootKey(): Uint8Array {
    return this.#rootKey;
  }

  /** The keyset that hands over holds by either root, so it goes first. */
  async #keepKeyset({ signed, body }: Verified<KeysetBody>): Promise<void> {
    await this.#files.writeSigned("keyset", signed);
    if (body.rootKey.length > 0) await this.#files.write(ROOT_FILE, body.rootKey);
  }

  /** Takes over the next revocation of the chain, which counts at once: no disk holds it up. */
  adoptRevocation(signed: SignedBytes): Adopted<RevocationBody> | Invalid {
    const artifact = this.#checkRevocation(signed);
    if (isInvalid(artifact)) return artifact;
    this.#revocations.push(artifact);
    const name = `revocation.${artifact.body.epoch}`;
    return { artifact, durable: this.#files.writeSigned(name, signed) };
  }

  /** Brings back what was adopted before this start, in order. */
  async restore(): Promise<Invalid | null> {
    for (let epoch = 1; ; epoch++) {
      const signed = await this.#files.readSigned(`revocation.${epoch}`);
      if (signed === null) return null;
      const checked = this.#checkRevocation(signed);
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

  /** The revocation that takes this lease back, alone or with all of its kind; null: none does. */
  revokes(lease: Verified<LeaseBody>): Verified<RevocationBody> | null {
    return takesBack(this.#keyset, this.#revocations, this.#resting(lease));
  }

  /** Whether a revocation says anything about this instance, leases given. */
  concerns({ body }: Verified<RevocationBody>, leases: readonly Verified<LeaseBody>[]): boolean {
    const { kind, target } = body;
    if (kind === "TENANT" || kind === "RESUME") return true;
    const { grant, dock, genesis, manifestHash: hash } = this;
    const signers = [grant, dock].flatMap((a) => a.signed.signatures.map((s) => s.key));
    const own = [grant.ref, genesis.ref, hash, ...signers].some((ref) => equal(ref, target));
    return own || leases.some((lease) => touches(body, this.#resting(lease)));
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
    const context = { keyset, grant, genesis, manifest, measured: this.#measured, nowUs };
    const lease = verifyLease(this.#crypto, signed, context);
    if (isInvalid(lease)) return lease;
    const { revocationEpoch } = lease.body;
    if (revocationEpoch > this.revocationEpoch) {
      // Whoever cut it knew of revocations that we were not told of.
      return invalid(
        "E_REF",
        `lease.revocationEpoch is ${revocationEpoch}: those from ${this.revocationEpoch + 1} on are withheld`,
      );
    }
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
    // A key that operators took back releases nobody.
    const revoked = this.#revocations.find(
      ({ body }) => body.kind === "KEY" && signed.signatures.some((s) => equal(s.key, body.target)),
    );
    if (revoked !== undefined) {
      return invalid(
        "E_REVOKED",
        `directive: by a key that revocation ${revoked.body.epoch} names`,
      );
    }
    return verifyDirective(this.#crypto, signed, context);
  }

  #resting(lease: Verified<LeaseBody>) {
    const signed = [this.grant, this.dock, lease].flatMap((a) => a.signed.signatures);
    return { lease, signers: signed.map((s) => s.key) };
  }

  /** The next link of the chain of revocations: none may be left out, none put in between. */
  #checkRevocation(signed: SignedBytes): Verified<RevocationBody> | Invalid {
    const revocation = verifyRecordedRevocation(this.#crypto, signed, this.#keyset);
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

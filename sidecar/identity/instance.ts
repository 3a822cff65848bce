import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { equal, toHex } from "../../src/domain/bytes.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { GENESIS } from "../../src/domain/genesis.ts";
import { newInstanceId } from "../../src/domain/ids.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { formatJoinToken, type JoinToken, parseJoinToken } from "../../src/domain/join-token.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { idGenerator } from "../../src/native/ids.ts";
import {
  generateSeed,
  readSeedFile,
  type Seed,
  seedSigner,
  writeSeedFile,
} from "../../src/native/keys.ts";
import { ConfigError, type SidecarConfig } from "../config.ts";
import { ArtifactFiles } from "./artifact-files.ts";
import { type ChainOfAuthority, HeldAuthority } from "./held-authority.ts";

/** Asks the control plane to open a ledger; answers with the chain of authority, unbelieved. */
export type DockCall = (genesis: SignedBytes) => Promise<Omit<ChainOfAuthority, "genesis">>;

/** One instance: its ledger key, and the authority it stands on. */
export interface Instance {
  readonly token: JoinToken;
  readonly seed: Seed;
  readonly ledgerSigner: Signer;
  readonly authority: HeldAuthority;
}

/**
 * Brings the instance of this data folder back, or founds it: makes the ledger key, signs the genesis
 * with the join key and docks. An instance is one ledger and survives restarts; a folder never
 * becomes another instance.
 *
 * @throws ConfigError when the folder, token and manifest do not belong together.
 */
export async function openInstance(
  config: SidecarConfig,
  measuredHash: Uint8Array,
  nowUs: number,
  dock: (token: JoinToken) => DockCall,
): Promise<Instance> {
  const files = new ArtifactFiles(join(config.dataFolder, "authority"));
  const keyFile = join(config.keysFolder, "ledger.key");
  mkdirSync(config.keysFolder, { recursive: true, mode: 0o700 });
  const token = await readToken(config, files);
  if (!equal(token.manifestHash, measuredHash)) {
    throw new ConfigError(
      `${config.manifestFile}: measures as ${toHex(measuredHash)}, but the instance is docked for ` +
        `${toHex(token.manifestHash)}: code, configuration or capabilities changed, which makes it ` +
        "another identity; record the new manifest, grant it, and dock it in a folder of its own",
    );
  }
  // Without its key the ledger cannot go on, and a new key would make it another instance.
  if (!existsSync(keyFile)) {
    if ((await files.read("genesis")) !== null) {
      throw new ConfigError(`${keyFile} is gone; restore it, or dock anew in another folder`);
    }
    await writeSeedFile(keyFile, generateSeed());
  }
  const seed = await readSeedFile(keyFile);
  const ledgerSigner = seedSigner(seed);
  const genesis = await foundGenesis(files, token, ledgerSigner, nowUs);
  // From here on the join key is not needed, so it is not kept.
  const pin = formatJoinToken({ ...token, joinSeed: new Uint8Array(0) });
  await files.write("pin", new TextEncoder().encode(pin));
  const chain = (await storedChain(files, genesis)) ?? { genesis, ...(await dock(token)(genesis)) };
  const authority = HeldAuthority.verify(native, token.rootKey, files, chain, nowUs);
  if (isInvalid(authority)) {
    throw new ConfigError(
      `the chain of authority does not hold: ${authority.detail} (${authority.code})`,
    );
  }
  if (!equal(authority.manifestHash, measuredHash)) {
    throw new ConfigError(
      "the control plane handed out another manifest than the one measured here",
    );
  }
  await storeChain(files, chain);
  const broken = await authority.restore(nowUs);
  if (broken !== null) throw new ConfigError(`a stored revocation does not hold: ${broken.detail}`);
  return { token, seed, ledgerSigner, authority };
}

async function readToken(config: SidecarConfig, files: ArtifactFiles): Promise<JoinToken> {
  const stored = await files.read("pin");
  let text = stored === null ? null : new TextDecoder().decode(stored);
  if (text === null) {
    if (config.tokenFile === null) {
      throw new ConfigError("--token is missing: this instance has not docked yet");
    }
    try {
      text = (await readFile(config.tokenFile, "utf8")).trim();
    } catch (error) {
      throw new ConfigError(`--token: ${(error as Error).message}`);
    }
  }
  const token = parseJoinToken(text);
  if (isInvalid(token)) throw new ConfigError(token.detail);
  return token;
}

/** The genesis is on disk before it is sent, so that a lost answer never makes two ledgers. */
async function foundGenesis(
  files: ArtifactFiles,
  token: JoinToken,
  ledgerSigner: Signer,
  nowUs: number,
): Promise<SignedBytes> {
  const stored = await files.readSigned("genesis");
  if (stored !== null) return stored;
  const joinSigner = seedSigner(token.joinSeed);
  const genesis = await signBody(
    GENESIS,
    {
      version: 1,
      role: "WORK",
      tenantId: token.tenantId,
      instanceId: newInstanceId(idGenerator()),
      ledgerKey: ledgerSigner.publicKey,
      manifestHash: token.manifestHash,
      dockRef: token.dockRef,
      joinKey: joinSigner.publicKey,
      nonce: new Uint8Array(randomBytes(32)),
      createdAtUs: nowUs,
      predecessor: new Uint8Array(0),
    },
    [joinSigner, ledgerSigner],
  );
  await files.writeSigned("genesis", genesis);
  return genesis;
}

async function storedChain(
  files: ArtifactFiles,
  genesis: SignedBytes,
): Promise<ChainOfAuthority | null> {
  const [keyset, grant, dock, manifest] = await Promise.all([
    files.readSigned("keyset"),
    files.readSigned("grant"),
    files.readSigned("dock"),
    files.read("manifest"),
  ]);
  if (keyset === null || grant === null || dock === null || manifest === null) return null;
  return { genesis, keyset, grant, dock, manifest };
}

async function storeChain(files: ArtifactFiles, chain: ChainOfAuthority): Promise<void> {
  await files.writeSigned("grant", chain.grant);
  await files.writeSigned("dock", chain.dock);
  await files.write("manifest", chain.manifest);
  await files.writeSigned("keyset", chain.keyset);
}

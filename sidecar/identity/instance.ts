import { randomBytes, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { equal, toHex } from "../../src/domain/bytes.ts";
import { CodecError } from "../../src/domain/canonical.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { GENESIS } from "../../src/domain/genesis.ts";
import { MEASURES } from "../../src/domain/grant.ts";
import { newInstanceId } from "../../src/domain/ids.ts";
import { type Invalid, invalid, isInvalid } from "../../src/domain/invalid.ts";
import { formatJoinToken, type JoinToken, parseJoinToken } from "../../src/domain/join-token.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { decodeSigned, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { idGenerator } from "../../src/native/ids.ts";
import {
  generateSeed,
  readSeedFile,
  type Seed,
  seedSigner,
  writeSeedFile,
} from "../../src/native/keys.ts";
import { ConfigError, type SidecarConfig, standingOf, UsageError } from "../config.ts";
import { ArtifactFiles } from "./artifact-files.ts";
import { type ChainOfAuthority, HeldAuthority, ROOT_FILE } from "./held-authority.ts";
import { settleKey, succeed } from "./succession.ts";

/** Asks the control plane to open a ledger; answers with the chain of authority, unbelieved. */
export type DockCall = (genesis: SignedBytes) => Promise<Omit<ChainOfAuthority, "genesis">>;

/** What of a sidecar's settings says who it is. */
type InstanceConfig = Pick<
  SidecarConfig,
  | "dataFolder"
  | "keysFolder"
  | "tokenFile"
  | "succeed"
  | "keysetFile"
  | "manifestFile"
  | "gateway"
  | "kept"
>;

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
  config: InstanceConfig,
  measuredHash: Uint8Array,
  nowUs: number,
  dock: (token: JoinToken) => DockCall,
): Promise<Instance> {
  const files = new ArtifactFiles(join(config.dataFolder, "authority"));
  const keyFile = join(config.keysFolder, "ledger.key");
  mkdirSync(config.keysFolder, { recursive: true, mode: 0o700 });
  if (config.succeed) {
    await succeed(config.dataFolder, files, await readJoinToken(config), keyFile, nowUs);
  }
  await settleKey(files, keyFile);
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
      throw new ConfigError(
        `${keyFile} is gone; restore it, or begin a successor with its own: --succeed`,
      );
    }
    await writeSeedFile(keyFile, generateSeed());
  }
  const seed = await readSeedFile(keyFile);
  const ledgerSigner = seedSigner(seed);
  const genesis = await foundGenesis(files, token, ledgerSigner, nowUs);
  const stored = await storedChain(files, genesis);
  const chain = stored ?? { genesis, ...(await dock(token)(genesis)) };
  const rootKey = (await files.read(ROOT_FILE)) ?? token.rootKey;
  const { measure } = standingOf(config);
  const authority = HeldAuthority.verify(native, rootKey, files, chain, nowUs, measure);
  if (isInvalid(authority)) {
    const fix = stored === null ? "" : `; restore ${files.folder} from a backup`;
    throw new ConfigError(
      `the chain of authority does not hold: ${authority.detail} (${authority.code})${fix}`,
    );
  }
  const { measureMin } = authority.grant.body;
  if (MEASURES.indexOf(measure) < MEASURES.indexOf(measureMin)) {
    // No lease of this grant would be taken, and the agent would wait for one for ever.
    throw new ConfigError(
      `the grant asks for an agent that is measured as ${measureMin}, and this one is as ${measure}: ` +
        "seal it (dragons run without --contain off), or have a grant with --measure files",
    );
  }
  if (!equal(authority.genesis.body.ledgerKey, ledgerSigner.publicKey)) {
    throw new ConfigError(
      `${keyFile} is not the key of this instance; restore it, or dock anew in another folder`,
    );
  }
  if (!equal(authority.manifestHash, measuredHash)) {
    throw new ConfigError(
      "the control plane handed out another manifest than the one measured here",
    );
  }
  await neverOlder(files, authority, token);
  await storeChain(files, chain, token);
  // Should the last start have ended between a keyset that hands over and the root that it names.
  if (!equal(authority.rootKey, rootKey)) await files.write(ROOT_FILE, authority.rootKey);
  const broken = await authority.restore();
  if (broken !== null) throw new ConfigError(`a stored revocation does not hold: ${broken.detail}`);
  if (config.keysetFile !== null) await adoptFile(authority, config.keysetFile);
  return { token, seed, ledgerSigner, authority };
}

/**
 * Brings back the instance of a folder that came aboard, whatever has become of its agent's files: its
 * ledger can be closed, and nothing can be done by it.
 *
 * @throws ConfigError when what it docked with does not hold together.
 */
export async function reopenInstance(
  folders: Pick<SidecarConfig, "dataFolder" | "keysFolder">,
  nowUs: number,
): Promise<Instance> {
  const files = new ArtifactFiles(join(folders.dataFolder, "authority"));
  const config = { ...NOBODY, ...folders };
  const token = await readToken(config, files);
  return openInstance(config, token.manifestHash, nowUs, () => {
    throw new ConfigError(
      `${files.folder} lacks what it was docked with; restore it from a backup`,
    );
  });
}

/** Who neither docks nor acts. */
const NOBODY = {
  tokenFile: null,
  succeed: false,
  keysetFile: null,
  manifestFile: "",
  gateway: null,
  kept: null,
} as const;

/**
 * What a folder has held before it docked anew is no keyset to go back behind, nor is the one that
 * operators knew when they made its token: keys may be given up since.
 */
async function neverOlder(
  files: ArtifactFiles,
  { keyset }: HeldAuthority,
  token: JoinToken,
): Promise<void> {
  const { keysetVersion } = keyset.body;
  const held = await files.readSigned("keyset");
  const before = held === null ? 0 : KEYSET.body.decode(held.body).keysetVersion;
  const [least, who] =
    before > token.keysetVersion
      ? [before, "this folder has held"]
      : [token.keysetVersion, "its join token was made under"];
  if (keysetVersion >= least) return;
  throw new ConfigError(
    `the control plane hands out keyset ${keysetVersion}, and ${who} ${least}: record the ` +
      "newest keyset there before anything docks",
  );
}

/** A keyset that came by hand is believed like any other, by the root's signature; an older one is no news. */
async function adoptFile(authority: HeldAuthority, path: string): Promise<void> {
  const bytes = await readFile(path).catch((error: Error) => {
    throw new ConfigError(`--keyset: ${error.message}`);
  });
  const signed = decodeSigned(new Uint8Array(bytes));
  const adopted = isInvalid(signed) ? signed : authority.adoptKeyset(signed);
  if (!isInvalid(adopted)) return adopted.durable;
  if (adopted.code !== "E_ROLLBACK") {
    throw new ConfigError(`--keyset: ${path}: ${adopted.detail} (${adopted.code})`);
  }
}

async function readToken(config: InstanceConfig, files: ArtifactFiles): Promise<JoinToken> {
  const stored = await files.read("pin");
  if (stored !== null) {
    const pin = checkedToken(new TextDecoder().decode(stored));
    if (isInvalid(pin)) {
      throw new ConfigError(
        `${join(files.folder, "pin")}: ${pin.detail}; restore it from a backup`,
      );
    }
    return pin;
  }
  return readJoinToken(config);
}

/** As operators handed it out, with its join key. */
async function readJoinToken(config: InstanceConfig): Promise<JoinToken> {
  if (config.tokenFile === null) {
    throw new UsageError("--token is missing: this instance has not docked yet");
  }
  let text: string;
  try {
    text = (await readFile(config.tokenFile, "utf8")).trim();
  } catch (error) {
    throw new ConfigError(`--token: ${(error as Error).message}`);
  }
  const token = checkedToken(text);
  const problem = isInvalid(token) ? token.detail : absence(token, "joinSeed");
  if (isInvalid(token) || problem !== null) throw new ConfigError(`--token: ${problem}`);
  return token;
}

/** A token that can be worked with: everything is there, and means what it should. */
function checkedToken(text: string): JoinToken | Invalid {
  const token = parseJoinToken(text);
  if (isInvalid(token)) return token;
  for (const field of ["tenantId", "dockRef", "manifestHash", "rootKey"] as const) {
    const absent = absence(token, field);
    if (absent !== null) return invalid("E_FIELD", absent);
  }
  if (!/^(\[[0-9a-fA-F:.]+\]|[^:\s[\]/]+):\d{1,5}$/.test(token.controlAddress)) {
    return invalid("E_FIELD", "joinToken.controlAddress: is not HOST:PORT");
  }
  try {
    new X509Certificate(token.controlCa);
  } catch {
    return invalid("E_FIELD", "joinToken.controlCa: is no certificate in PEM");
  }
  return token;
}

const absence = (token: JoinToken, field: keyof JoinToken): string | null => {
  const value = token[field];
  return typeof value === "number" || value.length > 0 ? null : `joinToken.${field}: is absent`;
};

/** The genesis is on disk before it is sent, so that a lost answer never makes two ledgers. */
async function foundGenesis(
  files: ArtifactFiles,
  token: JoinToken,
  ledgerSigner: Signer,
  nowUs: number,
): Promise<SignedBytes> {
  const stored = await files.readSigned("genesis");
  const docked = token.joinSeed.length === 0;
  // One that was made for another token, and refused, is nobody's.
  if (stored !== null && (docked || isFor(token, stored))) return stored;
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

function isFor(token: JoinToken, { body }: SignedBytes): boolean {
  try {
    const { tenantId, dockRef, manifestHash } = GENESIS.body.decode(body);
    return (
      tenantId === token.tenantId &&
      equal(dockRef, token.dockRef) &&
      equal(manifestHash, token.manifestHash)
    );
  } catch (error) {
    if (error instanceof CodecError) return false;
    throw error;
  }
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

/** With it the instance has docked: from here on its token is pinned. */
async function storeChain(
  files: ArtifactFiles,
  chain: ChainOfAuthority,
  token: JoinToken,
): Promise<void> {
  await files.writeSigned("grant", chain.grant);
  await files.writeSigned("dock", chain.dock);
  await files.write("manifest", chain.manifest);
  // The join key is not needed any more, so it is not kept.
  const pin = formatJoinToken({ ...token, joinSeed: new Uint8Array(0) });
  await files.write("pin", new TextEncoder().encode(pin));
  await files.writeSigned("keyset", chain.keyset);
}

import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { equal, toHex } from "../../src/domain/bytes.ts";
import { GENESIS } from "../../src/domain/genesis.ts";
import type { JoinToken } from "../../src/domain/join-token.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { generateSeed, readSeedFile, seedSigner, writeSeedFile } from "../../src/native/keys.ts";
import { ConfigError } from "../config.ts";
import type { ArtifactFiles } from "./artifact-files.ts";

/** Kept beside the new one's under the old ledger's name: they are evidence still. */
const OF_THE_LEDGER = ["ledger", "leases"];
/**
 * With these the folder counts as docked; they come anew with the successor. The keyset stays: no older
 * one may follow it.
 */
const OF_THE_DOCKING = ["pin", "grant", "dock", "manifest"];

/** The key of a ledger to be, until its genesis is written. */
const nextKey = (keyFile: string): string => `${keyFile}.next`;

/**
 * Begins a ledger that follows one which came back shorter than it was, or whose key is to sign no
 * more: the same instance, a key of its own, a genesis that names its predecessor, a fresh join token
 * as operators' leave to do so. Nothing of the old one is lost or changed. Said again after it is done,
 * or after a crash in the middle, it goes on from there.
 *
 * @param keyFile of the ledger key; the old one, which may be gone, is not asked.
 * @throws ConfigError when there is nothing to succeed, or the token is not for it.
 */
export async function succeed(
  dataFolder: string,
  files: ArtifactFiles,
  token: JoinToken,
  keyFile: string,
  nowUs: number,
): Promise<void> {
  const old = await files.readSigned("genesis");
  if (old === null) throw new ConfigError("--succeed: this folder holds no ledger to succeed");
  const before = GENESIS.body.decode(old.body);
  const joinSigner = seedSigner(token.joinSeed);
  if (equal(before.joinKey, joinSigner.publicKey)) {
    if (before.predecessor.length > 0) return;
    throw new ConfigError(
      "--token: opened the very ledger that is to be succeeded; ask for a new one",
    );
  }
  if (before.tenantId !== token.tenantId) {
    throw new ConfigError(`--token: is of tenant ${token.tenantId}, not ${before.tenantId}`);
  }
  const predecessor = refOf(native, "genesis", old.body);
  for (const name of OF_THE_LEDGER) {
    const path = join(dataFolder, name);
    if (existsSync(path)) renameSync(path, `${path}.${toHex(predecessor).slice(0, 16)}`);
  }
  for (const name of OF_THE_DOCKING) rmSync(join(files.folder, name), { force: true });
  // One that no genesis names is nobody's, and may have been cut short.
  rmSync(nextKey(keyFile), { force: true });
  await writeSeedFile(nextKey(keyFile), generateSeed());
  const ledgerSigner = seedSigner(await readSeedFile(nextKey(keyFile)));
  const genesis: SignedBytes = await signBody(
    GENESIS,
    {
      ...before,
      ledgerKey: ledgerSigner.publicKey,
      manifestHash: token.manifestHash,
      dockRef: token.dockRef,
      joinKey: joinSigner.publicKey,
      nonce: new Uint8Array(randomBytes(32)),
      createdAtUs: nowUs,
      predecessor,
    },
    [joinSigner, ledgerSigner],
  );
  await files.writeSigned("genesis", genesis);
}

/** Puts the successor's key in its place, once its genesis is on disk: now, or at the start after a crash. */
export async function settleKey(files: ArtifactFiles, keyFile: string): Promise<void> {
  const next = nextKey(keyFile);
  const genesis = await files.readSigned("genesis");
  if (genesis === null || !existsSync(next)) return;
  const { ledgerKey } = GENESIS.body.decode(genesis.body);
  const isNamed = async (file: string): Promise<boolean> =>
    equal(seedSigner(await readSeedFile(file)).publicKey, ledgerKey);
  // What was begun before a crash, and no genesis names, may be half a file.
  if (existsSync(keyFile) && (await isNamed(keyFile))) rmSync(next);
  else if (await isNamed(next)) renameSync(next, keyFile);
}

import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { equal, toHex } from "../../src/domain/bytes.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { GENESIS } from "../../src/domain/genesis.ts";
import type { JoinToken } from "../../src/domain/join-token.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { seedSigner } from "../../src/native/keys.ts";
import { ConfigError } from "../config.ts";
import type { ArtifactFiles } from "./artifact-files.ts";

/** Kept beside the new one's under the old ledger's name: they are evidence still. */
const OF_THE_LEDGER = ["ledger", "leases"];
/**
 * With these the folder counts as docked; they come anew with the successor. The keyset stays: no older
 * one may follow it.
 */
const OF_THE_DOCKING = ["pin", "grant", "dock", "manifest"];

/**
 * Begins a ledger that follows one which came back shorter than it was: the same instance, a genesis
 * that names its predecessor, a fresh join token as operators' leave to do so. Nothing of the old one
 * is lost or changed. Said again after it is done, or after a crash in the middle, it goes on from
 * there.
 *
 * @throws ConfigError when there is nothing to succeed, or the token is not for it.
 */
export async function succeed(
  dataFolder: string,
  files: ArtifactFiles,
  token: JoinToken,
  ledgerSigner: Signer,
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
  const genesis: SignedBytes = await signBody(
    GENESIS,
    {
      ...before,
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

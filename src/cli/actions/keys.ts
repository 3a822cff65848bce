import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { fromHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { native } from "../../native/crypto.ts";
import {
  commandSigner,
  fileSigner,
  generateSeed,
  KeyError,
  seedSigner,
  writeSeedFile,
} from "../../native/keys.ts";
import { EXIT, Failure } from "../failure.ts";
import { isCommand } from "../profile.ts";

/**
 * Makes a key, writes its seed to `path` (mode 0600, its folder 0700) and returns the public key.
 * @throws KeyError when the file is there already.
 */
export async function generateKey(path: string): Promise<Uint8Array> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const seed = generateSeed();
  await writeSeedFile(path, seed);
  return seedSigner(seed).publicKey;
}

/** The key of this file; made if the file is not there. */
export async function keptKey(path: string): Promise<Signer> {
  await generateKey(path).catch((error: unknown) => {
    // It is there already: whether it is of any use, reading it says.
    if (!(error instanceof KeyError)) throw error;
  });
  return fileSigner(path);
}

/**
 * A key to sign with: a seed file, or `exec:<64 hex digits of the public key> <command> <args>…`,
 * which is split at spaces and started without a shell.
 * @throws KeyError, Failure
 */
export async function openSigner(key: string): Promise<Signer> {
  if (!isCommand(key)) return fileSigner(key);
  const [hex = "", command, ...args] = key.slice("exec:".length).trim().split(/ +/);
  if (command === undefined) {
    throw new Failure(
      EXIT.usage,
      "key: exec: wants the public key and a command: exec:<hex> <command> <args>…",
    );
  }
  return commandSigner([command, ...args], publicKey(hex, "key"));
}

/** The public key that 64 hex digits spell, or that a key file holds. */
export async function publicKeyOf(key: string, flag: string): Promise<Uint8Array> {
  if (/^[0-9a-f]{64}$/.test(key)) return publicKey(key, flag);
  return (await openSigner(key)).publicKey;
}

function publicKey(hex: string, flag: string): Uint8Array {
  const sound = /^[0-9a-f]{64}$/.test(hex) && native.keyProblem(fromHex(hex)) === null;
  if (sound) return fromHex(hex);
  throw new Failure(EXIT.usage, `${flag}: ${hex} is no Ed25519 public key in 64 hex digits`);
}

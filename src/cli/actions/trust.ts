import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { toHex } from "../../domain/bytes.ts";
import { isInvalid } from "../../domain/invalid.ts";
import { verifyKeyset } from "../../domain/keyset.ts";
import type { SignedBytes } from "../../domain/signed.ts";
import { parseWitnessKey } from "../../domain/witness.ts";
import { writeAtomic } from "../../native/atomic-file.ts";
import { native } from "../../native/crypto.ts";
import {
  isTrustFault,
  parseTrustFile,
  TRUST_FORMAT,
  type TrustFile,
} from "../../verifier/trust-file.ts";
import { EXIT, Failure } from "../failure.ts";

/** What is put into a new trust file. */
export interface NewTrust {
  readonly tenant: string;
  /** The tenant root's public key, 32 bytes. */
  readonly rootKey: Uint8Array;
  readonly maxAgeSeconds?: number;
  /** Witnesses by their C2SP keys, and how many of them suffice; all unless said. */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
}

function witnessOf(vkey: string): { name: string; key: string } {
  const parsed = parseWitnessKey(native, vkey);
  if (isInvalid(parsed)) throw new Failure(EXIT.usage, `--witness: ${vkey}: ${parsed.detail}`);
  return { name: parsed.name, key: toHex(parsed.key) };
}

/** Writes a trust file, whole or not at all. An old one at that path is replaced. */
export async function writeTrust(path: string, trust: NewTrust): Promise<void> {
  const { tenant, rootKey, maxAgeSeconds, quorum } = trust;
  const witnesses = (trust.witnesses ?? []).map(witnessOf);
  if (quorum !== undefined && !(quorum >= 1 && quorum <= witnesses.length)) {
    throw new Failure(EXIT.usage, `--quorum: ask for 1 to ${witnesses.length} of the witnesses`);
  }
  const file = {
    format: TRUST_FORMAT,
    tenant,
    rootKey: toHex(rootKey),
    ...(witnesses.length === 0 ? {} : { witnesses }),
    ...(quorum === undefined ? {} : { quorum }),
    ...(maxAgeSeconds === undefined ? {} : { maxAgeSeconds }),
  };
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeAtomic(path, `${JSON.stringify(file, null, 2)}\n`, 0o644);
}

/** @throws Failure, exit code 78, naming the field and its fix. */
export async function readTrust(path: string): Promise<TrustFile> {
  let source: string;
  try {
    source = await readFile(path, "utf8");
  } catch (error) {
    throw new Failure(EXIT.config, `trust file: ${(error as Error).message}`);
  }
  const trust = parseTrustFile(native, source);
  if (!isTrustFault(trust)) return trust;
  throw new Failure(EXIT.config, `trust file ${path}: ${trust.field}: ${trust.fix}`);
}

/**
 * Pins the root that the pinned one hands over to, by a keyset that both signed: nothing but the two
 * signatures decides. Returns the new root's key.
 * @throws Failure when it is not a handover of this very root.
 */
export async function adoptRoot(path: string, handover: SignedBytes): Promise<Uint8Array> {
  const trust = await readTrust(path);
  const keyset = verifyKeyset(native, handover, trust.rootKey, trust.keysetVersion);
  if (isInvalid(keyset)) {
    throw new Failure(EXIT.refused, `handover: ${keyset.detail} (${keyset.code})`);
  }
  const { tenantId, rootKey, keysetVersion } = keyset.body;
  if (tenantId !== trust.tenant || rootKey.length === 0) {
    throw new Failure(EXIT.refused, `handover: hands tenant ${trust.tenant} over to nobody`);
  }
  const file = JSON.parse(await readFile(path, "utf8")) as object;
  // Nobody who pins the new root may be shown what was in force before it.
  const next = { ...file, rootKey: toHex(rootKey), keysetVersion };
  await writeAtomic(path, `${JSON.stringify(next, null, 2)}\n`, 0o644);
  return rootKey;
}

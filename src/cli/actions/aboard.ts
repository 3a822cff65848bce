import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Signer } from "../../domain/crypto.ts";
import { boardingDockUs } from "../../domain/limits.ts";
import type { Control } from "../client.ts";
import { createDock } from "./dock.ts";
import { generateKey } from "./keys.ts";
import { readKeyset } from "./operator.ts";
import { createToken, writeSecret } from "./token.ts";

/** One instance that is to come aboard under a grant. */
export interface Boarding {
  /** Operators whose grant keys sign the dock. */
  readonly signers: readonly Signer[];
  /** ref(grant), 32 bytes. */
  readonly grantRef: Uint8Array;
  readonly manifestHash: Uint8Array;
  /** The tenant root's public key, as the operator pins it. */
  readonly rootKey: Uint8Array;
  /** Where instances of this kind lie, numbered: a folder becomes one instance for good. */
  readonly folder: string;
}

/**
 * Opens a dock for exactly one ledger and writes its join token beside a data folder that nobody has
 * used yet. The sidecar that is started on them docks by itself.
 */
export async function bringAboard(
  control: Control,
  { signers, grantRef, manifestHash, rootKey, folder }: Boarding,
): Promise<{ readonly data: string; readonly keys: string; readonly token: string }> {
  const data = join(folder, nextNumber(folder));
  const keys = `${data}.keys`;
  const joinKeyFile = join(keys, "join.key");
  const joinKey = await generateKey(joinKeyFile);
  const dock = await createDock(control, signers, {
    grantRef,
    joinKey,
    ledgersMax: 1,
    forUs: boardingDockUs,
  });
  const token = join(keys, "join.token");
  const { body: keyset } = await readKeyset(control, rootKey);
  const text = await createToken({
    tenantId: control.tenant,
    joinKeyFile,
    dockRef: dock.ref,
    manifestHash,
    rootKey,
    controlAddress: control.address,
    controlCa: control.ca,
    keysetVersion: keyset.keysetVersion,
  });
  await writeSecret(token, text);
  return { data, keys, token };
}

function nextNumber(folder: string): string {
  if (!existsSync(folder)) return "1";
  const taken = readdirSync(folder).map((name) => Number.parseInt(name, 10));
  return `${Math.max(0, ...taken.filter(Number.isSafeInteger)) + 1}`;
}

import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { formatJoinToken } from "../../domain/join-token.ts";
import { readSeedFile } from "../../native/keys.ts";
import { EXIT, Failure } from "../failure.ts";

/** What a sidecar needs to come aboard, and nothing that it does not. */
export interface NewToken {
  readonly tenantId: string;
  /** Seed file of the join key. */
  readonly joinKeyFile: string;
  /** ref(dock), 32 bytes. */
  readonly dockRef: Uint8Array;
  readonly manifestHash: Uint8Array;
  /** The tenant root's public key, from a file that the operator trusts. */
  readonly rootKey: Uint8Array;
  readonly controlAddress: string;
  /** PEM. */
  readonly controlCa: string;
  /** Of the newest keyset that the operator knows. */
  readonly keysetVersion: number;
}

/** The text of a join token, `dgj_…`: a secret, to be written to a file of mode 0600. */
export async function createToken(wanted: NewToken): Promise<string> {
  const { joinKeyFile, ...rest } = wanted;
  // Carried by the token, which is what the join key was made for.
  const joinSeed = (await readSeedFile(joinKeyFile)).reveal();
  return formatJoinToken({ version: 1, joinSeed, ...rest });
}

/** Writes a secret of one line. @throws Failure when the file exists: it may be in use. */
export async function writeSecret(path: string, secret: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === "EEXIST" ? "exists; it is not replaced" : error.message;
    throw new Failure(EXIT.failed, `${path}: ${why}`);
  });
  try {
    await file.writeFile(`${secret}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

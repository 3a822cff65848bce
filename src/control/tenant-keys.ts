import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Signer } from "../domain/crypto.ts";
import { fileSigner, generateSeed, KeyError, writeSeedFile } from "../native/keys.ts";

/** What the control plane signs with on behalf of one tenant. One key, one role. */
export interface TenantKeys {
  /** Leases, transitions, directives, revocations of leases and instances. */
  readonly issuer: Signer;
  /** Heads of work ledgers. */
  readonly cosigner: Signer;
  /** Receipts of the tenant ledger. */
  readonly controlLedger: Signer;
}

/** Where each tenant's keys live. */
export interface Keyring {
  /** Makes what is missing; the same keys however often it is called. */
  prepare(tenantId: string): Promise<TenantKeys>;
  /** @throws KeyError when a key is missing or open to others. */
  open(tenantId: string): Promise<TenantKeys>;
}

const FILES = {
  issuer: "issuer.seed",
  cosigner: "cosigner.seed",
  controlLedger: "control-ledger.seed",
} as const;

/** Seed files of mode 0600, `<folder>/<tenant>/issuer.seed` and so on, in folders of mode 0700. */
export function fileKeyring(folder: string): Keyring {
  const open = async (tenantId: string): Promise<TenantKeys> => {
    const read = (name: keyof typeof FILES) => fileSigner(join(folder, tenantId, FILES[name]));
    return {
      issuer: await read("issuer"),
      cosigner: await read("cosigner"),
      controlLedger: await read("controlLedger"),
    };
  };
  const make = async (tenantId: string): Promise<TenantKeys> => {
    await mkdir(join(folder, tenantId), { recursive: true, mode: 0o700 });
    for (const file of Object.values(FILES)) {
      const path = join(folder, tenantId, file);
      try {
        await fileSigner(path);
      } catch (missing) {
        // Never replaced: of a file that is there but unusable, writing says so.
        await writeSeedFile(path, generateSeed()).catch((error: unknown) => {
          throw error instanceof KeyError ? missing : error;
        });
      }
    }
    return open(tenantId);
  };
  /** One after another: a file that is half made is no key yet. */
  let making: Promise<unknown> = Promise.resolve();
  return {
    open,
    prepare(tenantId) {
      const made = making.then(() => make(tenantId));
      making = made.catch(() => undefined);
      return made;
    },
  };
}

import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { equal } from "../domain/bytes.ts";
import type { Signer } from "../domain/crypto.ts";
import type { KeysetBody } from "../domain/keyset.ts";
import {
  commandFileSigner,
  fileSigner,
  generateSeed,
  KeyError,
  writeSeedFile,
} from "../native/keys.ts";

/** What the control plane signs with on behalf of one tenant. One key, one role. */
export interface TenantKeys {
  /** Leases, transitions, directives, revocations of leases. In the order of their making. */
  readonly issuer: readonly Signer[];
  /** Heads of work ledgers. In the order of their making. */
  readonly cosigner: readonly Signer[];
  /** Records of the tenant ledger. In the order of their making. */
  readonly controlLedger: readonly Signer[];
}

/** What the control plane signs with, and exchanges while it runs. */
export const OUR_ROLES = ["ISSUER", "COSIGNER", "CONTROL_LEDGER"] as const;
export type OurRole = (typeof OUR_ROLES)[number];

/** Names of their files. */
export const KEY_FILES = {
  ISSUER: "issuer",
  COSIGNER: "cosigner",
  CONTROL_LEDGER: "control-ledger",
} as const;

/** The keys of one role. */
export function keysOfRole(keys: TenantKeys, role: OurRole): readonly Signer[] {
  switch (role) {
    case "ISSUER":
      return keys.issuer;
    case "COSIGNER":
      return keys.cosigner;
    case "CONTROL_LEDGER":
      return keys.controlLedger;
  }
}

/** Where each tenant's keys live. */
export interface Keyring {
  /** Makes what is missing; the same keys however often it is called. */
  prepare(tenantId: string): Promise<TenantKeys>;
  /** @throws KeyError when a key is missing or open to others. */
  open(tenantId: string): Promise<TenantKeys>;
  /** Makes a key more of this role, unless there is one that the keyset does not name yet. */
  prepareNext(tenantId: string, role: OurRole, keyset: KeysetBody): Promise<TenantKeys>;
}

/**
 * `<folder>/<tenant>/issuer.seed`, `issuer-2.seed` and so on, `cosigner` and `control-ledger`
 * likewise: seed files of mode 0600, in folders of mode 0700. Where a file ends in
 * `.signer` instead, it names the command that signs.
 */
export function fileKeyring(folder: string): Keyring {
  const pathOf = (tenantId: string, name: string) => join(folder, tenantId, name);
  const read = (tenantId: string, name: string): Promise<Signer> => {
    const command = pathOf(tenantId, `${name}.signer`);
    if (existsSync(command)) return commandFileSigner(command);
    return fileSigner(pathOf(tenantId, `${name}.seed`));
  };
  const isThere = (tenantId: string, name: string): boolean =>
    ["seed", "signer"].some((kind) => existsSync(pathOf(tenantId, `${name}.${kind}`)));
  const series = async (tenantId: string, name: string): Promise<Signer[]> => {
    const all = [await read(tenantId, name)];
    for (let n = 2; isThere(tenantId, `${name}-${n}`); n++) {
      all.push(await read(tenantId, `${name}-${n}`));
    }
    return all;
  };
  const open = async (tenantId: string): Promise<TenantKeys> => ({
    issuer: await series(tenantId, KEY_FILES.ISSUER),
    cosigner: await series(tenantId, KEY_FILES.COSIGNER),
    controlLedger: await series(tenantId, KEY_FILES.CONTROL_LEDGER),
  });
  const makeOne = async (tenantId: string, name: string): Promise<void> => {
    try {
      await read(tenantId, name);
    } catch (missing) {
      // Never replaced: of a file that is there but unusable, writing says so.
      if (existsSync(pathOf(tenantId, `${name}.signer`))) throw missing;
      await writeSeedFile(pathOf(tenantId, `${name}.seed`), generateSeed()).catch(
        (error: unknown) => {
          throw error instanceof KeyError ? missing : error;
        },
      );
    }
  };
  const make = async (tenantId: string): Promise<TenantKeys> => {
    await mkdir(join(folder, tenantId), { recursive: true, mode: 0o700 });
    for (const role of OUR_ROLES) await makeOne(tenantId, KEY_FILES[role]);
    return open(tenantId);
  };
  const makeNext = async (
    tenantId: string,
    role: OurRole,
    keyset: KeysetBody,
  ): Promise<TenantKeys> => {
    const keys = await series(tenantId, KEY_FILES[role]);
    const newest = keys.at(-1);
    const isNamed = keyset.keys.some((k) => newest && equal(k.key, newest.publicKey));
    if (isNamed) await makeOne(tenantId, `${KEY_FILES[role]}-${keys.length + 1}`);
    return open(tenantId);
  };
  /** One after another: a file that is half made is no key yet. */
  let making: Promise<unknown> = Promise.resolve();
  const inTurn = (one: () => Promise<TenantKeys>): Promise<TenantKeys> => {
    const made = making.then(one);
    making = made.catch(() => undefined);
    return made;
  };
  return {
    open,
    prepare: (tenantId) => inTurn(() => make(tenantId)),
    prepareNext: (tenantId, role, keyset) => inTurn(() => makeNext(tenantId, role, keyset)),
  };
}

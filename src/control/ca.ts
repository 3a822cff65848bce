import { existsSync } from "node:fs";
import { equal, toHex } from "../domain/bytes.ts";
import { systemClock } from "../native/clock.ts";
import { native } from "../native/crypto.ts";
import { holdFolder } from "../native/hold.ts";
import { random } from "../native/random.ts";
import { embeddedControlStore } from "../storage/control-embedded.ts";
import { upgradeFormat } from "../storage/format.ts";
import { openLmdb } from "../storage/lmdb.ts";
import { ConfigError } from "./config.ts";
import { CONTROL_FORMAT } from "./format.ts";
import { dataFiles, exchangeSidecarCa, makeNextCa, openIdentity, switchCa } from "./identity.ts";
import { fileKeyring } from "./tenant-keys.ts";
import { Tenants } from "./tenants.ts";

export const CA_USAGE = `usage: dragons control ca next --data DIR
       dragons control ca switch --data DIR [--anyway]
       dragons control ca sidecars --data DIR [--stolen]

  ca next     makes the authority that the control plane's certificate comes from next, and puts it
              into DIR/ca.pem beside the one in use. The control plane may run, and goes on as it is
  ca switch   the next one takes its place, and the one in use is forgotten; the control plane must
              be stopped. Refused while a keyset does not name the next: dragons key rotate control-ca
  --anyway    all the same: sidecars of those tenants are cut off until each is given a keyset
  ca sidecars another authority issues the certificates that sidecars show; the control plane must be
              stopped. Those of the old one are read until they have ended, 12 hours later
  --stolen    they are not read at all: each sidecar asks for a new one, by itself and at once
`;

/** `dragons control ca next|switch|sidecars`. Resolves to the exit code: 0, 64 usage; throws the rest. */
export async function caMain(argv: readonly string[]): Promise<number> {
  const [verb, flag, data, ...more] = argv;
  const said = more.length === 0 ? "" : more.join(" ");
  const options = verb === undefined ? undefined : OPTIONS.get(verb);
  if (!options?.includes(said) || flag !== "--data" || data === undefined) {
    process.stderr.write(CA_USAGE);
    return 64;
  }
  const { ca } = dataFiles(data);
  if (!existsSync(ca)) throw new ConfigError(`--data: ${data} is no control plane's: no ${ca}`);
  if (verb === "next") process.stdout.write(await next(data));
  else if (verb === "switch") process.stdout.write(await toNext(data, said === "--anyway"));
  else process.stdout.write(await ofSidecars(data, said === "--stolen"));
  return 0;
}

/** What may follow `--data DIR`, by verb. */
const OPTIONS: ReadonlyMap<string, readonly string[]> = new Map([
  ["next", [""]],
  ["switch", ["", "--anyway"]],
  ["sidecars", ["", "--stolen"]],
]);

async function ofSidecars(data: string, stolen: boolean): Promise<string> {
  const hold = holdFolder(data);
  try {
    const made = await exchangeSidecarCa(data, systemClock.nowUs(), stolen);
    const old = stolen
      ? "no other is believed"
      : "certificates of the old one are read until they end";
    return `in use: ${toHex(made.fingerprint)} (SHA-256); ${old}. Start the control plane\n`;
  } finally {
    hold.release();
  }
}

async function next(data: string): Promise<string> {
  // Two at once would each write a key without the other's.
  const hold = holdFolder(dataFiles(data).secrets);
  try {
    const made = await makeNextCa(data, systemClock.nowUs());
    return (
      `next: ${toHex(made.fingerprint)} (SHA-256), in ${dataFiles(data).ca}, which holds both now. ` +
      "Give that file to operators elsewhere; each tenant names both: dragons key rotate control-ca\n"
    );
  } finally {
    hold.release();
  }
}

/** @throws ConfigError when there is no next, or tenants would be cut off; FolderHeld. */
async function toNext(data: string, anyway: boolean): Promise<string> {
  const hold = holdFolder(data);
  try {
    const { nextCa } = await openIdentity(data, systemClock.nowUs());
    if (nextCa === null) {
      throw new ConfigError(
        `--data: ${data} has no next authority; first: dragons control ca next`,
      );
    }
    const behind = await tenantsWithout(data, nextCa.fingerprint);
    if (behind.length > 0 && !anyway) {
      throw new ConfigError(
        `the keysets of ${behind.join(", ")} do not name ${toHex(nextCa.fingerprint)}, and their ` +
          "sidecars would be cut off; first, by an admin of each: dragons key rotate control-ca",
      );
    }
    await switchCa(data, nextCa);
    return (
      `in use: ${toHex(nextCa.fingerprint)} (SHA-256), alone in ${dataFiles(data).ca}. Start the control ` +
      "plane; each tenant then lets go of the old one: dragons key rotate control-ca\n"
    );
  } finally {
    hold.release();
  }
}

/** Whose keyset does not name the authority with this fingerprint. */
async function tenantsWithout(data: string, fingerprint: Uint8Array): Promise<string[]> {
  const rows = openLmdb(dataFiles(data).store);
  const store = embeddedControlStore(rows);
  try {
    await upgradeFormat(rows, CONTROL_FORMAT);
    const tenants = await Tenants.open({
      store,
      keyring: fileKeyring(dataFiles(data).keys),
      clock: systemClock,
      crypto: native,
      random,
      say: (line) => process.stderr.write(`dragons control: ${line}\n`),
    });
    const names = (cas: readonly Uint8Array[]): boolean =>
      cas.some((der) => equal(native.sha256(der), fingerprint));
    const behind = tenants.all().filter((t) => !names(t.keyset().body.controlCas));
    await tenants.settled();
    return behind.map((t) => t.tenantId);
  } finally {
    await store.close();
  }
}

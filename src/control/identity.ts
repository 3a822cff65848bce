import { mkdir, open } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { toBase64Url, toHex } from "../domain/bytes.ts";
import { controlCaTtlUs, controlLeafTtlUs } from "../domain/limits.ts";
import { writeAtomic } from "../native/atomic-file.ts";
import {
  type CertificateAuthority,
  createCa,
  type Issued,
  isKeyOf,
  issueServer,
  loadCa,
  pemBlocks,
} from "../native/pki.ts";
import { random } from "../native/random.ts";
import { ConfigError } from "./config.ts";

/** Who a control plane is, made at its first start and kept in its data folder. */
export interface Identity {
  /** `dcp_` and 32 hex digits: the audience of login tokens. */
  readonly id: string;
  /** The owner's credential for TenantService. A secret. */
  readonly bootstrapToken: string;
  /** Issues its server certificate: what clients pin. */
  readonly ca: CertificateAuthority;
  /** Takes its place once `dragons control ca switch` says so; null: none was made. */
  readonly nextCa: CertificateAuthority | null;
  /**
   * The first issues the certificates that its sidecars show; those of the others are read until they
   * have ended. None of them is `ca`, so that neither stands for the other.
   */
  readonly sidecarCas: Cas;
}

/** The one in use first. */
export type Cas = [CertificateAuthority, ...CertificateAuthority[]];

/** Files of the data folder, by what they hold. */
export const dataFiles = (data: string) => ({
  id: join(data, "id"),
  // The one in use and the next, where there is one: whoever pins this file needs no other at a switch.
  ca: join(data, "ca.pem"),
  sidecarCa: join(data, "sidecar-ca.pem"),
  store: join(data, "store"),
  // Secrets lie beside the data and never in it, so that a copy of the data gives no key away.
  secrets: `${data}.keys`,
  bootstrapToken: join(`${data}.keys`, "bootstrap.token"),
  caKey: join(`${data}.keys`, "ca.key"),
  sidecarCaKey: join(`${data}.keys`, "sidecar-ca.key"),
  keys: join(`${data}.keys`, "tenants"),
});

/** @throws ConfigError when a file is there and cannot be used. */
export async function openIdentity(data: string, nowUs: number): Promise<Identity> {
  const files = dataFiles(data);
  await mkdir(files.secrets, { recursive: true, mode: 0o700 });
  const id = await kept(files.id, 0o644, /^dcp_[0-9a-f]{32}$/, () => `dcp_${toHex(random(16))}`);
  const bootstrapToken = await kept(
    files.bootstrapToken,
    0o600,
    /^dgb_[A-Za-z0-9_-]{43}$/,
    () => `dgb_${toBase64Url(random(32))}`,
  );
  const [ca, nextCa = null] = await openCas(ownCa(files), nowUs);
  const sidecarCas = await openCas(ofSidecars(files), nowUs);
  return { id, bootstrapToken, ca, nextCa, sidecarCas };
}

/**
 * Makes the authority that its server certificate comes from after the one in use, or gives the one
 * that was made before. A control plane that runs goes on with the one in use.
 */
export async function makeNextCa(data: string, nowUs: number): Promise<CertificateAuthority> {
  const files = ownCa(dataFiles(data));
  const [ca, next] = await openCas(files, nowUs);
  if (next !== undefined) return next;
  const made = await createCa(files.name, { nowUs, ttlUs: controlCaTtlUs });
  await writeKeys(files, [ca, made]);
  await writeCertificates(files, [ca, made]);
  return made;
}

/** Drops the authority in use for the next. Only while no control plane runs on this data. */
export async function switchCa(data: string, next: CertificateAuthority): Promise<void> {
  const files = ownCa(dataFiles(data));
  // The other way round than when one is made: at no moment is there a certificate without its key.
  await writeCertificates(files, [next]);
  await writeKeys(files, [next]);
}

/**
 * Puts a new authority before the one that issues sidecars' certificates, whose own are read until they
 * have ended; or in its place, if it was stolen. Only while no control plane runs on this data.
 */
export async function exchangeSidecarCa(
  data: string,
  nowUs: number,
  stolen: boolean,
): Promise<CertificateAuthority> {
  const files = ofSidecars(dataFiles(data));
  const [old] = await openCas(files, nowUs);
  const made = await createCa(files.name, { nowUs, ttlUs: controlCaTtlUs });
  const kept = stolen ? [] : [old];
  // Every certificate has its key at each moment.
  await writeKeys(files, [made, old]);
  await writeCertificates(files, [made, ...kept]);
  await writeKeys(files, [made, ...kept]);
  return made;
}

/** A server certificate for this start; its key never leaves the process. */
export function issueForServer(
  ca: CertificateAuthority,
  hosts: readonly string[],
  nowUs: number,
): Promise<Issued> {
  const always = ["localhost", "127.0.0.1", "::1"];
  // A wildcard is where one listens, not what anybody dials.
  const named = hosts.filter((h) => isIP(h) === 0 || !/^[0:.]+$/.test(h));
  const all = [...new Set([...always, ...named])];
  return issueServer(ca, all, { nowUs, ttlUs: controlLeafTtlUs });
}

/** Certificates in one file and their keys in the other, each PEM. */
interface CaFiles {
  readonly cert: string;
  readonly key: string;
  readonly name: string;
}

const ownCa = ({ ca, caKey }: ReturnType<typeof dataFiles>): CaFiles => ({
  cert: ca,
  key: caKey,
  name: "Dragons control plane",
});

const ofSidecars = ({ sidecarCa, sidecarCaKey }: ReturnType<typeof dataFiles>): CaFiles => ({
  cert: sidecarCa,
  key: sidecarCaKey,
  name: "Dragons sidecars",
});

/** The one in use first. Made when there is none yet. */
async function openCas(files: CaFiles, nowUs: number): Promise<Cas> {
  const certPem = await read(files.cert, 0o644);
  const keyPem = await read(files.key, 0o600);
  if (certPem !== null && keyPem !== null) {
    try {
      return loadCas(certPem, keyPem);
    } catch {
      throw new ConfigError(
        `${files.cert}: is no certificate that ${files.key} belongs to; put both there as they were at one time`,
      );
    }
  }
  // The certificate is written last: with it, the key is there too.
  if (certPem !== null) throw new ConfigError(`${files.key}: is missing; restore it from a backup`);
  const cas: Cas = [await createCa(files.name, { nowUs, ttlUs: controlCaTtlUs })];
  await writeKeys(files, cas);
  await writeCertificates(files, cas);
  return cas;
}

/** A key without a certificate is none of anybody's: its certificate was not written any more. */
function loadCas(certPem: string, keyPem: string): Cas {
  const keys = pemBlocks(keyPem);
  const [first, ...more] = pemBlocks(certPem).map((cert) => {
    const key = keys.find((k) => isKeyOf(cert, k));
    if (key === undefined) throw new Error("a certificate without its key");
    return loadCa(cert, key);
  });
  if (first === undefined) throw new Error("no certificate");
  return [first, ...more];
}

const writeKeys = ({ key }: CaFiles, cas: readonly CertificateAuthority[]): Promise<void> =>
  writeAtomic(key, cas.map((ca) => line(ca.keyPem)).join(""), 0o600);

const writeCertificates = ({ cert }: CaFiles, cas: readonly CertificateAuthority[]) =>
  writeAtomic(cert, cas.map((ca) => line(ca.certPem)).join(""), 0o644);

const line = (pem: string): string => `${pem.trimEnd()}\n`;

/** One line that is made once and then kept. */
async function kept(
  path: string,
  mode: number,
  shape: RegExp,
  make: () => string,
): Promise<string> {
  const content = await read(path, mode);
  if (content === null) {
    const made = make();
    await writeAtomic(path, `${made}\n`, mode);
    return made;
  }
  const line = content.trimEnd();
  if (!shape.test(line)) throw new ConfigError(`${path}: does not hold what was written there`);
  return line;
}

/** null: it is not there. A secret that others may read is none any more. */
async function read(path: string, mode: number): Promise<string | null> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new ConfigError(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  try {
    const { mode: found } = await file.stat();
    if ((found & 0o077 & ~mode) !== 0) {
      throw new ConfigError(`${path}: is open to others; fix it with: chmod 600 ${path}`);
    }
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

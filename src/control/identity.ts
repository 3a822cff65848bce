import { randomBytes } from "node:crypto";
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
  issueServer,
  loadCa,
} from "../native/pki.ts";
import { ConfigError } from "./config.ts";

/** Who a control plane is, made at its first start and kept in its data folder. */
export interface Identity {
  /** `dcp_` and 32 hex digits: the audience of login tokens. */
  readonly id: string;
  /** The owner's credential for TenantService. A secret. */
  readonly bootstrapToken: string;
  /** Issued its server certificate: what clients pin. */
  readonly ca: CertificateAuthority;
  /** Issues the certificates that its sidecars show. Another one, so that neither stands for the other. */
  readonly sidecarCa: CertificateAuthority;
}

/** Files of the data folder, by what they hold. */
export const dataFiles = (data: string) => ({
  id: join(data, "id"),
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
  const own = { cert: files.ca, key: files.caKey, name: "Dragons control plane" };
  const sidecars = { cert: files.sidecarCa, key: files.sidecarCaKey, name: "Dragons sidecars" };
  return {
    id,
    bootstrapToken,
    ca: await openCa(own, nowUs),
    sidecarCa: await openCa(sidecars, nowUs),
  };
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

async function openCa(
  files: { cert: string; key: string; name: string },
  nowUs: number,
): Promise<CertificateAuthority> {
  const certPem = await read(files.cert, 0o644);
  const keyPem = await read(files.key, 0o600);
  if (certPem !== null && keyPem !== null) {
    try {
      return await loadCa(certPem, keyPem);
    } catch {
      throw new ConfigError(`${files.cert}: is no certificate that ${files.key} belongs to`);
    }
  }
  // The certificate is written last: with it, the key is there too.
  if (certPem !== null) throw new ConfigError(`${files.key}: is missing; restore it from a backup`);
  const ca = await createCa(files.name, { nowUs, ttlUs: controlCaTtlUs });
  await writeAtomic(files.key, ca.keyPem, 0o600);
  await writeAtomic(files.cert, ca.certPem, 0o644);
  return ca;
}

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

const random = (n: number): Uint8Array => new Uint8Array(randomBytes(n));

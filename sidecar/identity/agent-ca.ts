import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { agentCaTtlUs } from "../../src/domain/limits.ts";
import { writeAtomic } from "../../src/native/atomic-file.ts";
import { type CertificateAuthority, createCa, loadCa } from "../../src/native/pki.ts";
import { ConfigError } from "../config.ts";

/**
 * The certificate authority that stands in for upstreams inside this instance's TLS tunnels. It
 * never leaves the keys folder, and only this instance's agent is told to trust it.
 */
export async function agentCa(
  keysFolder: string,
  instanceId: string,
  nowUs: number,
): Promise<CertificateAuthority> {
  const keyFile = join(keysFolder, "agent-ca.key");
  const certFile = join(keysFolder, "agent-ca.pem");
  if (existsSync(keyFile) && existsSync(certFile)) {
    const ca = await stored(certFile, keyFile);
    if (ca.notAfterUs > nowUs) return ca;
  }
  const name = `dragons sidecar ${instanceId.slice(-8)}`;
  const ca = await createCa(name, { nowUs, ttlUs: agentCaTtlUs });
  await writeAtomic(certFile, ca.certPem, 0o644);
  await writeAtomic(keyFile, ca.keyPem, 0o600);
  return ca;
}

async function stored(certFile: string, keyFile: string): Promise<CertificateAuthority> {
  const { mode } = await stat(keyFile);
  if ((mode & 0o077) !== 0) {
    throw new ConfigError(`${keyFile} is open to others; fix it with: chmod 600 ${keyFile}`);
  }
  try {
    return loadCa(await readFile(certFile, "utf8"), await readFile(keyFile, "utf8"));
  } catch {
    throw new ConfigError(
      `${certFile} and ${keyFile} are no certificate and its key; remove both, and new ones are made`,
    );
  }
}

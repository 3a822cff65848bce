import { randomBytes, X509Certificate } from "node:crypto";
import { accessSync, constants, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { toHex } from "../src/domain/bytes.ts";
import { writeAtomic } from "../src/native/atomic-file.ts";
import { ownFolder } from "../src/native/own-folder.ts";
import type { CertificateAuthority } from "../src/native/pki.ts";
import { caBundle } from "./agent/environment.ts";
import { ConfigError, type SidecarConfig } from "./config.ts";
import { agentCa } from "./identity/agent-ca.ts";
import { adminSocket } from "./listeners/admin.ts";

/** Everything that is read and made from the settings before the ledger writes that it began. */
export interface Settings {
  readonly adminPath: string;
  /** More authorities to trust upstream, PEM; empty: none. */
  readonly upstreamCa: string;
  /** Stands in for upstreams inside the agent's TLS tunnels. */
  readonly ca: CertificateAuthority;
  readonly caFile: string;
  readonly bundleFile: string;
  /** The proxy's password of this launch. */
  readonly credential: string;
}

/** @throws ConfigError naming the flag. */
export async function readSettings(
  config: SidecarConfig,
  instanceId: string,
  nowUs: number,
): Promise<Settings> {
  const adminPath = adminSocket(config.dataFolder);
  const upstreamCa = readUpstreamCa(config);
  const ca = await agentCa(config.keysFolder, instanceId, nowUs);
  const caFile = join(config.dataFolder, "agent-ca.pem");
  const bundleFile = join(config.dataFolder, "agent-ca-bundle.pem");
  await writeAtomic(caFile, ca.certPem, 0o644);
  await writeAtomic(bundleFile, caBundle(ca.certPem), 0o644);
  const credential = readCredential(config);
  if (config.readyFile !== null) canBeWritten("--ready-file", config.readyFile);
  return { adminPath, upstreamCa, ca, caFile, bundleFile, credential };
}

/** Written whole once calls are accepted. Not for everybody: it holds the launch's proxy password. */
export async function writeReadyFile(
  { readyFile }: SidecarConfig,
  { adminPath, caFile, bundleFile, credential }: Settings,
  facts: {
    readonly proxy: string;
    readonly routes: readonly string[];
    readonly instanceId: string;
    readonly ledgerId: string;
    readonly manifest: string;
  },
): Promise<void> {
  if (readyFile === null) return;
  const { proxy, routes, ...identity } = facts;
  const ready = {
    proxy,
    routes,
    admin: resolve(adminPath),
    agentCa: resolve(caFile),
    agentCaBundle: resolve(bundleFile),
    credential,
    ...identity,
    pid: process.pid,
  };
  await writeAtomic(readyFile, `${JSON.stringify(ready, null, 2)}\n`, 0o600);
}

/** A folder for this user alone. @throws ConfigError naming the flag, and what mends it. */
export function ownedFolder(flag: string, folder: string): void {
  let problem: string | null;
  try {
    problem = ownFolder(folder);
  } catch (error) {
    throw new ConfigError(`${flag}: ${(error as Error).message}`);
  }
  if (problem !== null) throw new ConfigError(`${flag}: ${problem}`);
}

function readCredential(config: SidecarConfig): string {
  if (config.credentialFile === null) return toHex(randomBytes(16));
  const text = readSetting("--credential", config.credentialFile).trim();
  if (!/^[A-Za-z0-9_-]{16,128}$/.test(text)) {
    throw new ConfigError("--credential: the file must hold 16 to 128 letters, digits, - or _");
  }
  return text;
}

/** Certificates, not merely a file: what OpenSSL cannot read it would leave out without a word. */
function readUpstreamCa({ upstreamCaFile }: SidecarConfig): string {
  if (upstreamCaFile === null) return "";
  const text = readSetting("--upstream-ca", upstreamCaFile);
  const certificates = text.match(/-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----/gs);
  try {
    for (const pem of certificates ?? [text]) new X509Certificate(pem);
  } catch {
    throw new ConfigError(`--upstream-ca: ${upstreamCaFile} does not hold certificates in PEM`);
  }
  return text;
}

function readSetting(flag: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`${flag}: ${(error as Error).message}`);
  }
}

function canBeWritten(flag: string, file: string): void {
  try {
    accessSync(dirname(file), constants.W_OK);
  } catch (error) {
    throw new ConfigError(`${flag}: ${(error as Error).message}`);
  }
}

import { randomBytes, X509Certificate } from "node:crypto";
import { accessSync, constants, mkdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { toHex } from "../src/domain/bytes.ts";
import { drainUs } from "../src/domain/limits.ts";
import { manifestLabel } from "../src/domain/manifest.ts";
import { Progress } from "../src/domain/progress.ts";
import { writeAtomic } from "../src/native/atomic-file.ts";
import type { Clock } from "../src/native/clock.ts";
import { native } from "../src/native/crypto.ts";
import { holdFolder } from "../src/native/hold.ts";
import { type Measured, measure as measureFolder } from "../src/native/manifest-file.ts";
import type { Denial } from "./adapters/exchange.ts";
import { agentEnvironment, caBundle } from "./agent/environment.ts";
import { type Agent, launchAgent } from "./agent/launch.ts";
import { ConfigError, type SidecarConfig } from "./config.ts";
import { AuthorityHolder } from "./gate/authority.ts";
import { authorityDecider } from "./gate/decide.ts";
import { Gate, type RunFacts } from "./gate/gate.ts";
import { agentCa } from "./identity/agent-ca.ts";
import { MEASURED } from "./identity/held-authority.ts";
import { openInstance } from "./identity/instance.ts";
import { LeaseLog } from "./identity/lease-log.ts";
import { openWorkLedger } from "./ledger/open-ledger.ts";
import { adminSocket, openAdmin } from "./listeners/admin.ts";
import type { Report } from "./report.ts";
import { openStack } from "./stack.ts";
import { type ControlClient, controlClient, dockWhenReached } from "./tether/control-client.ts";
import { Governor } from "./tether/governor.ts";
import { dnsResolve } from "./upstream/address.ts";

const EXIT_STORAGE = 70;
/** Microseconds that whoever asks the sidecar something gets for the answer when it ends. */
const ADMIN_GRACE_US = 1_000_000;

/** A running sidecar. */
export interface Sidecar {
  /** Drains, tells the control plane, closes the ledger. */
  stop(signal: NodeJS.Signals): void;
  /** Its exit code: the agent's if it launched one, 70 if the ledger failed, else 0. */
  readonly done: Promise<number>;
}

/**
 * Starts one sidecar. What was opened is closed again if anything fails, and when it has stopped.
 *
 * @throws ConfigError, KeyError, FolderHeld, LedgerBroken, StorageFailed
 */
export async function startSidecar(
  config: SidecarConfig,
  clock: Clock,
  report: Report,
  stopped: AbortSignal,
): Promise<Sidecar> {
  const opened = new AsyncDisposableStack();
  try {
    return await compose(config, clock, report, stopped, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/**
 * In the order in which things come to stand on each other: whose folder this is, what is measured,
 * who this is, what it remembers, what it may do, and only then anything that listens.
 */
async function compose(
  config: SidecarConfig,
  clock: Clock,
  report: Report,
  stopped: AbortSignal,
  opened: AsyncDisposableStack,
): Promise<Sidecar> {
  ownFolder("--data", config.dataFolder);
  ownFolder("--keys", config.keysFolder);
  // Before anything is read there: two that begin at once must not both found the instance.
  const hold = holdFolder(config.dataFolder);
  opened.defer(() => hold.release());

  const measure = async () => (await measured(config)).hash;
  const hash = await measure();
  let control: ControlClient | null = null;
  const instance = await openInstance(config, hash, clock.nowUs(), (token) => {
    control ??= controlClient(token);
    return dockWhenReached(control.dock, { clock, report, stopped });
  });
  control ??= controlClient(instance.token);
  const centre = control;
  opened.defer(() => centre.close());
  const { authority, ledgerSigner, seed } = instance;
  const genesis = authority.genesis.body;

  // Whatever may be wrong with the settings, before the ledger writes that it began again.
  const adminPath = adminSocket(config.dataFolder);
  const upstreamCa = readUpstreamCa(config);
  const ca = await agentCa(config.keysFolder, genesis.instanceId, clock.nowUs());
  const caFile = join(config.dataFolder, "agent-ca.pem");
  const bundleFile = join(config.dataFolder, "agent-ca-bundle.pem");
  await writeAtomic(caFile, ca.certPem, 0o644);
  await writeAtomic(bundleFile, caBundle(ca.certPem), 0o644);
  const credential = readCredential(config);
  if (config.readyFile !== null) canBeWritten("--ready-file", config.readyFile);
  const leases = LeaseLog.open(native, join(config.dataFolder, "leases"));
  opened.defer(() => leases.close());

  const ledger = await openWorkLedger({
    folder: join(config.dataFolder, "ledger"),
    seed,
    ledgerId: authority.genesis.ref,
    tenantId: genesis.tenantId,
    manifestHash: hash,
  });
  opened.defer(() => ledger.shutdown());
  const holder = new AuthorityHolder(clock, authorityDecider(authority));
  opened.defer(() => holder.close());
  holder.set({ manifestRecorded: true, retired: authority.retired !== null });
  const progress = new Progress(native, randomBytes(32));
  const facts: RunFacts = {
    manifestHash: hash,
    purpose: authority.grant.body.purpose,
    goal: config.goal,
    measure: MEASURED,
    enforcement: "ADVISORY",
  };
  const gate = new Gate(ledger, holder, clock, facts, {
    denied: denialReport("denied", report),
    observed: denialReport("WOULD_DENY", report),
    finished: (action) => progress.record(action, clock.nowUs()),
  });

  const stack = await openStack({
    config: {
      proxy: config.proxy,
      credential,
      routes: config.routes,
      agentUid: process.getuid?.() ?? 0,
      upstreamCa,
    },
    gate,
    ca,
    clock,
    resolve: dnsResolve(),
  }).catch((error: unknown) => {
    throw unlistenable(error);
  });
  opened.defer(() => stack.close(0));
  const proxyAddress = `${stack.proxyAddress.host}:${stack.proxyAddress.port}`;

  let agent: Agent | null = null;
  const done = Promise.withResolvers<number>();
  // Not by the way out that flushes: nothing may be promised on a disk that failed.
  const storageFailed = (error: Error): void => {
    report("ledger failed", { detail: error.message });
    agent?.signal("SIGTERM");
    done.resolve(EXIT_STORAGE);
  };
  const governor = new Governor({
    client: centre.tether({ ledgerId: authority.genesis.ref, ledgerSigner }, clock),
    authority,
    ledger,
    ledgerSigner,
    holder,
    leases,
    clock,
    report,
    measure,
    manifestHash: hash,
    progress,
    agent: () => agent,
    storageFailed,
  });
  const admin = await openAdmin(adminPath, {
    crypto: native,
    ledger,
    authority,
    holder,
    leases,
    tether: () => governor.tether,
    checkpoint: () => governor.checkpoint,
    onFault: (error, method) =>
      report("fault", {
        method,
        detail: String(error),
      }),
  });
  opened.defer(() => admin.close(ADMIN_GRACE_US));
  governor.start();

  const ready = {
    proxy: proxyAddress,
    routes: stack.routeAddresses.map((a) => `${a.host}:${a.port}`),
    admin: resolve(adminPath),
    agentCa: resolve(caFile),
    agentCaBundle: resolve(bundleFile),
    credential,
    instanceId: genesis.instanceId,
    ledgerId: toHex(authority.genesis.ref),
    manifest: manifestLabel(authority.manifest),
    pid: process.pid,
  };
  if (config.readyFile !== null) {
    // Not for everybody: it holds the proxy password of this launch.
    const text = `${JSON.stringify(ready, null, 2)}\n`;
    await writeAtomic(config.readyFile, text, 0o600);
  }
  report("accepting calls", { proxy: proxyAddress, instance: genesis.instanceId });

  let stopping = false;
  const stop = async (exit: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    await stack.close(drainUs / 1000);
    // The last word tells what is durable; a ledger that fails now is told of by `failed`.
    await ledger.flushed().catch(() => {});
    await governor.stop();
    await opened.disposeAsync();
    done.resolve(exit);
  };
  void ledger.failed.then(storageFailed);
  if (config.agent.length > 0) {
    void governor.firstLease.then(async () => {
      if (stopping) return;
      const proxy = { address: proxyAddress, credential, caFile, bundleFile };
      agent = launchAgent(config.agent, agentEnvironment(process.env, proxy));
      governor.beatNow();
      await stop(await agent.exited);
    });
  }
  return {
    stop(signal) {
      if (agent !== null) agent.signal(signal);
      else void stop(0);
    },
    done: done.promise,
  };
}

/** @throws ConfigError when the manifest, or a file that it names, is not as it must be. */
async function measured({ manifestFile, agentFolder }: SidecarConfig): Promise<Measured> {
  try {
    return await measureFolder(agentFolder, readFileSync(manifestFile, "utf8"));
  } catch (error) {
    throw new ConfigError(`--manifest: ${manifestFile}: ${(error as Error).message}`);
  }
}

/** Tells each denial once: those counted in one receipt share its id. */
function denialReport(event: "denied" | "WOULD_DENY", report: Report): (denial: Denial) => void {
  let last = "";
  return ({ reason, message, receiptId, remedy }) => {
    if (receiptId === last && receiptId !== "") return;
    last = receiptId;
    report(event, { reason, message, receipt: receiptId, ...(remedy === "" ? {} : { remedy }) });
  };
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

/** A folder for this user alone: whoever may enter it may ask the sidecar, or read its secrets. */
function ownFolder(flag: string, folder: string): void {
  let mode: number;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    ({ mode } = statSync(folder));
  } catch (error) {
    throw new ConfigError(`${flag}: ${(error as Error).message}`);
  }
  if ((mode & 0o077) !== 0) {
    const octal = (mode & 0o777).toString(8).padStart(4, "0");
    throw new ConfigError(
      `${flag}: ${folder} is open to others (mode ${octal}); fix it with: chmod 700 ${folder}`,
    );
  }
}

function canBeWritten(flag: string, file: string): void {
  try {
    accessSync(dirname(file), constants.W_OK);
  } catch (error) {
    throw new ConfigError(`${flag}: ${(error as Error).message}`);
  }
}

/** Whoever else has the port, or no such address: a setting, and no fault of ours. */
function unlistenable(error: unknown): unknown {
  const { syscall, message } = error as NodeJS.ErrnoException;
  if (syscall !== "listen" && syscall !== "getaddrinfo") return error;
  return new ConfigError(`--proxy or --route cannot be listened on: ${message}`);
}

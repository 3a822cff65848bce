import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { toHex } from "../src/domain/bytes.ts";
import { drainUs } from "../src/domain/limits.ts";
import { manifestLabel } from "../src/domain/manifest.ts";
import { Progress } from "../src/domain/progress.ts";
import { writeAtomic } from "../src/native/atomic-file.ts";
import type { Clock } from "../src/native/clock.ts";
import { native } from "../src/native/crypto.ts";
import { type Measured, measure as measureFolder } from "../src/native/manifest-file.ts";
import type { Denial } from "./adapters/exchange.ts";
import { agentEnvironment, caBundle } from "./agent/environment.ts";
import { type Agent, launchAgent } from "./agent/launch.ts";
import { ConfigError, type SidecarConfig } from "./config.ts";
import { AuthorityHolder } from "./gate/authority.ts";
import { authorityDecider } from "./gate/decide.ts";
import { Gate, type RunFacts } from "./gate/gate.ts";
import { agentCa } from "./identity/agent-ca.ts";
import { openInstance } from "./identity/instance.ts";
import { LeaseLog } from "./identity/lease-log.ts";
import { openWorkLedger } from "./ledger/open-ledger.ts";
import { openAdmin } from "./listeners/admin.ts";
import type { Report } from "./report.ts";
import { openStack } from "./stack.ts";
import { type ControlClient, controlClient, dockWhenReached } from "./tether/control-client.ts";
import { Governor } from "./tether/governor.ts";
import { dnsResolve } from "./upstream/address.ts";

const EXIT_STORAGE = 70;

/** A running sidecar. */
export interface Sidecar {
  /** Drains, tells the control plane, closes the ledger. */
  stop(signal: NodeJS.Signals): void;
  /** Its exit code: the agent's if it launched one, 70 if the ledger failed, else 0. */
  readonly done: Promise<number>;
}

/**
 * Composes one sidecar, in the order in which things come to stand on each other: what is measured,
 * who this is, what it remembers, what it may do, and only then anything that listens.
 *
 * @throws ConfigError, KeyError, FolderHeld, LedgerBroken, StorageFailed
 */
export async function startSidecar(
  config: SidecarConfig,
  clock: Clock,
  report: Report,
  stopped: AbortSignal,
): Promise<Sidecar> {
  mkdirSync(config.dataFolder, { recursive: true, mode: 0o700 });
  mkdirSync(config.keysFolder, { recursive: true, mode: 0o700 });

  const measure = async () => (await measured(config)).hash;
  const hash = await measure();
  let control: ControlClient | null = null;
  const instance = await openInstance(config, hash, clock.nowUs(), (token) => {
    control ??= controlClient(token);
    return dockWhenReached(control.dock, { clock, report, stopped });
  });
  control ??= controlClient(instance.token);
  const { authority, ledgerSigner, seed } = instance;
  const genesis = authority.genesis.body;

  const ledger = await openWorkLedger({
    folder: join(config.dataFolder, "ledger"),
    seed,
    ledgerId: authority.genesis.ref,
    tenantId: genesis.tenantId,
    manifestHash: hash,
  });
  const leases = LeaseLog.open(native, join(config.dataFolder, "leases"));
  const holder = new AuthorityHolder(clock, authorityDecider(authority));
  holder.set({ manifestRecorded: true });
  const progress = new Progress(native, randomBytes(32));
  const facts: RunFacts = {
    manifestHash: hash,
    purpose: authority.grant.body.purpose,
    goal: config.goal,
    measure: "FILES",
    enforcement: "ADVISORY",
  };
  const gate = new Gate(ledger, holder, clock, facts, {
    denied: denialReport(report),
    finished: (action) => progress.record(action, clock.nowUs()),
  });

  const ca = await agentCa(config.keysFolder, genesis.instanceId, clock.nowUs());
  const caFile = join(config.dataFolder, "agent-ca.pem");
  const bundleFile = join(config.dataFolder, "agent-ca-bundle.pem");
  await writeAtomic(caFile, ca.certPem, 0o644);
  await writeAtomic(bundleFile, caBundle(ca.certPem), 0o644);
  const credential = readCredential(config);
  const stack = await openStack({
    config: {
      proxy: config.proxy,
      credential,
      routes: config.routes,
      agentUid: process.getuid?.() ?? 0,
      upstreamCa: config.upstreamCaFile === null ? "" : readFileSync(config.upstreamCaFile, "utf8"),
    },
    gate,
    ca,
    clock,
    resolve: dnsResolve(),
  });
  const proxyAddress = `${stack.proxyAddress.host}:${stack.proxyAddress.port}`;

  let agent: Agent | null = null;
  const governor = new Governor({
    client: control.tether,
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
  });
  const adminPath = join(config.dataFolder, "admin.sock");
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
    await writeAtomic(config.readyFile, `${JSON.stringify(ready, null, 2)}\n`, 0o600);
  }
  report("accepting calls", { proxy: proxyAddress, instance: genesis.instanceId });

  const done = Promise.withResolvers<number>();
  let stopping = false;
  const stop = async (exit: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    await stack.close(drainUs / 1000);
    // The last word tells what is durable; a ledger that fails now is told of by `failed`.
    await ledger.flushed().catch(() => {});
    await governor.stop();
    await admin.close(1_000_000);
    await ledger.shutdown();
    leases.close();
    holder.close();
    control?.close();
    done.resolve(exit);
  };
  // Not by the way out that flushes: nothing may be promised on a disk that failed.
  void ledger.failed.then((error) => {
    report("ledger failed", { detail: error.message });
    agent?.signal("SIGTERM");
    done.resolve(EXIT_STORAGE);
  });
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
function denialReport(report: Report): (denial: Denial) => void {
  let last = "";
  return ({ reason, message, receiptId, remedy }) => {
    if (receiptId === last && receiptId !== "") return;
    last = receiptId;
    report("denied", { reason, message, receipt: receiptId, ...(remedy === "" ? {} : { remedy }) });
  };
}

function readCredential(config: SidecarConfig): string {
  if (config.credentialFile === null) return toHex(randomBytes(16));
  const text = readFileSync(config.credentialFile, "utf8").trim();
  if (!/^[A-Za-z0-9_-]{16,128}$/.test(text)) {
    throw new ConfigError("--credential: the file must hold 16 to 128 letters, digits, - or _");
  }
  return text;
}

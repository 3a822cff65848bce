import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { toHex } from "../src/domain/bytes.ts";
import { adminGraceUs, takeOverUs } from "../src/domain/limits.ts";
import { manifestLabel } from "../src/domain/manifest.ts";
import { Progress } from "../src/domain/progress.ts";
import { compileScopes, passesUnread } from "../src/domain/scope.ts";
import type { Clock } from "../src/native/clock.ts";
import { native } from "../src/native/crypto.ts";
import { holdFolder } from "../src/native/hold.ts";
import { SteadyClock } from "../src/native/steady-clock.ts";
import type { Denial } from "./adapters/exchange.ts";
import { agentEnvironment, type ProxyFacts } from "./agent/environment.ts";
import { AgentFiles } from "./agent/files.ts";
import { KeptAgent } from "./agent/kept.ts";
import { launchAgent } from "./agent/launch.ts";
import { SupervisedAgent } from "./agent/supervised.ts";
import { closeOrphans, noteClosed, noteOpen } from "./closing.ts";
import {
  type Address,
  ConfigError,
  type Passed,
  type SidecarConfig,
  standingOf,
} from "./config.ts";
import { AuthorityHolder } from "./gate/authority.ts";
import { authorityDecider } from "./gate/decide.ts";
import { Gate, type RunFacts } from "./gate/gate.ts";
import { type Instance, openInstance } from "./identity/instance.ts";
import type { WorkLedger } from "./ledger/work-ledger.ts";
import { Lifetime, type Sidecar } from "./lifetime.ts";
import { openAdmin } from "./listeners/admin.ts";
import { NameServer, type PassedDatagrams } from "./listeners/dns.ts";
import { Names } from "./listeners/names.ts";
import { openMemory } from "./memory.ts";
import type { Report } from "./report.ts";
import { ownedFolder, readSettings, type Settings, writeReadyFile } from "./settings.ts";
import { openStack, type Stack, type StackConfig, type Transparent } from "./stack.ts";
import {
  attachingLedger,
  type ControlClient,
  controlClient,
  dockWhenReached,
} from "./tether/control-client.ts";
import { Governor } from "./tether/governor.ts";
import { dnsResolve } from "./upstream/address.ts";

/** What every part of a sidecar is opened with. What is opened is closed by `opened`, last first. */
interface Start {
  readonly config: SidecarConfig;
  readonly clock: SteadyClock;
  readonly report: Report;
  readonly stopped: AbortSignal;
  readonly opened: AsyncDisposableStack;
}

/**
 * Starts one sidecar. What was opened is closed again if anything fails, and when it has stopped.
 *
 * @throws ConfigError, KeyError, FolderHeld, LedgerBroken, StorageFailed
 */
export async function startSidecar(
  config: SidecarConfig,
  machine: Clock,
  report: Report,
  stopped: AbortSignal,
): Promise<Sidecar> {
  const opened = new AsyncDisposableStack();
  const clock = new SteadyClock(machine);
  try {
    return await compose({ config, clock, report, stopped, opened });
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/**
 * In the order in which things come to stand on each other: whose folder this is, what is measured,
 * who this is, what it remembers, what it may do, and only then anything that listens.
 */
async function compose(start: Start): Promise<Sidecar> {
  const { config, clock, report, opened } = start;
  takeFolders(start);
  const files = openFiles(start);
  const hash = await files.measure();
  const { instance, centre } = await comeAboard(start, hash);
  const { authority, ledgerSigner } = instance;
  const { instanceId } = authority.genesis.body;
  // Whatever may be wrong with the settings, before the ledger writes that it began again.
  const settings = await readSettings(config, instanceId, clock.nowUs());
  const { dataFolder } = config;
  noteOpen(dataFolder);
  const { ledger, leases, latch } = await openMemory({ dataFolder, opened }, instance, hash);
  // The next slab is asked for before this one is spent.
  const low = () => governor.beatNow();
  const { gate, holder, progress } = openGate(start, instance, ledger, hash, low);
  const scopes = compileScopes(authority.manifest);
  const held = () => holder.lease?.body.scopes ?? [];
  const handedOver = openHandedOver(start, gate);
  const stack = await listen(start, gate, settings, {
    servers: authority.manifest.servers,
    transparent: handedOver?.transparent ?? null,
    passesUnread: (target) => passesUnread(scopes, held(), target),
  });
  const lifetime = new Lifetime(report, config.kept !== null, () => noteClosed(dataFolder));
  const governor = new Governor({
    client: centre.tether(attachingLedger(authority, ledgerSigner), clock),
    authority,
    ledger,
    ledgerSigner,
    leaving: config.sync,
    holder,
    leases,
    latch,
    clock,
    report,
    measure: () => files.measure(),
    manifestHash: hash,
    progress,
    passing: (scope) => gate.passing(scope),
    agent: () => lifetime.agent,
    enforcement: standingOf(config).enforcement,
    storageFailed: (error) => lifetime.storageFailed(error),
  });
  const admin = await openAdmin(settings.adminPath, {
    crypto: native,
    ledger,
    authority,
    holder,
    leases,
    ...standingOf(config),
    left: () => gate.left(),
    tether: () => governor.tether,
    memory: governor.memory,
    onFault: (error, method) => report("fault", { method, detail: String(error) }),
  });
  opened.defer(() => admin.close(adminGraceUs));
  files.onChange(() => governor.filesChanged());
  governor.start();
  lifetime.begin({ stack, ledger, governor, opened });

  const proxy = shownAddress(stack.proxyAddress);
  await writeReadyFile(config, settings, {
    proxy,
    routes: stack.routeAddresses.map(shownAddress),
    instanceId,
    ledgerId: toHex(authority.genesis.ref),
    manifest: manifestLabel(authority.manifest),
  });
  report("accepting calls", { ...(proxy === "" ? {} : { proxy }), instance: instanceId });
  const taken = takeOver(start, stack, governor);
  attend(start, lifetime, governor, hash, { ...settings, address: proxy }, (at, dns) => {
    handedOver?.lookups.listen(dns);
    void taken.then(() => stack.takeOver(at));
  });
  await taken;
  void governor.firstLease.then(() => closeOthers(start));
  return lifetime;
}

/** What sidecars before this one left open; behind everything that the agent waits for. */
async function closeOthers({ config, clock, report, stopped }: Start): Promise<void> {
  const { orphans, sync: leaving, dataFolder: own } = config;
  if (orphans !== null) await closeOrphans(orphans, { leaving, own }, { clock, report, stopped });
}

/**
 * Whoever waits in the listener's queue since before us is not refused for the moment in which our
 * lease is still on its way; only, after a while, for there being none.
 */
async function takeOver(
  { config, clock, stopped }: Start,
  stack: Stack,
  { firstLease }: Governor,
): Promise<void> {
  if (config.kept !== null) {
    const enough = Promise.withResolvers<void>();
    const late = clock.after(takeOverUs, enough.resolve);
    stopped.addEventListener("abort", () => enough.resolve());
    await Promise.race([firstLease, enough.promise]);
    late.cancel();
  }
  if (config.kept !== null && !stopped.aborted) {
    await stack.takeOver(config.kept.listener).catch(refuseListening);
  }
}

const shownAddress = ({ host, port }: Address): string => (port === 0 ? "" : `${host}:${port}`);

/**
 * Starts the agent once it may, if there is one to start: here, or by the keeper that holds it.
 *
 * @param listen where the next of them comes in that a keeper holds.
 */
function attend(
  { config, clock, report, opened }: Start,
  lifetime: Lifetime,
  governor: Governor,
  manifestHash: Uint8Array,
  proxy: ProxyFacts,
  listen: (at: Passed, dns: readonly PassedDatagrams[]) => void,
): void {
  const { agent, kept, restart: policy } = config;
  const changed = () => governor.agentChanged();
  if (kept !== null) {
    const { running } = kept;
    const gone = () => lifetime.stop("SIGTERM");
    const held = new KeptAgent({ running, policy, gone, changed, listen });
    opened.defer(() => held.release());
    const { caFile, bundleFile } = proxy;
    const facts = { manifestHash: toHex(manifestHash), caFile, bundleFile };
    if (running !== null) void lifetime.attend(held);
    else void lifetime.launch(() => held.launch(facts));
  } else if (agent.length > 0) {
    const start = () => launchAgent(agent, agentEnvironment(process.env, proxy));
    void lifetime.launch(() => new SupervisedAgent({ start, policy, clock, report, changed }));
  }
}

function takeFolders({ config, opened }: Start): void {
  ownedFolder("--data", config.dataFolder);
  ownedFolder("--keys", config.keysFolder);
  // Before anything is read there: two that begin at once must not both found the instance.
  const hold = holdFolder(config.dataFolder);
  opened.defer(() => hold.release());
}

function openFiles({ config, report, opened }: Start): AgentFiles {
  const files = new AgentFiles(config, (why) =>
    report("files are not watched", { detail: `${why}; they are measured at each renewal` }),
  );
  opened.defer(() => files.close());
  return files;
}

/** Who this is, brought back or founded, and the control plane that it belongs to. */
async function comeAboard(
  { config, clock, report, stopped, opened }: Start,
  hash: Uint8Array,
): Promise<{ instance: Instance; centre: ControlClient }> {
  let control: ControlClient | null = null;
  const instance = await openInstance(config, hash, clock.nowUs(), (token) => {
    control ??= controlClient(token);
    return dockWhenReached(control.dock, { clock, report, stopped });
  });
  control ??= controlClient(instance.token);
  const centre = control;
  opened.defer(() => centre.close());
  return { instance, centre };
}

/** What it may do: nothing, until the tether brings a lease. */
function openGate(
  { config, clock, report, opened }: Start,
  { authority }: Instance,
  ledger: WorkLedger,
  manifestHash: Uint8Array,
  low: () => void,
) {
  const holder = new AuthorityHolder(clock, authorityDecider(authority));
  opened.defer(() => holder.close());
  holder.set({ manifestRecorded: true, retired: authority.retired !== null });
  const progress = new Progress(native, randomBytes(32));
  const facts: RunFacts = {
    manifestHash,
    purpose: authority.grant.body.purpose,
    goal: config.goal,
    ...standingOf(config),
    servers: authority.manifest.servers,
    listens: authority.manifest.listens,
  };
  const gate = new Gate(ledger, holder, clock, facts, {
    denied: denialReport("denied", report),
    observed: denialReport("WOULD_DENY", report),
    finished: (action) => progress.record(action, clock.nowUs()),
    low,
  });
  return { gate, holder, progress };
}

async function listen(
  { config, clock, opened }: Start,
  gate: Gate,
  { credential, upstreamCa, ca }: Settings,
  facts: Pick<StackConfig, "servers" | "transparent" | "passesUnread">,
): Promise<Stack> {
  const { proxy, gateway, routes, leasedLists } = config;
  const agentUid = process.getuid?.() ?? 0;
  const stack = await openStack({
    config: {
      proxy,
      credential,
      routes,
      agentUid,
      gateway,
      leasedLists,
      upstreamCa,
      ...facts,
    },
    gate,
    ca,
    clock,
    resolve: dnsResolve(),
  }).catch(refuseListening);
  opened.defer(() => stack.close(0));
  return stack;
}

/** For who gets what the agent dials from the kernel: what the names are that it dialled. */
function openHandedOver(
  { config, clock, opened }: Start,
  gate: Gate,
): { readonly lookups: NameServer; readonly transparent: Transparent } | null {
  const { kept } = config;
  if (kept === null) return null;
  const names = new Names(join(config.dataFolder, "names"));
  opened.defer(() => names.close());
  const lookups = new NameServer(names, clock, (reason, detail) => {
    gate.refuse({ claim: null, traceparent: "" }, reason, detail);
  });
  opened.defer(() => lookups.close());
  lookups.listen(kept.dns);
  const transparent: Transparent = {
    nameOf: (address) => names.nameOf(address),
    onLookup: (socket) => lookups.accept(socket),
  };
  return { lookups, transparent };
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

/** Whoever else has the port, or no such address: a setting, and no fault of ours. */
function refuseListening(error: unknown): never {
  const { name, syscall, message } = error as NodeJS.ErrnoException;
  if (name === "SystemCallFailed") {
    throw new ConfigError(`--gateway: ${message}; it takes CAP_NET_ADMIN, and Linux`);
  }
  if (syscall !== "listen" && syscall !== "getaddrinfo") throw error;
  throw new ConfigError(`--proxy, --route or --gateway cannot be listened on: ${message}`);
}

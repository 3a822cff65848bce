import { access, constants } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import {
  checksGatheredUs,
  codeForgottenUs,
  commitGatheredUs,
  mappedForgottenUs,
} from "../domain/limits.ts";
import {
  AuditService,
  GrantService,
  KeyService,
  LeaseService,
  ManifestService,
  TenantService,
} from "../gen/dragons/v1/authority_pb.ts";
import { DockService } from "../gen/dragons/v1/dock_pb.ts";
import { LedgerService } from "../gen/dragons/v1/ledger_pb.ts";
import { OrganismService } from "../gen/dragons/v1/organism_pb.ts";
import { TetherService } from "../gen/dragons/v1/tether_pb.ts";
import { writeAtomic } from "../native/atomic-file.ts";
import { type Clock, systemClock } from "../native/clock.ts";
import { nativeWith } from "../native/crypto.ts";
import { FolderHeld, holdFolder } from "../native/hold.ts";
import { KeyError } from "../native/keys.ts";
import { ownFolder } from "../native/own-folder.ts";
import { certificateDer } from "../native/pki.ts";
import { random } from "../native/random.ts";
import { VerifyThread } from "../native/verify-thread.ts";
import { embeddedControlStore } from "../storage/control-embedded.ts";
import { FormatUnknown, upgradeFormat } from "../storage/format.ts";
import { openLmdb } from "../storage/lmdb.ts";
import { StorageFailed } from "../storage/store.ts";
import { Admission, type AdmissionRates } from "./admission.ts";
import { authenticator } from "./auth.ts";
import { BACKUP_USAGE, backupMain } from "./backup.ts";
import { CA_USAGE, caMain } from "./ca.ts";
import { SidecarCertificates } from "./certificates.ts";
import {
  CONTROL_USAGE,
  ConfigError,
  type ControlConfig,
  readConfig,
  UsageError,
} from "./config.ts";
import { keepCrowded } from "./engine.ts";
import { Fleet } from "./fleet.ts";
import { CONTROL_FORMAT } from "./format.ts";
import { dataFiles, issueForServer, openIdentity } from "./identity.ts";
import { each, forgetCode, forgetMapped } from "./mapped.ts";
import { controlServer, mounted } from "./server.ts";
import { auditService } from "./services/audit.ts";
import { dockService } from "./services/dock.ts";
import { grantService } from "./services/grant.ts";
import { keyService } from "./services/key.ts";
import { leaseService } from "./services/lease.ts";
import { ledgerService } from "./services/ledger.ts";
import { manifestService } from "./services/manifest.ts";
import { organismService } from "./services/organism.ts";
import { tenantService } from "./services/tenant.ts";
import { tetherService } from "./services/tether.ts";
import { TenantFailed } from "./tenant.ts";
import { fileKeyring } from "./tenant-keys.ts";
import { Tenants } from "./tenants.ts";
import { readWitnesses } from "./witness-file.ts";
import { postText } from "./witness-post.ts";

/** What others need to know of a control plane that runs. The ready file, as JSON. */
export interface ControlReady {
  /** `host:port` of gRPC over TLS. */
  readonly control: string;
  /** PEM file of the authority that issued its certificate. */
  readonly controlCa: string;
  /** What the `aud` of login tokens must say. */
  readonly audience: string;
  /** File of the owner's token for TenantService, mode 0600. */
  readonly bootstrapTokenFile: string;
  readonly data: string;
  readonly pid: number;
}

export interface RunningControl {
  readonly ready: ControlReady;
  readonly tenants: Tenants;
  /** What it serves, beside health and reflection. */
  readonly services: readonly DescService[];
  /** Resolves with the reason when nothing more can be stored: the process must exit 70. */
  readonly failed: Promise<Error>;
  /** NOT_SERVING, calls under way end, what was decided is durable, the store is closed. Once. */
  close(): Promise<void>;
}

/**
 * A whole control plane. Resolves once calls are accepted.
 * @throws ConfigError, FolderHeld, KeyError, StorageFailed, FormatUnknown, TenantFailed: it does not start half.
 */
export async function runControl(
  config: ControlConfig,
  { clock, rates }: { clock: Clock; rates?: AdmissionRates },
): Promise<RunningControl> {
  const data = resolve(config.data);
  const files = dataFiles(data);
  // Before anything is read there: what others may have read or written is no secret, and no record.
  for (const folder of [data, files.store, files.secrets, files.keys]) own(folder);
  // Before anybody is served, since a parent waits for this file.
  if (config.readyFile !== null) {
    await access(dirname(config.readyFile), constants.W_OK).catch(unusable("--ready-file"));
  }
  const hold = holdFolder(data);
  try {
    // Certificates go by the machine's time, as TLS does on the other side.
    const machineUs = systemClock.nowUs();
    const identity = await openIdentity(data, machineUs);
    const rows = openLmdb(files.store);
    await upgradeFormat(rows, CONTROL_FORMAT);
    const thread = new VerifyThread({ gather: () => after(checksGatheredUs / 1000) });
    const native = nativeWith(thread);
    // Holds the process open meanwhile: what was gathered is written before it ends.
    const store = embeddedControlStore(rows, () => after(commitGatheredUs / 1000));
    const tenants = await Tenants.open({
      store,
      keyring: fileKeyring(files.keys),
      clock,
      crypto: native,
      random,
      say,
    });
    const fault = Promise.withResolvers<Error>();
    const witnesses = config.witnesses == null ? [] : await readWitnesses(native, config.witnesses);
    const witnessing = { witnesses, post: postText, say };
    const database = join(files.store, "data.mdb");
    const forgetting = [
      each(mappedForgottenUs, systemClock, () => forgetMapped(database)),
      each(codeForgottenUs, systemClock, forgetCode),
    ];
    const fleet = await Fleet.open({ tenants, crypto: native, clock, random, witnessing });
    const admission = new Admission(clock, rates);
    const certificates = new SidecarCertificates(identity.sidecarCas, tenants, systemClock);
    const ca = certificateDer(identity.ca);
    const services = [
      mounted(TenantService, tenantService(tenants, { crypto: native, clock, ca })),
      mounted(KeyService, keyService(tenants, { crypto: native, ca })),
      mounted(ManifestService, manifestService(native)),
      mounted(GrantService, grantService(native)),
      mounted(DockService, dockService({ tenants, fleet, certificates, crypto: native, clock })),
      mounted(LeaseService, leaseService(fleet)),
      mounted(AuditService, auditService(fleet)),
      mounted(TetherService, tetherService(fleet, admission)),
      mounted(LedgerService, ledgerService(fleet)),
      mounted(OrganismService, organismService(fleet)),
    ];
    const hosts = [config.listen.host, ...config.names];
    const server = await controlServer({
      certificate: () => issueForServer(identity.ca, hosts, systemClock.nowUs()),
      clock: systemClock,
      sidecarCa: identity.sidecarCas.map((ca) => ca.certPem).join("\n"),
      authenticator: authenticator({
        tenants,
        certificates,
        admission,
        crypto: native,
        clock,
        audience: identity.id,
        bootstrapToken: identity.bootstrapToken,
      }),
      services,
      onFault: (error, method) => {
        if (error instanceof StorageFailed) fault.resolve(error);
        say(`${method} failed: ${error instanceof Error ? error.stack : String(error)}`);
      },
    });
    fleet.listensAt(server);
    const port = await listen(server.rpc, config);
    const ready: ControlReady = {
      control: `${bracketed(config.listen.host)}:${port}`,
      controlCa: files.ca,
      audience: identity.id,
      bootstrapTokenFile: files.bootstrapToken,
      data,
      pid: process.pid,
    };
    if (config.readyFile !== null) {
      await writeAtomic(config.readyFile, `${JSON.stringify(ready, null, 2)}\n`, 0o600);
    }
    // What is wrong with it resolves `failed`.
    void tenants.lookBack();
    const stop = async (): Promise<void> => {
      fleet.close();
      for (const timer of forgetting) timer.cancel();
      await server.close();
      fleet.storeAll();
      // If that fails, whoever waits for `failed` hears of it.
      await tenants.close().catch(() => {});
      await store.close();
      await thread.close();
      hold.release();
    };
    let closing: Promise<void> | null = null;
    return {
      ready,
      tenants,
      services: services.map((m) => m.service),
      failed: Promise.race([tenants.failed, fault.promise]),
      close() {
        closing ??= stop();
        return closing;
      },
    };
  } catch (error) {
    hold.release();
    throw error;
  }
}

async function listen(
  rpc: { listen(address: string): Promise<number> },
  { listen: { host, port } }: ControlConfig,
): Promise<number> {
  try {
    return await rpc.listen(`${bracketed(host)}:${port}`);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`--listen: ${bracketed(host)}:${port} cannot be listened on: ${said}`);
  }
}

/** @throws ConfigError when the folder cannot be used, or not by this user alone. */
function own(folder: string): void {
  let problem: string | null;
  try {
    problem = ownFolder(folder);
  } catch (error) {
    throw new ConfigError(`--data: ${(error as Error).message}`);
  }
  if (problem !== null) throw new ConfigError(`--data: ${problem}`);
}

const unusable = (flag: string) => (error: Error) => {
  throw new ConfigError(`${flag}: ${error.message}`);
};

const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host);

const say = (line: string): void => {
  process.stderr.write(`dragons control: ${line}\n`);
};

/** The process. Resolves to its exit code: 0 asked to end, 70 storage failed, 75 held, 78 config. */
export async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help")) {
    process.stdout.write(`${CONTROL_USAGE}\n${BACKUP_USAGE}\n${CA_USAGE}`);
    return 0;
  }
  const [verb, ...words] = argv;
  if (verb === "backup" || verb === "restore" || verb === "ca") {
    const done = verb === "ca" ? caMain(words) : backupMain(verb, words);
    return done.catch((error: unknown) => {
      say(error instanceof Error ? error.message : String(error));
      return exitCode(error);
    });
  }
  keepCrowded();
  let running: RunningControl;
  let config: ControlConfig;
  try {
    config = readConfig(argv);
    running = await runControl(config, { clock: systemClock });
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return exitCode(error);
  }
  say(
    `ready on ${running.ready.control}, id ${running.ready.audience}, data ${running.ready.data}`,
  );
  const ended = await Promise.race([
    running.failed,
    signalled().then(() => null),
    ...(config.stdinEof ? [stdinEnded().then(() => null)] : []),
  ]);
  if (ended !== null) {
    // Nothing is drained: what cannot be stored must not be promised a moment longer.
    say(ended.message);
    return 70;
  }
  await running.close();
  return 0;
}

function exitCode(error: unknown): number {
  if (error instanceof UsageError) return 64;
  if ([ConfigError, KeyError, FormatUnknown].some((known) => error instanceof known)) return 78;
  if (error instanceof FolderHeld) return 75;
  if (error instanceof StorageFailed || error instanceof TenantFailed) return 70;
  throw error;
}

function signalled(): Promise<void> {
  return new Promise((done) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => done());
  });
}

function stdinEnded(): Promise<void> {
  return new Promise((done) => {
    process.stdin.once("end", done);
    process.stdin.once("error", () => done());
    process.stdin.resume();
  });
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));

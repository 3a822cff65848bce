import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import grpc from "@grpc/grpc-js";
import { parseSidecarArgs } from "../../sidecar/config.ts";
import type { Report } from "../../sidecar/report.ts";
import { startSidecar } from "../../sidecar/sidecar.ts";
import { createDock } from "../../src/cli/actions/dock.ts";
import { exportEvidence } from "../../src/cli/actions/export.ts";
import { createGrant, type NewGrant } from "../../src/cli/actions/grant.ts";
import { organismHistory } from "../../src/cli/actions/history.ts";
import { generateKey } from "../../src/cli/actions/keys.ts";
import { recordManifest } from "../../src/cli/actions/manifest.ts";
import { createTenant } from "../../src/cli/actions/tenant.ts";
import { createToken, writeSecret } from "../../src/cli/actions/token.ts";
import { verifyPack } from "../../src/cli/actions/verify.ts";
import {
  type Control,
  openControl,
  openSidecar,
  type SidecarClient,
} from "../../src/cli/client.ts";
import { LAUNCHER } from "../../src/cli/dev/child.ts";
import { OrganismWatch } from "../../src/cli/dev/organism-watch.ts";
import type { SidecarReady } from "../../src/cli/dev/rig.ts";
import { readConfig } from "../../src/control/config.ts";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { type Limits, type LivenessPolicy, NO_LIMITS } from "../../src/domain/grant.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { type Clock, systemClock } from "../../src/native/clock.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { type Measured, measure } from "../../src/native/manifest-file.ts";
import type { Report as Verdict } from "../../src/verifier/report.ts";
import { type Client, echoClient, echoServer } from "../datapath/echo.ts";

const SECOND_US = 1_000_000;
const HOUR_US = 3600 * SECOND_US;
/** Milliseconds in which something that was set going must show. */
const WAIT_MS_MAX = 25_000;

export const TENANT = "acme";
export const OPERATOR = "ada";
export const SCOPE = "use:echo";
/** What the agent's manifest merely listens to, where it is asked for: the echo's server streams. */
const LISTENED = "hear:echo";

export interface WorldOptions {
  /** Longest lease, microseconds. */
  readonly leaseTtlUs?: number;
  readonly liveness?: Partial<LivenessPolicy>;
  /** What is not named is unlimited. */
  readonly limits?: Partial<Limits>;
  /** The server streams of the echo are a scope of their own, which the manifest merely listens to. */
  readonly listens?: boolean;
  /** How long its grant merely observes, microseconds; absent: it enforces. */
  readonly observeForUs?: number;
  /** What everybody in this process goes by; absent: the machine's. */
  readonly clock?: Clock;
}

/** Where a sidecar's token leads it, when not to the control plane itself. */
export interface Door {
  readonly address: string;
  readonly ca: string;
}

/**
 * A control plane with a tenant, an operator, a recorded agent and a grant, and an upstream for the
 * agent to call: everything that a sidecar needs to come aboard. All of it real, all on loopback.
 */
export class World {
  readonly folder: string;
  readonly agentFolder: string;
  readonly measured: Measured;
  readonly grantRef: Uint8Array;
  readonly rootKey: Uint8Array;
  /** The upstream, and what it saw. */
  readonly echo: Awaited<ReturnType<typeof echoServer>>;
  /** Its `127.0.0.1:port`. */
  readonly upstream: string;
  control: RunningControl;
  operator: Control;
  readonly #granted: NewGrant;
  readonly #clock: Clock;
  readonly #open: (() => unknown)[] = [];
  #admitted = 0;

  private constructor(parts: {
    folder: string;
    agentFolder: string;
    measured: Measured;
    grantRef: Uint8Array;
    granted: NewGrant;
    clock: Clock;
    rootKey: Uint8Array;
    upstream: string;
    control: RunningControl;
    operator: Control;
    echo: Awaited<ReturnType<typeof echoServer>>;
  }) {
    this.folder = parts.folder;
    this.agentFolder = parts.agentFolder;
    this.measured = parts.measured;
    this.grantRef = parts.grantRef;
    this.#granted = parts.granted;
    this.#clock = parts.clock;
    this.rootKey = parts.rootKey;
    this.upstream = parts.upstream;
    this.control = parts.control;
    this.operator = parts.operator;
    this.echo = parts.echo;
  }

  static async open({
    leaseTtlUs,
    liveness,
    limits,
    listens = false,
    observeForUs,
    clock = systemClock,
  }: WorldOptions = {}): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), "dragons-it-"));
    const echo = await echoServer(grpc.ServerCredentials.createInsecure());
    const upstream = `127.0.0.1:${echo.port}`;
    const control = await startControl(clock, folder, 0);
    const keys = join(folder, "keys");
    const root = await generateKey(join(keys, "root.key"));
    const grantKey = await generateKey(join(keys, "grant.key"));
    const login = await generateKey(join(keys, "login.key"));
    const holder = { holder: OPERATOR, ttlUs: HOUR_US };
    const owner = await asOwner(control, clock);
    await createTenant(owner, {
      tenantId: TENANT,
      root: await fileSigner(join(keys, "root.key")),
      keys: [
        { ...holder, role: "OPERATOR_GRANT", key: grantKey },
        { ...holder, role: "OPERATOR_LOGIN", key: login, loginRole: "ADMIN" },
      ],
    });
    owner.close();
    const operator = await asOperator(control, folder, clock);
    const agentFolder = join(folder, "agent");
    await mkdir(agentFolder);
    await writeFile(join(agentFolder, "agent.py"), "print('hello')\n");
    const manifest = manifestText(upstream, listens);
    await writeFile(join(agentFolder, "dragon.yaml"), manifest);
    const measured = await measure(agentFolder, manifest);
    await recordManifest(operator, measured);
    const granted: NewGrant = {
      manifest: measured.manifest,
      manifestHash: measured.hash,
      scopes: measured.manifest.capabilities.map(({ name }) => ({
        name,
        limits: { ...NO_LIMITS, ...limits },
      })),
      purpose: "echo what is said",
      forUs: HOUR_US,
      leaseTtlMaxUs: leaseTtlUs ?? 10 * SECOND_US,
      instancesMax: 64,
      liveness: { heartbeatIntervalUs: SECOND_US, ...liveness },
      ...(observeForUs === undefined ? {} : { observeForUs }),
    };
    const signers = [await fileSigner(join(keys, "grant.key"))];
    const grant = await createGrant(operator, signers, granted);
    return new World({
      folder,
      agentFolder,
      measured,
      upstream,
      control,
      operator,
      grantRef: grant.ref,
      granted,
      clock,
      rootKey: root,
      echo,
    });
  }

  /** One more grant of the same, and its reference. */
  async grant(more: Pick<NewGrant, "measureMin">): Promise<Uint8Array> {
    const signer = await fileSigner(join(this.folder, "keys", "grant.key"));
    return (await createGrant(this.operator, [signer], { ...this.#granted, ...more })).ref;
  }

  /** A join token for one more instance, in a file. */
  async token(door?: Door, grantRef = this.grantRef): Promise<string> {
    const name = `${++this.#admitted}`;
    const keys = join(this.folder, "keys");
    const joinKeyFile = join(keys, `${name}.join.key`);
    const joinKey = await generateKey(joinKeyFile);
    const dock = await createDock(this.operator, [await fileSigner(join(keys, "grant.key"))], {
      grantRef,
      joinKey,
      ledgersMax: 1,
      forUs: HOUR_US,
    });
    const file = join(keys, `${name}.token`);
    const text = await createToken({
      tenantId: TENANT,
      joinKeyFile,
      dockRef: dock.ref,
      manifestHash: this.measured.hash,
      rootKey: this.rootKey,
      controlAddress: door?.address ?? this.control.ready.control,
      controlCa: door?.ca ?? (await readFile(this.control.ready.controlCa, "utf8")),
      keysetVersion: 1,
    });
    await writeSecret(file, text);
    return file;
  }

  /** What a sidecar is started with; `more` comes last. */
  async flags(name: string, door?: Door, ...more: string[]): Promise<string[]> {
    return this.flagsOf(name, await this.token(door), ...more);
  }

  /** The same with a token that is there. */
  flagsOf(name: string, token: string, ...more: string[]): string[] {
    const folder = join(this.folder, name);
    const manifest = join(this.agentFolder, "dragon.yaml");
    const ready = `${folder}.ready.json`;
    const own = ["--data", folder, "--token", token, "--manifest", manifest];
    return [...own, "--proxy", "127.0.0.1:0", "--ready-file", ready, ...more];
  }

  /** A sidecar in this process: it can be watched from inside. */
  async sidecar(flags: readonly string[]): Promise<RunningSidecar> {
    const config = parseSidecarArgs(flags);
    const log = new EventLog();
    const stopped = new AbortController();
    const sidecar = await startSidecar(config, this.#clock, log.report, stopped.signal);
    const ready = JSON.parse(await readFile(config.readyFile as string, "utf8")) as SidecarReady;
    const running = new RunningSidecar(this, ready, config.dataFolder, log, async () => {
      stopped.abort();
      sidecar.stop("SIGTERM");
      await sidecar.done;
    });
    this.#open.push(() => running.stop());
    return running;
  }

  /** A sidecar as a process of its own: it can be killed. */
  async sidecarProcess(flags: readonly string[]): Promise<SidecarProcess> {
    const process = this.dragons("sidecar", ...flags);
    const accepting = process.log.until("accepting calls");
    const gone = process.exited.then((code) => {
      throw new Error(`the sidecar ended with ${code}: ${process.said}`);
    });
    // Whichever loses must not be an unhandled rejection.
    gone.catch(() => {});
    accepting.catch(() => {});
    await Promise.race([accepting, gone]);
    const file = flags[flags.indexOf("--ready-file") + 1] as string;
    const ready = JSON.parse(await readFile(file, "utf8")) as SidecarReady;
    const admin = openSidecar(ready.admin);
    this.#open.push(() => admin.close());
    return { process, ready, log: process.log, admin, agent: this.agent(ready) };
  }

  /** `dragons` with these words, as a process. Killed with the world. */
  dragons(...words: string[]): Dragons {
    const process = new Dragons(words);
    this.#open.push(() => {
      process.kill();
      return process.exited;
    });
    return process;
  }

  /** An unmodified gRPC client whose proxy is this sidecar. Closed with the world. */
  agent(ready: SidecarReady, upstream = this.upstream): Client {
    const proxy = `http://agent:${ready.credential}@${ready.proxy}`;
    const client = echoClient(upstream, grpc.credentials.createInsecure(), proxy);
    this.#open.push(() => client.close());
    return client;
  }

  /** The organism's state as operators see it, and every change of it. Closed with the world. */
  watch({ instanceId }: Pick<SidecarReady, "instanceId">): OrganismWatch {
    const watch = new OrganismWatch(this.operator, instanceId);
    this.#open.push(() => watch.close());
    return watch;
  }

  /** Takes a file away, for as long as it is not restored. */
  async hide(name: string): Promise<{ restore(): Promise<void> }> {
    const path = join(this.folder, name);
    await rename(path, `${path}.hidden`);
    return { restore: () => rename(`${path}.hidden`, path) };
  }

  async stopControl(): Promise<void> {
    await this.control.close();
  }

  /** The same control plane again: same data, same address; with `more` flags. */
  async startControl(...more: string[]): Promise<void> {
    const port = Number(this.control.ready.control.split(":").at(-1));
    this.control = await startControl(this.#clock, this.folder, port, ...more);
    this.operator.close();
    this.operator = await asOperator(this.control, this.folder, this.#clock);
  }

  /** What its last beat said. */
  async beat(instanceId: string): Promise<HeartbeatBody> {
    const { pulse } = await this.operator.organisms.getOrganism({ instanceId });
    return HeartbeatBody.decode(pulse?.heartbeat?.body as Uint8Array);
  }

  /** The changes of its state, oldest first: each must follow from what it cites. */
  async history(instanceId: string) {
    const history = await organismHistory(this.operator, this.rootKey, instanceId);
    const odd = history.transitions.filter((t) => t.agreement !== "AGREES");
    if (odd.length > 0) throw new Error(odd.map((t) => `${t.from} ${t.to}: ${t.why}`).join("; "));
    return history.transitions;
  }

  /** Exports everything a sidecar has and verifies it, trusting the tenant's root and nothing else. */
  async verdict(admin: SidecarClient): Promise<Verdict> {
    const out = join(this.folder, "evidence.dragons");
    await exportEvidence(admin, { out });
    return verifyPack(out, this.trust, this.#clock.nowUs());
  }

  /**
   * The verdict on a sidecar's evidence once all of it so far is under a countersigned head. Every
   * lease is earned by one; the second from now on by a head of now.
   */
  async anchored({ admin, log }: Pick<RunningSidecar, "admin" | "log">): Promise<Verdict> {
    const from = log.now;
    const { facts } = await log.until("lease", { from });
    await log.until("lease", { from, where: (f) => Number(f.seq) > Number(facts.seq) });
    return this.verdict(admin);
  }

  get trust() {
    return {
      tenant: TENANT,
      rootKey: this.rootKey,
      keysetVersion: 1,
      cosigners: null,
      witnesses: [],
      quorum: 0,
      knownHead: null,
      asOfUs: null,
      maxAgeUs: null,
    };
  }

  async close(): Promise<void> {
    for (const close of this.#open.reverse()) await close();
    this.operator.close();
    await this.control.close();
    this.echo.close();
    await rm(this.folder, { recursive: true });
  }
}

/** A sidecar that runs in this process. */
export class RunningSidecar {
  readonly ready: SidecarReady;
  readonly data: string;
  readonly log: EventLog;
  /** Its own service. */
  readonly admin: SidecarClient;
  readonly agent: Client;
  readonly #stop: () => Promise<void>;
  #stopped: Promise<void> | null = null;

  constructor(
    world: World,
    ready: SidecarReady,
    data: string,
    log: EventLog,
    stop: () => Promise<void>,
  ) {
    this.ready = ready;
    this.data = data;
    this.log = log;
    this.#stop = stop;
    this.admin = openSidecar(ready.admin);
    this.agent = world.agent(ready);
  }

  stop(): Promise<void> {
    this.admin.close();
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }
}

/** A sidecar that runs in a process of its own. */
export interface SidecarProcess {
  readonly process: Dragons;
  readonly ready: SidecarReady;
  readonly log: EventLog;
  readonly admin: SidecarClient;
  readonly agent: Client;
}

/** The real program, started as a person starts it. */
export class Dragons {
  readonly log = new EventLog();
  /** Resolves with its exit code, 128 and more for a signal. */
  readonly exited: Promise<number>;
  readonly #process: ChildProcess;
  #said = "";

  constructor(words: readonly string[]) {
    const stdio = ["ignore", "ignore", "pipe"] as const;
    this.#process = spawn(process.execPath, [LAUNCHER, ...words], { stdio: [...stdio] });
    const lines = createInterface({ input: this.#process.stderr as Readable });
    lines.on("line", (line) => {
      this.#said += `${line}\n`;
      if (!line.startsWith("{")) return;
      const { event, ...facts } = JSON.parse(line) as { event: string } & Said["facts"];
      this.log.report(event, facts);
    });
    this.exited = new Promise((resolve) => {
      this.#process.once("close", (code, signal) =>
        resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
      );
    });
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  /** Everything that it said on standard error. */
  get said(): string {
    return this.#said;
  }

  /** As a power cut does. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  /** As a person does. */
  terminate(): void {
    this.#process.kill("SIGTERM");
  }
}

export interface Said {
  readonly event: string;
  readonly facts: Readonly<Record<string, string | number>>;
}

/** What a sidecar reports, to be waited for. */
export class EventLog {
  readonly said: Said[] = [];
  #wake: (() => void)[] = [];

  readonly report: Report = (event, facts = {}) => {
    this.said.push({ event, facts });
    for (const wake of this.#wake.splice(0)) wake();
  };

  /** How many events there are: from there on is what comes next. */
  get now(): number {
    return this.said.length;
  }

  /** The first such event from a place on, once it is there. */
  async until(
    event: string,
    { from = 0, where = () => true }: { from?: number; where?: (f: Said["facts"]) => boolean } = {},
  ): Promise<Said> {
    const late = Date.now() + WAIT_MS_MAX;
    for (;;) {
      const found = this.said.slice(from).find((s) => s.event === event && where(s.facts));
      if (found !== undefined) return found;
      const left = late - Date.now();
      if (left <= 0) throw new Error(`no ${event}; said: ${JSON.stringify(this.said.slice(from))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

function startControl(
  clock: Clock,
  folder: string,
  port: number,
  ...more: string[]
): Promise<RunningControl> {
  const own = ["--data", join(folder, "control"), "--listen", `127.0.0.1:${port}`];
  return runControl(readConfig([...own, ...more]), { clock });
}

/** Every receipt that a sidecar has, in order. */
export async function receiptsOf({ evidence }: SidecarClient): Promise<ReceiptHeader[]> {
  const headers: ReceiptHeader[] = [];
  for (let fromSeq = 1n; fromSeq > 0n; ) {
    const page = await evidence.listEntries({ fromSeq });
    for (const { receipt } of page.entries) {
      headers.push(ReceiptHeader.decode((receipt as { body: Uint8Array }).body));
    }
    fromSeq = page.nextSeq;
  }
  return headers;
}

async function asOwner({ ready }: RunningControl, clock: Clock): Promise<Control> {
  return openControl({
    clock,
    address: ready.control,
    ca: await readFile(ready.controlCa, "utf8"),
    tenant: "",
    bootstrap: (await readFile(ready.bootstrapTokenFile, "utf8")).trim(),
    login: null,
  });
}

async function asOperator(
  { ready }: RunningControl,
  folder: string,
  clock: Clock,
): Promise<Control> {
  return openControl({
    clock,
    address: ready.control,
    ca: await readFile(ready.controlCa, "utf8"),
    tenant: TENANT,
    bootstrap: null,
    login: {
      operator: OPERATOR,
      audience: ready.audience,
      signer: await fileSigner(join(folder, "keys", "login.key")),
    },
  });
}

const manifestText = (upstream: string, listens: boolean): string => `name: echoer
version: v1
code: [agent.py]
runtime: python3
capabilities:
  ${SCOPE}:
    - grpc: test.Echo/${listens ? "{Unary,Chat}" : "*"}
      at: ${upstream}
${listens ? `  ${LISTENED}:\n    - grpc: test.Echo/Count\n      at: ${upstream}\nlistens: [${LISTENED}]\n` : ""}`;

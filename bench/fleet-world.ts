import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { systemClock } from "../src/native/clock.ts";
import { createClient, openChannel, type RpcChannel } from "../src/wire/grpc.ts";
import type { CallOptions } from "../src/wire/rpc.ts";
import type { ClientCertificate, World } from "../test/control/world.ts";
import { contextOf, FleetConnection } from "./fleet-connection.ts";
import { Process } from "./process.ts";

const DRAGONS = join(import.meta.dirname, "../bin/dragons");
const READY_POLL_MS = 50;

interface Ready {
  readonly control: string;
  readonly controlCa: string;
  readonly audience: string;
  readonly bootstrapTokenFile: string;
}

/** A control plane as it is shipped, in a process of its own, and how this one talks to it. */
export class ControlProcess {
  readonly #folder: string;
  #port = 0;
  #process!: Process;
  #ready!: Ready;
  #ca!: Uint8Array;
  #channel!: RpcChannel;
  /** Between a start and the stop that follows. */
  running = false;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async start(): Promise<void> {
    const file = join(this.#folder, "ready.json");
    rmSync(file, { force: true });
    const listen = `127.0.0.1:${this.#port}`;
    const data = join(this.#folder, "control");
    const flags = ["--data", data, "--listen", listen, "--ready-file", file];
    this.#process = new Process("measured", [process.execPath, DRAGONS, "control", ...flags]);
    while (!existsSync(file)) {
      if (this.#process.over) throw new Error("the control plane ended before it was ready");
      await after(READY_POLL_MS);
    }
    this.#ready = JSON.parse(readFileSync(file, "utf8")) as Ready;
    this.#port = Number(this.#ready.control.split(":").at(-1));
    this.#ca = readFileSync(this.#ready.controlCa);
    this.#channel = this.open();
    this.running = true;
  }

  async stop(): Promise<void> {
    this.running = false;
    this.#channel.close();
    await this.#process.stop();
  }

  pid = (): number => this.#process.pid;
  cpuUs = (): number => this.#process.cpuUs();
  memoryMb = () => this.#process.memoryMb();

  /** How to dial as one sidecar, from an address of its own. */
  dialer(certificate: ClientCertificate, from: string): () => Promise<FleetConnection> {
    const context = contextOf(certificate);
    return () => FleetConnection.open({ port: this.#port, context }, from);
  }

  /** An operator's connection. */
  open(): RpcChannel {
    return openChannel({
      address: this.#ready.control,
      tls: { ca: this.#ca },
      messageBytesMax: 8 * 1024 * 1024,
      keepaliveUs: 600_000_000,
      keepaliveTimeoutUs: 10_000_000,
    });
  }

  /** As much of the tests' world as simulated sidecars and operators need. */
  world(): World {
    const channel = () => this.#channel;
    const ready = () => this.#ready;
    const owner = (): CallOptions => {
      const token = readFileSync(this.#ready.bootstrapTokenFile, "utf8").trim();
      return { metadata: { authorization: `Bearer ${token}` } };
    };
    return {
      clock: systemClock,
      get running() {
        return { ready: ready() };
      },
      get owner() {
        return owner();
      },
      client: (service: Parameters<World["client"]>[0]) => createClient(service, channel()),
    } as unknown as World;
  }
}

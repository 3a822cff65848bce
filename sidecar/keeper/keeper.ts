import { readFileSync } from "node:fs";
import {
  keeperBackoffMaxUs,
  keeperBackoffUs,
  keeperPatienceUs,
  keeperPingsMax,
  keeperPingUs,
  keeperSteadyUs,
} from "../../src/domain/limits.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { Cage } from "../cage/cage.ts";
import type { Prepare, Start } from "../cage/words.ts";
import type { Report } from "../report.ts";
import type { SidecarProcess } from "./sidecar-process.ts";
import type { FromSidecar } from "./words.ts";

const EXIT_CONFIG = 78;
/** Where the authority lies that the agent trusts, inside. */
const CA_FILE = "/run/dragons/ca.pem";
const BUNDLE_FILE = "/run/dragons/ca-bundle.pem";

export interface KeeperParts {
  readonly cage: Cage;
  readonly clock: Clock;
  readonly report: Report;
  /** manifest_hash of the files that the agent will see, hex. */
  readonly manifestHash: string;
  /** Their paths. */
  readonly snapshot: Prepare["snapshot"];
  readonly command: Start["command"];
  /** The agent's environment, with the files of the authority that it trusts. */
  readonly environment: (files: { caFile: string; bundleFile: string }) => Start["env"];
  /** @param running the agent's pid, if it was started. */
  readonly startSidecar: (
    running: number | null,
    onMessage: (message: FromSidecar) => void,
  ) => SidecarProcess;
}

/**
 * Holds a cage, with the listeners and the agent in it, and sees to it that a sidecar serves them. It
 * has no key and decides nothing. While there is no sidecar, what the agent dials waits in the
 * listeners' queues, and nothing leaves.
 */
export class Keeper {
  readonly #parts: KeeperParts;
  readonly #done = Promise.withResolvers<number>();
  #sidecar: SidecarProcess | null = null;
  #agent: "NONE" | "STARTING" | "RUNNING" | "ENDED" = "NONE";
  #agentPid: number | null = null;
  #ending = false;
  #handingOver = false;
  #backoffUs = keeperBackoffUs;
  /** Questions left unanswered, of one that has answered before. */
  #unanswered: number | null = null;
  #asking: Timer | null = null;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** The agent's exit code, or that of a sidecar which could not begin. */
  get done(): Promise<number> {
    return this.#done.promise;
  }

  begin(): void {
    this.#serve();
    this.#ask();
    void this.#parts.cage.exited.then((exit) => this.#agentEnded(exit));
  }

  /** To the agent; before there is one, to give up. */
  signal(name: NodeJS.Signals, number: number): void {
    if (this.#agent === "RUNNING") this.#parts.cage.signal(name);
    else void this.#end(128 + number);
  }

  /** Lets a successor of the sidecar, of whatever release is installed now, take its place. */
  handOver(): void {
    const sidecar = this.#sidecar;
    if (sidecar === null || this.#agent !== "RUNNING" || this.#handingOver) return;
    this.#handingOver = true;
    this.#parts.report("handing over", { sidecar: sidecar.pid });
    sidecar.tell({ say: "hand over" });
    const late = this.#parts.clock.after(keeperPatienceUs, () => sidecar.kill());
    void sidecar.exited.then(() => late.cancel());
  }

  #serve(): void {
    const { clock, report, startSidecar } = this.#parts;
    const since = clock.monotonicUs();
    this.#unanswered = null;
    const sidecar = startSidecar(this.#agentPid, (message) => this.#heard(sidecar, message));
    this.#sidecar = sidecar;
    void sidecar.exited.then((exit) => {
      this.#sidecar = null;
      if (this.#ending) return;
      // Whatever kept it from beginning keeps the next one from it, too: the agent was never there.
      if (this.#agent === "NONE") return void this.#end(exit);
      if (clock.monotonicUs() - since > keeperSteadyUs || this.#handingOver) {
        this.#backoffUs = keeperBackoffUs;
      }
      const waitUs = this.#handingOver ? 0 : this.#backoffUs;
      if (!this.#handingOver) {
        report("the sidecar ended; the agent waits for the next", { exit, in_ms: waitUs / 1000 });
      }
      this.#handingOver = false;
      this.#backoffUs = Math.min(2 * this.#backoffUs, keeperBackoffMaxUs);
      clock.after(waitUs, () => {
        if (!this.#ending) this.#serve();
      });
    });
  }

  #heard(sidecar: SidecarProcess, message: FromSidecar): void {
    if (sidecar !== this.#sidecar) return;
    if (message.say === "pong") this.#unanswered = 0;
    else if (message.say === "signal") this.#parts.cage.signal(message.name);
    else if (this.#agent === "NONE") void this.#start(message);
  }

  async #start(launch: Extract<FromSidecar, { say: "launch" }>): Promise<void> {
    const { cage, command, environment, manifestHash, report, snapshot } = this.#parts;
    if (launch.manifestHash !== manifestHash) {
      report("agent not started", { detail: "its files changed between two measurements" });
      return this.#end(EXIT_CONFIG);
    }
    this.#agent = "STARTING";
    const started = await cage.start(
      {
        snapshot,
        files: {
          [CA_FILE]: readFileSync(launch.caFile, "utf8"),
          [BUNDLE_FILE]: readFileSync(launch.bundleFile, "utf8"),
        },
      },
      { command, env: environment({ caFile: CA_FILE, bundleFile: BUNDLE_FILE }) },
    );
    if (this.#agent !== "STARTING") return;
    if ("why" in started) {
      report("agent not started", { detail: started.why });
      return this.#end(started.exit);
    }
    this.#agent = "RUNNING";
    this.#agentPid = started.pid;
    this.#sidecar?.tell({ say: "started", pid: started.pid });
  }

  async #agentEnded(exit: number): Promise<void> {
    const ran = this.#agent === "RUNNING";
    this.#agent = "ENDED";
    // A command that could not be executed is told of by its start.
    if (ran) await this.#end(exit);
    else if (!this.#ending) await this.#end(exit === 0 ? EXIT_CONFIG : exit);
  }

  /** Lets the sidecar tell the ledger and the centre what there is to tell, and ends with a code. */
  async #end(exit: number): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const { cage, clock } = this.#parts;
    this.#asking?.cancel();
    cage.kill();
    await cage.exited;
    const sidecar = this.#sidecar;
    if (sidecar !== null) {
      sidecar.tell(this.#agentPid === null ? { say: "hand over" } : { say: "ended", exit });
      const late = clock.after(keeperPatienceUs, () => sidecar.kill());
      await sidecar.exited;
      late.cancel();
    }
    this.#done.resolve(exit);
  }

  /** Asks every few seconds whether the sidecar's loop still turns, and kills one that does not. */
  #ask(): void {
    const { clock, report } = this.#parts;
    const asked = clock.monotonicUs();
    this.#asking = clock.after(keeperPingUs, () => {
      // Had we been stopped ourselves, its silence would be ours.
      const onTime = clock.monotonicUs() - asked < 2 * keeperPingUs;
      const sidecar = this.#sidecar;
      if (sidecar !== null) {
        if (this.#unanswered !== null && onTime && !sidecar.isStopped()) this.#unanswered++;
        if ((this.#unanswered ?? 0) > keeperPingsMax) {
          report("the sidecar does not answer, and is killed", { sidecar: sidecar.pid });
          this.#unanswered = null;
          sidecar.kill();
        } else sidecar.tell({ say: "ping" });
      }
      this.#ask();
    });
  }
}

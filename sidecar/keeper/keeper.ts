import { readFileSync } from "node:fs";
import {
  keeperBackoffMaxUs,
  keeperBackoffUs,
  keeperPatienceUs,
  keeperPingsMax,
  keeperPingUs,
  keeperSteadyUs,
} from "../../src/domain/limits.ts";
import type { Restart } from "../../src/domain/restart.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { Agent } from "../agent/launch.ts";
import { SupervisedAgent } from "../agent/supervised.ts";
import type { Cage, Started } from "../cage/cage.ts";
import type { Lacking } from "../cage/means.ts";
import type { Prepare, Start } from "../cage/words.ts";
import type { Report } from "../report.ts";
import type { SidecarProcess } from "./sidecar-process.ts";
import type { FromSidecar } from "./words.ts";

const EXIT_CONFIG = 78;
/** Where the authority lies that the agent trusts, inside. */
const CA_FILE = "/run/dragons/ca.pem";
const BUNDLE_FILE = "/run/dragons/ca-bundle.pem";

export interface KeeperParts {
  /** For the first agent. */
  readonly cage: Cage;
  /** For each that follows it, once its files were measured again. @throws where they cannot be. */
  readonly openCage: () => Promise<Cage | Lacking>;
  /** When it is followed. */
  readonly policy: Restart;
  readonly clock: Clock;
  readonly report: Report;
  /** manifest_hash of the files that the agent will see, hex. */
  readonly manifestHash: string;
  /** Their paths. */
  readonly snapshot: Prepare["snapshot"];
  readonly command: Start["command"];
  /** The agent's environment, with the files of the authority that it trusts. */
  readonly environment: (files: { caFile: string; bundleFile: string }) => Start["env"];
  /** @param running the agent's pid, 0 between two starts of it; null: it is yet to be started. */
  readonly startSidecar: (
    cage: Cage,
    running: number | null,
    onMessage: (message: FromSidecar) => void,
  ) => SidecarProcess;
}

/**
 * Holds a cage, with the listeners and the agent in it, and sees to it that a sidecar serves them. It
 * has no key, and decides of no action. While there is no sidecar, what the agent dials waits in the
 * listeners' queues, and nothing leaves. An agent that follows another has a cage of its own, and sees
 * the same files.
 */
export class Keeper {
  readonly #parts: KeeperParts;
  readonly #done = Promise.withResolvers<number>();
  #sidecar: SidecarProcess | null = null;
  #cage: Cage;
  /** null: none was started yet. */
  #agent: SupervisedAgent | null = null;
  /** Some agent ran. */
  #ran = false;
  #ending = false;
  #handingOver = false;
  #backoffUs = keeperBackoffUs;
  /** Questions left unanswered, of one that has answered before. */
  #unanswered: number | null = null;
  #asking: Timer | null = null;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#cage = parts.cage;
  }

  /** The agent's exit code, or that of a sidecar which could not begin. */
  get done(): Promise<number> {
    return this.#done.promise;
  }

  begin(): void {
    this.#serve();
    this.#ask();
    void this.#cage.exited.then((exit) => {
      if (this.#agent === null) void this.#end(exit === 0 ? EXIT_CONFIG : exit);
    });
  }

  /** To the agent, which nothing follows then, but for SIGUSR1; before there is one, to give up. */
  signal(name: NodeJS.Signals, number: number): void {
    const agent = this.#agent;
    const starting = agent?.pid === undefined && agent?.state() !== "ABSENT";
    if (agent === null || starting) void this.#end(128 + number);
    else if (name === "SIGUSR1") this.#cage.signal(name);
    else agent.signal(name);
  }

  /** Somebody else told the agent to end: nothing follows it. */
  over(): void {
    this.#agent?.over();
  }

  /** Lets a successor of the sidecar, of whatever release is installed now, take its place. */
  handOver(): void {
    const sidecar = this.#sidecar;
    if (sidecar === null || this.#agent === null || this.#handingOver) return;
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
    const running = this.#agent === null ? null : (this.#agent.pid ?? 0);
    const sidecar = startSidecar(this.#cage, running, (message) => this.#heard(sidecar, message));
    this.#sidecar = sidecar;
    void sidecar.exited.then((exit) => {
      this.#sidecar = null;
      if (this.#ending) return;
      // Whatever kept it from beginning keeps the next one from it, too: the agent was never there.
      if (this.#agent === null) return void this.#end(exit);
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
    else if (message.say === "signal") this.#agent?.signal(message.name);
    else if (message.say === "restart") this.#agent?.restart();
    else if (this.#agent === null) this.#launch(message);
  }

  #launch(launch: Extract<FromSidecar, { say: "launch" }>): void {
    const { clock, manifestHash, policy, report } = this.#parts;
    if (launch.manifestHash !== manifestHash) {
      report("agent not started", { detail: "its files changed between two measurements" });
      return void this.#end(EXIT_CONFIG);
    }
    const files = {
      [CA_FILE]: readFileSync(launch.caFile, "utf8"),
      [BUNDLE_FILE]: readFileSync(launch.bundleFile, "utf8"),
    };
    const agent = new SupervisedAgent({
      start: () => this.#start(files),
      policy,
      clock,
      report,
      changed: () => {
        if (agent.state() === "ABSENT") this.#sidecar?.tell({ say: "left" });
      },
    });
    this.#agent = agent;
    void agent.exited.then((exit) => this.#end(exit));
  }

  #start(files: Prepare["files"]): Agent {
    let pid: number | undefined;
    let code: number | null = null;
    const run = async (): Promise<number> => {
      const started = await this.#startInCage(files);
      if ("why" in started) {
        if (!this.#ending) this.#parts.report("agent not started", { detail: started.why });
        return started.exit;
      }
      pid = started.pid;
      this.#ran = true;
      this.#parts.report("agent started", { pid });
      this.#sidecar?.tell({ say: "started", pid });
      return this.#cage.exited;
    };
    const exited = run().then((exit) => {
      code = exit;
      return exit;
    });
    return {
      get pid() {
        return pid;
      },
      exited,
      exitCode: () => code,
      signal: (name) => this.#cage.signal(name),
    };
  }

  async #startInCage(files: Prepare["files"]): Promise<Started> {
    const { command, environment, snapshot } = this.#parts;
    // The first one's was opened before anybody was asked.
    if (this.#agent !== null) {
      const why = await this.#openCage();
      if (why !== null) return { exit: EXIT_CONFIG, why };
    }
    return this.#cage.start(
      { snapshot, files },
      { command, env: environment({ caFile: CA_FILE, bundleFile: BUNDLE_FILE }) },
    );
  }

  /** Another cage in place of the one whose agent has ended, served by the sidecar. Returns why not. */
  async #openCage(): Promise<string | null> {
    let cage: Cage | Lacking;
    try {
      cage = await this.#parts.openCage();
    } catch (error) {
      return (error as Error).message;
    }
    if ("lacking" in cage) return cage.why;
    this.#cage.release();
    this.#cage = cage;
    if (this.#ending) {
      cage.kill();
      return "the run ends";
    }
    this.#sidecar?.listen(cage);
    return null;
  }

  /** Lets the sidecar tell the ledger and the centre what there is to tell, and ends with a code. */
  async #end(exit: number): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const { clock } = this.#parts;
    this.#asking?.cancel();
    this.#cage.kill();
    await this.#cage.exited;
    const sidecar = this.#sidecar;
    if (sidecar !== null) {
      sidecar.tell(this.#ran ? { say: "ended", exit } : { say: "hand over" });
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

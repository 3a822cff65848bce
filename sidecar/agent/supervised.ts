import { readFileSync } from "node:fs";
import {
  agentBackoffMaxUs,
  agentBackoffMinUs,
  agentRestartsMax,
  agentSettledUs,
  agentTermUs,
} from "../../src/domain/limits.ts";
import type { Restart } from "../../src/domain/restart.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { Report } from "../report.ts";
import type { Agent } from "./launch.ts";

/** Shells' codes for what cannot be run: trying again would not help. */
const UNRUNNABLE = [126, 127];

interface Supervision {
  readonly start: () => Agent;
  readonly policy: Restart;
  readonly clock: Clock;
  readonly report: Report;
  /** It ended and will be followed, or was just followed: the control plane should hear. */
  readonly changed: () => void;
}

/**
 * An agent and those that follow it: started again by its policy, with back-off and a budget, or
 * because the control plane asks for it. To everybody else it is one agent that ends once.
 */
export class SupervisedAgent implements Agent {
  readonly exited: Promise<number>;
  readonly #parts: Supervision;
  readonly #ended = Promise.withResolvers<number>();
  #agent: Agent | null = null;
  #code: number | null = null;
  /** Starts in a row of which none lasted. */
  #restarts = 0;
  #startedUs = 0;
  /** Somebody wants it ended for good. */
  #ending = false;
  /** The one that runs is to be followed by another, however it ends. */
  #asked = false;
  #waiting: { readonly timer: Timer; readonly code: number } | null = null;

  constructor(parts: Supervision) {
    this.#parts = parts;
    this.exited = this.#ended.promise;
    this.#start();
  }

  get pid(): number | undefined {
    return this.#agent?.pid;
  }

  /** null while it runs, or is about to run again. */
  exitCode(): number | null {
    return this.#code;
  }

  /** ABSENT: between two starts. STOPPED: suspended by a signal, as far as the system tells. */
  state(): "ABSENT" | "RUNNING" | "EXITED" | "STOPPED" {
    if (this.#code !== null) return "EXITED";
    if (this.#agent === null) return "ABSENT";
    return isSuspended(this.#agent.pid) ? "STOPPED" : "RUNNING";
  }

  /** For an end: nothing follows it. */
  signal(name: NodeJS.Signals): void {
    this.#ending = true;
    this.#agent?.signal(name);
    // One that is suspended hears nothing before it goes on.
    if (name === "SIGTERM") this.#agent?.signal("SIGCONT");
    if (this.#waiting === null) return;
    this.#waiting.timer.cancel();
    this.#end(this.#waiting.code);
  }

  /** Ends the one that runs, whatever it takes, and starts another. False: its policy is never to. */
  restart(): boolean {
    const { policy, clock } = this.#parts;
    if (policy === "never" || this.#ending || this.#code !== null) return false;
    const agent = this.#agent;
    if (agent === null || this.#asked) return true;
    this.#asked = true;
    agent.signal("SIGTERM");
    agent.signal("SIGCONT");
    clock.after(agentTermUs, () => {
      if (this.#agent === agent) agent.signal("SIGKILL");
    });
    return true;
  }

  #start(): void {
    this.#waiting = null;
    this.#startedUs = this.#parts.clock.monotonicUs();
    const agent = this.#parts.start();
    this.#agent = agent;
    this.#parts.report("agent started", { pid: agent.pid ?? 0 });
    void agent.exited.then((code) => this.#left(code));
  }

  #left(code: number): void {
    const { policy, clock, report, changed } = this.#parts;
    this.#agent = null;
    if (clock.monotonicUs() - this.#startedUs >= agentSettledUs) this.#restarts = 0;
    const failed = code !== 0 && !UNRUNNABLE.includes(code);
    const byPolicy = policy === "always" || (policy === "on-failure" && failed);
    const again = !this.#ending && (this.#asked || byPolicy);
    this.#asked = false;
    if (!again || this.#restarts >= agentRestartsMax) {
      if (again) report("agent given up", { restarts: this.#restarts, exit: code });
      this.#end(code);
      return;
    }
    const backoffUs = Math.min(agentBackoffMinUs * 2 ** this.#restarts, agentBackoffMaxUs);
    this.#restarts++;
    report("agent restarts", { exit: code, seconds: backoffUs / 1_000_000 });
    const timer = clock.after(backoffUs, () => {
      this.#start();
      changed();
    });
    this.#waiting = { timer, code };
    changed();
  }

  #end(code: number): void {
    this.#waiting = null;
    this.#code = code;
    this.#ended.resolve(code);
  }
}

/** Whether a process is suspended, by Linux's own word (proc_pid_stat(5)); elsewhere nobody says so. */
function isSuspended(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Its name, in parentheses, may hold anything.
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}

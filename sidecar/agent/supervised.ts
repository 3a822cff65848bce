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
import { type Agent, type Attended, isSuspended } from "./launch.ts";

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
 * Started again by its policy, with back-off and a budget, or because the control plane asks for it.
 */
export class SupervisedAgent implements Attended {
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

  exitCode(): number | null {
    return this.#code;
  }

  state(): "ABSENT" | "RUNNING" | "EXITED" | "STOPPED" {
    if (this.#code !== null) return "EXITED";
    if (this.#agent === null) return "ABSENT";
    return isSuspended(this.#agent.pid) ? "STOPPED" : "RUNNING";
  }

  signal(name: NodeJS.Signals): void {
    this.over();
    this.#agent?.signal(name);
    // One that is suspended hears nothing before it goes on.
    if (name === "SIGTERM") this.#agent?.signal("SIGCONT");
  }

  /** Nothing follows the one that runs. */
  over(): void {
    this.#ending = true;
    if (this.#waiting === null) return;
    this.#waiting.timer.cancel();
    this.#end(this.#waiting.code);
  }

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
    // Of one without a pid, whoever starts it tells what came of that.
    if (agent.pid !== undefined) this.#parts.report("agent started", { pid: agent.pid });
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

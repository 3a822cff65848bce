import type { FromKeeper, FromSidecar } from "../keeper/words.ts";
import type { Agent } from "./launch.ts";

/**
 * The agent of a sidecar that was started by a keeper: the keeper holds it, so that it outlives this
 * process, and tells what becomes of it.
 */
export class KeptAgent implements Agent {
  readonly exited: Promise<number>;
  #pid: number | undefined;
  #exit: number | null = null;

  /**
   * @param running its pid, if a sidecar before this one had it started.
   * @param gone asked to hand over to a successor.
   */
  constructor(running: number | null, gone: () => void) {
    this.#pid = running ?? undefined;
    const ended = Promise.withResolvers<number>();
    this.exited = ended.promise;
    process.on("message", (message: FromKeeper) => {
      if (message.say === "ping") this.#tell({ say: "pong" });
      else if (message.say === "started") this.#pid = message.pid;
      else if (message.say === "hand over") gone();
      else {
        this.#exit = message.exit;
        ended.resolve(message.exit);
      }
    });
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  /** Has it started. */
  launch(facts: Omit<Extract<FromSidecar, { say: "launch" }>, "say">): this {
    this.#tell({ say: "launch", ...facts });
    return this;
  }

  exitCode(): number | null {
    return this.#exit;
  }

  signal(name: NodeJS.Signals): void {
    this.#tell({ say: "signal", name });
  }

  /** Nothing more is expected: this process may end. */
  release(): void {
    if (process.connected) process.disconnect();
  }

  #tell(message: FromSidecar): void {
    // A keeper that is gone has taken the agent with it.
    if (process.connected) process.send?.(message);
  }
}

import type { Restart } from "../../src/domain/restart.ts";
import type { Passed } from "../config.ts";
import type { FromKeeper, FromSidecar } from "../keeper/words.ts";
import type { PassedDatagrams } from "../listeners/dns.ts";
import { type Attended, isSuspended } from "./launch.ts";

interface Keeping {
  /** Its pid, if a sidecar before this one had it started, 0 between two starts; null: it is yet to be. */
  readonly running: number | null;
  readonly policy: Restart;
  /** A successor waits. */
  readonly gone: () => void;
  /** It ended and will be followed, or was just followed: the control plane should hear. */
  readonly changed: () => void;
  /** What the next agent dials and looks up comes in there, and no more where it did before. */
  readonly listen: (at: Passed, dns: readonly PassedDatagrams[]) => void;
}

/**
 * The agent of a sidecar that was started by a keeper: the keeper holds it, so that it outlives this
 * process, starts it again, and tells what becomes of it.
 */
export class KeptAgent implements Attended {
  readonly exited: Promise<number>;
  readonly #keeping: Keeping;
  readonly #ended = Promise.withResolvers<number>();
  #pid: number | undefined;
  #exit: number | null = null;
  /** Some agent ran already. */
  #ran: boolean;
  /** Sockets for look-ups whose listener is still to come. */
  #dns: PassedDatagrams[] = [];

  constructor(keeping: Keeping) {
    this.#keeping = keeping;
    this.#pid = keeping.running || undefined;
    this.#ran = keeping.running !== null;
    this.exited = this.#ended.promise;
    process.on("message", (message: FromKeeper, socket) =>
      this.#heard(message, socket as unknown as Passed),
    );
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

  state(): "ABSENT" | "RUNNING" | "EXITED" | "STOPPED" {
    if (this.#exit !== null) return "EXITED";
    if (this.#pid === undefined) return "ABSENT";
    return isSuspended(this.#pid) ? "STOPPED" : "RUNNING";
  }

  signal(name: NodeJS.Signals): void {
    this.#tell({ say: "signal", name });
  }

  restart(): boolean {
    if (this.#keeping.policy === "never" || this.#exit !== null) return false;
    this.#tell({ say: "restart" });
    return true;
  }

  /** Nothing more is expected: this process may end. */
  release(): void {
    if (process.connected) process.disconnect();
  }

  #heard(message: FromKeeper, socket: Passed): void {
    const { gone, changed, listen } = this.#keeping;
    if (message.say === "ping") this.#tell({ say: "pong" });
    else if (message.say === "hand over") gone();
    else if (message.say === "dns") this.#dns.push({ at: socket, type: message.type });
    else if (message.say === "transparent") {
      listen(socket, this.#dns);
      this.#dns = [];
    } else if (message.say === "started") {
      this.#pid = message.pid;
      if (this.#ran) changed();
      this.#ran = true;
    } else if (message.say === "left") {
      this.#pid = undefined;
      changed();
    } else {
      this.#exit = message.exit;
      this.#ended.resolve(message.exit);
    }
  }

  #tell(message: FromSidecar): void {
    // A keeper that is gone has taken the agent with it.
    if (process.connected) process.send?.(message);
  }
}

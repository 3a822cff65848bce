import { drainUs } from "../src/domain/limits.ts";
import type { Attended } from "./agent/launch.ts";
import type { WorkLedger } from "./ledger/work-ledger.ts";
import type { Report } from "./report.ts";
import type { Stack } from "./stack.ts";
import type { Governor } from "./tether/governor.ts";

const EXIT_STORAGE = 70;
const EXIT_CONFIG = 78;

/** A running sidecar. */
export interface Sidecar {
  /** Drains, tells the control plane, closes the ledger. An agent that it holds is told first, and ends it. */
  stop(signal: NodeJS.Signals): void;
  /** Its exit code: the agent's if it launched one, 70 if the ledger failed, else 0. */
  readonly done: Promise<number>;
}

/** What has to be ended, in order. */
interface Running {
  readonly stack: Pick<Stack, "close">;
  readonly ledger: WorkLedger;
  readonly governor: Governor;
  readonly opened: AsyncDisposableStack;
}

/** From accepting calls to the exit code: the agent's launch, its end, ours, and a ledger that fails. */
export class Lifetime implements Sidecar {
  agent: Attended | null = null;
  readonly #report: Report;
  /** The agent is another's to end: it outlives us. */
  readonly #kept: boolean;
  /** Nothing of the ledger is owed any more: nobody has to come after us. */
  readonly #closed: () => void;
  readonly #done = Promise.withResolvers<number>();
  #running: Running | null = null;
  #stopping = false;

  constructor(report: Report, kept: boolean, closed: () => void) {
    this.#report = report;
    this.#kept = kept;
    this.#closed = closed;
  }

  get done(): Promise<number> {
    return this.#done.promise;
  }

  /** Everything stands. */
  begin(running: Running): void {
    this.#running = running;
    void running.ledger.failed.then((error) => this.storageFailed(error));
  }

  /** Starts the agent once authority is held, and ends as it does. */
  async launch(start: () => Attended): Promise<void> {
    const { governor } = this.#running as Running;
    const measured = await governor.firstLease;
    if (this.#stopping) return;
    if (measured === "DRIFTED") {
      this.#report("agent not started", {
        detail: "its files are no longer those of its manifest",
      });
      return this.#stop(EXIT_CONFIG);
    }
    await this.attend(start());
  }

  /** Ends as an agent does that may run already. */
  async attend(agent: Attended): Promise<void> {
    const { governor } = this.#running as Running;
    this.agent = agent;
    governor.beatNow();
    await this.#stop(await agent.exited);
  }

  /**
   * Not by the way out that flushes: nothing may be promised on a disk that failed. The centre is told, for a
   * bounded time, of what was durable before; meanwhile nothing passes.
   */
  storageFailed(error: Error): void {
    this.#report("ledger failed", { detail: error.message });
    const told = this.#stopping ? undefined : this.#running?.governor.stop();
    // From here on an agent that ends is not what ends us.
    this.#stopping = true;
    void Promise.resolve(told)
      .catch((why: Error) => this.#report("last word failed", { detail: why.message }))
      .then(() => {
        // A kept agent can do nothing meanwhile, and its next sidecar may find the disk well.
        if (!this.#kept) this.agent?.signal("SIGTERM");
        this.#done.resolve(EXIT_STORAGE);
      });
  }

  stop(signal: NodeJS.Signals): void {
    if (this.agent !== null && !this.#kept) this.agent.signal(signal);
    else void this.#stop(0);
  }

  async #stop(exit: number): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const { stack, ledger, governor, opened } = this.#running as Running;
    await stack.close(drainUs / 1000);
    // The last word tells what is durable; a ledger that fails now is told of by `failed`.
    await ledger.flushed().catch(() => {});
    await governor.stop();
    const delivered = ledger.acknowledgedSeq >= ledger.head().size;
    if (delivered && this.agent?.state() === "EXITED") this.#closed();
    await opened.disposeAsync();
    this.#done.resolve(exit);
  }
}

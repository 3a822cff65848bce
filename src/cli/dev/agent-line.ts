import { storyAnswerMsMax } from "../../domain/limits.ts";
import { EXIT, Failure } from "../failure.ts";
import type { Child } from "./child.ts";

/** What the agent prints of one thing that it did. */
export interface Did {
  readonly did: string;
  /** gRPC status; 0: well. */
  readonly status: number;
  readonly message?: string;
  readonly receipt?: string;
  readonly value?: unknown;
  readonly ended?: boolean;
}

/** Tells the agent what to do, and hears what it says of it. */
export class AgentLine {
  readonly #child: Child;
  #heard: Did[] = [];
  #wake: (() => void) | null = null;
  #closed = false;

  constructor(child: Child) {
    this.#child = child;
    child.onLine((line) => {
      this.#heard.push(JSON.parse(line) as Did);
      this.#wake?.();
    });
  }

  /** Has the agent do something; what it said before is forgotten. */
  tell(command: string): void {
    this.#heard = this.#heard.filter((d) => d.did !== command);
    this.#child.write(command);
  }

  /** The first that it says of this command and that is as wanted. */
  async hear(command: string, wanted: (did: Did) => boolean = () => true): Promise<Did> {
    const late = Date.now() + storyAnswerMsMax;
    for (;;) {
      const found = this.#heard.find((d) => d.did === command && wanted(d));
      if (found !== undefined) return found;
      if (this.#closed) throw new Failure(EXIT.failed, "the agent is not asked any more");
      const left = late - Date.now();
      if (left <= 0) throw new Failure(EXIT.failed, `the agent said nothing of \`${command}\``);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  ask(command: string): Promise<Did> {
    this.tell(command);
    return this.hear(command);
  }

  /** Whoever waits for the agent waits no longer. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }
}

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { childEndMsMax, childLookMs, childReadyMsMax } from "../../domain/limits.ts";

import { EXIT, Failure } from "../failure.ts";

/** The launcher of this very installation. */
export const LAUNCHER = join(import.meta.dirname, "../../../bin/dragons");

/**
 * A process of the story: in a process group of its own, so that Ctrl-C at the terminal reaches us
 * alone and the end comes in order; it ends when its standard input does, so that none outlives us.
 */
export class Child {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #log: string;
  readonly #exited: Promise<number>;
  #code: number | null = null;
  #onLine: ((line: string) => void) | null = null;

  constructor(name: string, command: readonly string[], log: string, env = process.env) {
    this.name = name;
    this.#log = log;
    const [file, ...args] = command as [string, ...string[]];
    const errors = openSync(log, "a", 0o600);
    this.#process = spawn(file, args, { stdio: ["pipe", "pipe", errors], detached: true, env });
    closeSync(errors);
    this.#exited = new Promise((resolve) => {
      const end = (code: number): void => {
        this.#code ??= code;
        resolve(this.#code);
      };
      this.#process.once("error", () => end(127));
      this.#process.once("exit", (code, signal) =>
        end(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
      );
    });
    this.#process.stdin?.on("error", () => {});
    if (this.#process.stdout) {
      createInterface({ input: this.#process.stdout }).on("line", (line) => this.#onLine?.(line));
    }
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get exited(): Promise<number> {
    return this.#exited;
  }

  /** Hears every further line of its standard output. */
  onLine(listener: (line: string) => void): void {
    this.#onLine = listener;
  }

  /** Its next line of standard output. */
  line(): Promise<string> {
    return this.#orGone(new Promise<string>((resolve) => this.onLine(resolve)), "a line");
  }

  write(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** The JSON that it writes, whole, once it is ready. */
  async ready<T>(file: string): Promise<T> {
    const appears = async (): Promise<T> => {
      while (this.#code === null) {
        try {
          const ready = JSON.parse(readFileSync(file, "utf8")) as T & { pid: number };
          // One that an earlier run left is not ours.
          if (ready.pid === this.pid) return ready;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, childLookMs));
      }
      throw new Failure(EXIT.failed, `${this.name} is gone`);
    };
    return this.#orGone(appears(), "its ready file");
  }

  /** Ends it: its input first, then a signal if that is not enough. */
  async end(): Promise<void> {
    if (this.#code !== null) return;
    this.#process.kill("SIGCONT");
    this.#process.stdin?.end();
    const late = setTimeout(() => this.#process.kill("SIGKILL"), childEndMsMax);
    await this.#exited;
    clearTimeout(late);
  }

  async #orGone<T>(wanted: Promise<T>, what: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const gone = this.#exited.then((code) => `ended with code ${code}`);
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(
        () => resolve(`gave no sign for ${childReadyMsMax / 1000} s`),
        childReadyMsMax,
      );
    });
    const why = Promise.race([gone, late]).then((reason) => {
      const tail = readFileSync(this.#log, "utf8").trim().split("\n").slice(-5).join("\n  ");
      throw new Failure(EXIT.failed, `${this.name} ${reason} before ${what}\n  ${tail}`);
    });
    // Whichever loses must not be an unhandled rejection.
    why.catch(() => {});
    try {
      return (await Promise.race([wanted, why])) as T;
    } finally {
      clearTimeout(timer);
    }
  }
}

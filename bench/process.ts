import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";

/** The processes of a bench: where they run, what they cost. Linux, by /proc. */

/** Linux tells processor time in hundredths of a second, whatever the kernel's own clock is. */
const TICK_US = 10_000;

/** Full path of a program; null: it is not installed. */
export function find(program: string): string | null {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  for (const folder of folders) {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return join(folder, program);
    } catch {
      // Not there.
    }
  }
  return null;
}

const shares = process.argv.includes("--unpinned") || availableParallelism() < 2;
const taskset = shares ? null : find("taskset");

/**
 * Load and upstream have one core, what is measured another. With `--unpinned`, or without taskset, the
 * kernel decides: a sidecar has threads besides its main one, and nginx's worker has none.
 */
export const PINNED = taskset !== null;
export type Core = "load" | "measured";
const CORES: Record<Core, string> = { load: "0", measured: "1" };

const pinned = (core: Core, argv: readonly string[]): string[] =>
  taskset === null ? [...argv] : [taskset, "-c", CORES[core], ...argv];

/** A program that runs until it is told to end. */
export class Process {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;
  /** It has ended, by itself or because it was told to. */
  over = false;

  constructor(core: Core, argv: readonly string[]) {
    const [command = "", ...rest] = pinned(core, argv);
    this.#child = spawn(command, rest, { stdio: ["ignore", "pipe", "inherit"] });
    this.#ended = once(this.#child, "close").finally(() => {
      this.over = true;
    });
    this.pid = this.#child.pid as number;
    const lines = createInterface({
      input: this.#child.stdout as NonNullable<ChildProcess["stdout"]>,
    });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  /** The next line that it prints, as JSON. */
  async told<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.#child.spawnargs.join(" ")} ended early`);
    return JSON.parse(value) as T;
  }

  /** Processor time of all its threads until now, microseconds. */
  cpuUs(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "latin1");
    // After the name, which may hold anything: utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK_US;
  }

  /**
   * Resident memory now, MB. `own` leaves out pages of files: the program's text, and as much of the
   * ledger's database as the kernel keeps mapped while nobody else wants the memory.
   */
  memoryMb(): { resident: number; own: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, "latin1");
    const mb = (name: string): number =>
      Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? Number.NaN) / 1024;
    return { resident: mb("VmRSS"), own: mb("RssAnon") };
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#ended;
  }
}

/** Runs a program to its end, and returns what it printed. */
export async function output(core: Core, argv: readonly string[]): Promise<string> {
  const [command = "", ...rest] = pinned(core, argv);
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (part: Buffer) => {
    text += part;
  });
  const [exit] = await once(child, "close");
  if (exit !== 0) throw new Error(`${argv.join(" ")}: exit ${exit}\n${text}`);
  return text;
}

export const node = (script: string, ...args: string[]): string[] => [
  process.execPath,
  join(import.meta.dirname, script),
  ...args,
];

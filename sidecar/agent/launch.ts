import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";

/** Shells' exit codes for a command that cannot be run, so that scripts need learn nothing new. */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

/** A launched agent, as heartbeats tell of it. */
export interface Agent {
  readonly pid: number | undefined;
  /** The code that `env CMD` would have ended with: 128 + n for signal n. */
  readonly exited: Promise<number>;
  /** null while it runs. */
  exitCode(): number | null;
  signal(name: NodeJS.Signals): void;
}

/** An agent and those that follow it: to everybody else it is one that ends once. */
export interface Attended extends Agent {
  /** null while it runs, or is about to run again. */
  exitCode(): number | null;
  /** ABSENT: between two starts. STOPPED: suspended by a signal, as far as the system tells. */
  state(): "ABSENT" | "RUNNING" | "EXITED" | "STOPPED";
  /** For an end: nothing follows it. */
  signal(name: NodeJS.Signals): void;
  /** Ends the one that runs, whatever it takes, and starts another. False: its policy is never to. */
  restart(): boolean;
}

/** Starts an agent with the terminal as it is. Signals to us are the caller's to pass on. */
export function launchAgent(command: readonly string[], env: NodeJS.ProcessEnv): Agent {
  const [file, ...args] = command as [string, ...string[]];
  const child: ChildProcess = spawn(file, args, { stdio: "inherit", env });
  let code: number | null = null;
  const exited = new Promise<number>((resolve) => {
    const end = (value: number): void => {
      code ??= value;
      resolve(code);
    };
    child.once("error", (error: NodeJS.ErrnoException) => {
      process.stderr.write(`dragons: ${file}: ${error.message}\n`);
      end(error.code === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE);
    });
    child.once("exit", (status, signal) => {
      end(signal === null ? (status ?? 1) : 128 + constants.signals[signal]);
    });
  });
  return {
    pid: child.pid,
    exited,
    exitCode: () => code,
    signal: (name) => void child.kill(name),
  };
}

/** Whether a process is suspended, by Linux's own word (proc_pid_stat(5)); elsewhere nobody says so. */
export function isSuspended(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Its name, in parentheses, may hold anything.
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}

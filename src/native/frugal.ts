import { setFlagsFromString } from "node:v8";

/** How a process uses memory: what is decided before its first line runs. */
export interface Frugal {
  /** Megabytes of one half of V8's young generation. */
  readonly youngMb: number;
  /** The young generation is looked through by the main thread alone: others cost more than they save on few cores. */
  readonly scavengesAlone?: true;
  /** Garbage in the old generation is looked for when so much was added to what lives, percent. */
  readonly growthPercent: number;
  /**
   * What objects own outside V8's heap is part of what lives, and grows with it. Otherwise V8 looks for
   * garbage for each few megabytes of it, however much there is: of TLS connections for each thousand.
   */
  readonly countsExternal?: true;
  /** Told to glibc alone, by the names of mallopt(3). */
  readonly malloc: Readonly<Record<`MALLOC_${string}`, string>>;
}

/** How a process is started that is to be frugal from its first line on. */
export const startedFrugal = ({
  youngMb,
  scavengesAlone,
  malloc,
}: Pick<Frugal, "youngMb" | "scavengesAlone" | "malloc">) => ({
  flags: [
    `--max-semi-space-size=${youngMb}`,
    ...(scavengesAlone ? ["--no-parallel-scavenge"] : []),
  ],
  env: malloc,
});

/**
 * Keeps the memory of this process small, as `frugal` says.
 *
 * The young generation's size, and what glibc does, are fixed before the first line of a program runs,
 * so the process begins anew in place: same pid, same files, same terminal. Where that cannot be, it
 * goes on as it is.
 */
export function keepFrugal(frugal: Frugal): void {
  setFlagsFromString(`--heap-growing-percent=${frugal.growthPercent}`);
  if (frugal.countsExternal) setFlagsFromString("--external-memory-accounted-in-global-limit");
  const { flags, env } = startedFrugal(frugal);
  if (flags.every((flag) => process.execArgv.includes(flag))) {
    // Ours: whom we launch is to have the memory it would have without us.
    for (const [name, value] of Object.entries(env)) {
      if (process.env[name] === value) delete process.env[name];
    }
    return;
  }
  if (process.platform === "win32" || process.execve === undefined) return;
  const args = [process.execPath, ...flags, ...process.execArgv, ...process.argv.slice(1)];
  process.execve(process.execPath, args, { ...env, ...process.env });
}

import { access } from "node:fs";
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
  /**
   * Whatever is made begins in the young generation. V8 makes in the old one what comes from lines of which most once
   * lived for long, and goes by that for good: what then is short-lived there keeps alive whatever it refers to.
   */
  readonly bornYoung?: true;
  /** Told to glibc alone, by the names of mallopt(3). */
  readonly malloc: Readonly<Record<`MALLOC_${string}`, string>>;
  /**
   * Threads of libuv, for the disk. Each that is woken up takes a core from whoever is at work: more than there are
   * cores only take turns with the one that answers.
   */
  readonly threads?: number;
  /** Threads on which V8 looks for garbage and compiles, beside the one that answers. */
  readonly helpers?: number;
  /** A file of what OpenSSL is to do that Node has no option for. Where there is another, that one holds. */
  readonly openssl?: string;
}

/** How a process is started that is to be frugal from its first line on. */
export const startedFrugal = ({
  youngMb,
  scavengesAlone,
  malloc,
  threads,
  helpers,
  openssl,
}: Omit<Frugal, "growthPercent">) => ({
  flags: [
    `--max-semi-space-size=${youngMb}`,
    ...(scavengesAlone ? ["--no-parallel-scavenge"] : []),
    ...(helpers === undefined ? [] : [`--v8-pool-size=${helpers}`]),
    ...(openssl === undefined || isToldOtherwise(openssl) ? [] : [OPENSSL + openssl]),
  ],
  env: { ...malloc, ...(threads && { UV_THREADPOOL_SIZE: `${threads}` }) },
});

const OPENSSL = "--openssl-config=";

/** Whoever runs this has a configuration of their own, of providers perhaps. */
function isToldOtherwise(openssl: string): boolean {
  const { OPENSSL_CONF, NODE_OPTIONS = "" } = process.env;
  const others = process.execArgv.filter((flag) => flag !== OPENSSL + openssl);
  return OPENSSL_CONF !== undefined || `${NODE_OPTIONS} ${others.join(" ")}`.includes(OPENSSL);
}

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
  if (frugal.bornYoung) setFlagsFromString("--no-allocation-site-pretenuring");
  const { flags, env } = startedFrugal(frugal);
  if (flags.every((flag) => process.execArgv.includes(flag))) {
    // libuv reads how many when something is first asked of them.
    if (frugal.threads !== undefined) access(process.execPath, () => {});
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

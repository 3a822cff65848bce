import { systemClock } from "../src/native/clock.ts";
import { FolderHeld } from "../src/native/hold.ts";
import { KeyError } from "../src/native/keys.ts";
import { FormatUnknown } from "../src/storage/format.ts";
import { StorageFailed } from "../src/storage/store.ts";
import { closeLedger } from "./closing.ts";
import {
  ConfigError,
  parseSidecarArgs,
  SIDECAR_USAGE,
  type SidecarConfig,
  UsageError,
} from "./config.ts";
import { keepSmall } from "./engine.ts";
import { LedgerBroken } from "./ledger/open-ledger.ts";
import { LedgerUnavailable } from "./ledger/work-ledger.ts";
import type { Sidecar } from "./lifetime.ts";
import { stderrReport } from "./report.ts";
import { startSidecar } from "./sidecar.ts";

const EXIT_USAGE = 64;
const EXIT_CONFIG = 78;
const EXIT_STORAGE = 70;
const EXIT_RETRY = 75;

/** The sidecar as a process: resolves with its exit code. */
export async function sidecarMain(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    process.stdout.write(SIDECAR_USAGE);
    return 0;
  }
  keepSmall();
  // A promise that nobody waits for and that fails is a bug or broken storage: better gone than wrong.
  process.on("unhandledRejection", (error) => {
    stderrReport("fault", { detail: String((error as Error)?.stack ?? error) });
    process.exit(EXIT_STORAGE);
  });
  let sidecar: Sidecar;
  try {
    const config = parseSidecarArgs(args);
    const stopped = stopRequest(config);
    if (config.close) {
      const { dataFolder, keysFolder, sync: leaving } = config;
      const means = { clock: systemClock, report: stderrReport, stopped: stopped.signal };
      await closeLedger({ dataFolder, keysFolder, leaving }, means);
      return 0;
    }
    sidecar = await startSidecar(config, systemClock, stderrReport, stopped.signal);
    stopped.onStop((signal) => sidecar.stop(signal));
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`dragons: ${error.message}\n`);
      return EXIT_USAGE;
    }
    if ([ConfigError, KeyError, FormatUnknown].some((known) => error instanceof known)) {
      process.stderr.write(`dragons: ${(error as Error).message}\n`);
      return EXIT_CONFIG;
    }
    if (error instanceof FolderHeld) {
      process.stderr.write(`dragons: ${error.message}\n`);
      return EXIT_RETRY;
    }
    if (error instanceof LedgerBroken) {
      const what = "the ledger does not verify and is not continued";
      process.stderr.write(`dragons: ${what}: ${error.message}\n`);
      return EXIT_STORAGE;
    }
    if (error instanceof StorageFailed || error instanceof LedgerUnavailable) {
      process.stderr.write(`dragons: the ledger cannot be kept: ${error.message}\n`);
      return EXIT_STORAGE;
    }
    throw error;
  }
  const code = await sidecar.done;
  // Its listeners still hold the process: on a ledger that failed nothing is drained.
  if (code === EXIT_STORAGE) process.exit(code);
  return code;
}

/**
 * SIGTERM, SIGINT, the end of standard input when a parent holds it, or of a keeper; a second signal
 * exits.
 */
function stopRequest({ stdinEof, kept }: SidecarConfig) {
  const abort = new AbortController();
  let listener: ((signal: NodeJS.Signals) => void) | null = null;
  let asked: NodeJS.Signals | null = null;
  const ask = (signal: NodeJS.Signals): void => {
    if (asked !== null) process.exit(1);
    asked = signal;
    abort.abort();
    listener?.(signal);
  };
  process.on("SIGTERM", ask);
  process.on("SIGINT", ask);
  if (stdinEof) {
    process.stdin.on("end", () => ask("SIGTERM"));
    process.stdin.resume();
  }
  if (kept !== null) process.once("disconnect", () => ask("SIGTERM"));
  return {
    signal: abort.signal,
    onStop(next: (signal: NodeJS.Signals) => void) {
      listener = next;
      if (asked !== null) next(asked);
    },
  };
}

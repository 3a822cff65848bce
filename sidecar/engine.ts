import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Megabytes of one half of the young generation. */
const YOUNG = "--max-semi-space-size=8";
/** Told to glibc alone, when the process begins. */
const ARENAS = "MALLOC_ARENA_MAX";
const ARENAS_MAX = "2";

/**
 * Keeps the memory of this process small: it is a guest beside every agent. What a call leaves behind
 * dies young, so that halves of 16 MB would save an eighth of the time, for 15 MB more; and
 * garbage in the old generation is looked for at twice what lives, not four times.
 *
 * The young generation's size is fixed before the first line of a program runs, so the process begins
 * anew in place: same pid, same files, same terminal. Where that cannot be, it goes on as it is.
 */
export function keepSmall(): void {
  setFlagsFromString("--heap-growing-percent=100");
  if (process.execArgv.includes(YOUNG)) {
    // Ours: whom we launch is to have the memory it would have without us.
    if (process.env[ARENAS] === ARENAS_MAX) delete process.env[ARENAS];
    return;
  }
  if (process.platform === "win32" || process.execve === undefined) return;
  const args = [process.execPath, YOUNG, ...process.execArgv, ...process.argv.slice(1)];
  process.execve(process.execPath, args, { [ARENAS]: ARENAS_MAX, ...process.env });
}

/** How a process is started that is to be small from its first line on. */
export const SMALL = { flags: [YOUNG], env: { [ARENAS]: ARENAS_MAX } };

const GARBAGE_BYTES = 16 * 1024 * 1024;
let passed = 0;
let collect: ((options: { type: "minor" }) => void) | null = null;

/**
 * Tells that a body's bytes have passed. Their buffers are young garbage that V8 does not count as such:
 * it lets 64 MB of them lie before it looks. A look at the young generation each 16 MiB takes some
 * hundred microseconds.
 */
export function bytesPassed(bytes: number): void {
  passed += bytes;
  if (passed < GARBAGE_BYTES) return;
  passed = 0;
  if (collect === null) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as typeof collect;
  }
  collect?.({ type: "minor" });
}

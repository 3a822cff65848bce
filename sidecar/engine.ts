import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { keepFrugal, startedFrugal } from "../src/native/frugal.ts";

/**
 * A sidecar is a guest beside every agent. What a call leaves behind dies young, so that halves of 16 MB
 * would save an eighth of the time, for 15 MB more.
 */
const GUEST = { youngMb: 8, growthPercent: 100, malloc: { MALLOC_ARENA_MAX: "2" } };

/** Keeps the memory of this process small; it may begin anew in place. */
export const keepSmall = (): void => keepFrugal(GUEST);

/** How a process is started that is to be small from its first line on. */
export const SMALL = startedFrugal(GUEST);

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

import { readFileSync, realpathSync } from "node:fs";
import type { Clock, Timer } from "../native/clock.ts";
import { forgetPages } from "../native/libc.ts";

/** A line of /proc/self/maps: `7f00aa000000-7f00ab000000 r--s 00000000 08:01 42   /data/store/data.mdb`. */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(.*)$/;
/** Code is never written to, unlike what a program is linked by. */
const CODE = "r-xp";

/** The lines that name a file, of thousands that name none. */
function* linesWith(text: string, name: string): Generator<string> {
  for (let at = text.indexOf(name); at >= 0; ) {
    const end = text.indexOf("\n", at);
    yield text.slice(text.lastIndexOf("\n", at) + 1, end);
    at = text.indexOf(name, end);
  }
}

/**
 * Lets go of the pages of a mapped file that this process has looked at: the kernel keeps them while nobody
 * else wants the memory, so that in time the whole of a database counts as ours. What is read again comes
 * out of the kernel's cache. Of a file that is written by other ways than the mapping. Linux alone.
 */
export function forgetMapped(path: string): void {
  for (const { from, to } of mappings(path)) forgetPages(from, to);
}

/** The same of this program's own code: of what a start runs through, half is never run again. */
export function forgetCode(): void {
  for (const { from, to, access } of mappings(process.execPath)) {
    if (access === CODE) forgetPages(from, to);
  }
}

function* mappings(path: string): Generator<{ from: bigint; to: bigint; access: string }> {
  if (process.platform !== "linux") return;
  const real = realpathSync(path);
  for (const line of linesWith(readFileSync("/proc/self/maps", "latin1"), real)) {
    const [, from, to, access = "", name] = MAPPING.exec(line) ?? [];
    if (name === real) yield { from: BigInt(`0x${from}`), to: BigInt(`0x${to}`), access };
  }
}

/** Calls back each `everyUs`, until it is cancelled. */
export function each(everyUs: number, clock: Clock, fn: () => void): Timer {
  let timer: Timer;
  const later = (): void => {
    timer = clock.after(everyUs, () => {
      fn();
      later();
    });
  };
  later();
  return { cancel: () => timer.cancel() };
}

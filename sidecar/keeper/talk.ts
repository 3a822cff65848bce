import { writeSync } from "node:fs";
import { isatty } from "node:tty";
import type { Report } from "../report.ts";
import { line } from "../report.ts";

const STDERR = 2;

/** Whether a person reads along. */
export const isTerminal = isatty(STDERR);

/**
 * Writes to standard error and leaves it as it is: a stream of Node's would have it refuse, from then on,
 * what does not fit at once, and the agent writes to the same.
 */
export function relay(text: string | Uint8Array): void {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(STDERR, bytes, at);
  } catch {
    // Nobody reads it any more, or not fast enough; there is nobody else to tell.
  }
}

export const talk: Report = (event, facts = {}) => relay(line(event, facts, isTerminal));

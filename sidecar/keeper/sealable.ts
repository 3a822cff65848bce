import { findMeans, type Lacking } from "../cage/means.ts";
import { isReserved } from "../cage/plan.ts";
import { relay } from "./talk.ts";

const EXIT_USAGE = 64;
const EXIT_CONFIG = 78;

/**
 * Looks for what sealing takes, and tries nothing.
 * @returns null, or the exit code of who cannot go on; why was said.
 */
export function sealable(cwd: string, writable: readonly string[]): number | null {
  const reserved = writable.find(isReserved);
  if (reserved !== undefined) {
    relay(
      `dragons: --rw: ${reserved} is the kernel's or the cage's own, and cannot be the agent's\n`,
    );
    return EXIT_USAGE;
  }
  if (isReserved(cwd)) {
    relay(
      `dragons: ${cwd} is not made writable; start the agent where it works, or say --rw DIR\n`,
    );
  }
  const means = findMeans(process.env);
  return "lacking" in means ? unsealable(means) : null;
}

/** What a command line says where an agent cannot be sealed, and its exit code. */
export function unsealable({ why, remedy }: Lacking): number {
  relay(`dragons: the agent cannot be sealed: ${why}\n`);
  relay(`dragons: to mend it: ${remedy}\n`);
  relay("dragons: or type --contain off, which runs it advisory: it could go round the sidecar\n");
  return EXIT_CONFIG;
}

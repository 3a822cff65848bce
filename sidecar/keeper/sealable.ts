import { openCage } from "../cage/cage.ts";
import { findMeans, type Lacking } from "../cage/means.ts";
import { isReserved } from "../cage/plan.ts";
import { relay } from "./talk.ts";

const EXIT_USAGE = 64;
const EXIT_CONFIG = 78;

/**
 * Makes a cage with nobody in it, and takes it away again: namespaces may be forbidden although all
 * that makes them is there, and nothing should be recorded for an agent that cannot be started.
 *
 * @returns null, or the exit code of who cannot go on; why was said.
 */
export async function sealable(cwd: string, writable: readonly string[]): Promise<number | null> {
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
  if ("lacking" in means) return unsealable(means);
  const cage = await openCage({
    means,
    view: { cwd, writable, hidden: [], shown: [], snapshot: null },
    outside: [],
    allowUnix: false,
    stdio: ["ignore", "ignore", "ignore"],
  });
  if ("lacking" in cage) return unsealable(cage);
  cage.kill();
  await cage.exited;
  cage.release();
  return null;
}

/** What a command line says where an agent cannot be sealed, and its exit code. */
export function unsealable({ why, remedy }: Lacking): number {
  relay(`dragons: the agent cannot be sealed: ${why}\n`);
  relay(`dragons: to mend it: ${remedy}\n`);
  relay("dragons: or type --contain off, which runs it advisory: it could go round the sidecar\n");
  return EXIT_CONFIG;
}

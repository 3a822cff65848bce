import { spawn } from "node:child_process";
import { chownSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

/** What `host.ts` is told. */
export interface HostOptions {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Where the program works: writable. */
  readonly cwd: string;
  readonly writable: readonly string[];
  readonly hidden: readonly string[];
  readonly shown: readonly string[];
  /** Loopback ports that lead out. */
  readonly outside: readonly number[];
  readonly allowUnix: boolean;
  /** dragon.yaml of the files in `cwd` that are shown as they were measured; empty: none. */
  readonly yaml: string;
  /** A folder for what the host keeps; it is hidden. */
  readonly scratch: string;
}

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Who starts a cage: root, or somebody without any right. */
export type User = "root" | "nobody";
const NOBODY = 65_534;

/** What `spawn` takes to be that user; who is not root already is nobody. */
export const as = (user: User): { uid?: number; gid?: number } =>
  user === "nobody" && process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

/** A folder in /tmp that belongs to that user. */
export function folderOf(user: User): string {
  const folder = mkdtempSync(join(tmpdir(), "dragons-sealed-"));
  own(user, folder);
  return folder;
}

/** Gives a file or folder to that user. */
export function own(user: User, path: string): void {
  const { uid, gid } = as(user);
  if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
}

/** An environment with nothing of the tests' own: no proxies, no certificates, no pyenv. */
export const PLAIN = { PATH: "/usr/local/bin:/usr/bin:/bin", LANG: "C.UTF-8" };

/**
 * Runs an arbitrary program in a cage, from its start to its end. Outside is somebody who answers
 * every connection with `NAME-OR-ADDRESS PORT`, by HTTP, and look-ups as the sidecar does.
 */
export async function inCage(
  user: User,
  command: readonly string[],
  over: Partial<HostOptions> & { readonly input?: string } = {},
): Promise<Ended> {
  const { input = "", ...more } = over;
  const cwd = more.cwd ?? folderOf(user);
  const scratch = folderOf(user);
  const child = spawn(process.execPath, hostArgs({ command, cwd, scratch, ...more }), {
    ...as(user),
    cwd,
    env: PLAIN,
    stdio: "pipe",
  });
  child.stdin.end(input);
  const [out, err, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number>((resolve) => child.once("close", (c) => resolve(c ?? -1))),
  ]);
  await rm(scratch, { recursive: true, force: true });
  if (more.cwd === undefined) await rm(cwd, { recursive: true, force: true });
  return { code, out, err };
}

/** The words behind `node` that start a cage's host. */
function hostArgs(
  over: Partial<HostOptions> & Pick<HostOptions, "command" | "cwd" | "scratch">,
): string[] {
  const options: HostOptions = {
    env: PLAIN,
    writable: [],
    hidden: [],
    shown: [],
    outside: [],
    allowUnix: false,
    yaml: "",
    ...over,
  };
  return [join(import.meta.dirname, "host.ts"), JSON.stringify(options)];
}

import { existsSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, join, relative } from "node:path";
import { SNAPSHOT } from "./words.ts";

/** What of the host's files an agent is to see, and how. All paths are absolute and real. */
export interface View {
  /** Where the agent works: writable. */
  readonly cwd: string;
  /** More that is writable. */
  readonly writable: readonly string[];
  /** Files and folders that are not there, as far as the agent can see. */
  readonly hidden: readonly string[];
  /** To be seen even where a fresh folder lies over it, such as /tmp. */
  readonly shown: readonly string[];
  /** A folder that holds the measured files by their absolute paths; null: none were copied. */
  readonly snapshot: string | null;
}

/** Files of a few lines that every program reads: by path, the descriptor that each is read from. */
export type Replaced = ReadonlyMap<string, number>;

/** Fresh in every cage: other programs' sockets and secrets lie there. */
const FRESH = ["/run", "/tmp", "/var/tmp"];
/** The kernel's, and the cage's own. */
const KERNEL = ["/proc", "/sys", "/dev"];

/** Whether a path lies in a folder, or is it. */
export function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === "" || (!way.startsWith("..") && !isAbsolute(way));
}

/** Whether a path is the root, or of the kernel or the cage: nothing of the host's to be written to. */
export const isReserved = (path: string): boolean =>
  path === "/" || [...KERNEL, "/run"].some((folder) => isWithin(folder, path));

/**
 * The file system of a cage as bwrap's arguments. Later ones lie over earlier ones: everything to read,
 * a few folders fresh, what is writable, and over all of it what is hidden.
 */
export function mounts(
  { cwd, writable, hidden, shown, snapshot }: View,
  replaced: Replaced,
): string[] {
  const fresh = FRESH.filter((folder) => existsSync(folder));
  const over = (path: string): boolean => fresh.some((f) => path !== f && isWithin(f, path));
  const unseen = [...new Set(hidden)]
    .filter((path) => existsSync(path))
    .filter((path, _, all) => !all.some((other) => other !== path && isWithin(other, path)));
  const written = [cwd, ...writable].filter((path) => !isReserved(path));
  return [
    ...["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"],
    ...fresh.flatMap((folder) => [
      "--perms",
      folder === "/run" ? "755" : "1777",
      "--tmpfs",
      folder,
    ]),
    ...shown.filter(over).flatMap((path) => ["--ro-bind", path, path]),
    ...written.flatMap((path) => ["--bind", path, path]),
    ...unseen.flatMap(hide),
    ...(snapshot === null ? [] : ["--ro-bind", snapshot, SNAPSHOT]),
    ...[...replaced].flatMap(([path, fd]) => ["--ro-bind-data", `${fd}`, path]),
  ];
}

const hide = (path: string): string[] =>
  statSync(path).isDirectory()
    ? ["--perms", "500", "--tmpfs", path, "--remount-ro", path]
    : ["--ro-bind", "/dev/null", path];

/** What the resolver of every C library reads: our look-ups, and no names of the host's own. */
export function resolverFiles(hostname: string): Map<string, string> {
  const files = new Map([
    ["/etc/resolv.conf", "nameserver 127.0.0.1\noptions ndots:0\n"],
    ["/etc/hosts", `127.0.0.1 localhost ${hostname}\n::1 localhost ip6-localhost\n`],
  ]);
  // Where there is none, the default is what we would say; a link leads where it is read from.
  return new Map(
    [...files]
      .filter(([path]) => existsSync(path))
      .map(([path, text]) => [realpathSync(path), text]),
  );
}

/** Our own files that are read in a cage, which /tmp or another fresh folder may lie over. */
export const ownFiles = (): string[] => {
  const home = join(import.meta.dirname, "../..");
  return [
    process.execPath,
    ...["bin", "sidecar", "src", "node_modules", "package.json"].map((name) => join(home, name)),
  ];
};

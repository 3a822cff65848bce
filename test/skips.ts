import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * What tests may be skipped for, in one committed list: which test, what it lacks, and why nothing
 * else would do. `bin/test.mjs` prints those that were skipped, and fails on any that is not in it.
 */
export interface Skip {
  /** `file > describe > test` */
  readonly test: string;
  readonly missing: Means | "disk";
  readonly reason: string;
}
export const SKIPS = JSON.parse(
  readFileSync(join(import.meta.dirname, "skips.json"), "utf8"),
) as readonly Skip[];

const works = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: "ignore" }).status === 0;
const PROGRAMS = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
const installed = (program: string): boolean =>
  PROGRAMS.some((folder) => existsSync(join(folder, program)));
/** Finds whatever is said to be installed: not everybody's path names the folders of servers. */
export const PATH = [process.env.PATH, ...PROGRAMS].join(":");

const NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups"];
const LAUNCHER = join(import.meta.dirname, "../bin/dragons");

const MEANS = {
  strace: () => works("strace", "-f", "-e", "trace=none", "true"),
  tmpfs: () => works("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", tmpdir()),
  cage: () =>
    works("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true") &&
    installed("nft") &&
    installed("ip") &&
    existsSync("/usr/bin/python3") &&
    // Root's tests start cages as somebody without any right, who must be let in here.
    (process.getuid?.() !== 0 ||
      works("setpriv", ...NOBODY, process.execPath, LAUNCHER, "--version")),
  root: () => process.getuid?.() === 0,
  nginx: () => installed("nginx"),
  haproxy: () => installed("haproxy"),
  curl: () => installed("curl"),
  "systemd-analyze": () => installed("systemd-analyze"),
  git: () => installed("git"),
  npm: () => installed("npm"),
  java: () => installed("java"),
  go: () => installed("go"),
  python3: () => works("python3", "-c", ""),
  "python3-grpcio": () =>
    works("/usr/bin/python3", "-c", "import grpc, google.protobuf, cryptography"),
  netns: () => works("unshare", "-n", "nft", "add table inet t") && works("ip", "netns"),
  chromium: () => installed("chromium"),
} as const;
export type Means = keyof typeof MEANS;

/** For `test.skipIf`: whether this machine lacks something that tests are known to need. */
export function lacks(means: Means): boolean {
  if (!SKIPS.some((s) => s.missing === means)) {
    throw new Error(`test/skips.json says nothing of ${means}`);
  }
  return !MEANS[means]();
}

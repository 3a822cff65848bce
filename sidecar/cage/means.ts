import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Machine } from "./syscalls.ts";

/** The programs that a cage is made with. */
export interface Means {
  readonly bwrap: string;
  readonly nft: string;
  readonly ip: string;
  readonly unshare: string;
  readonly machine: Machine;
}

/** Sealing is impossible here: why, and what to type. */
export interface Lacking {
  readonly lacking: true;
  readonly why: string;
  readonly remedy: string;
}

const lacking = (why: string, remedy: string): Lacking => ({ lacking: true, why, remedy });

/** Which package brings each program, under Debian's name; Fedora's and Alpine's are the same but for ip. */
const PACKAGES = {
  bwrap: "bubblewrap",
  nft: "nftables",
  ip: "iproute2",
  unshare: "util-linux",
} as const;
type Program = keyof typeof PACKAGES;
/** Where they lie on systems whose users do not have these in their PATH. */
const SYSTEM = ["/usr/sbin", "/sbin"];

/** What a cage needs of this machine, or the first thing that it has not. Nothing is tried. */
export function findMeans(env: NodeJS.ProcessEnv): Means | Lacking {
  const { platform, arch } = process;
  if (platform !== "linux") {
    return lacking(
      `sealing takes Linux, and this is ${platform}`,
      "run it on Linux, or in a container or virtual machine of it",
    );
  }
  if (arch !== "x64" && arch !== "arm64") {
    return lacking(
      `there is a system call filter for x64 and arm64, and this is ${arch}`,
      "run it on one of those",
    );
  }
  const programs = Object.keys(PACKAGES) as Program[];
  const found = programs.map((name) => [name, which(name, env)] as const);
  const missing = found.filter(([, path]) => path === null).map(([name]) => name);
  if (missing.length > 0) {
    const packages = missing.map((name) => PACKAGES[name]).join(" ");
    const is = missing.length === 1 ? "is" : "are";
    return lacking(
      `${missing.join(" and ")} ${is} not installed`,
      `apt-get install ${packages}, or your system's packages of that name`,
    );
  }
  return { ...(Object.fromEntries(found) as Record<Program, string>), machine: arch };
}

function which(program: string, env: NodeJS.ProcessEnv): string | null {
  for (const folder of [...(env.PATH ?? "").split(delimiter), ...SYSTEM]) {
    const path = join(folder, program);
    if (folder !== "" && isExecutable(path)) return path;
  }
  return null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Settings that forbid what a cage is made of, each with what allows it again. */
const FORBIDDING = [
  {
    file: "/proc/sys/user/max_user_namespaces",
    forbids: 0,
    remedy: "sysctl -w user.max_user_namespaces=15000",
  },
  {
    file: "/proc/sys/kernel/unprivileged_userns_clone",
    forbids: 0,
    remedy: "sysctl -w kernel.unprivileged_userns_clone=1",
  },
  {
    file: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    forbids: 1,
    remedy:
      "give bwrap an AppArmor profile that allows userns, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
  },
] as const;

/** Why a cage could not be made that was tried, as far as this machine's settings tell. */
export function whyForbidden(said: string): Lacking {
  const asRoot = process.getuid?.() === 0;
  for (const { file, forbids, remedy } of FORBIDDING) {
    if (asRoot && !file.includes("max_user")) continue;
    if (numberIn(file) !== forbids) continue;
    const name = file.replace("/proc/sys/", "").replaceAll("/", ".");
    return lacking(`${said}; this machine's ${name} is ${forbids}`, `as root: ${remedy}`);
  }
  return lacking(
    said,
    "if this is a container, give it namespaces (a seccomp profile that allows unshare and mount, and an " +
      "unmasked /proc), or have its agent sealed from outside",
  );
}

function numberIn(file: string): number | null {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return null;
  }
}

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants, hostname } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { cageFilter } from "./filter.ts";
import { type Lacking, type Means, whyForbidden } from "./means.ts";
import { mounts, ownFiles, resolverFiles, type View } from "./plan.ts";
import type { FromInside, Furniture, Held, Prepare, Start } from "./words.ts";

export interface CageOptions {
  readonly means: Means;
  readonly view: View;
  /** Ports of loopback that lead out, to be judged, as all other destinations do. */
  readonly outside: readonly number[];
  /** Unix sockets by path may be used; those of the host's that are in sight, too. */
  readonly allowUnix: boolean;
  /** What the agent's standard input, output and error are, as `spawn` takes them. */
  readonly stdio: readonly [Stdio, Stdio, Stdio];
}
type Stdio = "inherit" | "ignore" | number;

/** How a start went: the agent runs, or it could not be executed and why. */
export type Started = { readonly pid: number } | { readonly exit: number; readonly why: string };

/** Namespaces with listeners in them, and nobody there yet but the one who opened those. */
export interface Cage {
  /** The listener that TPROXY hands connections to. */
  readonly transparent: Held;
  /** Sockets that look-ups come in by, one for each family. */
  readonly dns: readonly { readonly at: Held; readonly type: "udp4" | "udp6" }[];
  /** Once. Resolves when the agent runs, or could not be executed. */
  start(prepare: Prepare, start: Start): Promise<Started>;
  /** As a shell tells it, 128 + n for signal n, once everything in the cage has ended. */
  readonly exited: Promise<number>;
  /** To the agent, once it runs. */
  signal(name: NodeJS.Signals): void;
  /** Ends whatever is in the cage. */
  kill(): void;
  /** Lets go of the listeners: whoever was handed them may still hold them. */
  release(): void;
}

const EXIT_CONFIG = 78;
/** What the terminal, or whoever ends a session, sends to all: it is the agent's to answer. */
const IGNORED = "INT QUIT HUP TERM USR1 USR2";
const CAPABILITIES = ["NET_ADMIN", "NET_BIND_SERVICE", "SYS_ADMIN", "SETPCAP", "SETFCAP"];
/** Descriptors in the cage's first process, beside the three of the agent and the messages. */
const FILTER = 5;
const INFO = 6;
const FIRST_FILE = 7;

/** A cage with its network furnished and its listeners passed out; or why there can be none. */
export async function openCage(options: CageOptions): Promise<Cage | Lacking> {
  const { means, allowUnix, view, outside } = options;
  const { bwrap, ip, nft, unshare, machine } = means;
  const uid = process.getuid?.() as number;
  const gid = process.getgid?.() as number;
  const files = [...resolverFiles(hostname())];
  const replaced = new Map(files.map(([path], i) => [path, FIRST_FILE + i]));
  const shown = [...view.shown, ...ownFiles()];
  const filter = { machine, allowUnix };
  const furniture: Furniture = { ip, nft, unshare, uid, gid, outside, filter };
  const args = [
    ...["--unshare-user", "--uid", "0", "--gid", "0"],
    ...["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
    "--die-with-parent",
    ...CAPABILITIES.flatMap((name) => ["--cap-add", `CAP_${name}`]),
    ...mounts({ ...view, shown }, replaced),
    ...["--chdir", view.cwd, "--seccomp", `${FILTER}`, "--info-fd", `${INFO}`, "--"],
    ...[process.execPath, join(import.meta.dirname, "inside.ts"), JSON.stringify(furniture)],
  ];
  const [input, output, error] = options.stdio;
  const child = spawn("/bin/sh", ["-c", `trap "" ${IGNORED}; exec "$@"`, "sh", bwrap, ...args], {
    stdio: [
      input,
      output,
      "pipe",
      "ipc",
      error === "inherit" ? 2 : error,
      "pipe",
      "pipe",
      ...files.map(() => "pipe" as const),
    ],
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
  });
  feed(child, FILTER, cageFilter({ ...filter, of: uid === 0 ? "CAGE" : "OUTER" }));
  for (const [i, [, content]] of files.entries()) feed(child, FIRST_FILE + i, content);
  return furnished(child);
}

function feed(child: ChildProcess, fd: number, content: string | Uint8Array): void {
  const pipe = child.stdio[fd] as Writable;
  // Nobody reads it where bwrap has given up, and says why.
  pipe.on("error", () => {});
  pipe.end(content);
}

/** Waits for the listeners. */
async function furnished(child: ChildProcess): Promise<Cage | Lacking> {
  const said = text(child.stderr as Readable);
  const info = text((child.stdio as readonly unknown[])[INFO] as Readable);
  const exited = new Promise<number>((resolve) => {
    child.once("error", () => resolve(1));
    child.once("exit", (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
  const handles: { say: string; handle: Held }[] = [];
  const ready = new Promise<true>((resolve) => {
    child.on("message", (message: FromInside, handle) => {
      if (message.say === "furnished") resolve(true);
      else if (message.say === "transparent" || message.say === "dns") {
        handles.push({ say: message.say, handle: handle as unknown as Held });
      }
    });
  });
  if ((await Promise.race([ready, exited])) !== true) {
    return whyForbidden(`a cage cannot be made: ${(await said).trim() || "bwrap says nothing"}`);
  }
  const { "child-pid": first } = JSON.parse(await info) as { "child-pid": number };
  const held = (say: string) => handles.filter((h) => h.say === say).map((h) => h.handle);
  let pid: number | null = null;
  return {
    transparent: held("transparent")[0] as Held,
    dns: held("dns").map((at, i) => ({ at, type: i === 0 ? "udp4" : "udp6" })),
    exited,
    async start(prepare, start) {
      const agent = firstChild(first);
      child.send(prepare);
      const prepared = await heard(child, "prepared");
      if (prepared !== null) child.send(start);
      const answer = prepared === null ? null : await heard(child, "not started");
      if (answer?.say === "not started") return answer;
      // Becoming another program closes the messages; so does an end that nobody asked for.
      if (prepared === null) return { exit: EXIT_CONFIG, why: (await said).trim() };
      pid = agent;
      return { pid: agent };
    },
    signal(name) {
      if (pid !== null) kill(pid, name);
    },
    kill: () => void child.kill("SIGKILL"),
    release() {
      for (const { handle } of handles) handle.close();
    },
  };
}

/** The next message from the inside; null: it is closed before. */
function heard(child: ChildProcess, say: FromInside["say"]): Promise<FromInside | null> {
  return new Promise((resolve) => {
    child.on("message", (message: FromInside) => {
      if (message.say === say) resolve(message);
    });
    child.once("disconnect", () => resolve(null));
  });
}

/** What bwrap's own first process started: there is nothing else in the cage yet. */
function firstChild(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It has just ended.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import type { Cage } from "../cage/cage.ts";
import type { Held } from "../cage/words.ts";
import { SMALL } from "../engine.ts";
import type { KeeperConfig } from "./config.ts";
import { isTerminal, relay } from "./talk.ts";
import type { FromKeeper, FromSidecar } from "./words.ts";

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");
/** The first descriptor that is passed on, behind standard ones and Node's messages. */
const PASSED = 4;

/** One sidecar, from its start to its end. */
export interface SidecarProcess {
  readonly pid: number;
  tell(message: FromKeeper): void;
  /** What the next agent dials and looks up comes in by the listeners of that cage. */
  listen(cage: Cage): void;
  /** As a shell tells it. */
  readonly exited: Promise<number>;
  /** Somebody stopped it on purpose (SIGSTOP, a debugger): that it says nothing is no evidence then. */
  isStopped(): boolean;
  kill(): void;
}

/**
 * Starts a sidecar on the listeners of a cage, by whatever release is installed now. It has a session of
 * its own, so that what is typed at the terminal is the agent's alone.
 */
export function startSidecarProcess(
  config: KeeperConfig,
  cage: Cage,
  running: number | null,
  onMessage: (message: FromSidecar) => void,
): SidecarProcess {
  const sockets = [cage.transparent, ...cage.dns.map(({ at }) => at)].map(({ fd }) => fd);
  const flags: Record<string, string> = {
    "--data": config.data,
    "--keys": config.keys,
    "--token": config.token,
    "--manifest": config.manifest,
    "--folder": config.folder,
    "--goal": config.goal,
    "--mcp-lists": config.mcpLists,
    "--orphans": config.orphans,
    "--transparent": `fd:${PASSED}`,
    ...Object.fromEntries(
      cage.dns.map(({ type }, i) => [type === "udp4" ? "--dns" : "--dns6", `fd:${PASSED + 1 + i}`]),
    ),
    "--restart": config.restart,
    ...(running === null ? {} : { "--running": `${running}` }),
  };
  const words = [...SMALL.flags, LAUNCHER, "sidecar", "--kept", ...Object.entries(flags).flat()];
  const child: ChildProcess = spawn(process.execPath, words, {
    detached: true,
    stdio: ["ignore", "ignore", isTerminal ? "inherit" : "pipe", "ipc", ...sockets],
    env: { ...process.env, ...SMALL.env },
  });
  child.stderr?.on("data", relay);
  child.on("message", (message: FromSidecar) => onMessage(message));
  const exited = new Promise<number>((resolve) => {
    child.once("error", () => resolve(1));
    child.once("exit", (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
  const send = (message: FromKeeper, socket?: Held): void => {
    if (child.connected) child.send(message, socket as never, {}, () => {});
  };
  return {
    pid: child.pid ?? 0,
    tell: send,
    listen({ dns, transparent }) {
      for (const { at, type } of dns) send({ say: "dns", type }, at);
      send({ say: "transparent" }, transparent);
    },
    exited,
    isStopped: () => stateOf(child.pid ?? 0) === "T",
    kill: () => void child.kill("SIGKILL"),
  };
}

/** The letter behind the command in /proc/PID/stat; the command may hold anything, even brackets. */
function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  } catch {
    return "";
  }
}

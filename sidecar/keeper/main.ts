import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { toHex } from "../../src/domain/bytes.ts";
import type { Manifest } from "../../src/domain/manifest.ts";
import { systemClock } from "../../src/native/clock.ts";
import { holdFolder } from "../../src/native/hold.ts";
import { measure } from "../../src/native/manifest-file.ts";
import { sealedEnvironment } from "../agent/environment.ts";
import { openCage } from "../cage/cage.ts";
import { findMeans } from "../cage/means.ts";
import { isWithin } from "../cage/plan.ts";
import { takeSnapshot } from "../cage/snapshot.ts";
import { isLocalName, isLoopback, splitTarget } from "../upstream/address.ts";
import { parseKeeperArgs } from "./config.ts";
import { Keeper } from "./keeper.ts";
import { unsealable } from "./sealable.ts";
import { startSidecarProcess } from "./sidecar-process.ts";
import { talk } from "./talk.ts";
import { KEEPER_HOLD } from "./words.ts";

const ALIVE_MS = 3_600_000;

/** Passed on to the agent. SIGUSR2 is ours: it asks for a hand-over. */
const PASSED_ON = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1"] as const;

/** The keeper of a sealed agent as a process: resolves with the agent's exit code. */
export async function keeperMain(args: readonly string[]): Promise<number> {
  const config = parseKeeperArgs(args);
  const means = findMeans(process.env);
  if ("lacking" in means) return unsealable(means);
  const copies = `${config.data}.snapshot`;
  // There may be neither an agent nor a sidecar for a moment, and a clock holds no process open.
  const alive = setInterval(() => {}, ALIVE_MS);
  mkdirSync(config.data, { recursive: true, mode: 0o700 });
  // Between two sidecars as well: whoever closes what is left behind must not take it for that.
  const hold = holdFolder(config.data, KEEPER_HOLD);
  try {
    const measured = await measure(config.folder, readFileSync(config.manifest, "utf8"));
    const snapshot = await takeSnapshot(measured.manifest, config.folder, copies);
    const open = () =>
      openCage({
        means,
        view: {
          cwd: process.cwd(),
          writable: config.writable,
          hidden: config.hidden,
          shown: [config.folder],
          snapshot: copies,
        },
        outside: loopbackPorts(measured.manifest),
        allowUnix: config.allowUnix,
        stdio: ["inherit", "inherit", "inherit"],
      });
    const cage = await open();
    if ("lacking" in cage) return unsealable(cage);
    const keeper = new Keeper({
      cage,
      openCage: async () => {
        // Whoever shares our user may have written to the copies meanwhile.
        await snapshot.measure();
        return open();
      },
      policy: config.restart,
      clock: systemClock,
      report: talk,
      manifestHash: toHex(measured.hash),
      snapshot: snapshot.paths.filter(
        (path) => !config.hidden.some((folder) => isWithin(folder, path)),
      ),
      command: config.command,
      environment: (files) => sealedEnvironment(process.env, files),
      startSidecar: (at, running, heard) => startSidecarProcess(config, at, running, heard),
    });
    listen(keeper);
    keeper.begin();
    return await keeper.done;
  } finally {
    clearInterval(alive);
    rmSync(copies, { recursive: true, force: true });
    hold.release();
  }
}

function listen(keeper: Keeper): void {
  for (const name of PASSED_ON) {
    process.on(name, () => {
      // What is typed at a terminal reaches everybody in front of it, the agent too.
      if ((name === "SIGINT" || name === "SIGQUIT") && inForeground()) return keeper.over();
      keeper.signal(name, constants.signals[name]);
    });
  }
  process.on("SIGUSR2", () => keeper.handOver());
}

/** Whether our group has the terminal: fields 5 and 8 of /proc/self/stat. */
function inForeground(): boolean {
  const stat = readFileSync("/proc/self/stat", "latin1");
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return group === foreground;
}

/** Ports of this machine's own addresses that the manifest names: they mean the host's, in there, too. */
function loopbackPorts({ capabilities, servers }: Manifest): number[] {
  const named = [...capabilities.flatMap((c) => c.rules), ...servers];
  const ports = named
    .map(({ target }) => splitTarget(target))
    .filter(({ host, port }) => (isLoopback(host) || isLocalName(host)) && port > 0)
    .map(({ port }) => port);
  return [...new Set(ports)].sort((a, b) => a - b);
}

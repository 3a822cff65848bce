import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { trialPatienceUs } from "../../src/domain/limits.ts";
import { systemClock } from "../../src/native/clock.ts";
import { NameServer } from "../listeners/dns.ts";
import { Names } from "../listeners/names.ts";
import { type Cage, openCage } from "./cage.ts";
import { findMeans, type Lacking } from "./means.ts";

/** What a canary is told. */
export interface CanaryPaths {
  readonly hidden: string;
  /** A file outside of what may be written to. */
  readonly elsewhere: string;
  /** Where somebody listens on the host's loopback. */
  readonly canaryPort: number;
  readonly ipv6: boolean;
  readonly patienceMs: number;
}

/** What came of a trial: the walls that do not hold, and how; none: all do. */
export type Trial = { readonly faults: readonly string[] } | Lacking;

/** Makes a cage with a canary in it, that tries every wall, and takes both away again. */
export async function tryCage(): Promise<Trial> {
  const means = findMeans(process.env);
  if ("lacking" in means) return means;
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "dragons-trial-")));
  const [cwd, hidden] = [join(folder, "work"), join(folder, "hidden")];
  for (const path of [cwd, hidden]) mkdirSync(path);
  writeFileSync(join(hidden, "secret"), "");
  const told = openSync(join(folder, "told"), "w");
  const canary = createServer((socket) => socket.destroy());
  try {
    canary.listen(0, "127.0.0.1");
    await once(canary, "listening");
    const cage = await openCage({
      means,
      view: { cwd, writable: [], hidden: [hidden], shown: [], snapshot: null },
      outside: [],
      allowUnix: false,
      stdio: ["ignore", told, told],
    });
    if ("lacking" in cage) return cage;
    const paths: CanaryPaths = {
      hidden,
      elsewhere: join(import.meta.dirname, "written-by-a-canary"),
      canaryPort: (canary.address() as AddressInfo).port,
      ipv6: existsSync("/proc/net/if_inet6"),
      patienceMs: trialPatienceUs / 1000,
    };
    await fly(cage, folder, paths);
    const lines = readFileSync(join(folder, "told"), "utf8").trim().split("\n");
    // A canary that did not come to its end is no good sign.
    return { faults: lines.at(-1) === "done" ? lines.slice(0, -1) : [...lines, "it did not end"] };
  } finally {
    canary.close();
    closeSync(told);
    rmSync(folder, { recursive: true });
  }
}

/** Answers what the canary dials with where it was meant for, until it has ended. */
async function fly(cage: Cage, folder: string, paths: CanaryPaths): Promise<void> {
  const names = new Names(join(folder, "names"));
  const lookups = new NameServer(names, systemClock, () => {});
  lookups.listen(cage.dns);
  const server: Server = createServer((socket) => {
    const address = (socket.localAddress as string).replace(/^::ffff:/, "");
    socket.on("error", () => socket.destroy());
    socket.once("data", () =>
      socket.end(`${names.nameOf(address) ?? address} ${socket.localPort}`),
    );
  });
  server.listen(cage.transparent);
  const late = systemClock.after(2 * trialPatienceUs, () => cage.kill());
  const program = [process.execPath, join(import.meta.dirname, "canary.ts")];
  await cage.start(
    { files: {}, snapshot: [] },
    { command: [...program, JSON.stringify(paths)], env: { PATH: "/usr/bin:/bin" } },
  );
  await cage.exited;
  late.cancel();
  lookups.close();
  names.close();
  server.close();
}

import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { errorOf } from "../../src/native/libc.ts";
import { SYSCALLS } from "./syscalls.ts";
import type { CanaryPaths } from "./trial.ts";

/**
 * Flies in a cage and tries its walls, as `dragons doctor` has it do: one line for each wall that does not
 * hold, and how, on standard output. Silence is good.
 */

const AF_UNIX = 1;
const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const CLONE_NEWUSER = 0x1000_0000;

const paths = JSON.parse(process.argv[2] as string) as CanaryPaths;
const column = process.arch === "x64" ? 0 : 1;

/** What came of something that must not succeed; null: it did not. */
type Attempt = () => Promise<string | null> | string | null;

const refused = (error: string | null, what: string): string | null =>
  error === null ? what : null;

async function dialled(port: number, host: string, wanted: string): Promise<string | null> {
  const socket = connect(port, host);
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(paths.patienceMs) });
    socket.write("?");
    const [answer] = (await once(socket, "data")) as [Buffer];
    return answer.toString() === wanted ? null : `${host}:${port} arrives as ${answer.toString()}`;
  } catch (error) {
    return `${host}:${port} does not arrive: ${(error as Error).message}`;
  } finally {
    socket.destroy();
  }
}

async function reaches(port: number): Promise<string | null> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return "this machine's own loopback is reached";
  } catch {
    return null;
  } finally {
    socket.destroy();
  }
}

function datagram(): Promise<string | null> {
  const socket = createSocket("udp4");
  return new Promise((resolve) => {
    socket.send("?", 443, "192.0.2.1", (error) => {
      socket.close();
      resolve(error === null ? "a datagram leaves for 192.0.2.1:443" : null);
    });
  });
}

function written(path: string): string | null {
  try {
    writeFileSync(path, "");
    return `${path} can be written to`;
  } catch {
    return null;
  }
}

const writable = (path: string): string | null =>
  written(path) === null ? `${path} cannot be written to` : null;

function power(): string | null {
  const status = readFileSync("/proc/self/status", "utf8");
  const held = /^Cap(?:Inh|Prm|Eff|Amb):\t0*[1-9a-f]/m.test(status);
  if (held) return "it holds capabilities";
  if (!/^NoNewPrivs:\t1$/m.test(status)) return "no_new_privs is not set";
  return /^Seccomp:\t2$/m.test(status) ? null : "there is no filter";
}

const call = (name: keyof typeof SYSCALLS, ...args: number[]): string | null =>
  errorOf(SYSCALLS[name][column] as number, ...args);

const ATTEMPTS: Record<string, Attempt[]> = {
  network: [
    () => dialled(443, "192.0.2.1", "192.0.2.1 443"),
    ...(paths.ipv6 ? [() => dialled(80, "2001:db8::1", "2001:db8::1 80")] : []),
    () => reaches(paths.canaryPort),
    datagram,
  ],
  names: [
    async () => {
      const { address } = await lookup("canary.example");
      return dialled(8443, address, "canary.example 8443");
    },
  ],
  files: [
    () => (readdirSync(paths.hidden).length > 0 ? "what is hidden can be seen" : null),
    () => writable("trial"),
    () => written(paths.elsewhere),
    () => written("/proc/sys/kernel/core_pattern"),
  ],
  sockets: [
    () => refused(call("socket", AF_UNIX, SOCK_STREAM, 0), "a unix socket can be opened"),
    () => refused(call("socket", AF_VSOCK, SOCK_STREAM, 0), "a vsock socket can be opened"),
  ],
  "system calls": [
    () => refused(call("io_uring_setup", 1, 0), "io_uring can be set up"),
    () => refused(call("unshare", CLONE_NEWUSER), "a new namespace can be made"),
    () => refused(call("ptrace", 0, 0, 0, 0), "a process can be traced"),
  ],
  power: [power],
};

for (const [wall, attempts] of Object.entries(ATTEMPTS)) {
  for (const attempt of attempts) {
    const fault = await Promise.resolve()
      .then(attempt)
      .catch((error: Error) => error.message);
    if (fault !== null) console.log(`${wall}: ${fault}`);
  }
}
console.log("done");
process.exit();

import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { connectionsMax } from "../../src/domain/limits.ts";
import {
  bindMount,
  execute,
  makeReadOnly,
  makeTransparent,
  unmount,
} from "../../src/native/libc.ts";
import { addresses, DNS_PORT, LISTEN_PORT, rules } from "./network.ts";
import {
  type FromInside,
  type Furniture,
  MESSAGES,
  type Prepare,
  SNAPSHOT,
  STDERR,
} from "./words.ts";

/**
 * The first program in a cage. It furnishes the network, opens the listeners there and passes them out,
 * where the sidecar is: a socket stays in the network that it was opened in, so that nothing else has to
 * lead out. It puts the agent's files in their places, and makes way for `become.ts`.
 */

/**
 * What the kernel lets its owner write to with no capability at all, such as the program that it runs
 * as root when another crashes. The owner is root, and so is an agent that root starts.
 */
const CONTROLS = ["acpi", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger"];

const furniture = JSON.parse(process.argv[2] as string) as Furniture;
// Nobody is left to say what to start.
process.once("disconnect", () => process.exit(1));
process.once("message", (prepare: Prepare) => void attempt(() => makeWay(prepare)));
await attempt(furnish);

async function furnish(): Promise<void> {
  for (const name of CONTROLS) {
    if (existsSync(`/proc/${name}`)) makeReadOnly(`/proc/${name}`);
  }
  const ipv6 = existsSync("/proc/net/if_inet6");
  run(furniture.ip, ["-batch", "-"], addresses(ipv6));
  run(furniture.nft, ["-f", "-"], rules(furniture.outside));
  const server = createServer();
  server.listen({ host: ipv6 ? "::" : "0.0.0.0", port: LISTEN_PORT, backlog: connectionsMax });
  await once(server, "listening");
  const { _handle: handle } = server as unknown as { _handle: { fd: number } };
  makeTransparent(handle.fd, ipv6);
  await pass({ say: "transparent" }, handle);
  await pass({ say: "dns" }, await datagrams("udp4", "127.0.0.1"));
  if (ipv6) await pass({ say: "dns" }, await datagrams("udp6", "::1"));
  await pass({ say: "furnished" });
}

/** The bare handle of a socket for look-ups. */
async function datagrams(type: "udp4" | "udp6", address: string): Promise<object> {
  const socket = createSocket(type);
  socket.bind(DNS_PORT, address);
  await once(socket, "listening");
  const hidden = Object.getOwnPropertySymbols(socket)
    .map((symbol) => (socket as unknown as Record<symbol, { handle?: object }>)[symbol])
    .find((value) => value?.handle !== undefined);
  if (hidden?.handle === undefined) throw new Error("this Node hides the handles of its sockets");
  return hidden.handle;
}

/** Sends a message with a bare handle: whoever receives one of Node's own would begin to accept. */
function pass(message: FromInside, handle?: object): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, handle as never, {}, (error) => (error ? reject(error) : resolve()));
  });
}

function run(program: string, args: readonly string[], input: string): void {
  const { status, stderr, error } = spawnSync(program, args, { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? stderr.trim()}`);
}

/** Shows the measured files in their places, and becomes who starts the agent, in a namespace of its own. */
function makeWay({ files, snapshot }: Prepare): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  for (const path of snapshot) {
    // It may lie in a folder that is fresh here.
    if (!existsSync(path)) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, "");
    }
    bindMount(join(SNAPSHOT, path), path);
  }
  if (existsSync(SNAPSHOT)) unmount(SNAPSHOT);
  const { uid, gid, unshare, filter } = furniture;
  const program = join(import.meta.dirname, "become.ts");
  const become = [process.execPath, program, JSON.stringify(filter)];
  const mapped = [unshare, "--user", `--map-user=${uid}`, `--map-group=${gid}`, "--", ...become];
  const command = uid === 0 ? become : mapped;
  const env = [`NODE_CHANNEL_FD=${MESSAGES}`, "NODE_CHANNEL_SERIALIZATION_MODE=json"];
  const error = execute(command[0] as string, command, env, STDERR + 1);
  throw new Error(`${command[0]}: ${error}`);
}

/** Standard error leads to whoever made the cage, until the agent starts. */
async function attempt(step: () => void | Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { constants } from "node:os";
import { mcpWrapGraceUs, pipeWaitingBytesMax } from "../../domain/limits.ts";
import { PIPE_HOST, PIPE_PROTOCOL, PipeFrameReader, pipeFrames } from "../../domain/pipe-frames.ts";
import { EXIT, Failure } from "../failure.ts";
import { say } from "../output.ts";

/** Where an agent's sidecar is, and what of its environment leads there. */
export interface FoundSidecar {
  /** `http://agent:CREDENTIAL@127.0.0.1:7071` */
  readonly url: string;
  /** Variables that a server's own calls go by. */
  readonly env: Readonly<Record<string, string>>;
}

const ANCESTORS_MAX = 64;

/**
 * The sidecar that this process stands under: by its environment, else by that of the nearest process
 * above it that has one, since MCP clients give their servers a bare environment. null: none.
 */
export function findSidecar(own: NodeJS.ProcessEnv): FoundSidecar | null {
  let env: NodeJS.ProcessEnv = own;
  let pid = process.pid;
  for (let up = 0; up < ANCESTORS_MAX; up++) {
    const url = env.DRAGONS_PROXY;
    if (url !== undefined) {
      const names = (env.DRAGONS_PROXY_ENV ?? "").split(" ").filter((name) => name !== "");
      const kept = names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]));
      return { url, env: Object.fromEntries(kept) as Record<string, string> };
    }
    const parent = parentOf(pid);
    if (parent === null) return null;
    pid = parent;
    env = environOf(pid);
  }
  return null;
}

/** null: there is none, or it cannot be seen. */
function parentOf(pid: number): number | null {
  try {
    // Behind the name, which may hold anything: its state, and its parent.
    const [, parent] =
      readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ") ?? [];
    const ppid = Number(parent);
    return ppid > 1 ? ppid : null;
  } catch {
    return null;
  }
}

function environOf(pid: number): NodeJS.ProcessEnv {
  try {
    const pairs = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    return Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
    );
  } catch {
    // Another user's: it is not under our sidecar.
    return {};
  }
}

/**
 * Starts a server and carries its pipes by way of the sidecar, which decides what passes. Fails closed:
 * nothing passes without it, and the server ends with it.
 * @returns the server's exit code; 128 and the signal's number where one ended it.
 */
export async function wrapServer(
  sidecar: FoundSidecar,
  server: string,
  command: readonly string[],
): Promise<number> {
  const socket = await connectPipe(sidecar, server);
  const { DRAGONS_PROXY: _, DRAGONS_PROXY_ENV: __, ...bare } = process.env;
  const [file, ...args] = command as [string, ...string[]];
  let started: ChildProcess | null = null;
  // Before it starts: it may be told to end as soon as it runs.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => started?.kill(signal));
  }
  const child = spawn(file, args, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...sidecar.env, ...bare },
  });
  started = child;
  try {
    await once(child, "spawn");
  } catch (error) {
    socket.destroy();
    say(`dragons: ${file}: ${(error as Error).message}`);
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? 127 : 126;
  }
  const code = await new Wrapped(socket, child).run();
  // A client may hold it open for as long as it likes.
  process.stdin.destroy();
  return code;
}

async function connectPipe({ url }: FoundSidecar, server: string): Promise<Socket> {
  const { hostname, port, username, password } = new URL(url);
  const credential = Buffer.from(`${username}:${decodeURIComponent(password)}`).toString("base64");
  const asked: ClientRequest = httpRequest({
    host: hostname.replace(/^\[|\]$/g, ""),
    port,
    path: `http://${PIPE_HOST}/${server}`,
    headers: {
      host: PIPE_HOST,
      connection: "Upgrade",
      upgrade: PIPE_PROTOCOL,
      "proxy-authorization": `Basic ${credential}`,
    },
    agent: false,
  });
  asked.end();
  const answered = Promise.withResolvers<Socket>();
  asked.on("upgrade", (_response: IncomingMessage, socket: Socket, head: Buffer) => {
    if (head.length > 0) socket.unshift(head);
    answered.resolve(socket);
  });
  asked.on("error", ({ message }: Error) =>
    answered.reject(
      new Failure(EXIT.unreachable, `the sidecar cannot be reached, so nothing passes: ${message}`),
    ),
  );
  asked.on("response", (response: IncomingMessage) => {
    let text = "";
    response.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    response.on("end", () => {
      const exit = response.statusCode === 407 ? EXIT.notPermitted : EXIT.refused;
      answered.reject(new Failure(exit, `the sidecar refused ${server}: ${reasonIn(text)}`));
    });
  });
  return answered.promise;
}

function reasonIn(text: string): string {
  try {
    const { title, detail } = JSON.parse(text) as { title?: string; detail?: string };
    return `${detail} (${title})`;
  } catch {
    return "it does not say why";
  }
}

type Server = ChildProcess & {
  readonly stdin: NonNullable<ChildProcess["stdin"]>;
  readonly stdout: NonNullable<ChildProcess["stdout"]>;
};

/** The pipes of a client and of a server, each led to the sidecar, and what comes back from there. */
class Wrapped {
  readonly #socket: Socket;
  readonly #server: Server;
  readonly #frames = new PipeFrameReader();
  readonly #done = Promise.withResolvers<number>();
  #exit: number | null = null;
  /** The sidecar went, and not because all was said. */
  #gone = false;

  constructor(socket: Socket, server: ChildProcess) {
    this.#socket = socket;
    this.#server = server as Server;
  }

  run(): Promise<number> {
    const { stdin, stdout } = this.#server;
    this.#lead(process.stdin, "AGENT");
    this.#lead(stdout, "SERVER");
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => this.#broken());
    // A server that reads no more has ended, or says so by its exit.
    stdin.on("error", () => {});
    // A client that reads no more is gone.
    process.stdout.on("error", () => this.#server.kill("SIGTERM"));
    this.#server.on("exit", (code, signal) => {
      this.#exit = signal === null ? (code ?? 1) : 128 + constants.signals[signal];
      if (this.#gone) this.#done.resolve(EXIT.unreachable);
      else if (this.#socket.destroyed) this.#done.resolve(this.#exit);
      // Its output may be held open by what it has started, and left behind.
      else setTimeout(() => this.#end(), mcpWrapGraceUs / 1000).unref();
    });
    return this.#done.promise;
  }

  #lead(from: NodeJS.ReadableStream, side: "AGENT" | "SERVER"): void {
    from.on("data", (chunk: Buffer) => {
      if (this.#socket.write(pipeFrames(side, chunk))) return;
      from.pause();
      this.#socket.once("drain", () => from.resume());
    });
    from.on("end", () => void this.#socket.write(pipeFrames(side, new Uint8Array(0))));
  }

  #take(chunk: Buffer): void {
    const frames = this.#frames.push(chunk);
    if (frames === null) {
      this.#socket.destroy();
      return;
    }
    for (const { side, bytes } of frames) {
      const to = side === "AGENT" ? process.stdout : this.#server.stdin;
      if (bytes.length > 0) {
        to.write(bytes);
        // Both sides share one connection: it waits only when much of either waits already.
        if (to.writableLength > pipeWaitingBytesMax) {
          this.#socket.pause();
          to.once("drain", () => this.#socket.resume());
        }
      } else if (side === "SERVER") this.#server.stdin.end();
      else this.#end();
    }
  }

  /** All that the server said was heard. */
  #end(): void {
    this.#socket.destroy();
  }

  #broken(): void {
    if (this.#exit !== null) {
      this.#done.resolve(this.#exit);
      return;
    }
    if (this.#server.stdout.readableEnded) return;
    // Without the sidecar nothing passes, and a server that nobody hears is of no use.
    this.#gone = true;
    say("dragons: the sidecar is gone, so nothing passes any more");
    this.#server.kill("SIGTERM");
    setTimeout(() => this.#server.kill("SIGKILL"), mcpWrapGraceUs / 1000).unref();
  }
}

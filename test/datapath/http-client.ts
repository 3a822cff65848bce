import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { CREDENTIAL, type Rig } from "./harness.ts";

/** An upstream that is a bare socket: it shows every byte that reached it, and says what it is told to. */
export interface SocketUpstream {
  readonly port: number;
  /** Everything that came, by connection. */
  readonly heard: string[];
  /** Resolves once a connection has ended, by connection. */
  readonly gone: Promise<unknown>[];
  close(): void;
}

/** @param onData is called with each connection's whole text so far, after each piece. */
export async function socketUpstream(
  onData: (socket: Socket, heard: string) => void,
): Promise<SocketUpstream> {
  const sockets = new Set<Socket>();
  const heard: string[] = [];
  const gone: Promise<unknown>[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    const at = heard.push("") - 1;
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    gone.push(new Promise((resolve) => socket.on("close", resolve)));
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (chunk) => {
      heard[at] += chunk.toString("latin1");
      onData(socket, heard[at] as string);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    gone,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

export const AUTHORIZATION = `Proxy-Authorization: Basic ${Buffer.from(`a:${CREDENTIAL}`).toString("base64")}\r\n`;

/** A connection that says and hears bytes, as text in which each byte is a character. */
export class Wire {
  readonly socket: Socket;
  heard = "";
  /** How the other side ended it. */
  ended: "open" | "end" | "reset" = "open";
  #wake: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.heard += chunk.toString("latin1");
      this.#tell();
    });
    socket.on("error", () => {
      this.ended = "reset";
    });
    socket.on("end", () => {
      this.ended = "end";
      this.#tell();
    });
    socket.on("close", () => this.#tell());
  }

  /** To the forward proxy. */
  static async open(rig: Rig): Promise<Wire> {
    return Wire.to(rig.stack.proxyAddress.port);
  }

  static async to(port: number): Promise<Wire> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new Wire(socket);
  }

  say(text: string | Uint8Array): void {
    this.socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  }

  #tell(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Resolves with all that was heard once it matches, or nothing more will come. */
  async hears(what: Pick<RegExp, "test">): Promise<string> {
    while (!what.test(this.heard) && !this.socket.destroyed && this.ended === "open") {
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
    return this.heard;
  }

  /** Resolves with all that was heard once the other side has ended. */
  async all(): Promise<string> {
    while (this.ended === "open" && !this.socket.destroyed) {
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
    return this.heard;
  }

  close(): void {
    this.socket.destroy();
  }
}

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A network between a client and a server, that can fail in the two ways that networks do. */
export class Cable {
  /** `127.0.0.1:port`: the client's end. */
  readonly address: string;
  readonly #server: Server;
  /** Both ends of each connection. */
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #swallows = false;

  private constructor(server: Server, target: string) {
    this.#server = server;
    this.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const [host = "", port = ""] = target.split(":");
    server.on("connection", (near) => this.#join(near, connect(Number(port), host)));
  }

  /** @param target `host:port` of the server's end */
  static async lay(target: string): Promise<Cable> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Cable(server, target);
  }

  /** Ends every connection, and refuses what is dialled. */
  cut(): void {
    this.#server.close();
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
  }

  async mend(): Promise<void> {
    this.#server.listen(Number(this.address.split(":")[1]), "127.0.0.1");
    await once(this.#server, "listening");
  }

  /** Passes nothing on either way, and tells nobody; false: what was held up goes on, as TCP has it. */
  swallow(swallows: boolean): void {
    this.#swallows = swallows;
    for (const [near, far] of this.#pairs) this.#pass(near, far);
  }

  #join(near: Socket, far: Socket): void {
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const end of pair) {
      end.on("error", () => {});
      end.on("close", () => {
        this.#pairs.delete(pair);
        near.destroy();
        far.destroy();
      });
    }
    this.#pass(near, far);
  }

  #pass(near: Socket, far: Socket): void {
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      if (this.#swallows) from.unpipe(to).pause();
      else from.pipe(to);
    }
  }
}

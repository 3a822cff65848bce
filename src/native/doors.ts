import { createServer, type ListenOptions, type Server, type Socket } from "node:net";
import { anotherName } from "./libc.ts";

/** Connections that the kernel keeps until we ask, as far as it is allowed to. */
const BACKLOG = 4096;

/**
 * A listening socket by which several connections come in one turn of the event loop.
 *
 * libuv takes one connection in each turn of a socket that is ready, and a turn grows as long as a fleet makes it:
 * two hundred a second would be all that came back of ten thousand. So the one socket is listened on under
 * several names. Where that cannot be, there is one.
 */
export class Doors {
  readonly #doors: Server[];

  /** @param connected told of each connection; nothing was read of it. */
  constructor(count: number, connected: (socket: Socket) => void) {
    // What is said on it is said at once: a revocation must not wait until a peer far away has acknowledged
    // the beat before it.
    const options = { pauseOnConnect: true, noDelay: true };
    this.#doors = Array.from({ length: count }, () => createServer(options, connected));
  }

  /** Resolves to the port. Rejects when the address cannot be listened on. */
  async listen(address: { readonly host: string; readonly port: number }): Promise<number> {
    const [first, ...others] = this.#doors as [Server, ...Server[]];
    await listening(first, address);
    const { fd } = (first as unknown as { _handle: { fd?: number } })._handle;
    if (process.platform === "linux" && fd !== undefined) {
      for (const door of others) await listening(door, { fd: anotherName(fd) });
    }
    return (first.address() as { port: number }).port;
  }

  /** Takes no more. Resolves when every connection is gone. */
  async close(): Promise<void> {
    const open = this.#doors.filter((door) => door.listening);
    await Promise.all(open.map((door) => new Promise<void>((done) => door.close(() => done()))));
  }
}

function listening(door: Server, where: ListenOptions & { readonly fd?: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    door.once("error", reject);
    // The backlog beside the options: within them Node forgets it where there is a descriptor, and the last door to
    // be listened on decides for all.
    door.listen(where, BACKLOG, () => {
      door.removeListener("error", reject);
      resolve();
    });
  });
}

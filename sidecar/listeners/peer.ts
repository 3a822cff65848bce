import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";

/**
 * The uid that owns the other end of a local TCP connection, from /proc/net/tcp and tcp6.
 * null: it cannot be known, so nothing may be believed of it.
 */
export async function peerUid(socket: Socket): Promise<number | null> {
  const { remoteAddress, remotePort, localPort } = socket;
  if (remoteAddress === undefined || remotePort === undefined || localPort === undefined) {
    return null;
  }
  return ownerIn(await tables(), remotePort, localPort);
}

/**
 * Both tables, before anything is believed: an IPv6 socket reaches an IPv4 listener, so a stranger can
 * take the agent's own port on another loopback address and stand in the second table alone.
 */
const readTables = async (): Promise<string> => {
  const files = ["/proc/net/tcp", "/proc/net/tcp6"];
  return (await Promise.all(files.map((f) => readFile(f, "latin1").catch(() => "")))).join("\n");
};

/**
 * One reading for everybody who asked before it began. The kernel walks its whole table of sockets
 * for each, some ten milliseconds on a large machine, and agents open connections by the dozen. A
 * reading that has begun already may have passed by the place of a newer connection, so that who asks
 * meanwhile waits for the next.
 */
export function shared<T>(read: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | null = null;
  return () => {
    next ??= running.then(() => {
      next = null;
      const reading = read();
      running = reading.catch(() => {});
      return reading;
    });
    return next;
  };
}

const tables = shared(readTables);

/**
 * The owner of the one socket that goes from `fromPort` to `toPort` on this machine. Rows:
 * `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …`, addresses as `HEX:PORT`
 * in hex. Two owners for one pair of ports (on two loopback addresses): null, since either may be
 * meant. A row without an inode is a socket that nobody holds any more, and says uid 0 of anybody.
 */
export function ownerIn(table: string, fromPort: number, toPort: number): number | null {
  const from = hexPort(fromPort);
  const to = hexPort(toPort);
  let owner: number | null = null;
  for (const line of table.split("\n")) {
    const [, local, remote, , , , , uid, , inode] = line.trim().split(/\s+/);
    if (inode === undefined || inode === "0") continue;
    if (!local?.endsWith(from) || !remote?.endsWith(to)) continue;
    if (owner !== null && owner !== Number(uid)) return null;
    owner = Number(uid);
  }
  return owner;
}

const hexPort = (port: number): string => `:${port.toString(16).toUpperCase().padStart(4, "0")}`;

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
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const table = await readFile(file, "latin1").catch(() => "");
    const uid = ownerIn(table, remotePort, localPort);
    if (uid !== null) return uid;
  }
  return null;
}

/**
 * The owner of the one socket that goes from `fromPort` to `toPort` on this machine. Rows:
 * `sl local_address rem_address st tx:rx tr:tm retrnsmt uid …`, addresses as `HEX:PORT` in hex.
 * Two owners for one pair of ports (on two loopback addresses): null, since either may be meant.
 */
export function ownerIn(table: string, fromPort: number, toPort: number): number | null {
  const from = hexPort(fromPort);
  const to = hexPort(toPort);
  let owner: number | null = null;
  for (const line of table.split("\n").slice(1)) {
    const [, local, remote, , , , , uid] = line.trim().split(/\s+/);
    if (uid === undefined || !local?.endsWith(from) || !remote?.endsWith(to)) continue;
    if (owner !== null && owner !== Number(uid)) return null;
    owner = Number(uid);
  }
  return owner;
}

const hexPort = (port: number): string => `:${port.toString(16).toUpperCase().padStart(4, "0")}`;

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
  // Both, before anything is believed: an IPv6 socket reaches an IPv4 listener, so a stranger can
  // take the agent's own port on another loopback address and stand in the second table alone.
  const tables = ["/proc/net/tcp", "/proc/net/tcp6"].map((f) =>
    readFile(f, "latin1").catch(() => ""),
  );
  return ownerIn((await Promise.all(tables)).join("\n"), remotePort, localPort);
}

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

import type { AddressInfo, Server, Socket } from "node:net";
import { normaliseTarget } from "../../src/domain/claim.ts";
import type { Ingress } from "../adapters/exchange.ts";
import type { Demux } from "./demux.ts";
import { DNS_PORT } from "./dns.ts";

/** The name that an address was handed out for; null: none was, so that the address stands for itself. */
export type NameOf = (address: string) => string | null;

/**
 * Takes connections that were meant for somebody else: the kernel handed each of them over (TPROXY),
 * and its local address is the one that the agent dialled. Who can open one is the agent, since nobody
 * else is where they come from; so none shows a credential.
 *
 * @param onLookup takes connections to the port of look-ups, whomever they were meant for.
 */
export function transparentListener(
  nameOf: NameOf,
  demux: Demux,
  onLookup: (socket: Socket) => void,
): (socket: Socket) => void {
  return (socket) => {
    if (socket.localPort === DNS_PORT) return onLookup(socket);
    const ingress = ingressOf(socket, nameOf);
    // It is gone already, and nobody can say where it was to lead.
    if (ingress === null) socket.destroy();
    else demux.accept(socket, ingress);
  };
}

/** Bound to where the agent dialled: whatever is spoken inside must be for that. */
function ingressOf({ localAddress, localPort }: Socket, nameOf: NameOf): Ingress | null {
  if (localAddress === undefined || localPort === undefined) return null;
  // Both families come in by one listener, IPv4 in IPv6's clothes.
  const address = localAddress.replace(/^::ffff:(?=[0-9.]+$)/i, "");
  const host = nameOf(address) ?? address;
  const target = normaliseTarget(host, localPort);
  if (typeof target !== "string") return null;
  return { target, dialled: "", scheme: "http", reverse: false, serverName: "", fault: null };
}

/**
 * Makes a listening server's socket one that TPROXY hands connections to. A socket that was made so by
 * whoever passed it on needs it no more.
 *
 * @throws SystemCallFailed without CAP_NET_ADMIN; Error where this Node hides the descriptor.
 */
export async function allowTransparent(server: Server): Promise<void> {
  const { makeTransparent } = await import("../../src/native/libc.ts");
  const { fd } = (server as unknown as { _handle: { fd?: number } })._handle;
  if (fd === undefined || fd < 0) throw new Error("this Node tells no descriptor of its listeners");
  makeTransparent(fd, (server.address() as AddressInfo).family === "IPv6");
}

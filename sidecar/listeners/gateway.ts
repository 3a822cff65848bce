import type { Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { normaliseTarget } from "../../src/domain/claim.ts";
import type { Ingress } from "../adapters/exchange.ts";
import { splitTarget } from "../upstream/address.ts";
import type { Demux } from "./demux.ts";

/**
 * Takes connections that a pod or a machine behind this one opened to the world, as the kernel's TPROXY
 * hands them over: the local address of each is the one that was dialled. Names are what is spoken
 * inside says (TLS server name, Host, `:authority`), and each must resolve to that address, which is the
 * one that is judged and dialled. Who comes in here is behind the gateway, so none shows a credential.
 *
 * @param own the port that it listens on.
 */
export function gatewayListener(demux: Demux, own: number): (socket: Socket) => void {
  return (socket) => {
    const ingress = ingressOf(socket, own);
    // It is gone already, and nobody can say where it was to lead.
    if (ingress === null) socket.destroy();
    else demux.accept(socket, ingress);
  };
}

function ingressOf({ localAddress, localPort }: Socket, own: number): Ingress | null {
  if (localAddress === undefined || localPort === undefined) return null;
  const dialled = normaliseTarget(unmapped(localAddress), localPort);
  if (typeof dialled !== "string") return null;
  const bound = { target: "", dialled, scheme: "http", reverse: false, serverName: "" } as const;
  return { ...bound, fault: isOwn(dialled, own) ? LOOP : null };
}

/** Both families come in by one listener, IPv4 in IPv6's clothes; a link-local address says on which link. */
const unmapped = (address: string): string =>
  address.replace(/^::ffff:(?=[0-9.]+$)/i, "").replace(/%.*$/, "");

/**
 * Whether the gateway itself was dialled: it would dial itself for that, and so on without an end.
 */
function isOwn(dialled: string, own: number): boolean {
  const { host, port } = splitTarget(dialled);
  if (port !== own) return false;
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === host),
  );
}

const LOOP: Ingress["fault"] = {
  reason: "TARGET_FORBIDDEN",
  detail: "the connection is to the gateway itself, which leads nowhere",
};

import type { Socket } from "node:net";
import type { Ingress } from "../adapters/exchange.ts";
import type { Demux } from "./demux.ts";
import { peerUid } from "./peer.ts";

/** A listener's upstream, for agents that can be pointed at it. */
export interface ReverseRoute {
  readonly scheme: "http" | "https";
  /** `host:port`, normalised. */
  readonly target: string;
}

/**
 * Takes connections for one upstream. Nobody presents a credential here, so who calls is the owner
 * of the connection's other end, looked up once.
 *
 * @param uid whose connections are the agent's.
 */
export function reverseListener(
  route: ReverseRoute,
  uid: number,
  demux: Demux,
): (socket: Socket) => void {
  const bound = { ...route, dialled: "", reverse: true, serverName: "" };
  return (socket) => {
    // Nothing is read before the answer; an error here closes the connection, which is all it can do.
    socket.on("error", () => socket.destroy());
    void peerUid(socket).then((owner) => {
      const ingress: Ingress = { ...bound, fault: owner === uid ? null : STRANGER };
      if (!socket.destroyed) demux.accept(socket, ingress);
    });
  };
}

const STRANGER: Ingress["fault"] = {
  reason: "CALLER_UNIDENTIFIED",
  detail: "the connection does not belong to the agent's user",
};

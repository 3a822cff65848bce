/**
 * What a keeper and the sidecar that it started say to each other, as Node's messages between processes;
 * `dns` and `transparent` come with the socket.
 */

export type FromKeeper =
  /** The agent was started, with this pid on the host. */
  | { readonly say: "started"; readonly pid: number }
  /** It has ended, and another follows it. */
  | { readonly say: "left" }
  /** Another's look-ups will come in there: with what it dials. */
  | { readonly say: "dns"; readonly type: "udp4" | "udp6" }
  /** What another dials comes in there, and no more where it did before. */
  | { readonly say: "transparent" }
  /** It has ended, as a shell would tell it, and nothing follows. */
  | { readonly say: "ended"; readonly exit: number }
  /** A successor waits: let what is under way end, and go. */
  | { readonly say: "hand over" }
  /** Is anybody there? */
  | { readonly say: "ping" };

export type FromSidecar =
  /** Authority is held, and the agent's files are as measured. */
  | {
      readonly say: "launch";
      /** manifest_hash as measured here just now, hex. */
      readonly manifestHash: string;
      /** Files of the authority that agents trust, alone and with the public roots, PEM. */
      readonly caFile: string;
      readonly bundleFile: string;
    }
  /** To the agent, for an end. */
  | { readonly say: "signal"; readonly name: NodeJS.Signals }
  /** Another is to follow it, by leave of its policy. */
  | { readonly say: "restart" }
  | { readonly say: "pong" };

/** A keeper holds its instance's data folder by this name, between two sidecars of it as well. */
export const KEEPER_HOLD = "keeper";

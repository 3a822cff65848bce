/** What a keeper and the sidecar that it started say to each other, as Node's messages between processes. */

export type FromKeeper =
  /** The agent was started, with this pid on the host. */
  | { readonly say: "started"; readonly pid: number }
  /** It has ended, as a shell would tell it. */
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
  /** To the agent. */
  | { readonly say: "signal"; readonly name: NodeJS.Signals }
  | { readonly say: "pong" };

import type { Claim } from "../../src/domain/claim.ts";
import type { Input } from "../../src/domain/input.ts";
import type { Needs } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";

/**
 * The waist of the sidecar: every protocol reads its traffic into these shapes, and nothing behind
 * them knows which protocol, or which HTTP/2, it was.
 */

/** One action that an agent wants done, as its adapter read it. */
export interface ActionRequest {
  /** Normalised, with `limitState` still empty: the gate fills it in. */
  readonly claim: Claim;
  /** W3C traceparent if one was sent that is one, else empty. */
  readonly traceparent: string;
  /** When it must be done by, microseconds since the epoch; 0: no deadline was given. */
  readonly deadlineUs: number;
  /** It lasts for as long as either side likes, and nobody waits for its end. Absent: it is a call. */
  readonly listens?: boolean;
  /**
   * What the request shows of the inputs that conditions ask for, see `readInputs`. Asked for once at
   * most, and only where conditions alone stand in the way, so that no body is held back for nothing.
   */
  inputs(needs: Needs): readonly Input[] | Promise<readonly Input[]>;
}

/** Where a connection came in, and so what may be believed of the calls on it. */
export interface Ingress {
  /** `host:port` that the listener bound it to, by CONNECT or by configuration; empty: none. */
  readonly target: string;
  /**
   * `ip:port` that the agent dialled, of connections that were taken on their way to the world: what is
   * spoken inside says a name, which must lead there. Empty: it dialled us.
   */
  readonly dialled: string;
  /** How the upstream is to be reached: as the agent would have. */
  readonly scheme: "http" | "https";
  /** The agent addresses the listener itself, so that its authority says nothing of the upstream. */
  readonly reverse: boolean;
  /** TLS server name that the agent asked for; empty: none. */
  readonly serverName: string;
  /** Why every call on it is refused; null: each is judged by itself. */
  readonly fault: { readonly reason: Reason; readonly detail: string } | null;
}

/** What passed in one direction, digested as it went. */
export interface Passage {
  /** Sorted, lower case, unique. */
  readonly headerNames: readonly string[];
  readonly trailerNames: readonly string[];
  /** SHA-256 of all body bytes in order; 32 bytes. */
  readonly bodySha256: Uint8Array;
  readonly bodyBytes: number;
  readonly messages: number;
}

/** How an admitted action ended, told once by its adapter. */
export interface Ending {
  readonly verdict: "COMPLETED" | "FAILED" | "CUT";
  /** UNSPECIFIED when it completed. */
  readonly reason: Reason;
  /** What the upstream answered, in the protocol's words: `grpc-status: 0`; or why there is none. */
  readonly status: string;
  /** SHA-256 of the query that was forwarded, its `?` with it; empty: there was none. */
  readonly querySha256: Uint8Array;
  readonly request: Passage;
  readonly response: Passage;
  /** `ip:port` dialled; empty: nothing was. */
  readonly dialled: string;
  /** SHA-256 of the upstream's certificate; empty: plaintext. */
  readonly peerCertificate: Uint8Array;
  readonly firstByteUs: number;
  /** When the last byte left for the upstream; 0: nothing was forwarded. */
  readonly egressLastUs: number;
}

/** A refusal as the agent and its operator see it. Rendered by each protocol from one table. */
export interface Denial {
  readonly denied: true;
  readonly reason: Reason;
  /** One sentence that says what was refused and why. */
  readonly message: string;
  /** `rcp_…`; empty only where the ledger could not take one. */
  readonly receiptId: string;
  readonly leaseId: string;
  /** The scope concerned, if any. */
  readonly scope: string;
  /** The manifest line and the grant command that would allow it; empty where none would. */
  readonly remedy: string;
}

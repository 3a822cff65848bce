import type { Claim } from "../../src/domain/claim.ts";
import { CONTINUES, type Input } from "../../src/domain/input.ts";
import { conditionBodyBytesMax } from "../../src/domain/limits.ts";
import { MCP_ASKS } from "../../src/domain/protocol-methods.ts";
import { type Needs, readInputs } from "../../src/domain/read-inputs.ts";
import type { Clock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import type { Denial, Ending, Passage } from "./exchange.ts";
import { filterList } from "./mcp-lists.ts";
import {
  asksIn,
  claimOf,
  type McpNotification,
  type McpRequest,
  type McpResponse,
  mcpClaim,
  type Unsound,
} from "./mcp-message.ts";
import type { McpTrails } from "./mcp-trails.ts";

export interface McpGuardServices {
  readonly gate: Gate;
  readonly clock: Clock;
  /** Lists show only what the lease in hand allows to ask for. */
  readonly leasedLists: boolean;
  readonly trails: McpTrails;
}

const EMPTY = new Uint8Array(0);
/** Open for as long as either side likes. */
const STREAMS: ReadonlySet<string> = new Set(["session/listen", "subscriptions/listen"]);
const JSON_FIELDS = ["content-type", "application/json"];

/** Nothing passed in this direction. */
const NOTHING: Passage = {
  headerNames: [],
  trailerNames: [],
  bodySha256: native.sha256(EMPTY),
  bodyBytes: 0,
  messages: 0,
};

/** One message that passed whole, without what HTTP puts around it. */
export const oneMessage = (bytes: Uint8Array): Passage => ({
  ...NOTHING,
  bodySha256: native.sha256(bytes),
  bodyBytes: bytes.length,
  messages: 1,
});

/** An ending of what never left this machine; the rest is the caller's to say. */
export const LOCAL_ENDING: Omit<Ending, "verdict" | "reason" | "status"> = {
  querySha256: EMPTY,
  request: NOTHING,
  response: NOTHING,
  dialled: "",
  peerCertificate: EMPTY,
  firstByteUs: 0,
  egressLastUs: 0,
};

/** How an answer turned out that was looked into. */
export type Inspected =
  | { readonly pass: Buffer }
  | { readonly denied: Denial }
  | { readonly fault: string };

/** A request that an answer is to, by the permit that let it through. */
export interface Answered {
  readonly permit: Permit;
  readonly asked: Buffer;
}

/** What the gate says to the messages of one MCP server, whatever carries them. */
export class McpGuard {
  readonly #server: string;
  readonly #services: McpGuardServices;

  constructor(server: string, services: McpGuardServices) {
    this.#server = server;
    this.#services = services;
  }

  /** Leave for a message of the agent. */
  admit(
    message: McpRequest | McpNotification,
    body: Uint8Array,
    traceparent: string,
  ): Promise<Permit | Denial> | Denial {
    const claim = claimOf(this.#server, message);
    if ("unsound" in claim) return this.refuse(claim, traceparent);
    const from = this.#services.trails.of(this.#server, claim.path, message);
    if (from === null) {
      const detail = `${message.method} goes on from no call that is known here`;
      return this.refuse({ reason: "REQUEST_NOT_NORMAL", detail }, traceparent);
    }
    const inputs: Input[] = from === "" ? [] : [{ name: CONTINUES, type: "STRING", value: from }];
    const readable = body.length > conditionBodyBytesMax ? "TOO_LONG" : body;
    return this.admitClaim({ ...claim, inputs }, traceparent, (needs) =>
      readInputs(needs, { query: "", fields: JSON_FIELDS, body: readable }),
    );
  }

  admitClaim(
    claim: Claim,
    traceparent: string,
    inputs: (needs: Needs) => ReturnType<typeof readInputs> = () => [],
  ): Promise<Permit | Denial> {
    const listens = STREAMS.has(claim.verb);
    return this.#services.gate.admit({ claim, traceparent, deadlineUs: 0, listens, inputs });
  }

  /** Without a claim: what cannot be read is alike, so that no flood of it fills the ledger. */
  refuse({ reason, detail }: Pick<Unsound, "reason" | "detail">, traceparent = ""): Denial {
    return this.#services.gate.refuse({ claim: null, traceparent }, reason, `MCP: ${detail}`);
  }

  /** Leave for a request of the server to the agent. */
  ask({ method }: Pick<McpRequest, "method">): Promise<Permit | Denial> | Denial {
    if (MCP_ASKS.has(method) || method === "ping") {
      return this.admitClaim(mcpClaim(this.#server, method), "");
    }
    const shown = JSON.stringify(method.slice(0, 80));
    const detail = `${shown} is no method that a server has`;
    return this.refuse({ reason: "PROTOCOL_UNSUPPORTED", detail });
  }

  /** Whether the agent may hear what the server says unasked. */
  get mayHear(): boolean {
    return this.#services.gate.allows(mcpClaim(this.#server, "session/listen"));
  }

  /** Judges an answer: whether it may pass, and as what. @param to what it answers; null: unknown. */
  async answer(to: Answered | null, response: McpResponse, raw: Buffer): Promise<Inspected> {
    const asks = asksIn(response);
    if (asks === null)
      return { fault: "its result asks for something in a way that cannot be read" };
    // One action each, over once it was asked.
    for (const ask of asks) {
      const leave = await this.ask({ method: ask });
      if ("denied" in leave) return { denied: leave };
      this.#services.gate.settle(leave, {
        ...LOCAL_ENDING,
        verdict: "COMPLETED",
        reason: "UNSPECIFIED",
        status: "mcp asked",
        response: oneMessage(raw),
        firstByteUs: this.#services.clock.nowUs(),
      });
    }
    if (to === null) return { pass: raw };
    const { claim, receiptId } = to.permit.facts;
    const first = claim.inputs.find(({ name }) => name === CONTINUES)?.value ?? receiptId;
    const { trails, leasedLists } = this.#services;
    trails.note({ ...claim, server: this.#server, asked: to.asked, receiptId: first }, response);
    if (!leasedLists) return { pass: raw };
    const allows = (claim: Claim): boolean => this.#services.gate.allows(claim);
    return { pass: filterList(this.#server, claim.verb, raw, allows) };
  }
}

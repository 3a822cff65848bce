import type { Reason } from "../../src/domain/reason.ts";

/** How far an action had come when leave for it was taken back. */
export type Shape =
  /** Everything was asked, nothing answered yet: all that is left is one answer. */
  | "answering"
  /** Messages may still pass either way. */
  | "streaming";

/** How an action travels: what is cut, and where it can be. */
interface CarrierRow {
  readonly name: string;
  /** Where a message ends; null: it has none, and a boundary is wherever it stands. */
  readonly boundary: string | null;
  /** What the agent sees of a cut once an answer was begun. */
  readonly cut: string;
}

const BROKEN =
  "its connection closed (HTTP/1.1) or its stream reset (HTTP/2) before the answer's end";

export const CARRIERS = {
  GRPC: {
    name: "gRPC",
    boundary: "the end of a length-prefixed message",
    cut: "trailers with the status, the reason and the receipt",
  },
  HTTP_BODY: { name: "HTTP/1.1 and HTTP/2 bodies", boundary: null, cut: BROKEN },
  HTTP_EVENTS: {
    name: "`text/event-stream` over either",
    boundary: "the empty line that ends an event",
    cut: BROKEN,
  },
  WEB_SOCKET: {
    name: "WebSocket",
    boundary: "the end of a message",
    cut: "a close frame 1008 with the reason and the receipt; within a frame, the connection's end",
  },
  OPAQUE: { name: "opaque TLS", boundary: null, cut: "its connection reset" },
  MCP: {
    name: "MCP",
    boundary: "the end of a JSON-RPC message; none passes before it is whole",
    cut: "the refusal, as the answer that its request is still owed; with none owed, as HTTP",
  },
} as const satisfies Record<string, CarrierRow>;

export type Carrier = keyof typeof CARRIERS;

/** What may still pass in one direction. */
export type Allowance =
  /** All of it, within `unaryGraceUs`; whatever is left then, as `boundary`. */
  | "finish"
  /** The message that has begun to arrive, within `cutBoundaryUs`; where there are no messages, nothing. */
  | "boundary"
  | "nothing";

/** What taking leave back does to an action in flight, for one group of causes. */
export interface Cut {
  readonly cause: string;
  readonly reasons: readonly Reason[];
  /** From the agent to the upstream. A stream that is cut in mid-message is reset: half is never acted on. */
  readonly request: Allowance;
  /** From the upstream to the agent. */
  readonly response: Readonly<Record<Shape, Allowance>>;
}

/** The one table. docs/cuts.md is written from it, and test/attacks/cuts.test.ts walks it. */
export const CUTS: readonly Cut[] = [
  {
    cause: "the lease ran out, and none followed it",
    reasons: ["LEASE_EXPIRED"],
    request: "nothing",
    response: { answering: "finish", streaming: "boundary" },
  },
  {
    cause: "authority was taken back: revocation, quarantine, stop, drift, a retired manifest",
    reasons: [
      "LEASE_REVOKED",
      "QUARANTINED",
      "STOPPED",
      "MANIFEST_DRIFT",
      "MANIFEST_RETIRED",
      "MANIFEST_NOT_RECORDED",
      "NO_LEASE",
    ],
    request: "nothing",
    response: { answering: "boundary", streaming: "boundary" },
  },
  {
    cause: "the lease that followed no longer allows it in the scope that it was opened in",
    reasons: [
      "SCOPE_NOT_GRANTED",
      "CONDITION_FALSE",
      "CONDITION_UNEVALUABLE",
      "LEASE_MISMATCH",
      "LEASE_NOT_YET_VALID",
    ],
    request: "nothing",
    response: { answering: "boundary", streaming: "boundary" },
  },
  {
    cause: "its bytes are spent, or no more of them can be reserved durably",
    reasons: ["LIMIT_SPENT", "LEDGER_UNAVAILABLE", "OVERLOADED"],
    request: "nothing",
    response: { answering: "nothing", streaming: "nothing" },
  },
  {
    cause: "the sidecar is being replaced, and has waited as long as it does",
    reasons: ["HANDOFF"],
    request: "nothing",
    response: { answering: "boundary", streaming: "boundary" },
  },
];

const ROWS = new Map(CUTS.flatMap((row) => row.reasons.map((reason) => [reason, row] as const)));

/** What may still reach the agent. A reason that no row names cuts everything. */
const responseOf = (reason: Reason, shape: Shape): Allowance =>
  ROWS.get(reason)?.response[shape] ?? "nothing";

/** Whether what was asked under the leave that is gone may still be answered, within a cap. */
export const mayFinish = (reason: Reason, shape: Shape): boolean =>
  responseOf(reason, shape) === "finish";

/** Whether half a message may still arrive whole, for a moment. */
export const mayCompleteMessage = (reason: Reason, carrier: Carrier): boolean =>
  CARRIERS[carrier].boundary !== null && responseOf(reason, "streaming") !== "nothing";

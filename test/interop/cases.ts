import { inputRequest, outputRequest, simpleRequest } from "./messages.ts";

/** One call, told so that a client in any language can make it without knowing any message. */
export interface Case {
  readonly name: string;
  readonly path: string;
  readonly kind: "unary" | "clientStream" | "serverStream" | "bidi";
  /** `-bin` values in base64. */
  readonly metadata: readonly (readonly [string, string])[];
  /** Encoded messages, base64. */
  readonly requests: readonly string[];
  /** The next message goes only when an answer to the one before has come. */
  readonly pingPong: boolean;
  /** The client ends its side after its last message. */
  readonly halfClose: boolean;
  /** Cancels after so many answers; 0: once the service has the call; null: never. */
  readonly cancelAfter: number | null;
  readonly deadlineMs: number | null;
  /** To the service that answers compressed, by a client that compresses. */
  readonly gzip: boolean;
}

/** What has to come of it, by gRPC's description of the case. */
export interface Expected {
  readonly code: number;
  readonly details?: string;
  /** Bytes of each answer, its protobuf framing included. */
  readonly sizes: readonly number[];
  /** Metadata fields that must be in the head and in the trailers. */
  readonly head?: Readonly<Record<string, readonly string[]>>;
  readonly trailers?: Readonly<Record<string, readonly string[]>>;
}

export const SERVICE = "/grpc.testing.TestService/";
export const GZIP_ECHO = "/grpc.testing.GzipService/Echo";
export const SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

const zeros = (n: number): Uint8Array => new Uint8Array(n);
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const UPWARD = [27182, 8, 1828, 45904];
const DOWNWARD = [31415, 9, 2653, 58979];

/** A payload of n bytes inside its message. */
function sized(n: number): number {
  const varint = (v: number): number => (v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4);
  const inner = n + 1 + varint(n);
  return inner + 1 + varint(inner);
}

const make = (
  name: string,
  method: string,
  kind: Case["kind"],
  requests: readonly Uint8Array[],
  expected: Partial<Expected>,
  more: Partial<Case> = {},
): [Case, Expected] => [
  {
    name,
    kind,
    path: method.startsWith("/") ? method : SERVICE + method,
    requests: requests.map(base64),
    metadata: [],
    pingPong: false,
    halfClose: true,
    cancelAfter: null,
    deadlineMs: null,
    gzip: false,
    ...more,
  },
  { code: 0, sizes: [], ...expected },
];

const ECHO_INITIAL = ["x-grpc-test-echo-initial", "test_initial_metadata_value"] as const;
const ECHO_TRAILING = ["x-grpc-test-echo-trailing-bin", base64(zeros(3).fill(0xab))] as const;
const custom = {
  head: { [ECHO_INITIAL[0]]: [ECHO_INITIAL[1]] },
  trailers: { [ECHO_TRAILING[0]]: [ECHO_TRAILING[1]] },
};
const REPEATED = ["1", "2", "a, b"];
const BINARY = [zeros(0), Buffer.from([0, 255]), Buffer.from("plain")].map(base64);
const MANY = [
  ...REPEATED.map((v) => ["x-many", v] as const),
  ...BINARY.map((v) => ["x-raw-bin", v] as const),
];
/** The service answers nothing more at the client's end: only a reset or a deadline ends the call. */
export const HOLD = "x-grpc-test-hold";
const held = { halfClose: false, metadata: [[HOLD, "1"] as const] };
const failing = { sizes: [], code: 2, message: "test status message" };
const large = simpleRequest({ sizes: [314159], body: zeros(271828) });
const pingPong = UPWARD.map((up, i) =>
  outputRequest({ sizes: [DOWNWARD[i] as number], body: zeros(up) }),
);
const squeezable = simpleRequest({ sizes: [], body: zeros(20_000) });

/** The fourteen of gRPC's interop suite that need no cloud, and what agents do beyond them. */
export const CASES: readonly (readonly [Case, Expected])[] = [
  make("empty_unary", "EmptyCall", "unary", [zeros(0)], { sizes: [0] }),
  make("large_unary", "UnaryCall", "unary", [large], { sizes: [sized(314159)] }),
  make(
    "client_streaming",
    "StreamingInputCall",
    "clientStream",
    UPWARD.map((n) => inputRequest(zeros(n))),
    { sizes: [4] },
  ),
  make(
    "server_streaming",
    "StreamingOutputCall",
    "serverStream",
    [outputRequest({ sizes: DOWNWARD })],
    { sizes: DOWNWARD.map(sized) },
  ),
  make(
    "ping_pong",
    "FullDuplexCall",
    "bidi",
    pingPong,
    { sizes: DOWNWARD.map(sized) },
    {
      pingPong: true,
    },
  ),
  make("empty_stream", "FullDuplexCall", "bidi", [], {}),
  make(
    "cancel_after_begin",
    "StreamingInputCall",
    "clientStream",
    [],
    { code: 1 },
    {
      cancelAfter: 0,
      ...held,
    },
  ),
  make(
    "cancel_after_first_response",
    "FullDuplexCall",
    "bidi",
    pingPong.slice(0, 1),
    { code: 1, sizes: [sized(31415)] },
    { cancelAfter: 1, ...held },
  ),
  make(
    "timeout_on_sleeping_server",
    "FullDuplexCall",
    "bidi",
    [outputRequest({ sizes: [], body: zeros(27182) })],
    { code: 4 },
    { deadlineMs: 400, ...held },
  ),
  make(
    "custom_metadata, unary",
    "UnaryCall",
    "unary",
    [large],
    { sizes: [sized(314159)], ...custom },
    { metadata: [ECHO_INITIAL, ECHO_TRAILING] },
  ),
  make(
    "custom_metadata, stream",
    "FullDuplexCall",
    "bidi",
    [outputRequest({ sizes: [314159], body: zeros(271828) })],
    { sizes: [sized(314159)], ...custom },
    { metadata: [ECHO_INITIAL, ECHO_TRAILING] },
  ),
  make("status_code_and_message, unary", "UnaryCall", "unary", [simpleRequest(failing)], {
    code: 2,
    details: failing.message,
  }),
  make("status_code_and_message, stream", "FullDuplexCall", "bidi", [outputRequest(failing)], {
    code: 2,
    details: failing.message,
  }),
  make(
    "special_status_message",
    "UnaryCall",
    "unary",
    [simpleRequest({ ...failing, message: SPECIAL })],
    { code: 2, details: SPECIAL },
  ),
  make("unimplemented_method", "UnimplementedCall", "unary", [zeros(0)], { code: 12 }),
  make(
    "unimplemented_service",
    "/grpc.testing.UnimplementedService/UnimplementedCall",
    "unary",
    [zeros(0)],
    { code: 12 },
  ),
  make(
    "repeated and binary metadata",
    "UnaryCall",
    "unary",
    [simpleRequest({ sizes: [1] })],
    {
      sizes: [sized(1)],
      // Joined by grpc-js at the service; the gzip service sees them apart.
      head: { "x-many": [REPEATED.join(", ")] },
      trailers: { "x-raw-bin": BINARY },
    },
    { metadata: MANY },
  ),
  make(
    "trailers-only, with metadata",
    "UnaryCall",
    "unary",
    [simpleRequest({ sizes: [], code: 9, message: "100 % naïve" })],
    { code: 9, details: "100 % naïve", trailers: { "x-raw-bin": BINARY } },
    { metadata: BINARY.map((v) => ["x-raw-bin", v] as const) },
  ),
  make(
    "a status after messages",
    "FullDuplexCall",
    "bidi",
    [outputRequest({ sizes: [10, 0, 20] }), outputRequest({ ...failing, code: 8 })],
    { code: 8, details: failing.message, sizes: [sized(10), sized(0), sized(20)] },
  ),
  make(
    "a deadline that is kept",
    "UnaryCall",
    "unary",
    [large],
    { sizes: [sized(314159)] },
    {
      deadlineMs: 20_000,
    },
  ),
  make(
    "3 MB both ways, unary",
    "UnaryCall",
    "unary",
    [simpleRequest({ sizes: [3_000_000], body: zeros(3_000_000).fill(7) })],
    { sizes: [sized(3_000_000)] },
  ),
  make(
    "3 MB both ways, twice, in a stream",
    "FullDuplexCall",
    "bidi",
    [1, 2].map((n) => outputRequest({ sizes: [3_000_000], body: zeros(3_000_000).fill(n) })),
    { sizes: [sized(3_000_000), sized(3_000_000)] },
  ),
  make(
    "gzip both ways, unary",
    GZIP_ECHO,
    "unary",
    [squeezable],
    { sizes: [squeezable.length] },
    { gzip: true, metadata: MANY },
  ),
  make(
    "gzip both ways, stream",
    GZIP_ECHO,
    "bidi",
    [squeezable, zeros(0), squeezable],
    { sizes: [squeezable.length, 0, squeezable.length] },
    { gzip: true },
  ),
];

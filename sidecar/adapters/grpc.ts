import {
  type ClientHttp2Stream,
  constants,
  type ServerHttp2Stream,
  type ServerStreamResponseOptions,
} from "node:http2";
import type { Duplex } from "node:stream";
import {
  cutBoundaryUs,
  messageBytesMax,
  replayBytesMax,
  replaysMax,
  unaryGraceUs,
} from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import { mayCompleteMessage, mayFinish } from "../gate/cuts.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import { abandon, type Connection } from "../upstream/connection.ts";
import type { Unreachable } from "../upstream/reach.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { Denial, Ending, Ingress } from "./exchange.ts";
import { denialTrailers } from "./grpc-denial.ts";
import { MessageMeter } from "./grpc-framing.ts";
import {
  fieldNames,
  formatTimeout,
  type RawHeaders,
  requestFields,
  single,
  trailerObject,
} from "./grpc-headers.ts";
import { type GrpcRequest, readRequest, type Unreadable } from "./grpc-request.ts";
import { BodyMeter } from "./passage.ts";
import { problem } from "./problem.ts";

const {
  NGHTTP2_FLAG_END_STREAM: END_STREAM,
  NGHTTP2_INTERNAL_ERROR: INTERNAL_ERROR,
  NGHTTP2_NO_ERROR: NO_ERROR,
  NGHTTP2_REFUSED_STREAM: REFUSED_STREAM,
} = constants;

export interface GrpcServices {
  readonly gate: Gate;
  readonly upstream: Upstream;
  readonly clock: Clock;
}

/** The upstream's `date`, or none: node:http2 would add its own. Its types do not know the option. */
const ENDING = { endStream: true, sendDate: false } as ServerStreamResponseOptions;
const FLOWING = { waitForTrailers: true, sendDate: false } as ServerStreamResponseOptions;

/** Carries one HTTP/2 stream of an agent: judged, forwarded as judged, told to the gate once. */
export function serveGrpc(
  stream: ServerHttp2Stream,
  flags: number,
  raw: RawHeaders,
  ingress: Ingress,
  services: GrpcServices,
): void {
  // A stream that fails also closes, and that is where failing is dealt with.
  stream.on("error", () => {});
  const request = readRequest(raw, ingress, services.clock.nowUs());
  if ("unreadable" in request) {
    refuse(stream, request, services.gate);
    return;
  }
  const call = new GrpcCall(stream, raw, request, ingress.scheme, services);
  call.run((flags & END_STREAM) !== 0).catch((error: unknown) => {
    // A bug or broken storage: this call must not hang, and the process must hear of it.
    stream.close(INTERNAL_ERROR);
    throw error;
  });
}

function refuse(stream: ServerHttp2Stream, request: Unreadable, gate: Gate): void {
  const denial = gate.refuse(request, request.reason, request.detail);
  // Frames behind the head, read with it, may have broken the connection before anybody saw this.
  if (isOver(stream)) return;
  if (request.grpc) {
    respondOnly(stream, denialTrailers(denial));
  } else {
    const { status, fields, body } = problem(denial);
    stream.respond([":status", String(status), ...fields]);
    stream.end(body);
    discard(stream);
  }
}

/** Nothing can be said on it any more. */
const isOver = (stream: ServerHttp2Stream): boolean => stream.destroyed || stream.closed;

/** Trailers-only, and the rest of what the client sends is not wanted. */
function respondOnly(stream: ServerHttp2Stream, trailers: RawHeaders): void {
  const head = [":status", "200", "content-type", "application/grpc"];
  stream.respond([...head, ...trailers], ENDING);
  discard(stream);
}

/**
 * Early server closure: once our side has ended, a client that still sends is told to stop. Not at
 * once: a reset overtakes trailers that were only just submitted.
 */
function discard(stream: ServerHttp2Stream): void {
  stream.resume();
  if (stream.readableEnded || stream.endAfterHeaders) return;
  setImmediate(() => stream.close(NO_ERROR));
}

/**
 * One call from its admission to its end. It ends in exactly one of these ways: the upstream's
 * trailers, its reset, our denial in mid-stream, the deadline, the client's reset; `#end` is the only
 * door out, and opens once.
 */
class GrpcCall {
  readonly #down: ServerHttp2Stream;
  readonly #raw: RawHeaders;
  readonly #request: GrpcRequest;
  readonly #scheme: Ingress["scheme"];
  readonly #services: GrpcServices;
  readonly #asked = new BodyMeter();
  readonly #answered = new BodyMeter();
  readonly #askedMessages: MessageMeter;
  #answeredMessages: MessageMeter | null = null;
  #permit: Permit | null = null;
  #connection: Connection | null = null;
  #up: ClientHttp2Stream | null = null;
  /** Sent so far, while it may have to be sent again; null: it cannot be. */
  #replay: Uint8Array[] | null = [];
  #replays = 0;
  #askedAll = false;
  #answer: RawHeaders | null = null;
  #trailers: RawHeaders | null = null;
  #cutting: Denial | null = null;
  #firstByteUs = 0;
  #egressLastUs = 0;
  #deadline: Timer | null = null;
  #ended = false;

  constructor(
    down: ServerHttp2Stream,
    raw: RawHeaders,
    request: GrpcRequest,
    scheme: Ingress["scheme"],
    services: GrpcServices,
  ) {
    this.#down = down;
    this.#raw = raw;
    this.#request = request;
    this.#scheme = scheme;
    this.#services = services;
    this.#askedMessages = new MessageMeter(messageBytesMax, request.compressed);
  }

  async run(noBody: boolean): Promise<void> {
    const { gate, upstream } = this.#services;
    this.#askedAll = noBody;
    // From the start: a body that is empty may end before the call is admitted.
    this.#down.once("end", () => this.#agentEnded());
    const admitted = await gate.admit(this.#request);
    if ("denied" in admitted) {
      if (!this.#down.destroyed && !this.#down.closed) {
        respondOnly(this.#down, denialTrailers(admitted));
      }
      return;
    }
    this.#permit = admitted;
    if (this.#down.destroyed || this.#down.closed) {
      this.#clientGone();
      return;
    }
    this.#down.once("close", () => this.#clientGone());
    this.#down.on("wantTrailers", () => this.#sendTrailers());
    admitted.onCut((denial) => this.#cut(denial));
    const { deadlineUs } = this.#request;
    if (deadlineUs !== 0) {
      const left = deadlineUs - this.#services.clock.nowUs();
      this.#deadline = this.#services.clock.after(Math.max(0, left), () =>
        this.#deny("DEADLINE_EXCEEDED", "the call's own deadline passed"),
      );
    }
    const connected = upstream.connect(admitted, this.#scheme);
    this.#forward(connected instanceof Promise ? await connected : connected);
  }

  #forward(connected: Connection | Unreachable): void {
    if (this.#ended || this.#cutting !== null) return;
    if ("unreachable" in connected) {
      this.#deny(connected.reason, `${this.#request.claim.target}: ${connected.detail}`);
      return;
    }
    const permit = this.#permit as Permit;
    const fields = requestFields(this.#raw);
    const { deadlineUs, authority } = this.#request;
    const now = this.#services.clock.nowUs();
    if (this.#lapsed(now)) return;
    if (deadlineUs !== 0) fields.push("grpc-timeout", formatTimeout(deadlineUs - now));
    const bodyless = this.#askedAll && this.#asked.bytes === 0;
    let up: ClientHttp2Stream;
    try {
      up = connected.request(permit, authority, fields, bodyless);
    } catch (error) {
      // Fields that HTTP/2 forbids, or a connection that closed under our hands.
      this.#deny("UPSTREAM_FAILED", (error as Error).message);
      return;
    }
    this.#connection = connected;
    this.#up = up;
    this.#egressLastUs = now;
    up.on("error", () => {});
    up.on("response", (_headers, flags, raw) =>
      this.#onResponse(raw as unknown as string[], flags),
    );
    up.on("trailers", (_headers, _flags, raw) => {
      this.#trailers = raw as unknown as string[];
    });
    up.on("data", (chunk: Uint8Array) => this.#fromUpstream(up, chunk));
    up.on("end", () => this.#upstreamEnded(up));
    up.on("close", () => this.#upstreamClosed(up));
    if (bodyless) return;
    if (this.#replays > 0) {
      for (const chunk of this.#replay ?? []) up.write(chunk);
      if (this.#askedAll) up.end();
      else this.#down.resume();
      return;
    }
    this.#down.on("data", (chunk: Uint8Array) => this.#fromAgent(chunk));
  }

  /**
   * Nothing leaves after its lease, also in the moment before anybody is told of the end. It is the
   * time that the receipt will state, so that no honest one says that bytes left too late.
   */
  #lapsed(nowUs: number): boolean {
    const permit = this.#permit as Permit;
    if (this.#services.gate.lapsed(nowUs)) this.#services.gate.recheck(permit);
    if (permit.cutBy === null) return false;
    if (this.#up === null) this.#endDenied(permit.cutBy);
    return true;
  }

  #agentEnded(): void {
    // A reset ends what can be read, too.
    if (this.#down.closed || this.#down.aborted) return;
    this.#askedAll = true;
    if (!this.#askedMessages.atBoundary) this.#deny("FRAMING_INVALID", "ends inside a message");
    else this.#up?.end();
  }

  /** Passes a chunk once its bytes are reserved, and reads no further from its side until then. */
  #spend(from: Duplex, to: Duplex, chunk: Uint8Array, pass: () => void): void {
    const leave = (this.#permit as Permit).spend(chunk.length);
    if (leave === true) {
      pass();
      return;
    }
    from.pause();
    void leave.then((given) => {
      if (!given) return;
      pass();
      if (!to.writableNeedDrain) from.resume();
    });
  }

  #fromAgent(chunk: Uint8Array): void {
    if (this.#ended || this.#cutting !== null || this.#up === null) return;
    const fault = this.#askedMessages.push(chunk);
    if (fault !== null) {
      this.#deny(fault, `request message ${this.#askedMessages.messages + 1}: ${FAULTS[fault]}`);
      return;
    }
    this.#spend(this.#down, this.#up, chunk, () => this.#toUpstream(chunk));
  }

  #toUpstream(chunk: Uint8Array): void {
    const up = this.#up;
    if (this.#ended || this.#cutting !== null || up === null) return;
    const now = this.#services.clock.nowUs();
    if (this.#lapsed(now)) return;
    this.#asked.push(chunk);
    if (this.#replay !== null) {
      if (this.#asked.bytes > replayBytesMax || this.#answer !== null) this.#replay = null;
      else this.#replay.push(chunk);
    }
    if (up.destroyed || up.closed) return;
    this.#egressLastUs = now;
    if (!up.write(chunk)) {
      this.#down.pause();
      up.once("drain", () => this.#down.resume());
    }
  }

  #onResponse(raw: RawHeaders, flags: number): void {
    const down = this.#down;
    if (this.#ended || this.#cutting !== null || down.destroyed || down.closed) return;
    this.#answer = raw;
    this.#replay = null;
    this.#firstByteUs = this.#services.clock.nowUs();
    if ((flags & END_STREAM) !== 0) {
      this.#trailers = raw;
      if (this.#passes(() => down.respond(raw as string[], ENDING))) this.#finish();
      return;
    }
    if (single(raw, ":status") === "200") {
      const encoding = single(raw, "grpc-encoding") ?? "identity";
      this.#answeredMessages = new MessageMeter(messageBytesMax, encoding !== "identity");
    }
    this.#passes(() => down.respond(raw as string[], FLOWING));
  }

  /** HTTP/2 lets an upstream say more than node:http2 will repeat; that fails its call, no other. */
  #passes(tell: () => void): boolean {
    try {
      tell();
      return true;
    } catch (error) {
      this.#abort("UPSTREAM_FAILED", (error as Error).message, INTERNAL_ERROR);
      return false;
    }
  }

  #fromUpstream(up: ClientHttp2Stream, chunk: Uint8Array): void {
    const down = this.#down;
    if (this.#ended || down.destroyed || down.closed) return;
    const fault = this.#answeredMessages?.push(chunk) ?? null;
    if (fault !== null) {
      this.#deny(
        fault === "FRAMING_INVALID" ? "UPSTREAM_FAILED" : fault,
        `response message: ${FAULTS[fault]}`,
      );
      return;
    }
    this.#spend(up, down, chunk, () => this.#toAgent(up, chunk));
  }

  #toAgent(up: ClientHttp2Stream, chunk: Uint8Array): void {
    const down = this.#down;
    if (this.#ended || down.destroyed || down.closed) return;
    this.#answered.push(chunk);
    if (!down.write(chunk)) {
      up.pause();
      down.once("drain", () => up.resume());
    }
    if (this.#cutting !== null && this.#answeredMessages?.atBoundary !== false) {
      this.#endDenied(this.#cutting);
    }
  }

  /** The upstream said everything. Without trailers that was no clean end. */
  #upstreamEnded(up: ClientHttp2Stream): void {
    if (this.#ended || up !== this.#up || this.#answer === null) return;
    if (up.rstCode !== NO_ERROR) return;
    if (this.#cutting !== null) this.#endDenied(this.#cutting);
    else if (this.#trailers !== null || single(this.#answer, ":status") !== "200") this.#down.end();
    else this.#abort("UPSTREAM_FAILED", "ended without trailers", INTERNAL_ERROR);
  }

  #upstreamClosed(up: ClientHttp2Stream): void {
    if (this.#ended || up !== this.#up) return;
    const code = up.rstCode;
    const unanswered = this.#answer === null;
    const lost = this.#connection?.lost === true;
    if (this.#cutting !== null) this.#endDenied(this.#cutting);
    else if (code === NO_ERROR && !unanswered) return;
    else if (code === REFUSED_STREAM && this.#replay !== null && this.#replays < replaysMax) {
      this.#again();
    } else if (lost || (unanswered && code === REFUSED_STREAM)) {
      this.#deny("UPSTREAM_FAILED", lost ? "the connection to it was lost" : "it refused the call");
    } else this.#mirror(code);
  }

  /** The upstream refused it unprocessed: another stream, perhaps on another connection. */
  #again(): void {
    this.#replays++;
    this.#down.pause();
    this.#up = null;
    const connected = this.#services.upstream.connect(this.#permit as Permit, this.#scheme);
    void Promise.resolve(connected).then((c) => this.#forward(c));
  }

  /** The agent sees the reset that it would have seen without us. */
  #mirror(code: number): void {
    this.#abort(
      this.#isLate() ? "DEADLINE_EXCEEDED" : "UPSTREAM_FAILED",
      `reset by the upstream, HTTP/2 error ${code}`,
      code || INTERNAL_ERROR,
    );
  }

  #sendTrailers(): void {
    if (this.#down.destroyed || this.#down.closed) return;
    const denial = this.#cutting;
    const trailers = denial === null ? this.#trailers : denialTrailers(denial);
    const fields = trailers === null ? {} : trailerObject(trailers);
    if (!this.#passes(() => this.#down.sendTrailers(fields))) return;
    if (denial === null) this.#finish();
    else discard(this.#down);
  }

  /** The upstream's own end, told as it told it. */
  #finish(): void {
    const status = this.#trailers === null ? null : single(this.#trailers, "grpc-status");
    const http = single(this.#answer ?? [], ":status");
    const text =
      status === null || status === undefined ? `http ${http}` : `grpc-status: ${status}`;
    if (status === "0") this.#end("COMPLETED", "UNSPECIFIED", text);
    else this.#end("FAILED", this.#isLate() ? "DEADLINE_EXCEEDED" : "UPSTREAM_FAILED", text);
    // The upstream ended early: whatever the agent still sends, nobody wants.
    if (!this.#askedAll) discard(this.#down);
  }

  /** Leave was taken back. */
  #cut(denial: Denial): void {
    if (this.#ended || this.#cutting !== null) return;
    const answering = this.#askedAll && (this.#answeredMessages?.messages ?? 0) === 0;
    if (mayFinish(denial.reason, answering ? "answering" : "streaming")) {
      this.#services.clock.after(unaryGraceUs, () => this.#cutNow(denial));
    } else {
      this.#cutNow(denial);
    }
  }

  #cutNow(denial: Denial): void {
    if (this.#ended || this.#cutting !== null) return;
    this.#cutting = denial;
    this.#down.resume();
    // Half a message is of use to nobody: what has begun to arrive may arrive, for a moment.
    const half = this.#answeredMessages?.atBoundary === false;
    if (half && mayCompleteMessage(denial.reason)) {
      this.#services.clock.after(cutBoundaryUs, () => this.#endDenied(denial));
    } else {
      this.#endDenied(denial);
    }
  }

  #deny(reason: Reason, detail: string): void {
    if (this.#ended) return;
    this.#endDenied(this.#denial(reason, detail));
  }

  /** About an admitted action: its own receipt tells the rest. */
  #denial(reason: Reason, detail: string): Denial {
    const { receiptId, scope } = (this.#permit as Permit).facts;
    return { denied: true, reason, message: detail, receiptId, scope, leaseId: "", remedy: "" };
  }

  #endDenied(denial: Denial): void {
    if (this.#ended) return;
    const cut = this.#permit?.cutBy === denial;
    this.#cutting = denial;
    this.#end(cut ? "CUT" : "FAILED", denial.reason, denial.message);
    const down = this.#down;
    if (down.destroyed || down.closed) return;
    if (down.headersSent) down.end();
    else respondOnly(down, denialTrailers(denial));
  }

  /** Neither a clean end nor a status: the client must see a broken stream. */
  #abort(reason: Reason, status: string, code: number): void {
    this.#end("FAILED", reason, status);
    this.#down.close(code);
  }

  #clientGone(): void {
    if (this.#cutting !== null) {
      this.#end("CUT", this.#cutting.reason, this.#cutting.message);
      return;
    }
    this.#end(
      "FAILED",
      this.#isLate() ? "DEADLINE_EXCEEDED" : "CLIENT_CANCELLED",
      "reset by the client",
    );
  }

  /** Whoever ends a call at its deadline, and by whose clock: that was why. */
  #isLate(): boolean {
    const { deadlineUs } = this.#request;
    return deadlineUs !== 0 && this.#services.clock.nowUs() >= deadlineUs - DEADLINE_SLACK_US;
  }

  /** The only way out. */
  #end(verdict: Ending["verdict"], reason: Reason, status: string): void {
    if (this.#ended || this.#permit === null) return;
    this.#ended = true;
    this.#deadline?.cancel();
    this.#replay = null;
    const up = this.#up;
    if (up !== null && !up.destroyed && !up.closed && !up.readableEnded) abandon(up);
    const answer = this.#answer ?? [];
    const trailersOnly = this.#trailers === this.#answer;
    this.#services.gate.settle(this.#permit, {
      verdict,
      reason,
      status,
      request: {
        headerNames: fieldNames(this.#raw),
        trailerNames: [],
        bodySha256: this.#asked.sha256(),
        bodyBytes: this.#asked.bytes,
        messages: this.#askedMessages.messages,
      },
      response: {
        headerNames: fieldNames(answer),
        trailerNames: trailersOnly ? [] : fieldNames(this.#trailers ?? []),
        bodySha256: this.#answered.sha256(),
        bodyBytes: this.#answered.bytes,
        messages: this.#answeredMessages?.messages ?? 0,
      },
      dialled: this.#connection?.dialled ?? "",
      peerCertificate: this.#connection?.peerCertificate ?? EMPTY,
      firstByteUs: this.#firstByteUs,
      egressLastUs: this.#egressLastUs,
    });
  }
}

const EMPTY = new Uint8Array(0);

/** Microseconds by which the ends of a call may see its deadline apart: transit and rounding. */
const DEADLINE_SLACK_US = 20_000;

const FAULTS: Partial<Record<Reason, string>> = {
  FRAMING_INVALID: "its five bytes of framing are malformed",
  MESSAGE_TOO_LARGE: `it declares more than ${messageBytesMax} bytes`,
};

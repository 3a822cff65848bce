import {
  connectionsPerUpstreamMax,
  messageBytesMax,
  replayBytesMax,
  replaysMax,
} from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import { ByteQueue } from "../../src/h2/byte-queue.ts";
import type { RawHeaders } from "../../src/h2/fields.ts";
import { CODE } from "../../src/h2/frames.ts";
import type { H2Stream, StreamListener } from "../../src/h2/stream.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import { bytesPassed } from "../engine.ts";
import { CarriedAction } from "../gate/carried-action.ts";
import type { Shape } from "../gate/cuts.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import type { Connection } from "../upstream/connection.ts";
import type { Unreachable } from "../upstream/reach.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { Denial, Ending } from "./exchange.ts";
import { denialTrailers } from "./grpc-denial.ts";
import { MessageMeter } from "./grpc-framing.ts";
import { answerFields, fieldNames, formatTimeout, requestFields, single } from "./grpc-headers.ts";
import type { GrpcRequest } from "./grpc-request.ts";
import { BodyMeter } from "./passage.ts";
import { Toll } from "./toll.ts";

export interface CallServices {
  readonly gate: Gate;
  readonly upstream: Upstream;
  readonly clock: Clock;
}

/** Trailers-only, and the rest of what the client sends is not wanted. */
export function respondOnly(stream: H2Stream, trailers: RawHeaders): void {
  stream.sendHead([":status", "200", "content-type", "application/grpc", ...trailers], true);
  stream.dismiss();
}

/**
 * One call from its admission to its end. It ends in exactly one of these ways: the upstream's
 * trailers, its reset, our denial in mid-stream, the deadline, the client's reset; `end` is the only
 * door out, and opens once.
 *
 * Nothing waits here: what one side says is written to the other at once, and given back to the side
 * it came from when it has left. A reader that is slow is thereby felt by whoever writes to it.
 */
export class GrpcCall extends CarriedAction implements StreamListener {
  readonly #down: H2Stream;
  readonly #raw: RawHeaders;
  /** Fields as they went to the upstream; none did yet. */
  #sent: RawHeaders = [];
  readonly #request: GrpcRequest;
  readonly #services: CallServices;
  readonly #asked = new BodyMeter();
  readonly #answered = new BodyMeter();
  readonly #askedMessages: MessageMeter;
  #answeredMessages: MessageMeter | null = null;
  #askedToll: Toll | null = null;
  #answeredToll: Toll | null = null;
  #connection: Connection | null = null;
  #attempt: Attempt | null = null;
  /** What came while there was nobody to send it to; null: nothing. */
  #early: ByteQueue | null = null;
  /** Sent so far, while it may have to be sent again; null: it cannot be. */
  #replay: ByteQueue | null = new ByteQueue();
  #replays = 0;
  /** Connections that took the call no more when it came to them. */
  #missed = 0;
  /** Bytes that left for an upstream, and how many of them leave again. */
  #took = 0;
  #tookBefore = 0;
  /** A head has left for an upstream. */
  #left = false;
  #askedAll = false;
  /** The end of what was asked has left for an upstream. */
  #endLeft = false;
  #answer: RawHeaders | null = null;
  #trailers: RawHeaders | null = null;
  /** A head has been given to the agent's stream. */
  #answering = false;
  #firstByteUs = 0;
  #deadline: Timer | null = null;

  constructor(down: H2Stream, raw: RawHeaders, request: GrpcRequest, services: CallServices) {
    super("GRPC", services.clock);
    this.#down = down;
    this.#raw = raw;
    this.#request = request;
    this.#services = services;
    this.#askedMessages = new MessageMeter(messageBytesMax, request.compressed);
    down.listener = this;
  }

  async run(noBody: boolean): Promise<void> {
    const { gate, upstream } = this.#services;
    this.#askedAll = noBody;
    const admitted = await gate.admit(this.#request);
    if ("denied" in admitted) {
      this.over = true;
      this.#early?.clear();
      respondOnly(this.#down, denialTrailers(admitted));
      return;
    }
    this.permit = admitted;
    this.#askedToll = new Toll(admitted, (chunk) => this.#toUpstream(chunk));
    this.#answeredToll = new Toll(admitted, (chunk) => this.#toAgent(chunk));
    if (this.#down.closed) {
      this.#clientGone();
      return;
    }
    admitted.onCut((denial) => this.cut(denial));
    const { deadlineUs } = this.#request;
    if (deadlineUs !== 0) {
      const left = deadlineUs - this.clock.nowUs();
      this.#deadline = this.clock.after(Math.max(0, left), () =>
        this.deny("DEADLINE_EXCEEDED", "the call's own deadline passed"),
      );
    }
    const connected = upstream.connect(admitted, this.#request.address);
    this.#forward(connected instanceof Promise ? await connected : connected);
  }

  #forward(connected: Connection | Unreachable): void {
    if (this.over || this.cutting !== null) return;
    if ("unreachable" in connected) {
      this.deny(connected.reason, `${this.#request.claim.target}: ${connected.detail}`);
      return;
    }
    const permit = this.permit as Permit;
    const fields = requestFields(this.#raw);
    const { deadlineUs, authority } = this.#request;
    const now = this.clock.nowUs();
    if (this.lapsed(now)) return;
    if (deadlineUs !== 0) fields.push("grpc-timeout", formatTimeout(deadlineUs - now));
    this.#sent = fields;
    const bodyless = this.#askedAll && this.#early === null && this.#asked.bytes === 0;
    const attempt = new Attempt(this);
    const up = connected.request(permit, { authority, query: "" }, fields, bodyless, attempt);
    if (up === null) {
      // Others were quicker; but no connection after the other that takes nothing from anybody.
      if (++this.#missed > connectionsPerUpstreamMax) {
        this.deny("UPSTREAM_FAILED", "it takes no call on the connections that it accepts");
      } else this.#reconnect();
      return;
    }
    attempt.stream = up;
    this.#connection = connected;
    this.#attempt = attempt;
    this.egressLastUs = now;
    if (!bodyless) this.#sendAsked(up);
  }

  /** What was asked until now: what an upstream refused, and what came meanwhile. */
  #sendAsked(up: H2Stream): void {
    for (const chunk of this.#replay?.chunks() ?? []) up.write(chunk);
    const early = this.#early;
    this.#early = null;
    for (const chunk of early?.chunks() ?? []) this.#fromAgent(chunk);
    if (this.#askedAll) this.#agentEnded();
  }

  override lapsed(nowUs: number): boolean {
    const lapsed = super.lapsed(nowUs);
    const cutBy = (this.permit as Permit).cutBy;
    if (lapsed && this.#attempt === null && cutBy !== null) this.endDenied(cutBy);
    return lapsed;
  }

  // What the agent's stream tells.

  head(): void {}

  informational(): void {}

  data(chunk: Buffer): void {
    if (this.#attempt === null && !this.over) {
      this.#early ??= new ByteQueue();
      this.#early.push(chunk);
    } else this.#fromAgent(chunk);
  }

  /** Trailers of a request say nothing in gRPC, and stay behind. */
  ended(): void {
    this.#askedAll = true;
    if (this.#attempt !== null) this.#agentEnded();
  }

  reset(): void {
    if (this.permit !== null) this.#clientGone();
  }

  sent(bytes: number): void {
    this.#attempt?.stream?.consumed(bytes);
  }

  finished(): void {
    if (this.cutting === null) this.#finish();
  }

  #agentEnded(): void {
    if (this.over || this.cutting !== null) return;
    if (!this.#askedMessages.atBoundary) this.deny("FRAMING_INVALID", "ends inside a message");
    else this.#askedToll?.ended(() => this.#endAsked());
  }

  /** The end leaves as all else does: a request that was cut is not to look whole. */
  #endAsked(): void {
    if (this.over || this.cutting !== null) return;
    const up = this.#attempt?.stream ?? null;
    if (up === null || this.lapsed(this.clock.nowUs())) return;
    up.end();
  }

  #fromAgent(chunk: Buffer): void {
    if (this.over || this.cutting !== null) {
      this.#down.consumed(chunk.length);
      return;
    }
    const fault = this.#askedMessages.push(chunk);
    if (fault !== null) {
      this.deny(fault, `request message ${this.#askedMessages.messages + 1}: ${FAULTS[fault]}`);
      return;
    }
    this.#askedToll?.push(chunk);
  }

  #toUpstream(chunk: Buffer): void {
    if (this.over || this.cutting !== null) return;
    const now = this.clock.nowUs();
    if (this.lapsed(now)) return;
    this.#asked.push(chunk);
    bytesPassed(chunk.length);
    const up = this.#attempt?.stream ?? null;
    if (up !== null && (this.#asked.bytes > replayBytesMax || this.#answer !== null)) {
      this.#replay = null;
    }
    this.#replay?.push(chunk);
    // Between two tries it waits for the next one.
    if (up === null) return;
    if (up.closed) {
      this.#down.consumed(chunk.length);
      return;
    }
    this.egressLastUs = now;
    up.write(chunk);
  }

  // What the upstream's stream tells, by the attempt that is current.

  upstreamHead(raw: RawHeaders, last: boolean): void {
    if (this.over || this.cutting !== null) return;
    this.#answer = raw;
    this.#replay = null;
    this.#firstByteUs = this.clock.nowUs();
    this.#answering = true;
    if (last) this.#trailers = raw;
    else if (single(raw, ":status") === "200") {
      const encoding = single(raw, "grpc-encoding") ?? "identity";
      this.#answeredMessages = new MessageMeter(messageBytesMax, encoding !== "identity");
    }
    this.#down.sendHead(answerFields(raw), last);
  }

  upstreamInformational(raw: RawHeaders): void {
    if (!this.over && this.cutting === null) this.#down.inform(answerFields(raw));
  }

  fromUpstream(up: H2Stream, chunk: Buffer): void {
    const meter = this.#answeredMessages;
    // At the head of each message leave is looked at again; what that cuts, it cuts here and now.
    if (!this.over && this.cutting === null && meter?.atBoundary !== false) {
      (this.permit as Permit).holds(this.clock.nowUs());
    }
    if (this.over) {
      up.consumed(chunk.length);
      return;
    }
    // After a cut the message under way may end, and nothing of the next one comes through.
    const piece =
      this.cutting === null || meter === null ? chunk : chunk.subarray(0, meter.rest(chunk));
    const fault = meter?.push(piece) ?? null;
    if (fault !== null) {
      this.deny(
        fault === "FRAMING_INVALID" ? "UPSTREAM_FAILED" : fault,
        `response message: ${FAULTS[fault]}`,
      );
      return;
    }
    this.#answeredToll?.push(piece);
  }

  #toAgent(chunk: Buffer): void {
    if (this.over) return;
    this.#answered.push(chunk);
    bytesPassed(chunk.length);
    this.#down.write(chunk);
    if (this.cutting !== null && this.#answeredMessages?.atBoundary !== false) {
      this.endDenied(this.cutting);
    }
  }

  /** The upstream said everything. Without trailers that was no clean end. */
  upstreamEnded(trailers: RawHeaders | null): void {
    if (this.over) return;
    this.#trailers = trailers;
    if (this.cutting !== null) this.endDenied(this.cutting);
    else if (trailers !== null || single(this.#answer ?? [], ":status") !== "200") {
      const told = trailers === null ? null : answerFields(trailers);
      this.#answeredToll?.ended(() => this.#down.end(told));
    } else this.#abort("UPSTREAM_FAILED", "ended without trailers", CODE.INTERNAL_ERROR);
  }

  upstreamReset(code: number, lost: boolean): void {
    if (this.over) return;
    const unanswered = this.#answer === null;
    if (this.cutting !== null) this.endDenied(this.cutting);
    // It said everything before: what it has not read, it does not want.
    else if (this.#attempt?.stream?.peerEnded === true) return;
    else if (code === CODE.REFUSED_STREAM && this.#replay !== null && this.#replays < replaysMax) {
      this.#again();
    } else if (lost || (unanswered && code === CODE.REFUSED_STREAM)) {
      this.deny("UPSTREAM_FAILED", lost ? "the connection to it was lost" : "it refused the call");
    } else this.#mirror(code);
  }

  /** Until here, what was asked could still be waiting for the upstream's windows. */
  upstreamToldAll(): void {
    this.#endLeft = true;
  }

  /** What is sent again was given back when it left for the first time. */
  upstreamTook(bytes: number): void {
    const again = Math.min(bytes, this.#tookBefore);
    this.#tookBefore -= again;
    this.#took += bytes - again;
    this.#down.consumed(bytes - again);
  }

  /** The upstream refused it unprocessed: another stream, perhaps on another connection. */
  #again(): void {
    this.#replays++;
    this.#left = true;
    this.#tookBefore = this.#took;
    this.#attempt = null;
    this.#reconnect();
  }

  #reconnect(): void {
    const { address } = this.#request;
    const connected = this.#services.upstream.connect(this.permit as Permit, address);
    void Promise.resolve(connected).then((c) => this.#forward(c));
  }

  /** The agent sees the reset that it would have seen without us. */
  #mirror(code: number): void {
    this.#abort(
      this.#isLate() ? "DEADLINE_EXCEEDED" : "UPSTREAM_FAILED",
      `reset by the upstream, HTTP/2 error ${code}`,
      code || CODE.INTERNAL_ERROR,
    );
  }

  /** The upstream's own end, told as it told it. */
  #finish(): void {
    const status = this.#trailers === null ? null : single(this.#trailers, "grpc-status");
    const http = single(this.#answer ?? [], ":status");
    const text =
      status === null || status === undefined ? `http ${http}` : `grpc-status: ${status}`;
    if (status === "0") this.end("COMPLETED", "UNSPECIFIED", text);
    else this.end("FAILED", this.#isLate() ? "DEADLINE_EXCEEDED" : "UPSTREAM_FAILED", text);
    // The upstream ended early: whatever the agent still sends, nobody wants.
    this.#down.dismiss();
  }

  protected override shape(): Shape {
    const answering = this.#endLeft && (this.#answeredMessages?.messages ?? 0) === 0;
    return answering ? "answering" : "streaming";
  }

  protected override inMessage(): boolean {
    return this.#answeredMessages?.atBoundary === false;
  }

  protected override hush(): void {
    // Whatever is not within a message is reset at once.
    if (this.inMessage() && !this.#endLeft) this.#attempt?.stream?.hush();
  }

  protected override tell(denial: Denial): void {
    const trailers = denialTrailers(denial);
    if (!this.#answering) respondOnly(this.#down, trailers);
    else {
      this.#down.end(trailers);
      this.#down.dismiss();
    }
  }

  /** Neither a clean end nor a status: the client must see a broken stream. */
  #abort(reason: Reason, status: string, code: number): void {
    this.end("FAILED", reason, status);
    this.#down.reset(code);
  }

  #clientGone(): void {
    this.endUnheard(
      this.#isLate() ? "DEADLINE_EXCEEDED" : "CLIENT_CANCELLED",
      "reset by the client",
    );
  }

  /** Whoever ends a call at its deadline, and by whose clock: that was why. */
  #isLate(): boolean {
    const { deadlineUs } = this.#request;
    return deadlineUs !== 0 && this.clock.nowUs() >= deadlineUs - DEADLINE_SLACK_US;
  }

  protected override end(verdict: Ending["verdict"], reason: Reason, status: string): void {
    if (this.over || this.permit === null) return;
    this.over = true;
    this.#deadline?.cancel();
    this.#replay = null;
    this.#early = null;
    const up = this.#attempt?.stream ?? null;
    if (up !== null && up.id !== 0) this.#left = true;
    if (up !== null && !up.peerEnded) up.reset(CODE.CANCEL);
    const answer = this.#answer ?? [];
    const trailersOnly = this.#trailers === this.#answer;
    this.#services.gate.settle(this.permit, {
      verdict,
      reason,
      status,
      querySha256: EMPTY,
      request: {
        headerNames: fieldNames(this.#sent),
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
      // What was taken back before it left was never forwarded.
      egressLastUs: this.#left ? this.egressLastUs : 0,
    });
  }
}

/** One try to have the call done: an upstream may refuse it unprocessed, and then it is tried again. */
class Attempt implements StreamListener {
  stream: H2Stream | null = null;
  readonly #call: GrpcCall;

  constructor(call: GrpcCall) {
    this.#call = call;
  }

  head(raw: RawHeaders, last: boolean): void {
    this.#call.upstreamHead(raw, last);
  }

  informational(raw: RawHeaders): void {
    this.#call.upstreamInformational(raw);
  }

  data(chunk: Buffer): void {
    this.#call.fromUpstream(this.stream as H2Stream, chunk);
  }

  ended(trailers: RawHeaders | null): void {
    this.#call.upstreamEnded(trailers);
  }

  reset(code: number, lost: boolean): void {
    this.#call.upstreamReset(code, lost);
  }

  sent(bytes: number): void {
    this.#call.upstreamTook(bytes);
  }

  finished(): void {
    this.#call.upstreamToldAll();
  }
}

const EMPTY = new Uint8Array(0);

/** Microseconds by which the ends of a call may see its deadline apart: transit and rounding. */
const DEADLINE_SLACK_US = 20_000;

const FAULTS: Partial<Record<Reason, string>> = {
  FRAMING_INVALID: "its five bytes of framing are malformed",
  MESSAGE_TOO_LARGE: `it declares more than ${messageBytesMax} bytes`,
};

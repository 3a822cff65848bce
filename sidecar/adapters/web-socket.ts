import { createHash, randomBytes } from "node:crypto";
import { cutBoundaryUs, lingerUs, webSocketMessageBytesMax } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { CarriedAction } from "../gate/carried-action.ts";
import { mayCompleteMessage } from "../gate/cuts.ts";
import type { Denial } from "./exchange.ts";
import { listOf, valuesOf } from "./http-fields.ts";
import type { RawFields, ResponseHead } from "./http-head.ts";
import { only } from "./http-request.ts";
import { type Switched, send } from "./http-wire.ts";
import { BodyMeter } from "./passage.ts";
import { closeFrame, type FrameMark, FrameMeter } from "./web-socket-framing.ts";

/** One end of a WebSocket, whatever it lies on. */
export interface WebSocketSide {
  /** The next bytes; null: there are no more. */
  take(): Promise<Buffer | null>;
  /** @returns null: go on; else wait until they are on their way. */
  write(bytes: Uint8Array): Promise<void> | null;
  /** Nothing more is said, and nothing more is listened to. */
  finish(clock: Clock): void;
}

/** On a connection that was switched. */
export const onConnection = ({ reader, socket }: Switched): WebSocketSide => ({
  take: () => reader.take(),
  write: (bytes) => send(socket, bytes),
  finish(clock) {
    reader.release();
    socket.end();
    socket.resume();
    const timer = clock.after(lingerUs, () => socket.destroy());
    socket.once("close", () => timer.cancel());
  },
});

/** How it ended: COMPLETED with a close frame of either side. */
export interface WebSocketEnd {
  readonly verdict: "COMPLETED" | "FAILED" | "CUT";
  readonly reason: Reason;
  readonly detail: string;
}

/** Policy violation, of RFC 6455, §7.4.1: what a denial is to a client. */
const POLICY_VIOLATION = 1008;
const GOING_AWAY = 1001;
const PROTOCOL_ERROR = 1002;

/** Whether a 101 is the answer to our opening, RFC 6455, §4.1, and agrees on no extension. */
export function opensWebSocket(request: RawFields, { fields }: ResponseHead): boolean {
  const accept = createHash("sha1")
    .update(`${only(request, "sec-websocket-key")}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  return (
    listOf(fields, "upgrade").join() === "websocket" &&
    listOf(fields, "connection").includes("upgrade") &&
    only(fields, "sec-websocket-accept") === accept &&
    valuesOf(fields, "sec-websocket-extensions").length === 0
  );
}

/** Carries frames both ways as they are, and knows where messages end. */
export class WebSocketRelay {
  readonly asked = new BodyMeter();
  readonly answered = new BodyMeter();
  readonly #down: WebSocketSide;
  readonly #up: WebSocketSide;
  readonly #call: CarriedAction;
  readonly #fromAgent = new FrameMeter(true, webSocketMessageBytesMax);
  readonly #fromUpstream = new FrameMeter(false, webSocketMessageBytesMax);
  readonly #end = Promise.withResolvers<WebSocketEnd>();
  /** How far either side has been sent, which is less than what has come from the other. */
  #sentUp: FrameMark = this.#fromAgent.mark;
  #sentDown: FrameMark = this.#fromUpstream.mark;
  #cutting: Denial | null = null;
  #over = false;

  constructor(down: WebSocketSide, up: WebSocketSide, call: CarriedAction) {
    this.#down = down;
    this.#up = up;
    this.#call = call;
  }

  get askedMessages(): number {
    return this.#sentUp.messages;
  }

  get answeredMessages(): number {
    return this.#sentDown.messages;
  }

  run(): Promise<WebSocketEnd> {
    void this.#ask();
    void this.#answer();
    return this.#end.promise;
  }

  async #ask(): Promise<void> {
    for (;;) {
      const chunk = await this.#down.take();
      if (this.#over || this.#cutting !== null) return;
      if (chunk === null) {
        this.#gone("CLIENT_CANCELLED", "the client closed its connection");
        return;
      }
      const payload: Uint8Array[] = [];
      const fault = this.#fromAgent.push(chunk, (bytes) => payload.push(bytes));
      if (typeof fault === "string") {
        this.#fault("FRAMING_INVALID", `a frame of the agent ${fault}`);
        return;
      }
      if (!(await this.#mayPass(payload)) || !this.#call.mayLeave()) return;
      for (const bytes of payload) this.asked.push(bytes);
      const wait = this.#up.write(chunk);
      this.#sentUp = this.#fromAgent.mark;
      if (this.#fromAgent.closed) this.#closing();
      if (wait !== null) await wait;
      if (this.#over) return;
    }
  }

  async #answer(): Promise<void> {
    for (;;) {
      const chunk = await this.#up.take();
      if (this.#over) return;
      if (chunk === null) {
        this.#gone("UPSTREAM_FAILED", "the upstream closed its connection");
        return;
      }
      if (this.#sentDown.atBoundary) this.#call.lapsed(this.#call.clock.nowUs());
      if (this.#over) return;
      const cutting = this.#cutting;
      const payload: Uint8Array[] = [];
      const take = (bytes: Uint8Array) => payload.push(bytes);
      const boundary = this.#fromUpstream.push(chunk, take, cutting !== null);
      if (typeof boundary === "string") {
        this.#fault("UPSTREAM_FAILED", `a frame of the upstream ${boundary}`);
        return;
      }
      if (!(await this.#mayPass(payload))) return;
      if (this.#cutting !== null && cutting === null) {
        // It came while leave for these bytes was asked for: where they end was not looked at.
        this.#finishCut(this.#cutting);
        return;
      }
      for (const bytes of payload) this.answered.push(bytes);
      if (cutting !== null && boundary >= 0) {
        void this.#down.write(chunk.subarray(0, boundary));
        this.#sentDown = this.#fromUpstream.mark;
        this.#finishCut(cutting);
        return;
      }
      const wait = this.#down.write(chunk);
      this.#sentDown = this.#fromUpstream.mark;
      if (this.#fromUpstream.closed) this.#closing();
      if (wait !== null) await wait;
      if (this.#over) return;
    }
  }

  async #mayPass(payload: readonly Uint8Array[]): Promise<boolean> {
    const bytes = payload.reduce((sum, piece) => sum + piece.length, 0);
    return (await this.#call.mayPass(bytes)) && !this.#over;
  }

  /** One side said that it ends; the other may answer it, for a moment. */
  #closing(): void {
    this.#call.clock.after(lingerUs, () => this.#gone("CLIENT_CANCELLED", "it did not end"));
  }

  #gone(reason: Reason, detail: string): void {
    const clean = this.#fromAgent.closed || this.#fromUpstream.closed;
    this.#finish(
      clean
        ? { verdict: "COMPLETED", reason: "UNSPECIFIED", detail: "http 101" }
        : { verdict: "FAILED", reason, detail: `${detail} without a close frame` },
      null,
    );
  }

  #fault(reason: Reason, detail: string): void {
    const atEnd = reason === "FRAMING_INVALID" && this.#sentDown.atFrameEnd;
    this.#finish(
      { verdict: "FAILED", reason, detail },
      { code: PROTOCOL_ERROR, said: reason, atEnd },
    );
  }

  /** Leave was taken back. Half a message is of use to nobody: one that was begun may arrive, for a moment. */
  cut(denial: Denial): void {
    if (this.#over || this.#cutting !== null) return;
    this.#cutting = denial;
    if (this.#sentDown.atBoundary || !mayCompleteMessage(denial.reason, "WEB_SOCKET"))
      this.#finishCut(denial);
    else this.#call.clock.after(cutBoundaryUs, () => this.#finishCut(denial));
  }

  #finishCut({ reason, receiptId, message }: Denial): void {
    if (this.#over) return;
    const atEnd = this.#sentDown.atFrameEnd;
    const end: WebSocketEnd = { verdict: "CUT", reason, detail: message };
    this.#finish(end, { code: POLICY_VIOLATION, said: `${reason} ${receiptId}`, atEnd });
  }

  /** @param told what the agent is told, if a frame of ours can stand where its side has come to. */
  #finish(end: WebSocketEnd, told: { code: number; said: string; atEnd: boolean } | null): void {
    if (this.#over) return;
    this.#over = true;
    if (told?.atEnd) void this.#down.write(closeFrame(told.code, told.said, null));
    if (told !== null && this.#sentUp.atFrameEnd) {
      void this.#up.write(closeFrame(GOING_AWAY, "", randomBytes(4)));
    }
    for (const side of [this.#down, this.#up]) side.finish(this.#call.clock);
    this.#end.resolve(end);
  }
}

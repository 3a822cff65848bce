import { mcpMessageBytesMax } from "../../src/domain/limits.ts";
import { bytesPassed } from "../engine.ts";
import type { CarriedAction } from "../gate/carried-action.ts";
import type { Permit } from "../gate/permit.ts";
import type { AnswerBody } from "../upstream/http-exchange.ts";
import type { Denial, Passage } from "./exchange.ts";
import { Gathered } from "./gathered.ts";
import type { HttpClientSide } from "./http-client.ts";
import { type Framing, fieldNames, without } from "./http-fields.ts";
import type { ResponseHead } from "./http-head.ts";
import type { HttpRequest } from "./http-request.ts";
import { GONE } from "./http-wire.ts";
import type { McpAsk, McpAsks } from "./mcp-asks.ts";
import { isEncoded, isEvents, isJson } from "./mcp-body.ts";
import { type About, mcpDenial, ownWords } from "./mcp-denial.ts";
import type { Inspected, McpGuard, McpGuardServices } from "./mcp-guard.ts";
import {
  idKey,
  type McpId,
  type McpRequest,
  type McpResponse,
  outcomeOf,
  readMessage,
} from "./mcp-message.ts";
import { EventTrail, type McpResumes, type Resumable } from "./mcp-resumes.ts";
import { BodyMeter } from "./passage.ts";
import { SseReader } from "./sse-reader.ts";

/** Whose answer it is, and whom it goes to. */
export interface Asked {
  readonly call: CarriedAction;
  readonly request: HttpRequest;
  readonly client: HttpClientSide;
  readonly guard: McpGuard;
  /** Where ids of the server's own requests count. */
  readonly session: string;
  readonly services: McpGuardServices & { readonly asks: McpAsks; readonly resumes: McpResumes };
  /** Says something to the server by the call's own leave. */
  readonly tellServer: (message: Buffer) => void;
  /** Has the call wait to be taken up again, where it can be. @returns whether it does. */
  readonly park: () => boolean;
  readonly isParked: () => boolean;
}

/** What the agent is owed an answer to, and as it asked it. */
interface Owed extends About {
  readonly asked: Buffer;
}

/**
 * What a server says to one HTTP request, on its way to the agent: read message by message, since a
 * server may ask something of the agent there, and passed on byte for byte.
 */
export class McpAnswer {
  /** What the agent is owed an answer to; null: nothing, or it has it. */
  owed: Owed | null = null;
  /** 0: no head has come. */
  firstByteUs = 0;
  /** Events that have passed and that another stream can go on from. */
  readonly trail = new EventTrail();
  /** The call that this stream goes on with; null: none. */
  resuming: Resumable | null = null;
  readonly #to: Asked;
  readonly #passed = new BodyMeter();
  #head: ResponseHead | null = null;
  #events: SseReader | null = null;
  #outcome: { status: string; failed: boolean } | null = null;
  #messages = 0;

  constructor(to: Asked) {
    this.#to = to;
  }

  /** An event has begun to arrive, and is not whole. */
  get inEvent(): boolean {
    return this.#events?.atBoundary === false;
  }

  /** Nothing more passes by this stream. */
  get #over(): boolean {
    const { call, isParked } = this.#to;
    return call.over || isParked();
  }

  /** Carries all of it. @returns whether it was whole; else the call has ended by it. */
  async pass(head: ResponseHead, framing: Framing, body: AnswerBody): Promise<boolean> {
    const { call, client, services } = this.#to;
    this.#head = head;
    this.firstByteUs = services.clock.nowUs();
    const events = isEvents(head.fields);
    const json = isJson(head.fields);
    if ((events || json) && isEncoded(head.fields)) {
      call.deny("UPSTREAM_FAILED", "its answer is encoded, and cannot be read");
      return false;
    }
    if (!events) return json ? this.#json(head, body) : this.#through(head, framing, body);
    this.#events = new SseReader(mcpMessageBytesMax);
    // Its end is told by itself, whatever its server says: more may have to be said in it, or less.
    if (framing.kind === "length") {
      const fields = without(head.fields, (name) => name === "content-length");
      client.respond({ ...head, fields }, { kind: "close" });
    } else client.respond(head, framing);
    return this.#stream(body, this.#events);
  }

  /** What became of the request, once all of the answer has passed. */
  outcome(): { readonly status: string; readonly failed: boolean } {
    if (this.#outcome !== null) return this.#outcome;
    const { status } = this.#head as ResponseHead;
    const failed = status >= 400 || this.owed !== null;
    const unanswered = status < 400 && this.owed !== null;
    return { status: unanswered ? "mcp unanswered" : `http ${status}`, failed };
  }

  /** Its stream has ended; what of an event had come is of use to nobody. */
  leave(): void {
    this.#events = null;
  }

  /** What may pass of an answer that came by another stream; null: nothing, and the call has ended. */
  async heard(message: McpResponse, raw: Buffer): Promise<Buffer | null> {
    const { call, services } = this.#to;
    const seen = await this.#inspectResponse(message, raw);
    const pass = call.over ? null : this.#judged(seen);
    if (pass === null || !(await call.mayPass(pass.length))) return null;
    if (call.lapsed(services.clock.nowUs())) return null;
    this.#passed.push(pass);
    this.#messages++;
    this.owed = null;
    return pass;
  }

  /** The last word of a call that has ended: a refusal, where it can still be told. */
  refuse(denial: Denial): void {
    const { client } = this.#to;
    const said = this.owed === null ? null : mcpDenial(denial, this.owed);
    if (!client.responded) client.deny(denial, said === null ? undefined : ownWords(200, said));
    else if (said !== null && this.#events !== null) {
      void client.write(eventOf(said));
      client.end([]);
    } else client.abort();
  }

  /** What passed. Whatever was asked on the way waits no longer. @param answers what the request answered. */
  ended(answers: McpAsk | null): Passage {
    const { session, services } = this.#to;
    services.asks.ended(session, this, "CLIENT_CANCELLED", "the stream that asked has ended");
    if (answers !== null) this.#passed.push(answers.asked);
    return {
      headerNames: fieldNames(this.#head?.fields ?? []),
      trailerNames: [],
      bodySha256: this.#passed.sha256(),
      bodyBytes: this.#passed.bytes,
      messages: this.#messages + (answers === null ? 0 : 1),
    };
  }

  /** A JSON answer, which is one message and is read whole. */
  async #json(head: ResponseHead, body: AnswerBody): Promise<boolean> {
    const { call, client } = this.#to;
    const raw = await this.#whole(body);
    if (raw === null) return false;
    const seen = await this.#inspect(raw, head.status);
    const pass = this.#over ? null : this.#judged(seen);
    if (pass === null || !(await call.mayPass(pass.length))) return false;
    const fields = without(head.fields, (name) =>
      /^(?:content-length|transfer-encoding)$/.test(name),
    );
    fields.push("Content-Length", String(pass.length));
    client.respond({ ...head, fields }, { kind: "length", bytes: pass.length });
    await this.#write(pass);
    this.owed = null;
    return !call.over;
  }

  /** What may pass of what was looked into; null: nothing, and the call has ended. */
  #judged(seen: Inspected): Buffer | null {
    const { call } = this.#to;
    if ("pass" in seen) return seen.pass;
    if ("fault" in seen) call.deny("UPSTREAM_FAILED", seen.fault);
    else call.endDenied(seen.denied);
    return null;
  }

  async #inspect(raw: Buffer, status: number): Promise<Inspected> {
    if (raw.length === 0 && (this.owed === null || status >= 400)) return { pass: raw };
    const message = readMessage(raw);
    // What went wrong is told in many ways; what is no message is nothing that a client acts on.
    if ("unsound" in message) {
      return status >= 400
        ? { pass: raw }
        : { fault: `its answer cannot be read: ${message.detail}` };
    }
    if (message.kind !== "response") return { fault: "its answer is none" };
    this.#messages++;
    return this.#inspectResponse(message, raw);
  }

  async #inspectResponse(message: McpResponse, raw: Buffer): Promise<Inspected> {
    const { call, guard } = this.#to;
    const { owed } = this;
    const unnamed = message.id === null && message.error !== undefined;
    if (!unnamed && !sameId(owed?.id ?? null, message.id)) {
      return { fault: "it answers what this request did not ask" };
    }
    const to = owed === null ? null : { permit: call.permit as Permit, asked: owed.asked };
    const seen = await guard.answer(to, message, raw);
    if ("pass" in seen) this.#outcome = outcomeOf(message);
    return seen;
  }

  /** All of a JSON body; null: the call has ended by it. */
  async #whole(body: AnswerBody): Promise<Buffer | null> {
    const whole = new Gathered();
    for (;;) {
      const piece = await this.#piece(body);
      if (piece === null) return null;
      if (piece === "END") return whole.bytes;
      whole.push(piece);
      if (whole.length > mcpMessageBytesMax) {
        const detail = `its answer has more than ${mcpMessageBytesMax} bytes`;
        this.#to.call.deny("MESSAGE_TOO_LARGE", detail);
        return null;
      }
    }
  }

  /** The next piece of the answer; END: it is whole; null: the call has ended, or ends by this. */
  async #piece(body: AnswerBody): Promise<Buffer | "END" | null> {
    const { call, client, park } = this.#to;
    const piece = await body.read();
    if (this.#over) return null;
    if (piece === null) return "END";
    if (piece !== GONE && !("malformed" in piece)) return piece;
    if (piece === GONE && park()) {
      client.abort();
      return null;
    }
    const detail = piece === GONE ? "it closed the connection within its answer" : piece.detail;
    call.deny("UPSTREAM_FAILED", detail);
    return null;
  }

  /** What is neither JSON nor events, so nothing that a client takes for a message: an error's page. */
  async #through(head: ResponseHead, framing: Framing, body: AnswerBody): Promise<boolean> {
    const { call, client, services } = this.#to;
    for (;;) {
      const piece = await this.#piece(body);
      if (piece === null) return false;
      if (piece !== "END" && head.status < 300) {
        call.deny("UPSTREAM_FAILED", "its answer is neither JSON nor events");
        return false;
      }
      if (!client.responded) client.respond(head, framing);
      if (piece === "END") return true;
      call.lapsed(services.clock.nowUs());
      if (call.over || !(await call.mayPass(piece.length))) return false;
      await this.#write(piece);
      if (call.over) return false;
    }
  }

  /** Events on their way down, each a message that is judged by itself. @returns whether all of them came. */
  async #stream(body: AnswerBody, reader: SseReader): Promise<boolean> {
    const { call, client, services } = this.#to;
    for (;;) {
      const piece = await this.#piece(body);
      if (piece === null) return false;
      // What never ended is no event, and nobody acts on it.
      if (piece === "END") return true;
      const events = reader.push(piece);
      if (events === null) {
        call.deny("MESSAGE_TOO_LARGE", `an event has more than ${mcpMessageBytesMax} bytes`);
        return false;
      }
      for (const { raw, data, id } of events) {
        const passing = data === null ? raw : await this.#event(data, raw);
        // What that cuts, it cuts here and now; after a cut the event under way is the last.
        if (call.cutting === null) call.lapsed(services.clock.nowUs());
        if (this.#over) return false;
        if (passing !== null) {
          if (!(await call.mayPass(passing.length))) return false;
          await this.#write(passing);
          if (id !== null) (this.resuming?.trail ?? this.trail).add(id);
        }
        if (this.#over) return false;
        if (call.cutting !== null) {
          // A stream that is reset takes what has not left with it.
          await client.flushed();
          call.endDenied(call.cutting);
          return false;
        }
      }
    }
  }

  /** What of an event may pass; null: nothing, or the call has ended by it. */
  async #event(data: Buffer, raw: Buffer): Promise<Buffer | null> {
    const message = readMessage(data);
    if ("unsound" in message) {
      this.#to.call.deny("UPSTREAM_FAILED", `an event cannot be read: ${message.detail}`);
      return null;
    }
    this.#messages++;
    if (message.kind === "notification") {
      return message.method.startsWith("notifications/") ? raw : null;
    }
    if (message.kind === "request") return (await this.#ask(message, data)) ? raw : null;
    const { resuming } = this;
    if (resuming?.owes(message.id) && this.#to.services.resumes.take(resuming)) {
      const heard = await resuming.resumed(message, data);
      return heard === data ? raw : eventOf(heard);
    }
    const seen = await this.#inspectResponse(message, data);
    const pass = this.#over ? null : this.#judged(seen);
    if (pass === null) return null;
    this.owed = null;
    return pass === data ? raw : eventOf(pass);
  }

  /** A request of the server. @returns whether the agent may have it; else the server has its answer. */
  async #ask(message: McpRequest, data: Buffer): Promise<boolean> {
    const { call, guard, session, services, tellServer } = this.#to;
    const { id, method } = message;
    const leave = await guard.ask(message);
    if ("denied" in leave) {
      tellServer(mcpDenial(leave, { id, method, modern: false }));
      return false;
    }
    await leave.spend(data.length);
    const passed = services.asks.add(session, id, { permit: leave, asked: data, by: this });
    // Nobody is left who could answer it.
    if (call.over) services.asks.ended(session, this, "CLIENT_CANCELLED", "its stream has ended");
    return passed && !call.over;
  }

  async #write(bytes: Buffer): Promise<void> {
    this.#passed.push(bytes);
    bytesPassed(bytes.length);
    const wait = this.#to.client.write(bytes);
    if (wait !== null) await wait;
  }
}

const eventOf = (message: Buffer): Buffer =>
  Buffer.concat([Buffer.from("event: message\ndata: "), message, Buffer.from("\n\n")]);

export const sameId = (a: McpId | null, b: McpId | null): boolean =>
  a !== null && b !== null && idKey(a) === idKey(b);

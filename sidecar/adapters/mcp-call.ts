import {
  cutBoundaryUs,
  informationsMax,
  mcpMessageBytesMax,
  unaryGraceUs,
} from "../../src/domain/limits.ts";
import type { McpServer } from "../../src/domain/mcp-server.ts";
import { RENDERINGS, type Reason } from "../../src/domain/reason.ts";
import { native } from "../../src/native/crypto.ts";
import { bytesPassed } from "../engine.ts";
import { mayCompleteMessage, mayFinish } from "../gate/cuts.ts";
import type { Permit } from "../gate/permit.ts";
import type { HttpUpstream } from "../upstream/http.ts";
import type { AnswerBody, HttpExchange } from "../upstream/http-exchange.ts";
import { Http1Connection } from "../upstream/http1-connection.ts";
import type { Denial, Ending } from "./exchange.ts";
import { Gathered } from "./gathered.ts";
import type { HttpClientSide } from "./http-client.ts";
import { type Framing, fieldNames, responseFraming, valuesOf, without } from "./http-fields.ts";
import type { ResponseHead } from "./http-head.ts";
import { type HttpRequest, only } from "./http-request.ts";
import { GONE } from "./http-wire.ts";
import type { McpAsk, McpAsks } from "./mcp-asks.ts";
import { isEncoded, isJson, readMcpBody } from "./mcp-body.ts";
import { type About, aboutOf, HEADER_MISMATCH, mcpDenial } from "./mcp-denial.ts";
import { LOCAL_ENDING, McpGuard, type McpGuardServices, oneMessage } from "./mcp-guard.ts";
import { headerMismatch } from "./mcp-headers.ts";
import {
  idKey,
  type McpId,
  type McpRequest,
  type McpResponse,
  mcpClaim,
  outcomeOf,
  readMessage,
} from "./mcp-message.ts";
import { BodyMeter } from "./passage.ts";
import { SseReader } from "./sse-reader.ts";

export interface McpCallServices extends McpGuardServices {
  readonly upstream: HttpUpstream;
  readonly asks: McpAsks;
}

const EMPTY = new Uint8Array(0);
const EVENTS_TYPE = /^text\/event-stream\b/i;

/** How an answer turned out that was looked into. */
type Inspected =
  | { readonly pass: Buffer }
  | { readonly denied: Denial }
  | { readonly fault: string };

/**
 * One HTTP request to an MCP server from its admission to its end: the message in its body is read
 * whole, judged and forwarded byte for byte; what comes back is read message by message, since a server
 * may ask something of the agent there. `#end` is the only door out, and opens once.
 */
export class McpCall {
  readonly #client: HttpClientSide;
  readonly #request: HttpRequest;
  readonly #server: McpServer;
  readonly #services: McpCallServices;
  readonly #guard: McpGuard;
  /** Where ids of the server's own requests count. */
  readonly #session: string;
  readonly #asked = new BodyMeter();
  readonly #answered = new BodyMeter();
  /** Ids of the server's requests that wait for an answer, and came by this call. */
  readonly #open = new Set<McpId>();
  #permit: Permit | null = null;
  /** What the agent is owed an answer to; null: nothing, or it has it. */
  #owed: About | null = null;
  /** The server's request that this one answers; null: it answers none. */
  #answers: McpAsk | null = null;
  #up: HttpExchange | null = null;
  #events: SseReader | null = null;
  #answer: ResponseHead | null = null;
  #outcome: { status: string; failed: boolean } | null = null;
  #messages = 0;
  #askedAll = false;
  #cutting: Denial | null = null;
  #firstByteUs = 0;
  #egressLastUs = 0;
  #ended = false;

  constructor(
    client: HttpClientSide,
    request: HttpRequest,
    server: McpServer,
    services: McpCallServices,
  ) {
    this.#client = client;
    this.#request = request;
    this.#server = server;
    this.#services = services;
    this.#guard = new McpGuard(server.name, services);
    this.#session = `${server.name} ${only(request.fields, "mcp-session-id") ?? ""}`;
  }

  /** Resolves once it has ended, and the client has been told all there is to tell. */
  async run(): Promise<void> {
    const { method, traceparent } = this.#request;
    const verb = method === "GET" ? "session/listen" : method === "DELETE" ? "session/end" : null;
    if (method === "POST") {
      await this.#post();
    } else if (verb === null) {
      const detail = `${method} is no method of MCP by HTTP`;
      this.#client.deny(
        this.#guard.refuse({ reason: "PROTOCOL_UNSUPPORTED", detail }, traceparent),
      );
    } else if (this.#client.framing.kind !== "none") {
      const detail = `a ${method} has no body in MCP`;
      this.#client.deny(this.#guard.refuse({ reason: "REQUEST_NOT_NORMAL", detail }, traceparent));
    } else {
      const leave = await this.#guard.admitClaim(mcpClaim(this.#server.name, verb), traceparent);
      if ("denied" in leave) this.#client.deny(leave);
      else await this.#carry(leave, Buffer.alloc(0));
    }
  }

  async #post(): Promise<void> {
    const { fields, traceparent } = this.#request;
    const body = await readMcpBody(this.#client, fields, this.#services.clock);
    if ("reason" in body) {
      const denial = this.#guard.refuse(body, traceparent);
      if (!body.gone) this.#tell(denial, null, "");
      return;
    }
    const message = readMessage(body);
    if ("unsound" in message) {
      this.#tell(this.#guard.refuse(message, traceparent), message.id, "");
      return;
    }
    const mismatch = headerMismatch(fields, message);
    if (mismatch !== null) {
      const denial = this.#guard.refuse(
        { reason: "REQUEST_NOT_NORMAL", detail: mismatch },
        traceparent,
      );
      const about = { id: message.id, method: "", modern: true };
      this.#client.deny(denial, ownWords(400, mcpDenial(denial, about, HEADER_MISMATCH)));
      return;
    }
    if (message.kind === "response") {
      await this.#answerAsk(message, body);
      return;
    }
    const about = message.kind === "request" ? aboutOf(message) : null;
    const leave = await this.#guard.admit(message, body, traceparent);
    if ("denied" in leave) {
      if (about === null) this.#tell(leave, null, "");
      else this.#client.deny(leave, ownWords(200, mcpDenial(leave, about)));
      return;
    }
    this.#owed = about;
    await this.#carry(leave, body);
  }

  /** The agent's answer to a request of the server: it goes by the leave of what it answers. */
  async #answerAsk({ id }: McpResponse, body: Buffer): Promise<void> {
    const ask = id === null ? null : this.#services.asks.take(this.#session, id);
    if (ask === null) {
      const detail = "it answers nothing that its server asked";
      const refused = { reason: "REQUEST_NOT_NORMAL", detail } as const;
      this.#tell(this.#guard.refuse(refused, this.#request.traceparent), null, "");
      return;
    }
    this.#answers = ask;
    await this.#carry(ask.permit, body);
  }

  /** A refusal of what has no id that could be answered is told by the status, too. */
  #tell(denial: Denial, id: McpId | null, method: string): void {
    const status = id === null ? RENDERINGS[denial.reason].http : 200;
    this.#client.deny(denial, ownWords(status, mcpDenial(denial, { id, method, modern: false })));
  }

  async #carry(permit: Permit, body: Buffer): Promise<void> {
    this.#permit = permit;
    this.#client.onGone(() => this.#clientGone());
    permit.onCut((denial) => this.#cut(denial));
    if (!this.#ended) await this.#exchange(permit, body);
    this.#client.onGone(null);
  }

  async #exchange(permit: Permit, body: Buffer): Promise<void> {
    const { http2 } = this.#client;
    const { address } = this.#request;
    const how = { repeatable: false, http2, address };
    const up = await this.#services.upstream.connect(permit, how);
    if ("unreachable" in up) {
      this.#deny(up.reason, `${this.#server.name} at ${this.#server.target}: ${up.detail}`);
      return;
    }
    if (!(await this.#mayPass(body.length)) || this.#lapsed()) {
      up.destroy();
      if (permit.cutBy !== null) this.#endDenied(permit.cutBy);
      return;
    }
    this.#up = up;
    this.#egressLastUs = this.#services.clock.nowUs();
    if (!send(up, permit, this.#request, this.#fieldsUp(body), body)) {
      return this.#deny("UPSTREAM_FAILED", "its connection took no more requests");
    }
    this.#asked.push(body);
    bytesPassed(body.length);
    this.#askedAll = true;
    for (let informations = 0; ; informations++) {
      const head = await up.answer();
      if (this.#ended) return;
      if (head === GONE)
        return this.#deny("UPSTREAM_FAILED", "it closed its connection unanswered");
      if ("malformed" in head) return this.#deny("UPSTREAM_FAILED", head.detail);
      if (head.status >= 200) return this.#final(up, head);
      if (head.status === 101 || informations === informationsMax) {
        return this.#deny("UPSTREAM_FAILED", `it answered ${head.status}, and was not asked to`);
      }
      this.#client.inform(head);
    }
  }

  /** As the server gets them: the body is one piece, and what comes back must be readable. */
  #fieldsUp(body: Buffer): string[] {
    const framed = /^(?:content-length|transfer-encoding|trailer|accept-encoding|expect)$/;
    const fields = without(this.#request.fields, (name) => framed.test(name));
    if (this.#request.method === "POST") fields.push("Content-Length", String(body.length));
    return fields;
  }

  async #final(up: HttpExchange, head: ResponseHead): Promise<void> {
    this.#lapsed();
    if (this.#ended) return;
    const framing = responseFraming(this.#request.method, head.status, head.fields);
    if ("malformed" in framing) {
      return this.#deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${framing.detail}`);
    }
    this.#answer = head;
    this.#firstByteUs = this.#services.clock.nowUs();
    const type = only(head.fields, "content-type") ?? "";
    const body = up.body(framing);
    const isEvents = EVENTS_TYPE.test(type);
    const json = isJson(head.fields);
    if ((isEvents || json) && isEncoded(head.fields)) {
      return this.#deny("UPSTREAM_FAILED", "its answer is encoded, and cannot be read");
    }
    if (isEvents) {
      this.#events = new SseReader(mcpMessageBytesMax);
      // Its end is told by itself, whatever its server says: more may have to be said in it, or less.
      if (framing.kind === "length") {
        const fields = without(head.fields, (name) => name === "content-length");
        this.#client.respond({ ...head, fields }, { kind: "close" });
      } else this.#client.respond(head, framing);
      if (!(await this.#stream(body, this.#events))) return;
    } else if (json) {
      const raw = await this.#whole(body);
      if (raw === null || !(await this.#one(head, raw))) return;
    } else if (!(await this.#through(head, body))) {
      return;
    }
    this.#client.end(body.trailers);
    this.#finish(head, framing.kind !== "close" && up.keeps(head));
  }

  #finish({ status }: ResponseHead, kept: boolean): void {
    const unanswered = this.#owed === null ? `http ${status}` : "mcp unanswered";
    const said = this.#outcome ?? {
      status: status < 400 ? unanswered : `http ${status}`,
      failed: status >= 400 || this.#owed !== null,
    };
    const reason = said.failed ? "UPSTREAM_FAILED" : "UNSPECIFIED";
    this.#end(said.failed ? "FAILED" : "COMPLETED", reason, said.status, kept);
  }

  /** A JSON answer, which is one message and was read whole. @returns whether it passed. */
  async #one(head: ResponseHead, raw: Buffer): Promise<boolean> {
    const seen = await this.#inspect(raw, head.status);
    if (this.#ended) return false;
    if ("fault" in seen) {
      this.#deny("UPSTREAM_FAILED", seen.fault);
      return false;
    }
    if ("denied" in seen) {
      this.#endDenied(seen.denied);
      return false;
    }
    if (!(await this.#mayPass(seen.pass.length))) return false;
    const fields = without(head.fields, (name) =>
      /^(?:content-length|transfer-encoding)$/.test(name),
    );
    fields.push("Content-Length", String(seen.pass.length));
    this.#client.respond({ ...head, fields }, { kind: "length", bytes: seen.pass.length });
    await this.#pass(seen.pass);
    this.#owed = null;
    return !this.#ended;
  }

  async #inspect(raw: Buffer, status: number): Promise<Inspected> {
    if (raw.length === 0) return { pass: raw };
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
    const owed = this.#owed;
    const unnamed = message.id === null && message.error !== undefined;
    const resumed = this.#request.method === "GET" && only(this.#request.fields, "last-event-id");
    if (owed === null ? !resumed && !unnamed : !unnamed && !sameId(owed.id, message.id)) {
      return { fault: "it answers what this request did not ask" };
    }
    const asks = await this.#guard.asksOf(message, raw);
    if (typeof asks === "string") return { fault: asks };
    if (asks !== null) return { denied: asks };
    this.#outcome = outcomeOf(message);
    return { pass: owed === null ? raw : this.#guard.shown(owed.method, raw) };
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
        this.#deny("MESSAGE_TOO_LARGE", `its answer has more than ${mcpMessageBytesMax} bytes`);
        return null;
      }
    }
  }

  /** The next piece of the answer; END: it is whole; null: the call has ended, or ends by this. */
  async #piece(body: AnswerBody): Promise<Buffer | "END" | null> {
    const piece = await body.read();
    if (this.#ended) return null;
    if (piece === null) return "END";
    if (piece !== GONE && !("malformed" in piece)) return piece;
    const detail = piece === GONE ? "it closed the connection within its answer" : piece.detail;
    this.#deny("UPSTREAM_FAILED", detail);
    return null;
  }

  /** What is neither JSON nor events, so nothing that a client takes for a message: an error's page. */
  async #through(head: ResponseHead, body: AnswerBody): Promise<boolean> {
    let begun = false;
    for (;;) {
      const piece = await this.#piece(body);
      if (piece === null) return false;
      if (piece !== "END" && head.status < 300) {
        this.#deny("UPSTREAM_FAILED", "its answer is neither JSON nor events");
        return false;
      }
      if (!begun) {
        const framing = responseFraming(this.#request.method, head.status, head.fields);
        this.#client.respond(head, "malformed" in framing ? { kind: "none" } : framing);
      }
      begun = true;
      if (piece === "END") return true;
      this.#lapsed();
      if (this.#ended || !(await this.#mayPass(piece.length))) return false;
      await this.#pass(piece);
      if (this.#ended) return false;
    }
  }

  /** Events on their way down, each a message that is judged by itself. @returns whether all of them came. */
  async #stream(body: AnswerBody, reader: SseReader): Promise<boolean> {
    for (;;) {
      const piece = await this.#piece(body);
      if (piece === null) return false;
      // What never ended is no event, and nobody acts on it.
      if (piece === "END") return true;
      const events = reader.push(piece);
      if (events === null) {
        this.#deny("MESSAGE_TOO_LARGE", `an event has more than ${mcpMessageBytesMax} bytes`);
        return false;
      }
      for (const { raw, data } of events) {
        const passing = data === null ? raw : await this.#event(data, raw);
        // What that cuts, it cuts here and now; after a cut the event under way is the last.
        if (this.#cutting === null) this.#lapsed();
        if (this.#ended) return false;
        if (passing !== null) {
          if (!(await this.#mayPass(passing.length))) return false;
          await this.#pass(passing);
        }
        if (this.#ended) return false;
        if (this.#cutting !== null) {
          // A stream that is reset takes what has not left with it.
          await this.#client.flushed();
          this.#endDenied(this.#cutting);
          return false;
        }
      }
    }
  }

  /** What of an event may pass; null: nothing, or the call has ended by it. */
  async #event(data: Buffer, raw: Buffer): Promise<Buffer | null> {
    const message = readMessage(data);
    if ("unsound" in message) {
      this.#deny("UPSTREAM_FAILED", `an event cannot be read: ${message.detail}`);
      return null;
    }
    this.#messages++;
    if (message.kind === "notification") {
      return message.method.startsWith("notifications/") ? raw : null;
    }
    if (message.kind === "request") return (await this.#ask(message, data)) ? raw : null;
    const seen = await this.#inspectResponse(message, data);
    if (this.#ended) return null;
    if ("fault" in seen) this.#deny("UPSTREAM_FAILED", seen.fault);
    else if ("denied" in seen) this.#endDenied(seen.denied);
    else {
      if (this.#request.method === "POST") this.#owed = null;
      return seen.pass === data ? raw : eventOf(seen.pass);
    }
    return null;
  }

  /** A request of the server. @returns whether the agent may have it; else the server has its answer. */
  async #ask(message: McpRequest, data: Buffer): Promise<boolean> {
    const { id, method } = message;
    const about = { id, method, modern: false };
    const leave = await this.#guard.ask(message);
    if ("denied" in leave) {
      void this.#answerServer(mcpDenial(leave, about));
      return false;
    }
    const { asks, gate } = this.#services;
    const left = (await leave.spend(data.length)) && !this.#ended;
    if (!left || !asks.add(this.#session, id, { permit: leave, method, asked: data })) {
      gate.settle(leave, {
        ...LOCAL_ENDING,
        verdict: "FAILED",
        reason: "OVERLOADED",
        status: "one with this id waits, or too many do",
      });
      return false;
    }
    this.#open.add(id);
    leave.onCut((denial) => this.#dropAsk(id, "CUT", denial.reason, denial.message));
    return true;
  }

  /** It waits no longer: leave was taken back, or nobody is left who could be answered. */
  #dropAsk(id: McpId, verdict: Ending["verdict"], reason: Reason, status: string): void {
    this.#open.delete(id);
    const ask = this.#services.asks.take(this.#session, id);
    if (ask === null) return;
    const response = oneMessage(ask.asked);
    this.#services.gate.settle(ask.permit, { ...LOCAL_ENDING, verdict, reason, status, response });
  }

  /** Tells the server no, by this call's own leave: else it would wait for an answer. */
  async #answerServer(denial: Buffer): Promise<void> {
    const permit = this.#permit as Permit;
    const { http2 } = this.#client;
    const { address } = this.#request;
    const how = { repeatable: false, http2, address };
    const up = await this.#services.upstream.connect(permit, how);
    if ("unreachable" in up) return;
    if (this.#ended || !(await this.#mayPass(denial.length)) || this.#lapsed()) {
      up.destroy();
      return;
    }
    const fields = without(this.#fieldsUp(denial), (name) =>
      /^(?:content-length|content-type|accept|last-event-id|mcp-method|mcp-name)$/.test(name),
    );
    fields.push(
      "Content-Type",
      "application/json",
      "Accept",
      "application/json, text/event-stream",
    );
    fields.push("Content-Length", String(denial.length));
    this.#egressLastUs = this.#services.clock.nowUs();
    this.#asked.push(denial);
    if (!send(up, permit, this.#request, fields, denial, "POST")) return;
    const head = await up.answer();
    const none =
      head !== GONE && !("malformed" in head) && valuesOf(head.fields, "content-length")[0] === "0";
    if (none && up instanceof Http1Connection) this.#services.upstream.release(up);
    else up.destroy();
  }

  async #pass(bytes: Buffer): Promise<void> {
    this.#answered.push(bytes);
    bytesPassed(bytes.length);
    const wait = this.#client.write(bytes);
    if (wait !== null) await wait;
  }

  async #mayPass(bytes: number): Promise<boolean> {
    const leave = (this.#permit as Permit).spend(bytes);
    return (leave === true || (await leave)) && !this.#ended;
  }

  /** Nothing leaves after its lease, also in the moment before anybody is told of the end. */
  #lapsed(): boolean {
    return !(this.#permit as Permit).holds(this.#services.clock.nowUs());
  }

  /** Leave was taken back. */
  #cut(denial: Denial): void {
    if (this.#ended || this.#cutting !== null) return;
    this.#up?.hush();
    const answering = this.#askedAll && this.#up?.left !== false && !this.#client.responded;
    if (mayFinish(denial.reason, answering ? "answering" : "streaming")) {
      this.#services.clock.after(unaryGraceUs, () => this.#cutNow(denial));
    } else {
      this.#cutNow(denial);
    }
  }

  #cutNow(denial: Denial): void {
    if (this.#ended || this.#cutting !== null) return;
    this.#cutting = denial;
    const within = this.#events?.atBoundary === false && mayCompleteMessage(denial.reason, "MCP");
    if (within) this.#services.clock.after(cutBoundaryUs, () => this.#endDenied(denial));
    else this.#endDenied(denial);
  }

  #deny(reason: Reason, detail: string): void {
    if (this.#ended) return;
    const { receiptId, scope } = (this.#permit as Permit).facts;
    // About an admitted action: its own receipt tells the rest.
    const admitted = { receiptId, scope, leaseId: "", remedy: "" };
    this.#endDenied({ denied: true, reason, message: detail, ...admitted });
  }

  #endDenied(denial: Denial): void {
    if (this.#ended) return;
    const client = this.#client;
    const owed = this.#owed;
    const cut = this.#permit?.cutBy === denial;
    this.#end(cut ? "CUT" : "FAILED", denial.reason, denial.message);
    if (!client.responded) {
      if (owed === null) client.deny(denial);
      else client.deny(denial, ownWords(200, mcpDenial(denial, owed)));
    } else if (owed !== null && this.#events !== null) {
      void client.write(eventOf(mcpDenial(denial, owed)));
      client.end([]);
    } else {
      client.abort();
    }
  }

  #clientGone(): void {
    if (this.#ended) return;
    if (this.#cutting !== null) this.#end("CUT", this.#cutting.reason, this.#cutting.message);
    else this.#end("FAILED", "CLIENT_CANCELLED", "the client closed its connection");
    this.#client.abort();
  }

  /** The only way out. */
  #end(verdict: Ending["verdict"], reason: Reason, status: string, kept = false): void {
    if (this.#ended || this.#permit === null) return;
    this.#ended = true;
    const up = this.#up;
    if (kept && up instanceof Http1Connection) this.#services.upstream.release(up);
    else up?.destroy();
    for (const id of this.#open) {
      this.#dropAsk(id, "FAILED", "CLIENT_CANCELLED", "the stream that asked has ended");
    }
    const { query, method, fields } = this.#request;
    const asked = this.#answers?.asked;
    if (asked !== undefined) this.#answered.push(asked);
    this.#services.gate.settle(this.#permit, {
      verdict,
      reason,
      status,
      querySha256: query === "" ? EMPTY : native.sha256(Buffer.from(query, "latin1")),
      request: {
        headerNames: fieldNames(fields),
        trailerNames: [],
        bodySha256: this.#asked.sha256(),
        bodyBytes: this.#asked.bytes,
        messages: this.#askedAll && method === "POST" ? 1 : 0,
      },
      response: {
        headerNames: fieldNames(this.#answer?.fields ?? []),
        trailerNames: [],
        bodySha256: this.#answered.sha256(),
        bodyBytes: this.#answered.bytes,
        messages: this.#messages + (asked === undefined ? 0 : 1),
      },
      dialled: up?.dialled ?? "",
      peerCertificate: up?.peerCertificate ?? EMPTY,
      firstByteUs: this.#firstByteUs,
      egressLastUs: this.#egressLastUs,
    });
  }
}

const ownWords = (status: number, body: Buffer) => ({ status, type: "application/json", body });

const eventOf = (message: Buffer): Buffer =>
  Buffer.concat([Buffer.from("event: message\ndata: "), message, Buffer.from("\n\n")]);

const sameId = (a: McpId | null, b: McpId | null): boolean =>
  a !== null && b !== null && idKey(a) === idKey(b);

/** @returns false: the connection takes no request any more, and nothing was sent. */
function send(
  up: HttpExchange,
  permit: Permit,
  { query }: HttpRequest,
  fields: string[],
  body: Buffer,
  method = permit.facts.place.method,
): boolean {
  const framing: Framing =
    method === "POST" ? { kind: "length", bytes: body.length } : { kind: "none" };
  if (!up.send(permit, query, fields, framing, method)) return false;
  if (body.length > 0) void up.write(body);
  up.end([]);
  return true;
}

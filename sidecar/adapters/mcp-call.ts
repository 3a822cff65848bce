import { informationsMax, mcpAsksMax } from "../../src/domain/limits.ts";
import type { McpServer } from "../../src/domain/mcp-server.ts";
import { RENDERINGS, type Reason } from "../../src/domain/reason.ts";
import { native } from "../../src/native/crypto.ts";
import { bytesPassed } from "../engine.ts";
import { CarriedAction } from "../gate/carried-action.ts";
import type { Shape } from "../gate/cuts.ts";
import type { Permit } from "../gate/permit.ts";
import type { HttpUpstream } from "../upstream/http.ts";
import type { HttpExchange } from "../upstream/http-exchange.ts";
import type { Denial, Ending } from "./exchange.ts";
import type { HttpClientSide } from "./http-client.ts";
import { type Framing, fieldNames, responseFraming, valuesOf, without } from "./http-fields.ts";
import type { ResponseHead } from "./http-head.ts";
import { type HttpRequest, only } from "./http-request.ts";
import { GONE } from "./http-wire.ts";
import { McpAnswer, sameId } from "./mcp-answer.ts";
import type { McpAsk, McpAsks } from "./mcp-asks.ts";
import { readMcpBody } from "./mcp-body.ts";
import { type About, aboutOf, HEADER_MISMATCH, mcpDenial, ownWords } from "./mcp-denial.ts";
import { McpGuard, type McpGuardServices } from "./mcp-guard.ts";
import { headerMismatch } from "./mcp-headers.ts";
import { type McpId, type McpResponse, mcpClaim, readMessage } from "./mcp-message.ts";
import type { EventTrail, McpResumes, Resumable } from "./mcp-resumes.ts";
import { BodyMeter } from "./passage.ts";

export interface McpCallServices extends McpGuardServices {
  readonly asks: McpAsks;
  readonly resumes: McpResumes;
  readonly upstream: HttpUpstream;
}

const EMPTY = new Uint8Array(0);
/** Of what we say to a server ourselves. */
const OWN_FIELDS = [
  "Content-Type",
  "application/json",
  "Accept",
  "application/json, text/event-stream",
];

/**
 * One HTTP request to an MCP server from its admission to its end: the message in its body is read
 * whole, judged and forwarded byte for byte. `end` is the only door out, and opens once.
 */
export class McpCall extends CarriedAction implements Resumable {
  readonly #client: HttpClientSide;
  readonly #request: HttpRequest;
  readonly #server: McpServer;
  readonly #services: McpCallServices;
  readonly #guard: McpGuard;
  readonly #session: string;
  readonly #answer: McpAnswer;
  readonly #asked = new BodyMeter();
  /** The server's request that this one answers; null: it answers none. */
  #answers: McpAsk | null = null;
  #up: HttpExchange | null = null;
  #askedAll = false;
  /** Refusals on their way to the server, which its own requests have earned. */
  readonly #telling = new Set<{ up: HttpExchange | null }>();
  /** Its stream has ended, and its answer is to come by another one. */
  #parked = false;

  constructor(
    client: HttpClientSide,
    request: HttpRequest,
    server: McpServer,
    services: McpCallServices,
  ) {
    super("MCP", services.clock);
    this.#client = client;
    this.#request = request;
    this.#server = server;
    this.#services = services;
    this.#guard = new McpGuard(server.name, services);
    this.#session = `${server.name} ${only(request.fields, "mcp-session-id") ?? ""}`;
    this.#answer = new McpAnswer({
      call: this,
      request,
      client,
      guard: this.#guard,
      session: this.#session,
      services,
      tellServer: (message) => void this.#tellServer(message),
      park: () => this.#park(),
      isParked: () => this.#parked,
    });
  }

  /** Resolves once it has ended, and the client has been told all there is to tell. */
  async run(): Promise<void> {
    const { method, traceparent } = this.#request;
    const verb = method === "GET" ? "session/listen" : method === "DELETE" ? "session/end" : null;
    if (method === "POST") {
      await this.#post();
    } else if (verb === null) {
      const detail = `${method} is no method of MCP by HTTP`;
      this.#client.deny(this.#refuse("PROTOCOL_UNSUPPORTED", detail));
    } else if (this.#client.framing.kind !== "none") {
      this.#client.deny(this.#refuse("REQUEST_NOT_NORMAL", `a ${method} has no body in MCP`));
    } else {
      const leave = await this.#guard.admitClaim(mcpClaim(this.#server.name, verb), traceparent);
      if ("denied" in leave) return this.#client.deny(leave);
      const { resumes } = this.#services;
      const event = only(this.#request.fields, "last-event-id");
      const resuming = event === null ? null : resumes.find(this.#session, event);
      this.#answer.resuming = resuming;
      const gone = resuming === null ? null : resumes.hold(resuming);
      await this.#carry(leave, Buffer.alloc(0));
      gone?.();
    }
  }

  async #post(): Promise<void> {
    const { fields, traceparent } = this.#request;
    const body = await readMcpBody(this.#client, fields, this.#services.clock);
    if ("reason" in body) {
      const denial = this.#refuse(body.reason, body.detail);
      return body.gone ? undefined : this.#told(denial, null);
    }
    const message = readMessage(body);
    if ("unsound" in message) {
      return this.#told(this.#refuse(message.reason, message.detail), message.id);
    }
    const mismatch = headerMismatch(fields, message);
    if (mismatch !== null) {
      const denial = this.#refuse("REQUEST_NOT_NORMAL", mismatch);
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
      if (about === null) this.#told(leave, null);
      else this.#client.deny(leave, ownWords(200, mcpDenial(leave, about)));
      return;
    }
    this.#answer.owed = about === null ? null : { ...about, asked: body };
    await this.#carry(leave, body);
  }

  /** The agent's answer to a request of the server: it goes by the leave of what it answers. */
  async #answerAsk({ id }: McpResponse, body: Buffer): Promise<void> {
    const ask = id === null ? null : this.#services.asks.take(this.#session, id);
    if (ask === null) {
      const detail = "it answers nothing that its server asked";
      return this.#told(this.#refuse("REQUEST_NOT_NORMAL", detail), null);
    }
    this.#answers = ask;
    await this.#carry(ask.permit, body);
  }

  #refuse(reason: Reason, detail: string): Denial {
    return this.#guard.refuse({ reason, detail }, this.#request.traceparent);
  }

  /** A refusal of what has no id that could be answered is told by the status, too. */
  #told(denial: Denial, id: McpId | null): void {
    const status = id === null ? RENDERINGS[denial.reason].http : 200;
    const about = { id, method: "", modern: false };
    this.#client.deny(denial, ownWords(status, mcpDenial(denial, about)));
  }

  async #carry(permit: Permit, body: Buffer): Promise<void> {
    this.permit = permit;
    this.#client.onGone(() => this.#clientGone());
    permit.onCut((denial) => this.cut(denial));
    if (!this.over) await this.#exchange(permit, body);
    this.#client.onGone(null);
  }

  async #exchange(permit: Permit, body: Buffer): Promise<void> {
    const up = await this.#connect(permit);
    if ("unreachable" in up) {
      this.deny(up.reason, `${this.#server.name} at ${this.#server.target}: ${up.detail}`);
      return;
    }
    const mayPass = await this.mayPass(body.length);
    const now = this.clock.nowUs();
    if (!mayPass || this.lapsed(now)) {
      up.destroy();
      if (permit.cutBy !== null) this.endDenied(permit.cutBy);
      return;
    }
    this.#up = up;
    if (!send(up, permit, this.#request, this.#fieldsUp(body), body)) {
      return this.deny("UPSTREAM_FAILED", "its connection took no more requests");
    }
    this.egressLastUs = now;
    this.#asked.push(body);
    bytesPassed(body.length);
    this.#askedAll = true;
    for (let informations = 0; ; informations++) {
      const head = await up.answer();
      if (this.over) return;
      if (head === GONE) return this.deny("UPSTREAM_FAILED", "it closed its connection unanswered");
      if ("malformed" in head) return this.deny("UPSTREAM_FAILED", head.detail);
      if (head.status >= 200) return this.#final(up, head);
      if (head.status === 101 || informations === informationsMax) {
        return this.deny("UPSTREAM_FAILED", `it answered ${head.status}, and was not asked to`);
      }
      this.#client.inform(head);
    }
  }

  #connect(permit: Permit): ReturnType<HttpUpstream["connect"]> {
    const { http2 } = this.#client;
    const { address } = this.#request;
    return this.#services.upstream.connect(permit, { repeatable: false, http2, address });
  }

  /** As the server gets them: the body is one piece, and what comes back must be readable. */
  #fieldsUp(body: Buffer): string[] {
    const framed = /^(?:content-length|transfer-encoding|trailer|accept-encoding|expect)$/;
    const fields = without(this.#request.fields, (name) => framed.test(name));
    if (this.#request.method === "POST") fields.push("Content-Length", String(body.length));
    return fields;
  }

  async #final(up: HttpExchange, head: ResponseHead): Promise<void> {
    this.lapsed(this.clock.nowUs());
    if (this.over) return;
    const framing = responseFraming(this.#request.method, head.status, head.fields);
    if ("malformed" in framing) {
      return this.deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${framing.detail}`);
    }
    const body = up.body(framing);
    if (!(await this.#answer.pass(head, framing, body))) return;
    this.#client.end(body.trailers);
    const kept = framing.kind !== "close" && up.keeps(head);
    if (this.#park()) this.#services.upstream.release(up, kept);
    else this.#endAnswered(kept);
  }

  #endAnswered(kept: boolean): void {
    const { status, failed } = this.#answer.outcome();
    if (failed) this.end("FAILED", "UPSTREAM_FAILED", status, kept);
    else this.end("COMPLETED", "UNSPECIFIED", status, kept);
  }

  /** Keeps its permit beyond its stream, if another stream may bring what it is owed. */
  #park(): boolean {
    const ends = this.#answer.owed === null || this.trail.isEmpty;
    if (this.over || this.cutting !== null || ends) return false;
    this.#parked = this.#services.resumes.add(this.#session, this);
    if (this.#parked) this.#answer.leave();
    return this.#parked;
  }

  get trail(): EventTrail {
    return this.#answer.trail;
  }

  owes(id: McpId | null): boolean {
    return sameId(this.#answer.owed?.id ?? null, id);
  }

  async resumed(message: McpResponse, raw: Buffer): Promise<Buffer> {
    const owed = this.#answer.owed as About;
    const pass = this.over ? null : await this.#answer.heard(message, raw);
    if (pass === null) return mcpDenial(this.cutting as Denial, owed);
    this.#endAnswered(false);
    return pass;
  }

  forsaken(): void {
    this.end("FAILED", "UPSTREAM_FAILED", "mcp unanswered");
  }

  /** Tells the server no, by this call's own leave: else it would wait for an answer. */
  async #tellServer(message: Buffer): Promise<void> {
    if (this.#telling.size >= mcpAsksMax) {
      return this.deny("UPSTREAM_FAILED", "it asks, and does not listen to the answers");
    }
    const telling: { up: HttpExchange | null } = { up: null };
    this.#telling.add(telling);
    const up = await this.#connect(this.permit as Permit);
    if (!("unreachable" in up)) {
      telling.up = up;
      this.#services.upstream.release(up, await this.#tellBy(up, message));
    }
    this.#telling.delete(telling);
  }

  /** @returns whether its connection can be kept. */
  async #tellBy(up: HttpExchange, message: Buffer): Promise<boolean> {
    if (this.over || !(await this.mayPass(message.length)) || !this.mayLeave()) return false;
    const fields = without(this.#fieldsUp(message), (name) =>
      /^(?:content-length|content-type|accept|last-event-id|mcp-method|mcp-name)$/.test(name),
    );
    fields.push(...OWN_FIELDS, "Content-Length", String(message.length));
    this.#asked.push(message);
    if (!send(up, this.permit as Permit, this.#request, fields, message, "POST")) return false;
    const head = await up.answer();
    if (head === GONE || "malformed" in head) return false;
    return up.keeps(head) && valuesOf(head.fields, "content-length")[0] === "0";
  }

  protected override shape(): Shape {
    const answering = this.#askedAll && this.#up?.left !== false && !this.#client.responded;
    return answering ? "answering" : "streaming";
  }

  protected override inMessage(): boolean {
    return this.#answer.inEvent;
  }

  protected override hush(): void {
    this.#up?.hush();
  }

  protected override tell(denial: Denial): void {
    // Whoever comes back for it is told then.
    if (!this.#parked) this.#answer.refuse(denial);
  }

  #clientGone(): void {
    if (this.over || this.#parked) return;
    if (this.#park()) this.#up?.destroy();
    else this.endUnheard("CLIENT_CANCELLED", "the client closed its connection");
    this.#client.abort();
  }

  protected override end(
    verdict: Ending["verdict"],
    reason: Reason,
    status: string,
    kept = false,
  ): void {
    if (this.over || this.permit === null) return;
    this.over = true;
    const up = this.#up;
    if (up !== null && !this.#parked) this.#services.upstream.release(up, kept);
    for (const telling of this.#telling) telling.up?.destroy();
    const { query, method, fields } = this.#request;
    this.#services.gate.settle(this.permit, {
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
      response: this.#answer.ended(this.#answers),
      dialled: up?.dialled ?? "",
      peerCertificate: up?.peerCertificate ?? EMPTY,
      firstByteUs: this.#answer.firstByteUs,
      egressLastUs: this.egressLastUs,
    });
  }
}

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

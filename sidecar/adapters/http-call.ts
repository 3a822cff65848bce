import type { Input } from "../../src/domain/input.ts";
import { connectionsPerUpstreamMax, informationsMax } from "../../src/domain/limits.ts";
import { type Needs, readInputs } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { bytesPassed } from "../engine.ts";
import { CarriedAction } from "../gate/carried-action.ts";
import type { Shape } from "../gate/cuts.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import type { HttpUpstream } from "../upstream/http.ts";
import type { AnswerBody, HttpExchange } from "../upstream/http-exchange.ts";
import { Http1Connection } from "../upstream/http1-connection.ts";
import { EventMeter } from "./event-stream.ts";
import type { Denial, Ending } from "./exchange.ts";
import { GenAiReader } from "./gen-ai.ts";
import { HeldBody } from "./held-body.ts";
import type { HttpClientSide } from "./http-client.ts";
import { fieldNames, repeatedName, responseFraming, trailing } from "./http-fields.ts";
import type { ResponseHead } from "./http-head.ts";
import { type HttpRequest, only } from "./http-request.ts";
import { GONE } from "./http-wire.ts";
import { BodyMeter } from "./passage.ts";
import { onConnection, opensWebSocket, WebSocketRelay } from "./web-socket.ts";

export interface HttpServices {
  readonly gate: Gate;
  readonly upstream: HttpUpstream;
  readonly clock: Clock;
}

/** What may be sent again when nobody knows whether it arrived: RFC 9110, §9.2.2. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const EMPTY = new Uint8Array(0);

/**
 * One request from its admission to its end: judged, forwarded as judged, told to the gate once. It
 * ends by the upstream's answer, by its failure, by our denial in the middle, or by the client's going;
 * `end` is the only door out, and opens once. The loops on both sides see that it did, and stop.
 */
export class HttpCall extends CarriedAction {
  readonly #client: HttpClientSide;
  readonly #request: HttpRequest;
  readonly #services: HttpServices;
  readonly #body: HeldBody;
  readonly #asked = new BodyMeter();
  readonly #answered = new BodyMeter();
  #up: HttpExchange | null = null;
  #webSocket: WebSocketRelay | null = null;
  #events: EventMeter | null = null;
  #genAi: GenAiReader | null = null;
  #askedAll = false;
  /** The client has had its 100 from us. */
  #toldToGoOn = false;
  #answer: ResponseHead | null = null;
  #answerTrailers: readonly string[] = [];
  #firstByteUs = 0;

  constructor(client: HttpClientSide, request: HttpRequest, services: HttpServices) {
    super("HTTP_EVENTS", services.clock);
    this.#client = client;
    this.#body = new HeldBody(client);
    this.#request = request;
    this.#services = services;
  }

  /** Resolves once it has ended, and the client has been told all there is to tell. */
  async run(): Promise<void> {
    const inputs = (needs: Needs) => this.#inputs(needs);
    const admitted = await this.#services.gate.admit({ ...this.#request, inputs });
    if ("denied" in admitted) {
      this.#client.deny(admitted);
      return;
    }
    this.permit = admitted;
    this.#client.onGone(() => this.#clientGone());
    admitted.onCut((denial) => this.cut(denial));
    await this.#carry(admitted);
    this.#client.onGone(null);
  }

  /** What conditions ask for, the body held back for it if it must be. */
  async #inputs(needs: Needs): Promise<readonly Input[]> {
    const { query, fields } = this.#request;
    if (!needs.body) return readInputs(needs, { query, fields, body: null });
    // Whoever waits to be told to go on would wait for us.
    if (only(fields, "expect") !== null) {
      this.#toldToGoOn = true;
      this.#client.inform({ status: 100, phrase: "Continue", minor: 1, fields: [] });
    }
    const body = await this.#body.hold(this.clock);
    return readInputs(needs, { query, fields, body });
  }

  async #carry(permit: Permit): Promise<void> {
    const { framing, http2 } = this.#client;
    const { method, claim, address, webSocket } = this.#request;
    const bodyless = framing.kind === "none" || (framing.kind === "length" && framing.bytes === 0);
    const repeatable = bodyless && IDEMPOTENT.has(method);
    let missed = 0;
    for (let repeat = repeatable; !this.over; repeat = false) {
      const up = await this.#services.upstream.connect(permit, {
        repeatable: repeat,
        // A WebSocket is opened by HTTP/1.1 there, by which every server opens one.
        http2: http2 && !webSocket,
        address,
      });
      if ("unreachable" in up) {
        return this.deny(up.reason, `${claim.target}: ${up.detail}`);
      }
      const now = this.clock.nowUs();
      if (this.over || this.lapsed(now)) {
        up.destroy();
        // Nothing is under way that could still be answered.
        if (permit.cutBy !== null) this.endDenied(permit.cutBy);
        return;
      }
      // Whether a kept connection still stood shows only when it is used.
      const { kept } = up;
      if (!up.send(permit, this.#request.query, this.#request.fields, framing)) {
        // Others were quicker; but no connection after the other that takes nothing from anybody.
        if (++missed <= connectionsPerUpstreamMax) continue;
        return this.deny(
          "UPSTREAM_FAILED",
          "it takes no request on the connections that it accepts",
        );
      }
      this.#up = up;
      this.egressLastUs = now;
      const asking = this.#ask(up);
      const told = await this.#await(up, repeat && kept);
      if (told === "again") {
        up.destroy();
        continue;
      }
      // A request that goes on after its answer is cut off with its connection.
      if (this.#askedAll) await asking;
      return;
    }
  }

  /** The request's body, on its way up. */
  async #ask(up: HttpExchange): Promise<void> {
    const client = this.#client;
    for (;;) {
      const piece = await this.#body.read();
      if (this.over || piece === GONE) return;
      if (piece === null) break;
      if ("malformed" in piece) {
        return this.deny("FRAMING_INVALID", piece.detail);
      }
      if (!(await this.mayPass(piece.length))) return;
      if (!this.mayLeave()) return;
      this.#asked.push(piece);
      bytesPassed(piece.length);
      const wait = up.write(piece);
      if (wait !== null) await wait;
      if (this.over) return;
    }
    const repeated = repeatedName(this.#request.fields, client.trailers);
    if (repeated !== null) {
      return this.deny("FRAMING_INVALID", `the trailer ${repeated} would change what was judged`);
    }
    // The end leaves, too: a request that was cut is not to look whole.
    if (client.framing.kind === "chunked" && !this.mayLeave()) return;
    this.#askedAll = true;
    up.end(trailing(client.trailers));
  }

  /** Reads answers until the final one, and carries that. */
  async #await(up: HttpExchange, repeatable: boolean): Promise<"told" | "again"> {
    for (let informations = 0; ; informations++) {
      const head = await up.answer();
      if (this.over) return "told";
      if (head === GONE) {
        if (repeatable && informations === 0 && this.cutting === null) return "again";
        this.deny("UPSTREAM_FAILED", "it broke off without an answer");
        return "told";
      }
      if ("malformed" in head) {
        this.deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${head.detail}`);
        return "told";
      }
      if (head.status >= 200 || head.status === 101) {
        await this.#final(up, head);
        return "told";
      }
      if (informations >= informationsMax) {
        this.deny("UPSTREAM_FAILED", `more than ${informationsMax} informational answers`);
        return "told";
      }
      if (head.status !== 100 || !this.#toldToGoOn) this.#client.inform(head);
    }
  }

  async #final(up: HttpExchange, head: ResponseHead): Promise<void> {
    const { method, webSocket } = this.#request;
    this.lapsed(this.clock.nowUs());
    if (this.over) return;
    if (head.status === 101) {
      if (!webSocket || !opensWebSocket(this.#request.fields, head)) {
        return this.deny("UPSTREAM_FAILED", "it switched protocols, and was not asked to");
      }
      await this.#switch(up, head);
      return;
    }
    if (webSocket && this.#client.http2 && head.status < 300) {
      return this.deny("UPSTREAM_FAILED", "it answers, and opens no WebSocket");
    }
    const framing = responseFraming(method, head.status, head.fields);
    if ("malformed" in framing) {
      return this.deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${framing.detail}`);
    }
    this.#answer = head;
    this.#firstByteUs = this.clock.nowUs();
    if (/^text\/event-stream\b/i.test(only(head.fields, "content-type") ?? "")) {
      this.#events = new EventMeter();
    }
    this.#genAi = GenAiReader.of(method, this.#request.claim.path, head.fields);
    this.#client.respond(head, framing);
    const body = up.body(framing);
    if (!(await this.#passAnswer(body))) return;
    this.#answerTrailers = body.trailers;
    this.#client.end(body.trailers);
    // The head may have said that the connection ends with it, or something was left unread.
    const kept = this.#askedAll && framing.kind !== "close" && up.keeps(head);
    const told = this.#genAi?.told() ?? "";
    const status = told === "" ? `http ${head.status}` : `http ${head.status}; ${told}`;
    if (head.status >= 400) this.end("FAILED", "UPSTREAM_FAILED", status, kept);
    else this.end("COMPLETED", "UNSPECIFIED", status, kept);
  }

  /** The answer's body, on its way down. @returns whether it was whole. */
  async #passAnswer(body: AnswerBody): Promise<boolean> {
    for (;;) {
      const piece = await body.read();
      if (this.over) return false;
      if (piece === null) return true;
      if (piece === GONE) {
        this.deny("UPSTREAM_FAILED", "it broke off within its answer");
        return false;
      }
      if ("malformed" in piece) {
        this.deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${piece.detail}`);
        return false;
      }
      // What that cuts, it cuts here and now.
      if (this.#events?.atBoundary !== false) this.lapsed(this.clock.nowUs());
      if (this.over || !(await this.mayPass(piece.length))) return false;
      // After a cut the event under way may end, and nothing of the next one comes through.
      const taken = this.#events?.push(piece, this.cutting !== null) ?? piece.length;
      const passing = piece.subarray(0, taken);
      this.#answered.push(passing);
      this.#genAi?.push(passing);
      bytesPassed(taken);
      const wait = this.#client.write(passing);
      if (this.cutting !== null && this.#events?.atBoundary !== false) {
        // A stream that is reset takes what has not left with it.
        await this.#client.flushed();
        this.endDenied(this.cutting);
        return false;
      }
      if (wait !== null) await wait;
      if (this.over) return false;
    }
  }

  async #switch(up: HttpExchange, head: ResponseHead): Promise<void> {
    // What opens a stream is no answer that is owed.
    const cutBy = (this.permit as Permit).cutBy;
    if (cutBy !== null) {
      this.cutNow(cutBy);
      return;
    }
    if (!(up instanceof Http1Connection)) {
      return this.deny("PROTOCOL_UNSUPPORTED", "its connection cannot switch protocols");
    }
    const down = this.#client.openWebSocket(head);
    this.#answer = head;
    this.#firstByteUs = this.clock.nowUs();
    this.#askedAll = true;
    const relay = new WebSocketRelay(down, onConnection(up), this);
    this.#webSocket = relay;
    const { verdict, reason, detail } = await relay.run();
    this.end(verdict, reason, detail);
  }

  protected override shape(): Shape {
    const answering = this.#askedAll && this.#up?.left !== false && this.#answer === null;
    return answering ? "answering" : "streaming";
  }

  protected override inMessage(): boolean {
    return this.#events?.atBoundary === false;
  }

  protected override hush(): void {
    this.#up?.hush();
  }

  override endDenied(denial: Denial): void {
    // A WebSocket has an end of its own, and `run` tells it.
    if (this.#webSocket === null) super.endDenied(denial);
    else this.#webSocket.cut(denial);
  }

  protected override tell(denial: Denial): void {
    if (this.#client.responded) this.#client.abort();
    else this.#client.deny(denial);
  }

  #clientGone(): void {
    if (this.over || this.#webSocket !== null) return;
    this.endUnheard("CLIENT_CANCELLED", "the client closed its connection");
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
    const { query } = this.#request;
    if (up !== null && this.#webSocket === null) this.#services.upstream.release(up, kept);
    const asked = this.#webSocket?.asked ?? this.#asked;
    const answered = this.#webSocket?.answered ?? this.#answered;
    this.#services.gate.settle(this.permit, {
      verdict,
      reason,
      status,
      querySha256: query === "" ? EMPTY : native.sha256(Buffer.from(query, "latin1")),
      request: {
        headerNames: fieldNames(this.#request.fields),
        trailerNames: fieldNames(trailing(this.#client.trailers)),
        bodySha256: asked.sha256(),
        bodyBytes: asked.bytes,
        messages: this.#webSocket?.askedMessages ?? 0,
      },
      response: {
        headerNames: fieldNames(this.#answer?.fields ?? []),
        trailerNames: fieldNames(this.#answerTrailers),
        bodySha256: answered.sha256(),
        bodyBytes: answered.bytes,
        messages: this.#webSocket?.answeredMessages ?? this.#events?.messages ?? 0,
      },
      dialled: up?.dialled ?? "",
      peerCertificate: up?.peerCertificate ?? EMPTY,
      firstByteUs: this.#firstByteUs,
      egressLastUs: this.egressLastUs,
    });
  }
}

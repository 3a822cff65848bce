import type { Input } from "../../src/domain/input.ts";
import {
  connectionsPerUpstreamMax,
  cutBoundaryUs,
  informationsMax,
  unaryGraceUs,
} from "../../src/domain/limits.ts";
import { type Needs, readInputs } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { bytesPassed } from "../engine.ts";
import { mayCompleteMessage, mayFinish } from "../gate/cuts.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import type { HttpUpstream } from "../upstream/http.ts";
import type { AnswerBody, HttpExchange } from "../upstream/http-exchange.ts";
import { Http1Connection } from "../upstream/http1-connection.ts";
import { EventMeter } from "./event-stream.ts";
import type { Denial, Ending } from "./exchange.ts";
import { HeldBody } from "./held-body.ts";
import type { HttpClientSide } from "./http-client.ts";
import { fieldNames, repeatedName, responseFraming, trailing } from "./http-fields.ts";
import type { ResponseHead } from "./http-head.ts";
import { type HttpRequest, only } from "./http-request.ts";
import { GONE } from "./http-wire.ts";
import { BodyMeter } from "./passage.ts";
import { opensWebSocket, WebSocketRelay } from "./web-socket.ts";

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
 * `#end` is the only door out, and opens once. The loops on both sides see that it did, and stop.
 */
export class HttpCall {
  readonly #client: HttpClientSide;
  readonly #request: HttpRequest;
  readonly #services: HttpServices;
  readonly #body: HeldBody;
  readonly #asked = new BodyMeter();
  readonly #answered = new BodyMeter();
  #permit: Permit | null = null;
  #up: HttpExchange | null = null;
  #webSocket: WebSocketRelay | null = null;
  #events: EventMeter | null = null;
  #askedAll = false;
  /** The client has had its 100 from us. */
  #toldToGoOn = false;
  #answer: ResponseHead | null = null;
  #answerTrailers: readonly string[] = [];
  #cutting: Denial | null = null;
  #firstByteUs = 0;
  #egressLastUs = 0;
  #ended = false;

  constructor(client: HttpClientSide, request: HttpRequest, services: HttpServices) {
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
    this.#permit = admitted;
    this.#client.onGone(() => this.#clientGone());
    admitted.onCut((denial) => this.#cut(denial));
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
    const body = await this.#body.hold(this.#services.clock);
    return readInputs(needs, { query, fields, body });
  }

  async #carry(permit: Permit): Promise<void> {
    const { framing, http2 } = this.#client;
    const { method, claim, address } = this.#request;
    const bodyless = framing.kind === "none" || (framing.kind === "length" && framing.bytes === 0);
    const repeatable = bodyless && IDEMPOTENT.has(method);
    let missed = 0;
    for (let repeat = repeatable; !this.#ended; repeat = false) {
      const up = await this.#services.upstream.connect(permit, {
        repeatable: repeat,
        http2,
        address,
      });
      if ("unreachable" in up) {
        this.#deny(up.reason, `${claim.target}: ${up.detail}`);
        return;
      }
      if (this.#ended || this.#lapsed(this.#services.clock.nowUs())) {
        up.destroy();
        // Nothing is under way that could still be answered.
        if (permit.cutBy !== null) this.#endDenied(permit.cutBy);
        return;
      }
      // Whether a kept connection still stood shows only when it is used.
      const { kept } = up;
      if (!up.send(permit, this.#request.query, this.#request.fields, framing)) {
        // Others were quicker; but no connection after the other that takes nothing from anybody.
        if (++missed <= connectionsPerUpstreamMax) continue;
        this.#deny("UPSTREAM_FAILED", "it takes no request on the connections that it accepts");
        return;
      }
      this.#up = up;
      this.#egressLastUs = this.#services.clock.nowUs();
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
      if (this.#ended || piece === GONE) return;
      if (piece === null) break;
      if ("malformed" in piece) {
        this.#deny("FRAMING_INVALID", piece.detail);
        return;
      }
      if (!(await this.#mayPass(piece.length))) return;
      const now = this.#services.clock.nowUs();
      if (this.#lapsed(now)) return;
      this.#asked.push(piece);
      bytesPassed(piece.length);
      this.#egressLastUs = now;
      const wait = up.write(piece);
      if (wait !== null) await wait;
      if (this.#ended) return;
    }
    const repeated = repeatedName(this.#request.fields, client.trailers);
    if (repeated !== null) {
      this.#deny("FRAMING_INVALID", `the trailer ${repeated} would change what was judged`);
      return;
    }
    if (client.framing.kind === "chunked") {
      // The end leaves, too: a request that was cut is not to look whole.
      const now = this.#services.clock.nowUs();
      if (this.#lapsed(now)) return;
      this.#egressLastUs = now;
    }
    this.#askedAll = true;
    up.end(trailing(client.trailers));
  }

  /** Reads answers until the final one, and carries that. */
  async #await(up: HttpExchange, repeatable: boolean): Promise<"told" | "again"> {
    for (let informations = 0; ; informations++) {
      const head = await up.answer();
      if (this.#ended) return "told";
      if (head === GONE) {
        if (repeatable && informations === 0 && this.#cutting === null) return "again";
        this.#deny("UPSTREAM_FAILED", "it broke off without an answer");
        return "told";
      }
      if ("malformed" in head) {
        this.#deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${head.detail}`);
        return "told";
      }
      if (head.status >= 200 || head.status === 101) {
        await this.#final(up, head);
        return "told";
      }
      if (informations >= informationsMax) {
        this.#deny("UPSTREAM_FAILED", `more than ${informationsMax} informational answers`);
        return "told";
      }
      if (head.status !== 100 || !this.#toldToGoOn) this.#client.inform(head);
    }
  }

  async #final(up: HttpExchange, head: ResponseHead): Promise<void> {
    const { method, webSocket } = this.#request;
    this.#lapsed(this.#services.clock.nowUs());
    if (this.#ended) return;
    if (head.status === 101) {
      if (!webSocket || !opensWebSocket(this.#request.fields, head)) {
        this.#deny("UPSTREAM_FAILED", "it switched protocols, and was not asked to");
        return;
      }
      await this.#switch(up, head);
      return;
    }
    const framing = responseFraming(method, head.status, head.fields);
    if ("malformed" in framing) {
      this.#deny("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${framing.detail}`);
      return;
    }
    this.#answer = head;
    this.#firstByteUs = this.#services.clock.nowUs();
    if (/^text\/event-stream\b/i.test(only(head.fields, "content-type") ?? "")) {
      this.#events = new EventMeter();
    }
    this.#client.respond(head, framing);
    const body = up.body(framing);
    if (!(await this.#tell(body))) return;
    this.#answerTrailers = body.trailers;
    this.#client.end(body.trailers);
    // The head may have said that the connection ends with it, or something was left unread.
    const kept = this.#askedAll && framing.kind !== "close" && up.keeps(head);
    const failed = head.status >= 400;
    this.#end(
      failed ? "FAILED" : "COMPLETED",
      failed ? "UPSTREAM_FAILED" : "UNSPECIFIED",
      `http ${head.status}`,
      kept,
    );
  }

  /** The answer's body, on its way down. @returns whether it was whole. */
  async #tell(body: AnswerBody): Promise<boolean> {
    for (;;) {
      const piece = await body.read();
      if (this.#ended) return false;
      if (piece === null) return true;
      if (piece === GONE) {
        this.#fail("UPSTREAM_FAILED", "it broke off within its answer");
        return false;
      }
      if ("malformed" in piece) {
        this.#fail("UPSTREAM_FAILED", `its answer is not HTTP/1.1: ${piece.detail}`);
        return false;
      }
      // What that cuts, it cuts here and now.
      if (this.#events?.atBoundary !== false) this.#lapsed(this.#services.clock.nowUs());
      if (this.#ended || !(await this.#mayPass(piece.length))) return false;
      // After a cut the event under way may end, and nothing of the next one comes through.
      const taken = this.#events?.push(piece, this.#cutting !== null) ?? piece.length;
      const passing = piece.subarray(0, taken);
      this.#answered.push(passing);
      bytesPassed(taken);
      const wait = this.#client.write(passing);
      if (this.#cutting !== null && this.#events?.atBoundary !== false) {
        // A stream that is reset takes what has not left with it.
        await this.#client.flushed();
        this.#endDenied(this.#cutting);
        return false;
      }
      if (wait !== null) await wait;
      if (this.#ended) return false;
    }
  }

  async #switch(up: HttpExchange, head: ResponseHead): Promise<void> {
    // What opens a stream is no answer that is owed.
    const cutBy = (this.#permit as Permit).cutBy;
    if (cutBy !== null) {
      this.#cutNow(cutBy);
      return;
    }
    const down = this.#client.switchProtocols(head, "websocket");
    if (down === null || !(up instanceof Http1Connection)) {
      this.#deny("PROTOCOL_UNSUPPORTED", "this connection cannot switch protocols");
      return;
    }
    this.#answer = head;
    this.#firstByteUs = this.#services.clock.nowUs();
    this.#askedAll = true;
    const relay = new WebSocketRelay(down, up, {
      mayAsk: () => {
        const now = this.#services.clock.nowUs();
        if (this.#lapsed(now)) return false;
        this.#egressLastUs = now;
        return true;
      },
      look: () => void this.#lapsed(this.#services.clock.nowUs()),
      mayPass: (bytes) => this.#mayPass(bytes),
      clock: this.#services.clock,
    });
    this.#webSocket = relay;
    const { verdict, reason, detail } = await relay.run();
    this.#end(verdict, reason, detail);
  }

  /** Leave for so many bytes more; false: the call has ended meanwhile, or ends by this. */
  async #mayPass(bytes: number): Promise<boolean> {
    const leave = (this.#permit as Permit).spend(bytes);
    return (leave === true || (await leave)) && !this.#ended;
  }

  /**
   * Nothing leaves after its lease, also in the moment before anybody is told of the end. It is the
   * time that the receipt will state, so that no honest one says that bytes left too late.
   */
  #lapsed(nowUs: number): boolean {
    const permit = this.#permit as Permit;
    return !permit.holds(nowUs);
  }

  /** Leave was taken back. */
  #cut(denial: Denial): void {
    if (this.#ended || this.#cutting !== null) return;
    // What waits for the upstream's windows stays here.
    this.#up?.hush();
    const answering = this.#askedAll && this.#up?.left !== false && this.#answer === null;
    if (mayFinish(denial.reason, answering ? "answering" : "streaming")) {
      this.#services.clock.after(unaryGraceUs, () => this.#cutNow(denial));
    } else {
      this.#cutNow(denial);
    }
  }

  #cutNow(denial: Denial): void {
    if (this.#ended || this.#cutting !== null) return;
    this.#cutting = denial;
    if (this.#webSocket !== null) {
      this.#webSocket.cut(denial);
      return;
    }
    // Half an event is of use to nobody: what has begun to arrive may arrive, for a moment.
    const inEvent =
      this.#events?.atBoundary === false && mayCompleteMessage(denial.reason, "HTTP_EVENTS");
    if (inEvent) this.#services.clock.after(cutBoundaryUs, () => this.#endDenied(denial));
    else this.#endDenied(denial);
  }

  #deny(reason: Reason, detail: string): void {
    if (this.#ended) return;
    const { receiptId, scope } = (this.#permit as Permit).facts;
    // About an admitted action: its own receipt tells the rest.
    this.#endDenied({
      denied: true,
      reason,
      message: detail,
      receiptId,
      scope,
      leaseId: "",
      remedy: "",
    });
  }

  #endDenied(denial: Denial): void {
    if (this.#ended) return;
    const cut = this.#permit?.cutBy === denial;
    this.#end(cut ? "CUT" : "FAILED", denial.reason, denial.message);
    if (this.#client.responded) this.#client.abort();
    else this.#client.deny(denial);
  }

  /** Neither a whole answer nor a denial: the client must see that it was broken off. */
  #fail(reason: Reason, detail: string): void {
    if (this.#ended) return;
    this.#end("FAILED", reason, detail);
    this.#client.abort();
  }

  #clientGone(): void {
    if (this.#ended || this.#webSocket !== null) return;
    if (this.#cutting !== null) this.#end("CUT", this.#cutting.reason, this.#cutting.message);
    else this.#end("FAILED", "CLIENT_CANCELLED", "the client closed its connection");
    this.#client.abort();
  }

  /** The only way out. */
  #end(verdict: Ending["verdict"], reason: Reason, status: string, kept = false): void {
    if (this.#ended || this.#permit === null) return;
    this.#ended = true;
    const up = this.#up;
    const { query } = this.#request;
    if (kept && up instanceof Http1Connection) this.#services.upstream.release(up);
    else if (this.#webSocket === null) up?.destroy();
    const asked = this.#webSocket?.asked ?? this.#asked;
    const answered = this.#webSocket?.answered ?? this.#answered;
    this.#services.gate.settle(this.#permit, {
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
      egressLastUs: this.#egressLastUs,
    });
  }
}

import type { Socket } from "node:net";
import { http1HeadUs, http1IdleUs, lingerUs } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Ingress } from "./exchange.ts";
import { type CarryServices, carryHttp } from "./http-carry.ts";
import { Http1Client } from "./http-client.ts";
import { denialAnswer } from "./http-denial.ts";
import { requestFraming } from "./http-fields.ts";
import { type Malformed, malformed, parseRequestHead, type RequestHead } from "./http-head.ts";
import { type HttpRequestParts, readHttpRequest } from "./http-request.ts";
import { GONE, HttpReader } from "./http-wire.ts";
import { asksForPipe, carryPipe } from "./mcp-stdio.ts";

/** What a listener knows of who speaks HTTP/1 on its connections. */
export interface Http1Door {
  /** What may be believed of one request. */
  identify(head: RequestHead, ingress: Ingress): Ingress;
  /**
   * What may be believed of everything inside of a tunnel that this request asks for; null: it has to
   * say first who it is.
   */
  tunnel(head: RequestHead, ingress: Ingress): Ingress | null;
}

/**
 * The HTTP/1 side of every listener: one request after the other on each connection, each an action of
 * its own. CONNECT is accepted from whoever shows a credential, right or wrong, and dials nothing: gRPC
 * clients drop a refused CONNECT's reason, so the decision, and its refusal, come inside the tunnel.
 */
export class Http1Server {
  readonly #services: CarryServices;
  readonly #door: Http1Door;
  readonly #enter: (socket: Socket, ingress: Ingress) => void;
  /** Of each connection, how to end it once its request is answered. */
  readonly #connections = new Map<Http1Conversation, Promise<void>>();

  /** @param enter takes a tunnel's inside. */
  constructor(
    services: CarryServices,
    door: Http1Door,
    enter: (socket: Socket, ingress: Ingress) => void,
  ) {
    this.#services = services;
    this.#door = door;
    this.#enter = enter;
  }

  /** A connection on which HTTP/1 is spoken. */
  accept(socket: Socket, ingress: Ingress): void {
    const conversation = new Http1Conversation(socket, ingress, this.#services, this.#door);
    const done = conversation.run().then((inside) => {
      this.#connections.delete(conversation);
      if (inside !== null) this.#enter(socket, inside);
    });
    done.catch((error: unknown) => {
      // A bug or broken storage: this connection must not hang, and the process must hear of it.
      socket.destroy();
      throw error;
    });
    this.#connections.set(conversation, done);
  }

  /** No new requests; those under way may end. Resolves once they have. */
  async drain(): Promise<void> {
    for (const conversation of this.#connections.keys()) conversation.finish();
    await Promise.all(this.#connections.values());
  }
}

/** One connection, from its first request to its last. */
class Http1Conversation {
  readonly #socket: Socket;
  readonly #ingress: Ingress;
  readonly #services: CarryServices;
  readonly #door: Http1Door;
  readonly #reader: HttpReader;
  #busy = false;
  #fresh = true;
  #finishing = false;

  constructor(socket: Socket, ingress: Ingress, services: CarryServices, door: Http1Door) {
    this.#socket = socket;
    this.#ingress = ingress;
    this.#services = services;
    this.#door = door;
    this.#reader = new HttpReader(socket);
  }

  /** A request that was begun is still answered; so is the first, which is why there is a connection. */
  finish(): void {
    this.#finishing = true;
    if (!this.#busy && !this.#fresh) this.#socket.destroy();
  }

  /** @returns what is known of the tunnel that the connection has become; null: it is over. */
  async run(): Promise<Ingress | null> {
    for (let first = true; ; first = false) {
      const head = await this.#head(first);
      if (head === null) return null;
      this.#busy = true;
      this.#fresh = false;
      if ("malformed" in head) {
        this.#refuse(head);
        return null;
      }
      if (head.method === "CONNECT") {
        if (!this.#mayTunnel(head)) return null;
        const inside = this.#door.tunnel(head, this.#ingress);
        if (inside === null) {
          this.#deny("CALLER_UNIDENTIFIED", "CONNECT needs the proxy credential of this launch");
          return null;
        }
        this.#socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        this.#reader.release();
        return inside;
      }
      const client = await this.#serve(head);
      this.#busy = false;
      if (client === null || client.over) return null;
      if (client.reusable && !this.#finishing) continue;
      this.#linger();
      return null;
    }
  }

  /** The next request's head; null: there is none. */
  async #head(first: boolean): Promise<RequestHead | Malformed | null> {
    const { clock } = this.#services;
    if (!first) {
      const idle = clock.after(http1IdleUs, () => this.#socket.destroy());
      await this.#reader.ready();
      idle.cancel();
    }
    const slow = clock.after(http1HeadUs, () => this.#socket.destroy());
    const bytes = await this.#reader.head();
    slow.cancel();
    if (bytes === null || bytes === GONE) {
      this.#socket.destroy();
      return null;
    }
    return "malformed" in bytes ? bytes : parseRequestHead(bytes);
  }

  async #serve(head: RequestHead): Promise<Http1Client | null> {
    const framing = requestFraming(head.fields, head.minor);
    const parts = "malformed" in framing ? framing : partsOf(head);
    if ("malformed" in parts || "malformed" in framing) {
      this.#refuse("malformed" in parts ? parts : (framing as Malformed));
      return null;
    }
    const client = new Http1Client(this.#socket, this.#reader, head, framing);
    const request = readHttpRequest(parts, this.#door.identify(head, this.#ingress));
    if ("unreadable" in request) {
      // Who says one thing that can be read in two ways may have said another behind it.
      client.close();
      client.deny(this.#services.gate.refuse(request, request.reason, request.detail));
    } else if (asksForPipe(request, head.fields)) {
      await carryPipe(client, request, this.#services);
    } else {
      await carryHttp(client, request, this.#services);
    }
    return client;
  }

  #mayTunnel({ fields, minor }: RequestHead): boolean {
    const framing = requestFraming(fields, minor);
    if ("malformed" in framing) this.#refuse(framing);
    else if (framing.kind !== "none") this.#refuse(malformed("CONNECT has no body"));
    else if (this.#ingress.target === "" && this.#ingress.dialled === "") return true;
    else {
      const { fault } = this.#ingress;
      if (fault !== null) this.#deny(fault.reason, fault.detail);
      else this.#deny("PROTOCOL_UNSUPPORTED", "this connection leads to one upstream already");
    }
    return false;
  }

  /** What is no HTTP/1: nothing behind it on the connection can be believed. */
  #refuse({ detail, status }: Malformed): void {
    this.#deny("REQUEST_NOT_NORMAL", `malformed HTTP/1: ${detail}`, status);
  }

  #deny(reason: Reason, detail: string, status?: number): void {
    const denial = this.#services.gate.refuse({ claim: null, traceparent: "" }, reason, detail);
    const said = status === undefined ? {} : { status };
    this.#socket.write(denialAnswer(denial, { keep: false, bodyless: false }, said));
    this.#linger();
  }

  /** Ends the connection so that what was said last is still read. */
  #linger(): void {
    this.#reader.release();
    this.#socket.end();
    this.#socket.resume();
    const timer = this.#services.clock.after(lingerUs, () => this.#socket.destroy());
    this.#socket.once("close", () => timer.cancel());
  }
}

const ABSOLUTE = /^(https?):\/\/([^/?#]*)([/?].*)?$/i;

/** The request line's target taken apart: `/path`, or `http://host/path`. */
function partsOf({ method, target, fields, minor }: RequestHead): HttpRequestParts | Malformed {
  const common = { method, fields, minor };
  if (target.startsWith("/")) {
    return { ...common, scheme: null, authority: null, pathAndQuery: target };
  }
  const absolute = ABSOLUTE.exec(target);
  if (absolute === null) return malformed("the request target is neither a path nor a URL");
  const [, scheme, authority, rest = ""] = absolute as unknown as [string, string, string, string?];
  return {
    ...common,
    scheme: scheme.toLowerCase() === "https" ? "https" : "http",
    authority,
    pathAndQuery: rest.startsWith("/") ? rest : `/${rest}`,
  };
}

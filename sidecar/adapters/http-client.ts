import type { Socket } from "node:net";
import type { Denial } from "./exchange.ts";
import { denialAnswer } from "./http-denial.ts";
import { type Framing, keepsAlive, passedOn, trailing, without } from "./http-fields.ts";
import {
  formatHead,
  type Malformed,
  type RawFields,
  type RequestHead,
  type ResponseHead,
} from "./http-head.ts";
import {
  breakOff,
  type Gone,
  HttpBody,
  HttpBodyWriter,
  type HttpReader,
  type Switched,
} from "./http-wire.ts";
import type { OwnWords } from "./problem.ts";
import { onConnection, type WebSocketSide } from "./web-socket.ts";

/** Whoever asked, as a call sees them, whatever HTTP they speak. */
export interface HttpClientSide {
  /** It speaks HTTP/2. */
  readonly http2: boolean;
  /** How the request's body is framed towards the upstream. */
  readonly framing: Framing;
  /** The next piece of the request's body; null: it is whole. */
  read(): Promise<Buffer | null | Gone | Malformed>;
  /** Known once the body is whole. */
  readonly trailers: RawFields;
  /** An informational answer, before the final one. */
  inform(head: ResponseHead): void;
  /** The final answer's head. */
  respond(head: ResponseHead, framing: Framing): void;
  /** A final answer was begun. */
  readonly responded: boolean;
  /** @returns null: go on; else wait until the client has taken what is on its way. */
  write(piece: Buffer): Promise<void> | null;
  /** Resolves once what was written has left, or never will. */
  flushed(): Promise<void>;
  /** The answer is whole. */
  end(trailers: RawFields): void;
  /** The answer will not be whole, and must not look so. */
  abort(): void;
  /** Instead of an answer. @param said in the words of a protocol within HTTP, if there is one. */
  deny(denial: Denial, said?: OwnWords): void;
  /** Calls back when the client has gone; null: nobody cares any more. */
  onGone(listener: (() => void) | null): void;
  /** Answers that the WebSocket is open which was asked for. @param head the upstream's 101. */
  openWebSocket(head: ResponseHead): WebSocketSide;
}

/** One request of an HTTP/1 connection, and its answer. */
export class Http1Client implements HttpClientSide {
  readonly http2 = false;
  readonly framing: Framing;
  readonly #socket: Socket;
  readonly #reader: HttpReader;
  readonly #body: HttpBody;
  readonly #minor: 0 | 1;
  readonly #bodyless: boolean;
  #writer: HttpBodyWriter | null = null;
  #state: "open" | "answering" | "answered" | "broken" | "switched" = "open";
  #keep: boolean;
  /** Our own end is all that tells the client where the answer ends. */
  #untilClose = false;

  constructor(socket: Socket, reader: HttpReader, head: RequestHead, framing: Framing) {
    this.#socket = socket;
    this.#reader = reader;
    this.#minor = head.minor;
    this.#bodyless = head.method === "HEAD";
    this.framing = framing;
    this.#body = new HttpBody(reader, framing);
    this.#keep = head.minor === 1 && keepsAlive(head.fields, head.minor);
  }

  read(): Promise<Buffer | null | Gone | Malformed> {
    return this.#body.read();
  }

  get trailers(): RawFields {
    return this.#body.trailers;
  }

  get responded(): boolean {
    return this.#state !== "open";
  }

  /** The connection may carry another request. */
  get reusable(): boolean {
    return this.#state === "answered" && this.#keep && this.#body.whole;
  }

  /** No request after this one. */
  close(): void {
    this.#keep = false;
  }

  /** Nothing more is to be said on the connection, or it is no longer ours to say it. */
  get over(): boolean {
    return this.#state === "broken" || this.#state === "switched";
  }

  inform(head: ResponseHead): void {
    if (this.#minor === 0 || this.responded) return;
    this.#head(head, passedOn(head.fields));
  }

  respond(head: ResponseHead, framing: Framing): void {
    this.#state = "answering";
    let fields = passedOn(head.fields);
    let mine = framing;
    if (head.status === 204 || (this.#minor === 0 && framing.kind === "chunked")) {
      const unsaid = head.status === 204 ? /^(?:transfer-encoding|content-length)$/ : /^tr.*ng$/;
      fields = without(fields, (name) => unsaid.test(name));
      if (framing.kind === "chunked") mine = { kind: "close" };
    } else if (framing.kind === "close" && this.#minor === 1) {
      fields.push("Transfer-Encoding", "chunked");
      mine = { kind: "chunked" };
    }
    this.#untilClose = mine.kind === "close";
    if (this.#untilClose) this.#keep = false;
    if (!this.#keep) fields.push("Connection", "close");
    this.#writer = new HttpBodyWriter(this.#socket, mine);
    this.#head(head, fields);
  }

  write(piece: Uint8Array): Promise<void> | null {
    return this.#writer?.write(piece) ?? null;
  }

  flushed(): Promise<void> {
    return new Promise((resolve) => this.#socket.write("", () => resolve()));
  }

  end(trailers: RawFields): void {
    this.#writer?.end(trailing(trailers));
    this.#state = "answered";
  }

  abort(): void {
    this.#state = "broken";
    // Where the end of the connection would be the end of the answer, only a reset tells the truth.
    if (this.#untilClose) breakOff(this.#socket);
    else this.#socket.destroy();
  }

  deny(denial: Denial, said?: OwnWords): void {
    // Who frames one thing so that it may be two says more behind it.
    if (!this.#body.whole || denial.reason === "FRAMING_INVALID") this.#keep = false;
    this.#state = "answered";
    const shape = { keep: this.#keep, bodyless: this.#bodyless };
    this.#socket.write(denialAnswer(denial, shape, said));
  }

  onGone(listener: (() => void) | null): void {
    this.#reader.onGone(listener);
  }

  openWebSocket(head: ResponseHead): WebSocketSide {
    return onConnection(this.switchProtocols(head, "websocket"));
  }

  /** The bare connection, for a protocol that is switched to. */
  switchProtocols(head: ResponseHead, protocol: string): Switched {
    this.#state = "switched";
    const fields = [...passedOn(head.fields), "Connection", "Upgrade", "Upgrade", protocol];
    this.#head(head, fields);
    return { reader: this.#reader, socket: this.#socket };
  }

  #head({ status, phrase }: ResponseHead, fields: RawFields): void {
    if (this.#socket.destroyed) return;
    // With the first piece of the body, if that is here already.
    this.#socket.cork();
    this.#socket.write(formatHead(`HTTP/1.1 ${status} ${phrase}`, fields));
    process.nextTick(() => this.#socket.uncork());
  }
}

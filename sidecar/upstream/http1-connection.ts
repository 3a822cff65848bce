import type { Socket } from "node:net";
import { type Framing, keepsAlive } from "../adapters/http-fields.ts";
import {
  formatHead,
  type Malformed,
  parseResponseHead,
  type RawFields,
  type ResponseHead,
} from "../adapters/http-head.ts";
import { GONE, type Gone, HttpBody, HttpBodyWriter, HttpReader } from "../adapters/http-wire.ts";
import type { Permit } from "../gate/permit.ts";
import type { HttpExchange } from "./http-exchange.ts";
import type { Reached } from "./reach.ts";

/** One HTTP/1 connection to one upstream: it carries one request at a time. */
export class Http1Connection implements HttpExchange {
  readonly dialled: string;
  readonly peerCertificate: Uint8Array;
  readonly socket: Socket;
  readonly reader: HttpReader;
  lastUsedMonotonicUs = 0;
  /** What is written here has left. */
  readonly left = true;
  #requests = 0;
  #writer: HttpBodyWriter | null = null;

  constructor({ socket, dialled, peerCertificate }: Reached) {
    this.socket = socket;
    this.dialled = dialled;
    this.peerCertificate = peerCertificate;
    this.reader = new HttpReader(socket);
  }

  get kept(): boolean {
    return this.#requests > 0;
  }

  /** Whether it can carry another request: nobody has said anything on it that was not asked for. */
  get usable(): boolean {
    return !this.reader.over && !this.reader.pending && !this.socket.destroyed;
  }

  send(
    permit: Permit,
    query: string,
    fields: RawFields,
    framing: Framing,
    method: string = permit.facts.place.method,
  ): boolean {
    const { path } = permit.facts.place;
    this.#requests++;
    this.#writer = new HttpBodyWriter(this.socket, framing);
    if (this.socket.destroyed) return true;
    // With the first piece of the body, if that is here already.
    this.socket.cork();
    this.socket.write(formatHead(`${method} ${path}${query} HTTP/1.1`, fields));
    process.nextTick(() => this.socket.uncork());
    return true;
  }

  write(piece: Uint8Array): Promise<void> | null {
    return this.#writer?.write(piece) ?? null;
  }

  end(trailers: RawFields): void {
    if (!this.socket.destroyed) this.#writer?.end(trailers);
  }

  hush(): void {}

  async answer(): Promise<ResponseHead | Gone | Malformed> {
    const head = await this.reader.head();
    if (head === null || head === GONE) return GONE;
    return "malformed" in head ? head : parseResponseHead(head);
  }

  keeps({ fields, minor }: ResponseHead): boolean {
    return keepsAlive(fields, minor);
  }

  body(framing: Framing): HttpBody {
    return new HttpBody(this.reader, framing);
  }

  destroy(): void {
    this.socket.destroy();
  }
}

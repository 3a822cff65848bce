import type { RawHeaders } from "../../src/h2/fields.ts";
import { CODE } from "../../src/h2/frames.ts";
import { type Framing, listOf, trailing, without } from "../adapters/http-fields.ts";
import type { RawFields, ResponseHead } from "../adapters/http-head.ts";
import { GONE, type Gone } from "../adapters/http-wire.ts";
import { Http2Side, spoken } from "../adapters/http2-side.ts";
import type { Permit } from "../gate/permit.ts";
import type { Connection } from "./connection.ts";
import type { AnswerBody, HttpExchange } from "./http-exchange.ts";

/** A request on an HTTP/2 connection that others share. */
export class Http2Exchange extends Http2Side implements HttpExchange {
  readonly dialled: string;
  readonly peerCertificate: Uint8Array;
  readonly kept: boolean;
  readonly #connection: Connection;
  readonly #heads: ResponseHead[] = [];
  #left = false;

  constructor(connection: Connection, kept: boolean) {
    super();
    this.#connection = connection;
    this.dialled = connection.dialled;
    this.peerCertificate = connection.peerCertificate;
    this.kept = kept;
  }

  send(
    permit: Permit,
    query: string,
    fields: RawFields,
    framing: Framing,
    method: string = permit.facts.place.method,
  ): boolean {
    const host = fields[fields.findIndex((w, i) => i % 2 === 0 && w.toLowerCase() === "host") + 1];
    const last = framing.kind === "none" || (framing.kind === "length" && framing.bytes === 0);
    const head = without(spoken(fields), (name) => name === "host");
    if (listOf(fields, "te").includes("trailers")) head.push("te", "trailers");
    this.stream = this.#connection.request(
      permit,
      { authority: host as string, query, method },
      head,
      last,
      this,
    );
    return this.stream !== null;
  }

  end(trailers: RawFields): void {
    const fields = spoken(trailing(trailers));
    this.stream?.end(fields.length === 0 ? null : fields);
  }

  get left(): boolean {
    return this.#left;
  }

  hush(): void {
    if (!this.#left) this.stream?.hush();
  }

  async answer(): Promise<ResponseHead | Gone> {
    for (;;) {
      const head = this.#heads.shift();
      if (head !== undefined) return head;
      if (this.gone) return GONE;
      await this.told();
    }
  }

  override head(fields: RawHeaders, last: boolean): void {
    this.#heads.push(headOf(fields));
    super.head(fields, last);
  }

  override informational(fields: RawHeaders): void {
    this.#heads.push(headOf(fields));
    this.wake();
  }

  override finished(): void {
    this.#left = true;
  }

  body(): AnswerBody {
    return this;
  }

  keeps(): boolean {
    return false;
  }

  destroy(): void {
    this.stream?.reset(CODE.CANCEL);
  }
}

/** Its fields were held to RFC 9113, §8 before: `:status` stands first, and is one. */
const headOf = (fields: RawHeaders): ResponseHead => ({
  minor: 1,
  status: Number(fields[fields.indexOf(":status") + 1]),
  phrase: "",
  fields: without(fields, (name) => name === ":status"),
});

import { CODE } from "../../src/h2/frames.ts";
import type { H2Stream } from "../../src/h2/stream.ts";
import type { Denial } from "./exchange.ts";
import type { HttpClientSide } from "./http-client.ts";
import type { Framing } from "./http-fields.ts";
import type { RawFields, ResponseHead } from "./http-head.ts";
import { Http2Side, spoken } from "./http2-side.ts";
import { type OwnWords, problem } from "./problem.ts";

/** One HTTP/2 stream on which an agent asks for something that is not gRPC. */
export class Http2Client extends Http2Side implements HttpClientSide {
  readonly http2 = true;
  readonly framing: Framing;
  readonly #stream: H2Stream;
  readonly #bodyless: boolean;
  #responded = false;

  /**
   * @param framing of the request's body, towards the upstream.
   * @param last no body follows the head.
   */
  constructor(stream: H2Stream, method: string, framing: Framing, last: boolean) {
    super();
    this.#stream = stream;
    this.#bodyless = method === "HEAD";
    this.framing = framing;
    this.stream = stream;
    if (last) this.ended(null);
    stream.listener = this;
  }

  get responded(): boolean {
    return this.#responded;
  }

  inform({ status, fields }: ResponseHead): void {
    if (!this.#responded) this.#stream.inform([":status", String(status), ...spoken(fields)]);
  }

  respond({ status, fields }: ResponseHead, framing: Framing): void {
    this.#responded = true;
    const last = framing.kind === "none";
    this.#stream.sendHead([":status", String(status), ...spoken(fields)], last);
  }

  end(trailers: RawFields): void {
    const fields = spoken(trailers);
    this.#stream.end(fields.length === 0 ? null : fields);
    this.#stream.dismiss();
  }

  abort(): void {
    this.#stream.reset(CODE.INTERNAL_ERROR);
  }

  deny(denial: Denial, said?: OwnWords): void {
    this.#responded = true;
    const { status, fields, body } = problem(denial, said);
    this.#stream.sendHead([":status", String(status), ...fields], this.#bodyless);
    if (!this.#bodyless) {
      this.#stream.write(body);
      this.#stream.end();
    }
    this.#stream.dismiss();
  }

  switchProtocols(): null {
    return null;
  }
}

import { CODE } from "../../src/h2/frames.ts";
import type { H2Stream } from "../../src/h2/stream.ts";
import type { Denial } from "./exchange.ts";
import type { HttpClientSide } from "./http-client.ts";
import { type Framing, without } from "./http-fields.ts";
import type { Malformed, RawFields, ResponseHead } from "./http-head.ts";
import type { Gone } from "./http-wire.ts";
import { Http2Side, spoken } from "./http2-side.ts";
import { type OwnWords, problem } from "./problem.ts";
import type { WebSocketSide } from "./web-socket.ts";

/** One HTTP/2 stream on which an agent asks for something that is not gRPC. */
export class Http2Client extends Http2Side implements HttpClientSide {
  readonly http2 = true;
  readonly framing: Framing;
  readonly #stream: H2Stream;
  readonly #bodyless: boolean;
  readonly #opens: boolean;
  #responded = false;

  /**
   * @param framing of the request's body, towards the upstream.
   * @param last no body follows the head.
   * @param opens the stream becomes a WebSocket, or is answered without (RFC 8441).
   */
  constructor(stream: H2Stream, method: string, framing: Framing, last: boolean, opens = false) {
    super();
    this.#opens = opens;
    this.#stream = stream;
    this.#bodyless = method === "HEAD";
    this.framing = framing;
    this.stream = stream;
    if (last) this.ended(null);
    stream.listener = this;
  }

  override async read(): Promise<Buffer | null | Gone | Malformed> {
    // What comes on the stream is no body, but what is said once the WebSocket is open.
    return this.#opens ? null : super.read();
  }

  get responded(): boolean {
    return this.#responded;
  }

  inform({ status, fields }: ResponseHead): void {
    if (!this.#responded) this.#stream.inform([":status", String(status), ...spoken(fields)]);
  }

  respond({ status, fields }: ResponseHead, framing: Framing): void {
    this.#responded = true;
    // Success would say that it is open.
    if (this.#opens && status < 300) {
      this.abort();
      return;
    }
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

  openWebSocket({ fields }: ResponseHead): WebSocketSide {
    this.#responded = true;
    // Its key is not of this HTTP, and neither is the answer to it.
    const kept = without(spoken(fields), (name) => name === "sec-websocket-accept");
    this.#stream.sendHead([":status", "200", ...kept]);
    return {
      take: async () => {
        const piece = await super.read();
        return Buffer.isBuffer(piece) ? piece : null;
      },
      write: (bytes) => this.write(bytes),
      finish: () => {
        this.#stream.end();
        this.#stream.dismiss();
      },
    };
  }
}

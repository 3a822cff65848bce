import type { Framing } from "../adapters/http-fields.ts";
import type { Malformed, RawFields, ResponseHead } from "../adapters/http-head.ts";
import type { Gone } from "../adapters/http-wire.ts";
import type { Permit } from "../gate/permit.ts";

/** The answer's body, piece by piece. */
export interface AnswerBody {
  /** null: it is whole. */
  read(): Promise<Buffer | null | Gone | Malformed>;
  /** Known once the body is whole. */
  readonly trailers: RawFields;
}

/** One request at an upstream and its answer, whatever HTTP the upstream is spoken to by. */
export interface HttpExchange {
  /** `ip:port` dialled. */
  readonly dialled: string;
  /** SHA-256 of the upstream's certificate (DER); empty: plaintext. */
  readonly peerCertificate: Uint8Array;
  /** It goes out on a connection that was used before, and may have ended unseen. */
  readonly kept: boolean;
  /**
   * Sends the permitted request's head: what is sent is what the permit's place says.
   *
   * @param query of the request, `?…` or empty.
   * @param method by which the place is told, if not by its own: MCP answers by POST what it heard by GET.
   * @returns false: the connection takes no request any more, and nothing was sent.
   */
  send(
    permit: Permit,
    query: string,
    fields: RawFields,
    framing: Framing,
    method?: string,
  ): boolean;
  /** @returns null: go on; else wait until the upstream has taken what is on its way. */
  write(piece: Uint8Array): Promise<void> | null;
  end(trailers: RawFields): void;
  /** Nothing of the request waits here any more for the upstream's leave to send. */
  readonly left: boolean;
  /** What waits here is not sent any more. */
  hush(): void;
  /** The next head that it answers with. */
  answer(): Promise<ResponseHead | Gone | Malformed>;
  body(framing: Framing): AnswerBody;
  /** Whether its connection can be kept after this answer, and is to be given back for that. */
  keeps(head: ResponseHead): boolean;
  destroy(): void;
}

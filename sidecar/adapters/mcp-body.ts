import { mcpBodyUs, mcpMessageBytesMax } from "../../src/domain/limits.ts";
import { isJsonType } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import { Gathered } from "./gathered.ts";
import type { HttpClientSide } from "./http-client.ts";
import { valuesOf } from "./http-fields.ts";
import type { RawFields } from "./http-head.ts";
import { only } from "./http-request.ts";
import { GONE } from "./http-wire.ts";

export const isJson = (fields: RawFields): boolean =>
  isJsonType(only(fields, "content-type") ?? "");

/** Events are UTF-8, whatever else some would make of them. */
export const isEvents = (fields: RawFields): boolean =>
  /^text\/event-stream(?:[ \t]*;[ \t]*charset="?utf-8"?)?$/i.test(
    only(fields, "content-type") ?? "",
  );

/** Its bytes are not what they say they are. */
export const isEncoded = (fields: RawFields): boolean =>
  valuesOf(fields, "content-encoding").some((value) => value.toLowerCase() !== "identity");

/** Why a body is not taken. */
export interface BadBody {
  readonly reason: Reason;
  readonly detail: string;
  /** Nobody is there any more who could be told. */
  readonly gone: boolean;
}

/** All of a request's body, which is one message; or why it is not taken. */
export async function readMcpBody(
  client: HttpClientSide,
  fields: RawFields,
  clock: Clock,
): Promise<Buffer | BadBody> {
  const no = (reason: Reason, detail: string, gone = false): BadBody => ({ reason, detail, gone });
  if (!isJson(fields) || isEncoded(fields)) {
    return no("REQUEST_NOT_NORMAL", "its body is not application/json as it is");
  }
  if (only(fields, "expect") !== null) {
    client.inform({ status: 100, phrase: "Continue", minor: 1, fields: [] });
  }
  // Whoever is too slow sees the connection end, and so does the reading.
  const timer = clock.after(mcpBodyUs, () => client.abort());
  try {
    const body = new Gathered();
    for (;;) {
      const piece = await client.read();
      if (piece === GONE) {
        client.abort();
        return no("FRAMING_INVALID", "its body did not come whole, or in time", true);
      }
      if (piece === null) break;
      if ("malformed" in piece) return no("FRAMING_INVALID", piece.detail);
      body.push(piece);
      if (body.length > mcpMessageBytesMax) {
        return no("MESSAGE_TOO_LARGE", `a message has at most ${mcpMessageBytesMax} bytes`);
      }
    }
    return client.trailers.length > 0 ? no("REQUEST_NOT_NORMAL", "it has trailers") : body.bytes;
  } finally {
    timer.cancel();
  }
}

import type { RawHeaders } from "../h2/fields.ts";
import type { CallMetadata } from "./rpc.ts";
import { encodeStatus, STATUS_CODES, STATUS_DETAILS, type StatusError } from "./status.ts";

/** gRPC's header fields over HTTP/2. */

export const fieldOf = (fields: RawHeaders, name: string): string | undefined => {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1];
  return undefined;
};

/** The first value of each name counts. */
export class FieldMetadata implements CallMetadata {
  readonly #fields: RawHeaders;

  constructor(fields: RawHeaders) {
    this.#fields = fields;
  }

  text(name: string): string | undefined {
    return fieldOf(this.#fields, name);
  }

  binary(name: string): Uint8Array | undefined {
    // Several may be told in one field, and their padding may be left out.
    const first = this.text(name)?.split(",")[0]?.trim();
    return first === undefined ? undefined : new Uint8Array(Buffer.from(first, "base64"));
  }
}

const UNITS_US: Readonly<Record<string, number>> = {
  H: 3_600_000_000,
  M: 60_000_000,
  S: 1_000_000,
  m: 1000,
  u: 1,
  n: 0.001,
};

/** Microseconds that the caller waits, by `grpc-timeout`; Infinity: it names none. null: malformed. */
export function timeoutOf(fields: RawHeaders): number | null {
  const said = fieldOf(fields, "grpc-timeout");
  if (said === undefined) return Number.POSITIVE_INFINITY;
  const [, amount, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(said) ?? [];
  return amount === undefined ? null : Number(amount) * (UNITS_US[unit] as number);
}

export const ANSWER_HEAD: RawHeaders = [":status", "200", "content-type", "application/grpc"];

/** How a call ended, as its trailers. null: well. */
export function trailersOf(error: StatusError | null): string[] {
  if (error === null) return ["grpc-status", "0"];
  const details = Buffer.from(encodeStatus(error)).toString("base64").replace(/=+$/, "");
  return [
    "grpc-status",
    `${STATUS_CODES.indexOf(error.code)}`,
    "grpc-message",
    percentEncoded(error.message),
    STATUS_DETAILS,
    details,
  ];
}

/** Printable ASCII but the percent sign stands for itself. */
const percentEncoded = (text: string): string =>
  text.replace(/[^\x20-\x24\x26-\x7e]+/g, (odd) =>
    [...Buffer.from(odd, "utf8")]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
      .join(""),
  );

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/**
 * The few messages of interop.proto, by hand. Requests differ only in where the same things stand,
 * and wire types tell those places apart, so one reader reads all of them.
 */
export interface Asked {
  /** An answer of so many bytes for each. */
  readonly sizes: readonly number[];
  /** Bytes that the request carries. */
  readonly body?: Uint8Array;
  /** Status to end with; 0 or absent: OK. */
  readonly code?: number;
  readonly message?: string;
}

const LEN = WireType.LengthDelimited;

const payload = (body: Uint8Array): Uint8Array =>
  new BinaryWriter().tag(2, LEN).bytes(body).finish();

function withStatus(w: BinaryWriter, { code = 0, message = "" }: Asked): Uint8Array {
  if (code !== 0) {
    const status = new BinaryWriter().tag(1, WireType.Varint).int32(code);
    w.tag(7, LEN).bytes(status.tag(2, LEN).string(message).finish());
  }
  return w.finish();
}

/** SimpleRequest */
export function simpleRequest(asked: Asked): Uint8Array {
  const w = new BinaryWriter();
  const [size = 0] = asked.sizes;
  if (size > 0) w.tag(2, WireType.Varint).int32(size);
  if (asked.body !== undefined) w.tag(3, LEN).bytes(payload(asked.body));
  return withStatus(w, asked);
}

/** StreamingOutputCallRequest */
export function outputRequest(asked: Asked): Uint8Array {
  const w = new BinaryWriter();
  for (const size of asked.sizes) {
    const parameters = new BinaryWriter().tag(1, WireType.Varint).int32(size);
    w.tag(2, LEN).bytes(parameters.finish());
  }
  if (asked.body !== undefined) w.tag(3, LEN).bytes(payload(asked.body));
  return withStatus(w, asked);
}

/** StreamingInputCallRequest */
export const inputRequest = (body: Uint8Array): Uint8Array =>
  new BinaryWriter().tag(1, LEN).bytes(payload(body)).finish();

/** SimpleResponse, StreamingOutputCallResponse */
export const sizedAnswer = (size: number): Uint8Array => inputRequest(new Uint8Array(size));

/** StreamingInputCallResponse */
export const sumAnswer = (bytes: number): Uint8Array =>
  new BinaryWriter().tag(1, WireType.Varint).int32(bytes).finish();

export function readAsked(bytes: Uint8Array): Required<Asked> {
  const sizes: number[] = [];
  const asked = { sizes, body: new Uint8Array(), code: 0, message: "" };
  each(bytes, (field, wire, r) => {
    if (field === 2 && wire === WireType.Varint) sizes.push(r.int32());
    else if (field === 2) {
      each(r.bytes(), (inner, _wire, p) => {
        if (inner === 1) sizes.push(p.int32());
        else p.int32();
      });
    } else if (field === 7) {
      each(r.bytes(), (inner, _wire, s) => {
        if (inner === 1) asked.code = s.int32();
        else asked.message = s.string();
      });
    } else if (wire === LEN) {
      each(r.bytes(), (_inner, _wire, p) => {
        asked.body = p.bytes() as Uint8Array<ArrayBuffer>;
      });
    } else r.skip(wire);
  });
  return asked;
}

function each(bytes: Uint8Array, on: (field: number, wire: WireType, r: BinaryReader) => void) {
  const r = new BinaryReader(bytes);
  while (r.pos < r.len) {
    const [field, wire] = r.tag();
    on(field, wire, r);
  }
}

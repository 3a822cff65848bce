import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { CallContext, Entry } from "./rpc.ts";
import { StatusError } from "./status.ts";

/** Messages cross every transport as bytes and are read here: malformed ones are an answer to their sender. */

export const encode = <D extends DescMessage>(desc: D, message: MessageInitShape<D>): Uint8Array =>
  toBinary(desc, create(desc, message));

/** @throws StatusError INVALID_ARGUMENT. Fields of bytes are views of `bytes`. */
export function decode<D extends DescMessage>(desc: D, bytes: Uint8Array): MessageShape<D> {
  try {
    // A plain Uint8Array: views of a Buffer would be Buffers.
    return fromBinary(desc, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
  } catch {
    throw new StatusError("INVALID_ARGUMENT", "ARGUMENT_INVALID", `not a ${desc.typeName}`);
  }
}

export const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

/** One method of a server. */
export interface MountedMethod {
  readonly method: DescMethod;
  readonly handler: (request: unknown, context: CallContext) => unknown;
  /** null: everybody is let in. */
  readonly entry: Entry | null;
}

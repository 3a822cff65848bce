import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Invalid, invalid } from "../domain/invalid.ts";
import { SignedBytes } from "../domain/signed.ts";
import type { SignedBytesSchema, SignedBytes as Wire } from "../gen/dragons/v1/artifacts_pb.ts";

/**
 * Signed artifacts as RPC messages carry them, and as the domain knows them. Only the envelope is
 * turned over; a body goes through as it is, and only the domain's codec reads it.
 */
export function fromWire(wire: Wire | undefined, name: string): SignedBytes | Invalid {
  if (wire === undefined) return invalid("E_FIELD", `${name}: is absent`);
  const { body, signatures } = wire;
  for (const s of signatures) {
    if (s.key.length !== 32)
      return invalid("E_ENCODING", `${name}: a key has ${s.key.length} bytes`);
    if (s.value.length !== 64) {
      return invalid("E_ENCODING", `${name}: a signature has ${s.value.length} bytes`);
    }
  }
  return { body, signatures: signatures.map(({ key, value }) => ({ key, value })) };
}

/** The same with memory of its own, for what is kept: the message that brought it may lie in a large pool. */
export const kept = ({ body, signatures }: SignedBytes): SignedBytes => ({
  body: body.slice(),
  signatures: signatures.map(({ key, value }) => ({ key: key.slice(), value: value.slice() })),
});

export function toWire(signed: SignedBytes): MessageInitShape<typeof SignedBytesSchema> {
  const signatures = signed.signatures.map(({ key, value }) => ({ key, value }));
  return { body: signed.body, signatures };
}

/** Strict SignedBytes as stored, to the wire's shape. */
export function storedToWire(bytes: Uint8Array): MessageInitShape<typeof SignedBytesSchema> {
  return toWire(SignedBytes.decode(bytes));
}

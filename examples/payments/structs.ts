import { fromBinary, fromJson, type JsonObject, toBinary, toJson } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";

/** google.protobuf.Struct, as grpc-js wants its messages written and read. */
export const write = (value: JsonObject): Buffer =>
  Buffer.from(toBinary(StructSchema, fromJson(StructSchema, value)));

export const read = (bytes: Buffer): JsonObject =>
  toJson(StructSchema, fromBinary(StructSchema, bytes)) as JsonObject;

const method = (name: string, responseStream: boolean) => ({
  path: `/payments.v1.Payments/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: write,
  requestDeserialize: read,
  responseSerialize: write,
  responseDeserialize: read,
});

/** payments.proto as grpc-js takes it. */
export const Payments = {
  getPayment: method("GetPayment", false),
  listPayments: method("ListPayments", false),
  watchPayments: method("WatchPayments", true),
  refundPayment: method("RefundPayment", false),
} as const;

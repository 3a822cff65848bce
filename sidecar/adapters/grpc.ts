import type { RawHeaders } from "../../src/h2/fields.ts";
import { CODE } from "../../src/h2/frames.ts";
import type { H2Stream } from "../../src/h2/stream.ts";
import type { Ingress } from "./exchange.ts";
import { type CallServices, GrpcCall, respondOnly } from "./grpc-call.ts";
import { denialTrailers } from "./grpc-denial.ts";
import { readRequest } from "./grpc-request.ts";

/** Carries one gRPC call of an agent: judged, forwarded as judged, told to the gate once. */
export function serveGrpc(
  stream: H2Stream,
  raw: RawHeaders,
  last: boolean,
  ingress: Ingress,
  services: CallServices,
): void {
  const request = readRequest(raw, ingress, services.clock.nowUs());
  if ("unreadable" in request) {
    const denial = services.gate.refuse(request, request.reason, request.detail);
    respondOnly(stream, denialTrailers(denial));
    return;
  }
  const call = new GrpcCall(stream, raw, request, services);
  call.run(last).catch((error: unknown) => {
    // A bug or broken storage: this call must not hang, and the process must hear of it.
    stream.reset(CODE.INTERNAL_ERROR);
    throw error;
  });
}

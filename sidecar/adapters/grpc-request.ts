import {
  type Claim,
  normaliseAuthority,
  normaliseGrpcPath,
  schemeOf,
} from "../../src/domain/claim.ts";
import { readInputs } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { RawHeaders } from "../../src/h2/fields.ts";
import { splitTarget } from "../upstream/address.ts";
import { addressOf, isBoundFor, isMeantFor } from "./bound.ts";
import type { ActionRequest, Ingress } from "./exchange.ts";
import { parseTimeout, single } from "./grpc-headers.ts";
import { readTraceparent } from "./traceparent.ts";

/** A gRPC call as its header fields tell it. */
export interface GrpcRequest extends ActionRequest {
  /** What the upstream is told as `:authority`: the claim's target, without a port that was not said. */
  readonly authority: string;
  /** What the agent dialled, to which the name must lead; empty: wherever the name leads. */
  readonly address: string;
  /** `grpc-encoding` announces a compression. */
  readonly compressed: boolean;
}

export interface Unreadable {
  readonly unreadable: true;
  readonly reason: Reason;
  readonly detail: string;
  /** As far as it could be read. */
  readonly claim: Claim | null;
  readonly traceparent: string;
}

/** Whether a stream is a gRPC call, to be judged and answered as one. */
export const isGrpc = (raw: RawHeaders): boolean =>
  /^application\/grpc(?:[+;]|$)/.test(single(raw, "content-type") ?? "");

/** Reads and normalises a call, or says why it cannot be judged. */
export function readRequest(
  raw: RawHeaders,
  ingress: Ingress,
  nowUs: number,
): GrpcRequest | Unreadable {
  const traceparent = readTraceparent(single(raw, "traceparent"));
  let claim: Claim | null = null;
  const no = (reason: Reason, detail: string): Unreadable => ({
    unreadable: true,
    reason,
    detail,
    claim,
    traceparent,
  });

  // Without a claim: strangers' words are alike, so that no flood of them fills the ledger.
  if (ingress.fault !== null) return no(ingress.fault.reason, ingress.fault.detail);
  const said = single(raw, ":authority") ?? single(raw, "host") ?? "";
  const target = ingress.reverse
    ? ingress.target
    : normaliseAuthority(said, ingress.scheme === "https" ? 443 : 80);
  if (typeof target !== "string") return no("REQUEST_NOT_NORMAL", target.detail);
  const path = normaliseGrpcPath(single(raw, ":path") ?? "");
  claim = {
    version: 1,
    target,
    inputs: [],
    limitState: [],
    scheme: schemeOf(ingress.scheme),
    protocol: "GRPC",
    verb: "",
    path: typeof path === "string" ? path : "",
  };
  if (typeof path !== "string") return no("REQUEST_NOT_NORMAL", path.detail);
  if (single(raw, ":method") !== "POST") return no("REQUEST_NOT_NORMAL", "gRPC calls are POST");
  const differs = ingress.reverse ? null : disagreement(raw, said, target, ingress);
  if (differs !== null) return no("AUTHORITY_MISMATCH", differs);

  const timeout = single(raw, "grpc-timeout");
  const timeoutUs = timeout === null ? 0 : timeout === undefined ? null : parseTimeout(timeout);
  if (timeoutUs === null) return no("REQUEST_NOT_NORMAL", "grpc-timeout is malformed");
  const encoding = single(raw, "grpc-encoding");
  return {
    claim,
    traceparent,
    deadlineUs: timeout === null ? 0 : nowUs + timeoutUs,
    inputs: (needs) => readInputs(needs, { query: "", fields: raw, body: null }),
    authority: /:[0-9]+$/.test(said) || ingress.reverse ? target : bare(target),
    address: addressOf(ingress.dialled),
    compressed: encoding !== null && encoding !== undefined && encoding !== "identity",
  };
}

/** Every place that names the upstream must name the same one. */
function disagreement(
  raw: RawHeaders,
  said: string,
  target: string,
  ingress: Ingress,
): string | null {
  const host = single(raw, "host");
  if (host !== null && host !== said) return ":authority and host differ";
  if (!isBoundFor(ingress.target, target)) {
    return `the connection is to ${ingress.target}, the call to ${target}`;
  }
  if (!isMeantFor(ingress.dialled, target)) {
    return `the connection is to ${ingress.dialled}, the call to ${target}`;
  }
  const name = ingress.serverName;
  if (name !== "" && name.toLowerCase() !== splitTarget(target).host) {
    return `the TLS server name is ${name}, the call to ${target}`;
  }
  return null;
}

/** A target without its port. */
const bare = (target: string): string => target.slice(0, target.lastIndexOf(":"));

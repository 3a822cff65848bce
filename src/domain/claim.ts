import { message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import { normaliseHost } from "./host.ts";
import { Input } from "./input.ts";
import { type Invalid, invalid } from "./invalid.ts";
import { claimPathMax } from "./limits.ts";

export const PROTOCOLS = ["UNSPECIFIED", "GRPC", "HTTP", "MCP", "OPAQUE"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** How an upstream is reached: in the clear, or by TLS. */
export const SCHEMES = ["UNSPECIFIED", "HTTP", "HTTPS"] as const;
export type Scheme = (typeof SCHEMES)[number];

export const schemeOf = (scheme: "http" | "https"): Scheme =>
  scheme === "https" ? "HTTPS" : "HTTP";

/**
 * What was left to spend in a scope just before the decision: of what the lease holds, not of what
 * the grant does. `UNLIMITED` where the lease sets no limit.
 */
export const LimitState = message("limitState", {
  scope: str(1),
  actionsLeft: u64(2),
  bytesLeft: u64(3),
  concurrentLeft: u64(4),
  /** Openings that the minute now ending still allows. */
  rateLeft: u64(5),
});
export type LimitState = ReturnType<typeof LimitState.decode>;

/**
 * All that the gate decides from: the action, normalised once. The request that is forwarded is the
 * one that stands here.
 */
export const ClaimBody = message("claim", {
  version: u32(1),
  protocol: oneOf(2, PROTOCOLS),
  /** `host:port`, lower case, port always written: `payments.internal:443`, `[::1]:7000`. */
  target: str(3),
  /** HTTP method or MCP method; absent for gRPC, which has none of its own, and for OPAQUE. */
  verb: str(4),
  /** `/payments.v1.Payments/Get` for gRPC; absent for OPAQUE. */
  path: str(5),
  /** What conditions asked for, and the receipt that it goes on from. Sorted by name, see input.ts. */
  inputs: repeated(nested(6, Input)),
  /** One entry, of the scope that permits it; none: no scope does. */
  limitState: repeated(nested(7, LimitState)),
  /** Absent for MCP, whose target is a server's name; HTTPS for OPAQUE, which is TLS passed on unread. */
  scheme: oneOf(8, SCHEMES),
});
export type Claim = ReturnType<typeof ClaimBody.decode>;

/**
 * `host:port` in its one spelling, see host.ts: `Payments.Internal.` and 443 give
 * `payments.internal:443`, `::1` and 7000 give `[::1]:7000`. The port is always written.
 */
export function normaliseTarget(host: string, port: number): string | Invalid {
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    return invalid("E_FIELD", `port ${port} is not from 1 to 65535`);
  }
  const name = normaliseHost(host);
  return typeof name === "string" ? `${name}:${port}` : name;
}

/** Like `normaliseTarget`, from an authority: `payments.internal`, `10.0.0.1:443`, `[::1]:7000`. */
export function normaliseAuthority(authority: string, defaultPort: number): string | Invalid {
  const parts = /^(\[[^\]]*\]|[^:[\]]*)(?::(0|[1-9][0-9]{0,4}))?$/.exec(authority);
  if (parts === null) {
    // Nothing before an @: passwords stand there, and what is said here is logged.
    const said = authority.replace(/^.*@/s, "…@").slice(0, 80);
    return invalid("E_FIELD", `${JSON.stringify(said)} is not host:port`);
  }
  return normaliseTarget(
    parts[1] as string,
    parts[2] === undefined ? defaultPort : Number(parts[2]),
  );
}

/**
 * A gRPC path as it stands: `/payments.v1.Payments/Get`, protobuf identifiers and nothing else. There
 * is nothing to normalise, so what is not normal is refused: no escapes, query, or third segment.
 */
export function normaliseGrpcPath(path: string): string | Invalid {
  if (path.length > claimPathMax) {
    return invalid("E_FIELD", `path is longer than ${claimPathMax} characters`);
  }
  if (!GRPC_PATH.test(path)) {
    // Without its query: payloads stand there, and what is said here is logged.
    const said = path.replace(/[?#].*$/s, "?…").slice(0, 80);
    return invalid("E_FIELD", `path ${JSON.stringify(said)} is not /package.Service/Method`);
  }
  return path;
}
const GRPC_PATH = /^\/[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*\/[A-Za-z_][A-Za-z0-9_]*$/;

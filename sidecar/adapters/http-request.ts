import { type Claim, normaliseAuthority, schemeOf } from "../../src/domain/claim.ts";
import { normaliseHttpPath, type PathAndQuery } from "../../src/domain/http-path.ts";
import type { Reason } from "../../src/domain/reason.ts";
import { splitTarget } from "../upstream/address.ts";
import { addressOf, isBoundFor, isMeantFor } from "./bound.ts";
import type { ActionRequest, Ingress } from "./exchange.ts";
import { confusedName, fieldNames, forwarded, listOf, valuesOf, without } from "./http-fields.ts";
import type { RawFields } from "./http-head.ts";
import { readTraceparent } from "./traceparent.ts";

/** What every HTTP says of a request, however it frames it. */
export interface HttpRequestParts {
  readonly method: string;
  /** `https` or `http` where the request itself says so; null: the connection says it. */
  readonly scheme: "http" | "https" | null;
  /** As the request's target named it; null: only the Host field does. */
  readonly authority: string | null;
  readonly pathAndQuery: string;
  readonly fields: RawFields;
  /** HTTP/1.0 knows no Host, no upgrades and no informational answers. */
  readonly minor: 0 | 1;
}

/** An HTTP request that can be judged, and what of it goes on if it is allowed. */
export interface HttpRequest extends Omit<ActionRequest, "inputs"> {
  readonly method: string;
  /** As the upstream is told it; the path before it is the claim's. */
  readonly query: string;
  /** As the upstream is told them, Host among them. */
  readonly fields: RawFields;
  /** It asks for a WebSocket. */
  readonly webSocket: boolean;
  /** What the agent dialled, to which the name must lead; empty: wherever the name leads. */
  readonly address: string;
}

export interface Unreadable {
  readonly unreadable: true;
  readonly reason: Reason;
  readonly detail: string;
  /** As far as it could be read. */
  readonly claim: Claim | null;
  readonly traceparent: string;
}

/** Reads and normalises a request, or says why it cannot be judged. */
export function readHttpRequest(
  parts: HttpRequestParts,
  ingress: Ingress,
): HttpRequest | Unreadable {
  const { method, fields } = parts;
  const traceparent = readTraceparent(only(fields, "traceparent"));
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
  if (!/^[A-Z]{1,16}$/.test(method)) return no("REQUEST_NOT_NORMAL", "its method is none");
  const hosts = valuesOf(fields, "host");
  if (hosts.length > 1) return no("REQUEST_NOT_NORMAL", "there is more than one Host");
  if (hosts.length === 0 && parts.authority === null && parts.minor === 1) {
    return no("REQUEST_NOT_NORMAL", "there is no Host");
  }
  if (parts.authority === null && ingress.target === "" && ingress.dialled === "") {
    return no(
      "REQUEST_NOT_NORMAL",
      "a request to the proxy names its target in full: http://host/",
    );
  }
  const said = parts.authority ?? hosts[0] ?? (ingress.target || ingress.dialled);
  const port = ingress.scheme === "https" ? 443 : 80;
  const target = ingress.reverse ? ingress.target : normaliseAuthority(said, port);
  if (typeof target !== "string") return no("REQUEST_NOT_NORMAL", target.detail);
  const path = normaliseHttpPath(parts.pathAndQuery);
  claim = claimOf(method, target, "path" in path ? path : null, ingress);
  if (!("path" in path)) return no("REQUEST_NOT_NORMAL", path.detail);
  if (parts.scheme !== null && parts.scheme !== ingress.scheme && !ingress.reverse) {
    return no("AUTHORITY_MISMATCH", `it asks for ${parts.scheme} over ${ingress.scheme}`);
  }
  const differs = ingress.reverse ? null : disagreement(parts, hosts[0], target, ingress);
  if (differs !== null) return no("AUTHORITY_MISMATCH", differs);
  if (overriding(fields, METHOD_OVERRIDES).some((value) => value.toUpperCase() !== method)) {
    return no("REQUEST_NOT_NORMAL", "a field asks for another method than the request");
  }
  if (overriding(fields, PATH_OVERRIDES).some((value) => value !== parts.pathAndQuery)) {
    return no("REQUEST_NOT_NORMAL", "a field asks for another path than the request");
  }
  const expectations = listOf(fields, "expect");
  if (expectations.some((e) => e !== "100-continue")) {
    return no("REQUEST_NOT_NORMAL", "it expects what nobody knows; write 100-continue");
  }
  const webSocket = isWebSocket(parts);
  // As the agent says it; where it cannot know, as clients say it: without a port that goes without saying.
  const sayPort = ingress.reverse ? !target.endsWith(`:${port}`) : /:[0-9]+$/.test(said);
  const authority = sayPort ? target : bare(target);
  const going = goingOn(parts, authority, webSocket);
  if (typeof going === "string") return no("REQUEST_NOT_NORMAL", going);
  return {
    claim,
    traceparent,
    deadlineUs: 0,
    method,
    query: path.query,
    fields: going,
    webSocket,
    // By that alone a browser's EventSource asks.
    listens: webSocket || (method === "GET" && only(fields, "accept") === "text/event-stream"),
    address: addressOf(ingress.dialled),
  };
}

/** What some frameworks act by instead of the method, which is what was judged. */
const METHOD_OVERRIDES = ["x-http-method-override", "x-http-method", "x-method-override"];
/** What some frameworks route by instead of the path. */
const PATH_OVERRIDES = ["x-original-url", "x-rewrite-url"];

/** Values of the fields that some server takes for one of these: CGI has one letter for `-` and `_`. */
const overriding = (fields: RawFields, names: readonly string[]): string[] =>
  fieldNames(fields)
    .filter((name) => names.includes(name.replaceAll("_", "-")))
    .flatMap((name) => valuesOf(fields, name));

const claimOf = (
  verb: string,
  target: string,
  path: PathAndQuery | null,
  { scheme }: Ingress,
): Claim => ({
  version: 1,
  protocol: "HTTP",
  target,
  verb,
  path: path?.path ?? "",
  inputs: [],
  limitState: [],
  scheme: schemeOf(scheme),
});

/** Every place that names the upstream must name the same one. */
function disagreement(
  { authority }: HttpRequestParts,
  host: string | undefined,
  target: string,
  ingress: Ingress,
): string | null {
  const port = ingress.scheme === "https" ? 443 : 80;
  if (authority !== null && host !== undefined && normaliseAuthority(host, port) !== target) {
    return `the request is for ${target}, its Host is another`;
  }
  if (!isBoundFor(ingress.target, target)) {
    return `the connection is to ${ingress.target}, the request to ${target}`;
  }
  if (!isMeantFor(ingress.dialled, target)) {
    return `the connection is to ${ingress.dialled}, the request to ${target}`;
  }
  const name = ingress.serverName;
  if (name !== "" && name.toLowerCase() !== splitTarget(target).host) {
    return `the TLS server name is ${name}, the request to ${target}`;
  }
  return null;
}

/** The fields as the upstream gets them: in order and spelling, those of the connection said anew. */
function goingOn(
  { fields, minor }: HttpRequestParts,
  authority: string,
  webSocket: boolean,
): string[] | string {
  const confused = confusedName(fields);
  if (confused !== undefined) return `the field ${confused} reads as another to some servers`;
  const kept = forwarded(fields);
  if ("malformed" in kept) return kept.detail;
  // Messages must be seen one by one, so they are not to be compressed; nobody waits for 1.0.
  const dropped = webSocket ? "sec-websocket-extensions" : minor === 0 ? "expect" : "";
  const out = without(kept, (name) => name === dropped);
  const host = out.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === "host");
  if (host < 0) out.unshift("Host", authority);
  else out[host + 1] = authority;
  if (webSocket) out.push("Connection", "Upgrade", "Upgrade", "websocket");
  else if (listOf(fields, "te").includes("trailers"))
    out.push("Connection", "TE", "TE", "trailers");
  return out;
}

/** RFC 6455, §4.1. Whoever asks for another protocol, or asks otherwise, is answered without it. */
const isWebSocket = ({ method, minor, fields }: HttpRequestParts): boolean =>
  method === "GET" &&
  minor === 1 &&
  listOf(fields, "connection").includes("upgrade") &&
  listOf(fields, "upgrade").join() === "websocket" &&
  valuesOf(fields, "content-length").length === 0 &&
  valuesOf(fields, "transfer-encoding").length === 0 &&
  only(fields, "sec-websocket-version") === "13" &&
  /^[A-Za-z0-9+/]{22}==$/.test(only(fields, "sec-websocket-key") ?? "");

/** The one value of a field; null: none, or several. */
export function only(fields: RawFields, name: string): string | null {
  const values = valuesOf(fields, name);
  return values.length === 1 ? (values[0] as string) : null;
}

/** A target without its port. */
const bare = (target: string): string => target.slice(0, target.lastIndexOf(":"));

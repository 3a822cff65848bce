import { type Claim, normaliseAuthority, normaliseGrpcPath, schemeOf } from "../domain/claim.ts";
import { normaliseHttpPath, type PathAndQuery } from "../domain/http-path.ts";
import { type Invalid, isInvalid } from "../domain/invalid.ts";
import { EXIT, Failure } from "./failure.ts";

/** An action as it is typed, read as the sidecar would read it off the wire. */
export interface ActionLine {
  readonly claim: Claim;
  /** `?limit=3` of a URL, or empty. */
  readonly query: string;
}

const HOW =
  "write grpc SERVICE/METHOD at HOST:PORT, http METHOD URL, mcp METHOD [NAME] at SERVER, or opaque HOST:PORT";

/**
 * `grpc payments.v1.Payments/Get at payments.internal:443`, `http POST https://ledger.internal/v1?a=b`,
 * `mcp tools/call create_ticket at tracker`, `opaque bank.example:443`.
 * @throws Failure where no agent could ask for it.
 */
export function parseAction(text: string): ActionLine {
  const words = text.trim().split(/ +/);
  const [kind] = words;
  if (kind === "grpc" && words.length === 4 && words[2] === "at") return grpc(words);
  if (kind === "http" && words.length === 3) return http(words);
  if (kind === "opaque" && words.length === 2) {
    const target = normal(normaliseAuthority(words[1] as string, 443));
    return line({ protocol: "OPAQUE", target, verb: "", path: "", scheme: "HTTPS" });
  }
  if (kind === "mcp" && words.at(-2) === "at" && (words.length === 4 || words.length === 5)) {
    const [verb, name] = words.slice(1, -2) as [string, string?];
    const target = words.at(-1) as string;
    return line({ protocol: "MCP", target, verb, path: name ?? "", scheme: "UNSPECIFIED" });
  }
  throw new Failure(EXIT.usage, `action: ${JSON.stringify(text)} is none; ${HOW}`);
}

/** Without a scheme TLS is meant. */
function grpc([, method, , place]: readonly string[]): ActionLine {
  const [, scheme = "https", authority] = /^(?:(https?):\/\/)?(.*)$/.exec(
    place as string,
  ) as string[];
  const said = scheme as "http" | "https";
  const target = normal(normaliseAuthority(authority as string, said === "http" ? 80 : 443));
  const path = normal(normaliseGrpcPath(`/${method}`));
  return line({ protocol: "GRPC", target, verb: "", path, scheme: schemeOf(said) });
}

function http([, verb, url]: readonly string[]): ActionLine {
  const parts = /^(https?):\/\/([^/?#@]+)([/?].*)?$/.exec(url as string);
  if (parts === null) throw new Failure(EXIT.usage, `action: ${url} is no URL; ${HOW}`);
  const [, said, authority, rest = "/"] = parts as unknown as [string, string, string, string?];
  const target = normal(normaliseAuthority(authority, said === "http" ? 80 : 443));
  const spelled = normaliseHttpPath(rest.startsWith("?") ? `/${rest}` : rest);
  const { path, query } = normal(spelled);
  const scheme = schemeOf(said as "http" | "https");
  return { ...line({ protocol: "HTTP", target, verb: verb as string, path, scheme }), query };
}

/** @throws Failure for what the sidecar would refuse to judge. */
function normal<T extends string | PathAndQuery>(read: T | Invalid): T {
  if (typeof read === "string" || !isInvalid(read)) return read as T;
  throw new Failure(EXIT.usage, `action: ${read.detail}; it is refused as REQUEST_NOT_NORMAL`);
}

const line = (action: Pick<Claim, "protocol" | "target" | "verb" | "path" | "scheme">) => ({
  claim: { version: 1, inputs: [], limitState: [], ...action },
  query: "",
});

import { message, oneOf, str } from "./canonical.ts";
import { normaliseAuthority, PROTOCOLS, SCHEMES } from "./claim.ts";
import type { InputName, Source } from "./input.ts";
import { isServerName } from "./mcp-server.ts";
import { compilePattern } from "./pattern.ts";
import { covers } from "./pattern-cover.ts";
import { HTTP_METHODS, MCP_CONTROL, MCP_METHODS } from "./protocol-methods.ts";
import { pathProblem } from "./rule-path.ts";
import type { When } from "./when.ts";
import { compileWhen } from "./when-parser.ts";

/**
 * Actions that a scope stands for. Patterns: `*` is any run of characters but `/` and `%2F`, `{a,b}`
 * either, everything else itself.
 */
export const Rule = message("rule", {
  protocol: oneOf(1, PROTOCOLS),
  /** `host:port`, exact; of MCP the server's name. OPAQUE speaks of nothing else. */
  target: str(2),
  /** Exact; absent for gRPC. */
  verb: str(3),
  /** Pattern: `/payments.v1.Payments/{Get,List}*`. */
  path: str(4),
  /** A condition over the claim's inputs, see when.ts; absent: none. */
  when: str(5),
  /**
   * Absent for MCP; for gRPC also: in the clear or by TLS, as the agent asks. Of OPAQUE always HTTPS:
   * TLS that nobody looks into, and no other bytes.
   */
  scheme: oneOf(6, SCHEMES),
});
export type Rule = ReturnType<typeof Rule.decode>;

export const sameRule = (a: Rule, b: Rule): boolean =>
  samePlace(a, b) && a.scheme === b.scheme && a.path === b.path && a.when === b.when;

/** Whether `wide` alone allows all that `narrow` does. */
export const coversRule = (wide: Rule, narrow: Rule): boolean =>
  impliesRule(wide, narrow) ||
  (samePlace(wide, narrow) &&
    (wide.scheme === "UNSPECIFIED" || wide.scheme === narrow.scheme) &&
    (wide.when === "" || wide.when === narrow.when) &&
    covers(wide.path, narrow.path));

/** Whoever may do anything at an MCP server may greet it. */
const impliesRule = (wide: Rule, narrow: Rule): boolean =>
  wide.protocol === "MCP" &&
  narrow.protocol === "MCP" &&
  wide.target === narrow.target &&
  MCP_CONTROL.has(narrow.verb);

const samePlace = (a: Rule, b: Rule): boolean =>
  a.protocol === b.protocol && a.target === b.target && a.verb === b.verb;

/** What a rule's condition reads. */
export function inputsOf({ when }: Rule): readonly InputName[] {
  const compiled = when === "" ? "" : compileWhen(when);
  return typeof compiled === "string" ? [] : compiled.inputs;
}

const show = (text: string): string => JSON.stringify(text.slice(0, 80));

/** Why a rule could never match, or could not be evaluated; null: it can. */
export function ruleProblem(rule: Rule): string | null {
  const pattern = compilePattern(rule.path);
  if (typeof pattern === "string") return `has the path ${show(rule.path)}, which ${pattern}`;
  return actionProblem(rule) ?? whenProblem(rule);
}

function actionProblem({ protocol, target, verb, path, scheme }: Rule): string | null {
  switch (protocol) {
    case "GRPC":
      if (verb !== "") return "has a verb, and gRPC has none";
      return targetProblem(target) ?? pathProblem(protocol, path);
    case "HTTP":
      if (!HTTP_METHODS.has(verb)) {
        return `has the method ${show(verb)}, which is not one such as GET`;
      }
      if (scheme === "UNSPECIFIED") return "has neither https:// nor http://";
      return targetProblem(target) ?? pathProblem(protocol, path);
    case "MCP": {
      if (scheme !== "UNSPECIFIED") return "has a scheme, and MCP servers are named without";
      if (!isServerName(target)) return `has ${show(target)}, which is not a server's name`;
      const names = MCP_METHODS.get(verb);
      if (names === undefined) {
        return `has the method ${show(verb)}, which is not one such as tools/call`;
      }
      if (names === (path !== "")) return null;
      return names
        ? "names nothing; write * for any name without a slash"
        : `has the name ${show(path)}, and ${verb} has none`;
    }
    case "OPAQUE":
      if (verb !== "" || path !== "")
        return "has more than a place, and what is opaque shows no more";
      if (scheme !== "HTTPS") return "is opaque and not by TLS, which alone is passed on unread";
      return targetProblem(target);
    default:
      return `has the protocol ${protocol}, which rules cannot speak of`;
  }
}

function targetProblem(target: string): string | null {
  if (target.includes("*")) return `has the target ${show(target)}; hosts are exact, one a rule`;
  const normal = normaliseAuthority(target, 0);
  if (typeof normal !== "string") return `has the target ${show(target)}: ${normal.detail}`;
  if (normal !== target) return `has the target ${show(target)}; write ${normal}`;
  // Addresses of nobody and of everybody.
  const nobody = /^(?:0|22[4-9]|2[3-5][0-9])\.[0-9]+\.[0-9]+\.[0-9]+:|^\[(?:::\]|ff)/.test(target);
  return nobody ? `has the target ${show(target)}, to which no connection leads` : null;
}

/** What a request of each protocol can show to a condition. */
const READABLE: Partial<Record<Rule["protocol"], readonly Source[]>> = {
  GRPC: ["path", "header"],
  HTTP: ["path", "query", "header", "json"],
  MCP: ["args"],
};
/** What servers do with a body of these is not agreed on. */
const BODYLESS = ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"];
const WITH_ARGUMENTS = ["tools/call", "prompts/get"];

function whenProblem(rule: Rule): string | null {
  if (rule.when === "") return null;
  const when = compileWhen(rule.when);
  if (typeof when === "string") return `has a condition (\`when\`) that ${when}`;
  const why = unreadable(rule, when);
  return why === null ? null : `has a condition (\`when\`) that reads ${why}`;
}

function unreadable({ protocol, verb, path }: Rule, { inputs }: When): string | null {
  for (const { name, source, keys } of inputs) {
    const readable = READABLE[protocol] ?? [];
    if (readable.length === 0) return `${name}; of ${protocol} actions it can read nothing`;
    if (!readable.includes(source)) {
      return `${name}; of ${protocol} actions it can read ${readable.join(", ")}`;
    }
    if (source === "json" && BODYLESS.includes(verb)) return `${name}, and a ${verb} has no body`;
    if (source === "args" && !WITH_ARGUMENTS.includes(verb)) {
      return `${name}, and ${verb} has no arguments`;
    }
    if (source === "header") {
      const why = fieldProblem(keys[0] as string, protocol);
      if (why !== null) return `${name}, ${why}`;
    }
    const segments = path.split("/").length - 1;
    // Only a choice can hold slashes that not every path has.
    if (source === "path" && !/\{[^}]*\//.test(path) && Number(keys[0]) >= segments) {
      return `${name}, and its paths have ${segments}, counted from 0`;
    }
  }
  return null;
}

const SECRET =
  /^(?:authorization|cookie|set-cookie|proxy-.*|x-api-key|.*(?:token|secret|password).*)$/;
const OF_THE_HOP =
  /^(?:host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|content-length|http2-settings|grpc-timeout|x-dragons-.*|dragons-.*)$/;

/** Why a header field is not for conditions; null: it is. */
function fieldProblem(field: string, protocol: Rule["protocol"]): string | null {
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(field)) {
    return "and names of header fields are written in small letters, without spaces";
  }
  if (SECRET.test(field)) return "a secret, which would stand in every receipt";
  if (OF_THE_HOP.test(field)) return "which is not forwarded as it is sent";
  return protocol === "GRPC" && field.endsWith("-bin") ? "which is not text" : null;
}

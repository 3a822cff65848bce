import { actionText, placeText } from "./action-text.ts";
import { type Claim, ClaimBody } from "./claim.ts";
import { LIMIT_NAMES, type ScopeGrant, UNLIMITED } from "./grant.ts";
import { opaqueBytesOffered } from "./limits.ts";
import { DRAFT, type Manifest, manifestLabel, SCOPE_NAME } from "./manifest.ts";
import { type McpServer, serverUrl } from "./mcp-server.ts";
import { type Rule, ruleProblem } from "./rule.ts";

/**
 * What would allow an action, as text to paste: the lines of `dragon.yaml`, if the manifest lacks
 * them, and the command that grants them beside what is held.
 *
 * @param known the scope of the manifest that speaks of the action; null: none does
 */
export function remedyFor(
  manifest: Manifest,
  held: readonly ScopeGrant[],
  claim: Claim,
  known: string | null,
): string {
  const scope = known ?? suggestScope(claim, manifest.listens);
  if (scope === null) return "";
  const wanted = claim.protocol === "OPAQUE" ? `${scope}:max_bytes=${opaqueBytesOffered}` : scope;
  const scopes = held.some((s) => s.name === scope)
    ? held.map(scopeFlag)
    : [...held.map(scopeFlag), `--scope ${wanted}`];
  const grant = (name: string) =>
    `dragons grant create --manifest ${name} ${scopes.sort().join(" ")} --unlimited --purpose "${purpose(claim)}"`;
  if (known !== null) return grant(manifestLabel(manifest));
  const rule = ruleOf(claim);
  // What asks for a star must not be told to write one: it would stand for more than itself.
  if (/[*{}]/.test(claim.path) || ruleProblem(rule) !== null) return "";
  const line = manifest.agentVersion === DRAFT ? ruleLine(rule) : null;
  return [
    ...(line === null ? [] : [`dragons run --allow '${line}' …  # and the rest as before; or:`]),
    "# in dragon.yaml, with a new version:",
    "capabilities:",
    ...scopeLines(scope, [rule]),
    "# then:",
    "dragons manifest record dragon.yaml",
    grant("dragon.yaml"),
  ].join("\n");
}

/** A rule on one line, as `--allow` takes it; null: there is no such line, or none between quotes. */
function ruleLine(rule: Rule): string | null {
  if (rule.path.includes("'")) return null;
  if (rule.protocol === "GRPC") return `grpc ${rule.path.slice(1)} at ${rule.target}`;
  if (rule.protocol === "HTTP") return `http ${rule.verb} ${placeText(rule)}${rule.path}`;
  return rule.protocol === "MCP" ? `mcp ${actionText(rule)}` : null;
}

/** What is limited now stays so; what no limit is said for is `--unlimited`. */
function scopeFlag({ name, limits }: ScopeGrant): string {
  const said = LIMIT_NAMES.flatMap(([limit, spelt]) =>
    limits[limit] === UNLIMITED ? [] : [`${spelt}=${limits[limit]}`],
  );
  return `--scope ${[name, said.join(",")].filter((w) => w !== "").join(":")}`;
}

/** Pasted into a shell between double quotes, so only what means nothing to one. */
const purpose = ({ protocol, target, verb, path }: Claim): string =>
  (protocol === "OPAQUE" ? `allow opaque ${target}` : `allow ${verb} ${path.replace(/^\//, "")}`)
    .replace(/[^A-Za-z0-9 ._/:-]+/g, "")
    .replace(/ +/g, " ");

/** The rule that allows exactly what a claim asks, at the same place. */
const ruleOf = ({ protocol, target, verb, path, scheme }: Claim): Rule => ({
  protocol,
  target,
  verb,
  path,
  when: "",
  scheme: protocol === "GRPC" ? "UNSPECIFIED" : scheme,
});

/**
 * `read:payments` for `/payments.v1.Payments/GetAll`, `opaque:bank`; null: no name comes to mind.
 *
 * @param listens scopes that are merely listened to: `use:payments` instead of one of them
 */
function suggestScope(claim: Claim, listens: readonly string[]): string | null {
  const words = claim.path.split("/").filter((w) => w !== "");
  const [noun, method] =
    claim.protocol === "GRPC"
      ? [words[0]?.split(".").at(-1), words[1] ?? ""]
      : claim.protocol === "HTTP" || claim.protocol === "OPAQUE"
        ? [claim.target.split(/[.:]/)[0], claim.verb]
        : [claim.target, claim.path];
  const reads = /^(?:GET|HEAD|get|list|read|search|Get|List|Read|Watch|Search|Query|Check)/;
  const name = (noun ?? "")
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "");
  const kind = claim.protocol === "OPAQUE" ? "opaque" : reads.test(method) ? "read" : "write";
  const names = [`${kind}:${name}`, `use:${name}`];
  return names.find((scope) => SCOPE_NAME.test(scope) && !listens.includes(scope)) ?? null;
}

/** As `suggestScope` would name it for a call that the rule speaks of: by what stands before its first wildcard. */
export function suggestScopeFor(
  { protocol, target, verb, path }: Rule,
  listens: readonly string[],
): string | null {
  const begun = path.replace(/[*{].*$/, "");
  return suggestScope({ ...ClaimBody.empty(), protocol, target, verb, path: begun }, listens);
}

/** MCP servers as they are written in `dragon.yaml`; nothing, where there are none. */
export function serverLines(servers: readonly McpServer[]): string[] {
  if (servers.length === 0) return [];
  return ["servers:", ...servers.map((s) => `  ${s.name}: ${scalar(serverUrl(s))}`)];
}

/** Scopes that are merely listened to, as they are written in `dragon.yaml`; nothing, where there are none. */
export const listensLines = (listens: readonly string[]): string[] =>
  listens.length === 0 ? [] : ["listens:", ...listens.map((scope) => `  - ${scope}`)];

/** A capability as it is written in `dragon.yaml`, two spaces in. */
export function scopeLines(name: string, rules: readonly Rule[]): string[] {
  return [`  ${name}:`, ...rules.flatMap(ruleLines)];
}

/** A rule of one, four spaces in. */
export function ruleLines(rule: Rule): string[] {
  const when = rule.when === "" ? [] : [`      when: ${scalar(rule.when)}`];
  switch (rule.protocol) {
    case "GRPC":
      return [
        `    - grpc: ${scalar(rule.path.slice(1))}`,
        `      at: ${scalar(placeText(rule))}`,
        ...when,
      ];
    case "HTTP":
      return [`    - http: ${scalar(`${rule.verb} ${placeText(rule)}${rule.path}`)}`, ...when];
    case "OPAQUE":
      return [`    - opaque: ${scalar(rule.target)}`];
    default:
      return [
        `    - mcp: ${scalar(`${rule.verb} ${rule.path}`.trimEnd())}`,
        `      server: ${scalar(rule.target)}`,
        ...when,
      ];
  }
}

/** A YAML scalar: plain where that can only be this very string, else quoted. */
export const scalar = (text: string): string =>
  /^[A-Za-z][A-Za-z0-9._/:{},*@+-]*(?: [A-Za-z0-9._/:{},*@+-]+)*$/.test(text) &&
  !/:(?: |$)/.test(text) &&
  !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text)
    ? text
    : JSON.stringify(text);

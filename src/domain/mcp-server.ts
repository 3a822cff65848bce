import { placeText } from "./action-text.ts";
import { message, oneOf, str } from "./canonical.ts";
import { type Claim, normaliseAuthority, SCHEMES, type Scheme } from "./claim.ts";
import { normaliseHttpPath } from "./http-path.ts";
import { isInvalid } from "./invalid.ts";
import { nameMax } from "./limits.ts";

/** An MCP server that speaks HTTP: what the name stands for that rules and claims say. */
export const McpServer = message("server", {
  name: str(1),
  scheme: oneOf(2, SCHEMES),
  /** `tracker.internal:443` */
  target: str(3),
  /** `/mcp`, no query. */
  path: str(4),
});
export type McpServer = ReturnType<typeof McpServer.decode>;

/** Like a manifest's own name. */
const NAME = new RegExp(`^[a-z0-9](?:[a-z0-9-]{0,${nameMax - 2}}[a-z0-9])?$`);
export const isServerName = (text: string): boolean => NAME.test(text);

/** `https://tracker.internal/mcp` as it stands in a manifest; a string: why it cannot, to follow the URL. */
export function readServerUrl(name: string, url: string): McpServer | string {
  const parts = /^(https?):\/\/([^/?#@]+)(\/[^?#]*)?$/.exec(url);
  if (parts === null) return "is not such as https://tracker.internal/mcp, without query and user";
  const [, said, authority, rest = "/"] = parts as unknown as [string, string, string, string?];
  const target = normaliseAuthority(authority, said === "https" ? 443 : 80);
  if (typeof target !== "string") return target.detail;
  const path = normaliseHttpPath(rest);
  if (isInvalid(path)) return path.detail;
  return { name, scheme: said === "https" ? "HTTPS" : "HTTP", target, path: path.path };
}

/** As it is written: without the port that its scheme means. */
export const serverUrl = (server: McpServer): string => `${placeText(server)}${server.path}`;

const show = (text: string): string => JSON.stringify(text.slice(0, 80));

/** What is wrong with a manifest's servers; null: sorted by name, unique, each of them somewhere. */
export function serversProblem(servers: readonly McpServer[]): string | null {
  for (const [i, server] of servers.entries()) {
    const { name, scheme, target, path } = server;
    if (!isServerName(name)) return `has ${show(name)}, which is not a server's name`;
    if (name <= (servers[i - 1]?.name ?? "")) return `is not sorted and unique at ${show(name)}`;
    if (scheme === "UNSPECIFIED") return `has ${name} with neither https:// nor http://`;
    if (normaliseAuthority(target, 0) !== target) return `has ${name} at ${show(target)}`;
    const normal = normaliseHttpPath(path);
    if (isInvalid(normal) || normal.path !== path) return `has ${name} with the path ${show(path)}`;
  }
  return null;
}

/** Two servers that some may take for one; null: each has an endpoint of its own. */
export function sameEndpoint(servers: readonly McpServer[]): string | null {
  for (const [i, { name, target, path }] of servers.entries()) {
    const same = servers.slice(0, i).find((s) => s.target === target && likePath(s.path, path));
    if (same !== undefined) return `has ${same.name} and ${name} at one endpoint`;
  }
  return null;
}

/**
 * A path as the laxest server may read it: without case, escapes, parameters behind `;`, and dots,
 * spaces and slashes at its end.
 */
function loosely(path: string): string {
  let plain = path;
  try {
    plain = decodeURIComponent(path);
  } catch {
    // A normal path always decodes.
  }
  return plain
    .toUpperCase()
    .toLowerCase()
    .split("/")
    .map((segment) => (segment.split(";")[0] as string).replace(/[. ]+$/, ""))
    .filter((segment) => segment !== "")
    .map((segment) => `/${segment}`)
    .join("");
}

const likePath = (a: string, b: string): boolean => loosely(a) === loosely(b);

/**
 * Whether a path may lead to an endpoint though it is another: servers route by what a path begins
 * with (`/mcp/x`), and pass over endings (`/mcp.json`). Of an endpoint at `/` it is `/` alone.
 */
function nearEndpoint(path: string, endpoint: string): boolean {
  const [a, b] = [loosely(path), loosely(endpoint)];
  return a === b || (b !== "" && a.startsWith(b) && !/^[a-z0-9_-]/.test(a.slice(b.length)));
}

/**
 * Which MCP server an HTTP request is for, by where it goes. NEAR: some server may take it for that
 * endpoint, so it cannot be judged by rules for HTTP either. null: none.
 */
export function serverAt(
  servers: readonly McpServer[],
  { target, path, scheme }: Pick<Claim, "target" | "path" | "scheme">,
): { readonly server: McpServer; readonly is: "ENDPOINT" | "NEAR" } | null {
  const there = servers.filter((s) => s.target === target);
  const exact = there.find((s) => s.path === path && s.scheme === scheme);
  if (exact !== undefined) return { server: exact, is: "ENDPOINT" };
  const near = there.find((s) => nearEndpoint(path, s.path));
  return near === undefined ? null : { server: near, is: "NEAR" };
}

/** Where an action is carried out by HTTP. */
export interface Place {
  readonly scheme: Scheme;
  /** `host:port`; empty: nowhere, since its server stands on pipes. */
  readonly target: string;
  readonly method: string;
  readonly path: string;
}

/** The methods by which HTTP says what MCP has no message for. */
const BY_METHOD: Readonly<Record<string, string>> = {
  "session/listen": "GET",
  "session/end": "DELETE",
};

/** Where a claim leads: what it says itself; of MCP, what the manifest says of its server. */
export function placeOf(servers: readonly McpServer[], claim: Claim): Place {
  const { protocol, scheme, target, verb, path } = claim;
  if (protocol !== "MCP") return { scheme, target, path, method: verb === "" ? "POST" : verb };
  const server = servers.find((s) => s.name === target);
  const method = BY_METHOD[verb] ?? "POST";
  if (server === undefined) return { scheme: "UNSPECIFIED", target: "", path: "", method };
  return { scheme: server.scheme, target: server.target, path: server.path, method };
}

import type { Claim } from "../../src/domain/claim.ts";
import { claimPathMax, mcpDepthMax, mcpIdMax } from "../../src/domain/limits.ts";
import { MCP_ASKS, MCP_CONTROL, MCP_METHODS } from "../../src/domain/protocol-methods.ts";
import { loosely } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";
import { type Json, parseStrictJson } from "../../src/domain/strict-json.ts";

/** As JSON-RPC has it: text or a whole number. */
export type McpId = string | number;
/** One spelling of an id: `1` and `"1"` are two. */
export const idKey = (id: McpId): string => JSON.stringify(id);

type JsonObject = ReadonlyMap<string, Json>;

export interface McpRequest {
  readonly kind: "request";
  readonly id: McpId;
  readonly method: string;
  readonly params: JsonObject;
}
export interface McpNotification {
  readonly kind: "notification";
  readonly id: null;
  readonly method: string;
  readonly params: JsonObject;
}
export interface McpResponse {
  readonly kind: "response";
  /** null: of an error about something that had none, or could not be read. */
  readonly id: McpId | null;
  /** undefined: it is an error. */
  readonly result: Json | undefined;
  readonly error: Json | undefined;
}
export type McpMessage = McpRequest | McpNotification | McpResponse;

/** What cannot be judged, as far as it could be read. */
export interface Unsound {
  readonly unsound: true;
  readonly reason: Reason;
  readonly detail: string;
  readonly id: McpId | null;
}

const ENVELOPE = ["jsonrpc", "id", "method", "params", "result", "error"];
/** What of `params` is judged, or said of the message. */
const JUDGED = [
  "name",
  "uri",
  "arguments",
  "ref",
  "argument",
  "task",
  "taskId",
  "requestId",
  "inputResponses",
  "requestState",
  "_meta",
];
const OF_RESULTS = ["resultType", "inputRequests", "requestState", "isError", "content", "_meta"];
const NONE: JsonObject = new Map();

/** Reads one JSON-RPC message as everybody would, or says why not everybody does. */
export function readMessage(bytes: Uint8Array): McpMessage | Unsound {
  let id: McpId | null = null;
  const no = (detail: string): Unsound => ({
    unsound: true,
    reason: "REQUEST_NOT_NORMAL",
    detail,
    id,
  });
  const json = parseStrictJson(bytes, mcpDepthMax);
  if (json === undefined) return no("it is not JSON that everybody reads alike");
  if (Array.isArray(json)) return no("it is a batch; messages are sent one by one");
  if (!(json instanceof Map)) return no("it is no JSON-RPC message");
  const message: JsonObject = json;
  const unclear = alike(message, ENVELOPE);
  if (unclear !== null) return no(`its key ${unclear} reads as another to some`);
  const said = message.get("id");
  const read = readId(said);
  if (read === undefined && said !== undefined) return no("its id is neither text nor an integer");
  id = read ?? null;
  if (message.get("jsonrpc") !== "2.0") return no('it does not say "jsonrpc":"2.0"');
  const [method, result, error] = ["method", "result", "error"].map((key) => message.get(key));
  if (method === undefined) {
    if ((result === undefined) === (error === undefined)) return no("it has no method");
    if (message.has("params")) return no("it has params and no method");
    if (id === null && error === undefined) return no("its result has no id");
    const odd = result instanceof Map ? alike(result as JsonObject, OF_RESULTS) : null;
    if (odd !== null) return no(`its result's key ${odd} reads as another to some`);
    return { kind: "response", id, result, error };
  }
  if (typeof method !== "string") return no("its method is not text");
  if (result !== undefined || error !== undefined) return no("it asks and answers at once");
  const params = message.get("params");
  if (params !== undefined && !(params instanceof Map)) return no("its params are no object");
  const named = (params as JsonObject | undefined) ?? NONE;
  const odd = alike(named, JUDGED);
  if (odd !== null) return no(`its parameter ${odd} reads as another to some`);
  if (said === undefined) return { kind: "notification", id: null, method, params: named };
  if (id === null) return no("its id is null");
  return { kind: "request", id, method, params: named };
}

/** null is told from nothing by its caller. */
function readId(said: Json | undefined): McpId | null | undefined {
  if (said === null) return null;
  if (typeof said === "string") return said.length <= mcpIdMax ? said : undefined;
  if (typeof said !== "bigint") return undefined;
  const id = Number(said);
  return Number.isSafeInteger(id) ? id : undefined;
}

/** A key that is none of these, and that readers who fold case or `-` take for one of them; null: none. */
function alike(object: JsonObject, keys: readonly string[]): string | null {
  for (const key of object.keys()) {
    if (!keys.includes(key) && keys.some((k) => loosely(k) === loosely(key)))
      return JSON.stringify(key.slice(0, 40));
  }
  return null;
}

/** The action that a message stands for at a server. */
export const mcpClaim = (server: string, verb: string, path = ""): Claim => ({
  version: 1,
  protocol: "MCP",
  target: server,
  verb,
  path,
  inputs: [],
  limitState: [],
  scheme: "UNSPECIFIED",
});

/** What an agent asks of a server, or tells it, as a claim; or why that cannot be judged. */
export function claimOf(
  server: string,
  { id, method, params }: McpRequest | McpNotification,
): Claim | Unsound {
  const no = (reason: Reason, detail: string): Unsound => ({ unsound: true, reason, detail, id });
  const known = id === null ? MCP_CONTROL.has(method) : isAsked(method);
  if (!known || method.startsWith("notifications/") !== (id === null)) {
    const shown = JSON.stringify(method.slice(0, 80));
    return no("PROTOCOL_UNSUPPORTED", `${shown} is no method that an agent has`);
  }
  if (MCP_METHODS.get(method) !== true) return mcpClaim(server, method);
  const name = nameIn(method, params);
  if (name === null) return no("REQUEST_NOT_NORMAL", `${method} does not say what of`);
  const odd = oddName(method, name);
  return odd === null
    ? mcpClaim(server, method, name)
    : no("REQUEST_NOT_NORMAL", `${method} ${JSON.stringify(name.slice(0, 80))} ${odd}`);
}

const isAsked = (method: string): boolean =>
  (MCP_METHODS.has(method) || MCP_CONTROL.has(method)) &&
  !MCP_ASKS.has(method) &&
  !method.startsWith("session/");

/** The tool, the prompt, the URI that a request is about; null: it does not say. */
function nameIn(method: string, params: JsonObject): string | null {
  const text = (object: Json | undefined, key: string): string | null => {
    const value = object instanceof Map ? (object as JsonObject).get(key) : undefined;
    return typeof value === "string" && value !== "" ? value : null;
  };
  if (method === "tools/call" || method === "prompts/get") return text(params, "name");
  if (method !== "completion/complete") return text(params, "uri");
  const ref = params.get("ref");
  if (!(ref instanceof Map) || alike(ref as JsonObject, ["type", "name", "uri"]) !== null)
    return null;
  return text(ref, text(ref, "type") === "ref/prompt" ? "name" : "uri");
}

/** What of a name not every server reads alike; null: nothing. */
function oddName(method: string, name: string): string | null {
  if (name.length > claimPathMax) return `is longer than ${claimPathMax} characters`;
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name)) return "has a character that is not seen";
  if (name !== name.normalize("NFC")) return "has accents that are written apart";
  if (!method.startsWith("resources/")) return null;
  if (!/^[a-z][a-z0-9+.-]*:[\x21-\x7e]*$/.test(name)) return "is no URI in one spelling";
  const path = name.replace(/[?#].*$/, "");
  if (path.includes("\\")) return "has a backslash";
  if (/%(?![0-9A-F]{2})/.test(path)) return "has an escape that is none, or in small letters";
  for (const [, code = ""] of path.matchAll(/%(..)/g)) {
    const c = String.fromCharCode(Number.parseInt(code, 16));
    if (/[A-Za-z0-9._~%/\\-]|\p{Cc}/u.test(c)) return `has the escape %${code}`;
  }
  return /[/:]\.\.?(?:[/;]|$)/.test(path) ? "has a dot segment" : null;
}

/** What a server asks the agent for inside a result: each request by its key; null: it cannot be read. */
export function asksIn({ result }: McpResponse): readonly string[] | null {
  if (!(result instanceof Map)) return [];
  const asks = (result as JsonObject).get("inputRequests");
  if (asks === undefined) return [];
  if (!(asks instanceof Map)) return null;
  const methods: string[] = [];
  for (const ask of (asks as ReadonlyMap<string, Json>).values()) {
    const method = ask instanceof Map ? (ask as JsonObject).get("method") : undefined;
    if (typeof method !== "string" || alike(ask as JsonObject, ["method", "params"]) !== null)
      return null;
    methods.push(method);
  }
  return methods;
}

const VERSION = "io.modelcontextprotocol/protocolVersion";

/** The protocol version that a message of 2026-07-28 or later names itself; null: none. */
export function versionOf({ params }: McpRequest | McpNotification): string | null {
  const meta = params.get("_meta");
  const version = meta instanceof Map ? (meta as JsonObject).get(VERSION) : undefined;
  return typeof version === "string" ? version : null;
}

/** What became of a request, in the protocol's words. */
export function outcomeOf({ error, result }: McpResponse): { status: string; failed: boolean } {
  if (error !== undefined) {
    const code = error instanceof Map ? (error as JsonObject).get("code") : undefined;
    return { status: `mcp error ${typeof code === "bigint" ? code : ""}`.trimEnd(), failed: true };
  }
  const isError = result instanceof Map && (result as JsonObject).get("isError") === true;
  return { status: isError ? "mcp isError" : "mcp result", failed: isError };
}

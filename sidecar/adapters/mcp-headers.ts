import { valuesOf } from "./http-fields.ts";
import type { RawFields } from "./http-head.ts";
import {
  type McpNotification,
  type McpRequest,
  type McpResponse,
  versionOf,
} from "./mcp-message.ts";

/** The first version whose fields must say what the body says. Versions are dates. */
const MIRRORED = "2026-07-28";
const FIELDS = [
  ...["mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"],
  ...["content-type", "content-encoding"],
];
const NAMED: Readonly<Record<string, string>> = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
};

/**
 * Where the fields of a request say otherwise than its body, by which it is judged; null: nowhere. A
 * gateway behind us may go by the fields.
 */
export function headerMismatch(
  fields: RawFields,
  message: McpRequest | McpNotification | McpResponse,
): string | null {
  const said = (name: string): string | null => valuesOf(fields, name)[0] ?? null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = (fields[i] as string).toLowerCase();
    const plain = name.replaceAll("_", "-");
    if (plain !== name && FIELDS.includes(plain)) return `the field ${name} reads as ${plain}`;
  }
  const twice = FIELDS.find((name) => valuesOf(fields, name).length > 1);
  if (twice !== undefined) return `the field ${twice} stands there twice`;
  if (message.kind === "response") {
    return said("mcp-method") === null ? null : "it names a method, and its body is an answer";
  }
  const version = said("mcp-protocol-version");
  const own = versionOf(message);
  const modern = own !== null || (version !== null && version >= MIRRORED);
  if (modern && version !== own && message.kind === "request") {
    return `mcp-protocol-version is ${show(version)}, and the body says ${show(own)}`;
  }
  const method = said("mcp-method");
  if (method === null ? modern : method !== message.method) {
    return `mcp-method is ${show(method)}, and the body says ${show(message.method)}`;
  }
  const key = NAMED[message.method];
  const value = key === undefined ? undefined : message.params.get(key);
  const name = said("mcp-name");
  if (name === null) return modern && key !== undefined ? "mcp-name is missing" : null;
  return decoded(name) === value ? null : `mcp-name is ${show(name)}, and the body says otherwise`;
}

const show = (text: string | null): string =>
  text === null ? "missing" : JSON.stringify(text.slice(0, 80));

/** A value as it stands, or undone where it says that it is base64 of UTF-8; null: it is neither. */
function decoded(value: string): string | null {
  const sentinel = /^=\?base64\?(.*)\?=$/.exec(value);
  if (sentinel === null) return /^[\x20-\x7e]*$/.test(value) ? value : null;
  const coded = sentinel[1] as string;
  const bytes = Buffer.from(coded, "base64");
  if (bytes.toString("base64") !== coded) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

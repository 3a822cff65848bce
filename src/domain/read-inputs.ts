import { byName, type Input, type InputName, type Unreadable } from "./input.ts";
import { inputValueMax } from "./limits.ts";
import { INEXACT, type Json, parseStrictJson } from "./strict-json.ts";

/** What conditions ask of a request before they can be decided. */
export interface Needs {
  /** Sorted by name, unique. No segments of the path: they stand in the claim already. */
  readonly inputs: readonly InputName[];
  /** Some stand in the body, so it is to be held back and read whole. */
  readonly body: boolean;
}

/** A request as far as conditions can ask for it, as it will be forwarded. */
export interface Readable {
  /** `?limit=3` or empty, as it was sent. */
  readonly query: string;
  /** `[name, value, name, value, …]`, in any case. */
  readonly fields: readonly string[];
  /** All of the body; why it could not be had; null: nobody asked for it. */
  readonly body: Uint8Array | "TOO_LONG" | "TOO_LATE" | "BROKEN_OFF" | null;
}

/** What is needed for these inputs; null: nothing that is not in the claim. */
export function needsOf(inputs: readonly InputName[]): Needs | null {
  const unique = new Map(inputs.filter((i) => i.source !== "path").map((i) => [i.name, i]));
  if (unique.size === 0) return null;
  const sorted = [...unique.values()].sort(byName);
  return { inputs: sorted, body: sorted.some((i) => i.source === "json" || i.source === "args") };
}

/** A value found, why it cannot be judged, or undefined: it is not there. */
type Found = string | bigint | boolean | { readonly why: Unreadable } | undefined;

const unreadable = (why: Unreadable): Found => ({ why });

/**
 * What a request shows of the inputs that are needed, as its claim lists them. What servers are known
 * to read in two ways is UNREADABLE, and so denies.
 */
export function readInputs(needs: Needs, request: Readable): Input[] {
  const body = needs.body ? readBody(request) : undefined;
  const queries = needs.inputs.some((i) => i.source === "query") ? pairsOf(request.query) : [];
  return needs.inputs.flatMap((input) => {
    const found = read(input, request, queries, body);
    return found === undefined ? [] : [asInput(input.name, found)];
  });
}

function read(
  { source, keys }: InputName,
  { fields }: Readable,
  queries: readonly QueryPair[],
  body: Json | { readonly why: Unreadable } | undefined,
): Found {
  const [key] = keys as [string];
  switch (source) {
    case "query":
      return fromQuery(key, queries);
    case "header":
      return fromFields(key, fields);
    case "json":
      return fromBody(keys, body);
    case "args":
      return fromBody(["params", "arguments", ...keys], body);
    case "path":
      return undefined;
  }
}

function asInput(name: string, found: Exclude<Found, undefined>): Input {
  switch (typeof found) {
    case "string":
      return found.length > inputValueMax
        ? { name, type: "UNREADABLE", value: "TOO_LONG" }
        : { name, type: "STRING", value: found };
    case "bigint":
      return { name, type: "INT", value: String(found) };
    case "boolean":
      return { name, type: "BOOL", value: String(found) };
    default:
      return { name, type: "UNREADABLE", value: found.why };
  }
}

/**
 * Keys that some reader or other takes for the same: Go's JSON and ASP.NET's queries do not look at
 * the case, CGI makes one of `-` and `_`.
 */
export const loosely = (key: string): string =>
  key.toUpperCase().toLowerCase().replaceAll("-", "_");

interface QueryPair {
  /** null: not everybody would read the same name there. */
  readonly name: string | null;
  readonly value: string | null;
}

function pairsOf(query: string): QueryPair[] {
  return query
    .slice(1)
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const equals = pair.indexOf("=");
      const [name, value] =
        equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
      // Old servers part pairs at `;`, too.
      return { name: pair.includes(";") ? null : plain(name), value: plain(value) };
    });
}

/**
 * A name or value of a query; null: bad escapes, `+`, which is a space to some and a plus to others, or
 * a NUL, at which text ends for some.
 */
function plain(text: string): string | null {
  if (text.includes("+")) return null;
  try {
    const decoded = decodeURIComponent(text);
    return decoded.includes("\0") ? null : decoded;
  } catch {
    return null;
  }
}

/** Names that PHP takes for the same, too: it skips spaces before one, and writes `_` for `.` and ` `. */
const looselyInQuery = (name: string): string => loosely(name.trimStart().replace(/[. ]/g, "_"));

/** Whether two names of a query may fill one: also `a` and `a[…]`, which make a value and a list of it. */
function mayBeSame(one: string, other: string): boolean {
  const [a, b] = [looselyInQuery(one), looselyInQuery(other)];
  return a === b || a.startsWith(`${b}[`) || b.startsWith(`${a}[`);
}

function fromQuery(key: string, pairs: readonly QueryPair[]): Found {
  // A name that cannot be read may be this one.
  if (pairs.some((p) => p.name === null)) return unreadable("NOT_TEXT");
  const like = pairs.filter((p) => mayBeSame(p.name as string, key));
  if (like.length > 1) return unreadable("TWICE");
  const [pair] = like;
  if (pair === undefined || pair.name !== key) return undefined;
  return pair.value ?? unreadable("NOT_TEXT");
}

function fromFields(key: string, fields: readonly string[]): Found {
  const like: number[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (loosely(fields[i] as string) === loosely(key)) like.push(i);
  }
  if (like.length > 1) return unreadable("TWICE");
  const [at] = like;
  if (at === undefined || fields[at]?.toLowerCase() !== key) return undefined;
  const value = (fields[at + 1] as string).replace(/^[ \t]+|[ \t]+$/g, "");
  return /^[\x20-\x7e]*$/.test(value) ? value : unreadable("NOT_TEXT");
}

function readBody({ body, fields }: Readable): Json | { readonly why: Unreadable } | undefined {
  if (body === null) return undefined;
  if (typeof body === "string") return { why: `BODY_${body}` };
  if (body.length === 0) return undefined;
  const type = fromFields("content-type", fields);
  const encoding = fromFields("content-encoding", fields);
  const isJson = typeof type === "string" && isJsonType(type);
  if (!isJson || (encoding !== undefined && encoding !== "identity")) return { why: "NOT_JSON" };
  return parseStrictJson(body) ?? { why: "BAD_JSON" };
}

/** Whether a content-type says JSON, in UTF-8: in another charset the same bytes may say something else. */
export const isJsonType = (type: string): boolean => JSON_TYPE.test(type);

const JSON_TYPE = /^application\/(?:[a-z0-9.+-]+\+)?json(?:[ \t]*;[ \t]*charset="?utf-8"?)?$/i;

function fromBody(
  keys: readonly string[],
  body: Json | { readonly why: Unreadable } | undefined,
): Found {
  let at = body as Json | undefined;
  if (isWhy(body)) return body;
  for (const key of keys) {
    if (!(at instanceof Map)) return undefined;
    const object = at as ReadonlyMap<string, Json>;
    at = object.get(key);
    if (at === undefined) return undefined;
    for (const other of object.keys()) {
      if (other !== key && loosely(other) === loosely(key)) return unreadable("TWICE");
    }
  }
  if (at === undefined || typeof at === "string" || typeof at === "bigint") return at;
  if (typeof at === "boolean") return at;
  return unreadable(at === INEXACT ? "NOT_INT64" : "NOT_SCALAR");
}

const isWhy = (value: unknown): value is { readonly why: Unreadable } =>
  typeof value === "object" && value !== null && "why" in value;

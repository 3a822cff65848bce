import type { RawHeaders } from "../../src/h2/fields.ts";

/** Fields of one connection, ours alone, or said anew by us. */
const NOT_FORWARDED = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "host",
  "grpc-timeout",
]);

const forwarded = (name: string): boolean =>
  !name.startsWith(":") &&
  !NOT_FORWARDED.has(name) &&
  !name.startsWith("proxy-") &&
  !name.startsWith("x-dragons-");

/** What the agent sent, fit for the upstream: without pseudo-header fields and fields of the hop. */
export function requestFields(raw: RawHeaders): string[] {
  const out: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (forwarded(name)) out.push(name, raw[i + 1] as string);
  }
  return out;
}

/** Of an upstream: it speaks of no receipt in our name, and leads nobody round us. */
const NEVER_TOLD = ["dragons-receipt", "alt-svc"];

/** What the upstream said, fit for the agent: nearly always all of it. */
export function answerFields(raw: RawHeaders): RawHeaders {
  if (!NEVER_TOLD.some((name) => raw.includes(name))) return raw;
  return raw.filter((_, i) => !NEVER_TOLD.includes(raw[i - (i % 2)] as string));
}

/** The one value of a field; null when absent; undefined when it comes twice. */
export function single(raw: RawHeaders, name: string): string | null | undefined {
  let found: string | null = null;
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i] !== name) continue;
    if (found !== null) return undefined;
    found = raw[i + 1] as string;
  }
  return found;
}

const namesSeen = new Map<string, readonly string[]>();
const NAMES_SEEN_MAX = 256;

/** Sorted, unique names of the regular fields. Calls of one method name the same, so it remembers. */
export function fieldNames(raw: RawHeaders): readonly string[] {
  let key = "";
  for (let i = 0; i < raw.length; i += 2) key += `${raw[i]}\n`;
  const known = namesSeen.get(key);
  if (known !== undefined) return known;
  const names = [...new Set(key.split("\n"))].filter((n) => n !== "" && !n.startsWith(":")).sort();
  if (namesSeen.size >= NAMES_SEEN_MAX) namesSeen.clear();
  namesSeen.set(key, names);
  return names;
}

const UNIT_US: Record<string, number> = { H: 3.6e9, M: 6e7, S: 1e6, m: 1e3, u: 1, n: 1e-3 };

/** `grpc-timeout`: one to eight digits and a unit, `250m`. Microseconds; null: malformed. */
export function parseTimeout(value: string): number | null {
  const match = /^([0-9]{1,8})([HMSmun])$/.exec(value);
  if (match === null) return null;
  return Math.ceil(Number(match[1]) * (UNIT_US[match[2] as string] as number));
}

/** The finest unit that eight digits can say, rounded down, so that nobody gains time. */
export function formatTimeout(us: number): string {
  if (us < 1e8) return `${Math.max(0, Math.floor(us))}u`;
  if (us < 1e11) return `${Math.floor(us / 1e3)}m`;
  return us < 1e14 ? `${Math.floor(us / 1e6)}S` : `${Math.floor(us / 3.6e9)}H`;
}

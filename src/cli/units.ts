import { actionText, placeText } from "../domain/action-text.ts";
import type { Rule } from "../domain/rule.ts";
import type { LeftView } from "./actions/left.ts";
import { EXIT, Failure } from "./failure.ts";

/** How times, lengths of time and hashes are typed and shown. */

const UNIT_US = { ms: 1000, s: 1_000_000, m: 60e6, h: 3600e6, d: 86_400e6 } as const;

/** `250ms`, `60s`, `30m`, `24h`, `7d` as microseconds. @throws Failure naming the flag. */
export function parseDuration(text: string, flag: string): number {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  const us = Number(match?.[1]) * UNIT_US[match?.[2] as keyof typeof UNIT_US];
  if (!(us > 0) || us > Number.MAX_SAFE_INTEGER / 2) {
    throw new Failure(EXIT.usage, `${flag}: ${text} is no length of time; write 60s, 30m or 24h`);
  }
  return us;
}

/**
 * `2026-11-24T09:00:00Z`, or a length of time before now, `2h`, as microseconds since the epoch.
 * @throws Failure naming the flag.
 */
export function parseInstant(text: string, flag: string, nowUs: number): number {
  const isUtc = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text);
  const us = isUtc ? Date.parse(text) * 1000 : nowUs - parseDuration(text, flag);
  if (us > 0) return us;
  throw new Failure(EXIT.usage, `${flag}: ${text} is no time; write 2026-11-24T09:00:00Z or 2h`);
}

/** A whole number from `least`. @throws Failure naming the flag. */
export function parseCount(text: string, flag: string, least = 1): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least)) {
    throw new Failure(EXIT.usage, `${flag}: ${text} is no whole number from ${least}`);
  }
  return value;
}

const UNIT_BYTES = { "": 1, B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 } as const;

/** `4096`, `64kB`, `1MB`, `2GB` as bytes; a kB is 1000. @throws Failure naming the flag. */
export function parseBytes(text: string, flag: string): number {
  const match = /^(\d{1,15})(B|kB|MB|GB|TB)?$/.exec(text);
  const bytes = Number(match?.[1]) * UNIT_BYTES[(match?.[2] ?? "") as keyof typeof UNIT_BYTES];
  if (!Number.isSafeInteger(bytes)) {
    throw new Failure(
      EXIT.usage,
      `${flag}: ${text} is no amount of bytes; write 4096, 64kB or 1MB`,
    );
  }
  return bytes;
}

/** `read:payments 940 actions, 1.2MB, 60 a minute, 4 at once; write:ledger unlimited` */
export function showLeft(left: readonly LeftView[]): string {
  if (left.length === 0) return "-";
  return left.map((l) => `${l.scope} ${showScopeLeft(l)}`).join("; ");
}

function showScopeLeft({ actions, bytes, perMinute, atOnce }: LeftView): string {
  const said = [
    ...(actions === null ? [] : [`${actions} ${actions === 1 ? "action" : "actions"}`]),
    ...(bytes === null ? [] : [showBytes(bytes)]),
    ...(perMinute === null ? [] : [`${perMinute} a minute`]),
    ...(atOnce === null ? [] : [`${atOnce} at once`]),
  ];
  return said.join(", ") || "unlimited";
}

/** `512B`, `64kB`, `1.5MB`: as it may be typed, and two figures are enough to look at. */
export function showBytes(bytes: number): string {
  const unit = (["TB", "GB", "MB", "kB"] as const).find((u) => bytes >= UNIT_BYTES[u]) ?? "B";
  const value = bytes / UNIT_BYTES[unit];
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)}${unit}`;
}

/** One of a closed list, however it is capitalised. @throws Failure naming the flag. */
export function parseChoice<T extends string>(
  text: string,
  flag: string,
  choices: readonly T[],
): Exclude<T, "UNSPECIFIED"> {
  const wanted = text.toUpperCase().replaceAll("-", "_");
  const found = choices.find((c) => c.toUpperCase() === wanted);
  if (found === undefined || found === "UNSPECIFIED") {
    const known = choices.filter((c) => c !== "UNSPECIFIED").map((c) => c.toLowerCase());
    throw new Failure(EXIT.usage, `${flag}: ${text} is none of ${known.join(", ")}`);
  }
  return found as Exclude<T, "UNSPECIFIED">;
}

/** `2026-11-22T21:00:00Z`; 0: `-`. */
export const showTime = (us: number): string =>
  us === 0 ? "-" : new Date(us / 1000).toISOString().replace(/\.\d+Z$/, "Z");

/** `1.5s`, `12m`, `3h`, `20d`: two figures are enough to look at. */
export function showDuration(us: number): string {
  const [unit, size] = (Object.entries(UNIT_US) as [string, number][])
    .reverse()
    .find(([, size]) => us >= size) ?? ["ms", 1000];
  const value = us / size;
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)}${unit}`;
}

/** Loud, wherever a grant is shown that does not enforce its scopes yet; empty where it does. */
export const observing = (untilUs: number): string =>
  untilUs * 1e-3 > Date.now() ? ` (OBSERVES ONLY until ${showTime(untilUs)})` : "";

/** The beginning of a hash: enough to tell apart what stands in one table. */
export const short = (hex: string): string => (hex === "" ? "-" : hex.slice(0, 16));

/** `grpc payments.v1.Payments/Refund at payments.internal:443 when json.amount <= 5` */
export const showRule = (rule: Rule): string =>
  rule.protocol === "OPAQUE"
    ? actionText(rule)
    : `${rule.protocol.toLowerCase()} ${actionText({ ...rule, target: rule.protocol === "GRPC" ? placeText(rule) : rule.target })}${rule.when === "" ? "" : ` when ${rule.when}`}`;

/** `1 message`, `2 messages`. */
export const plural = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

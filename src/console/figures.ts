/** Microseconds since the epoch as UTC: `2026-11-22T21:00:00.000123Z`. */
export function isoOf(us: number): string {
  const date = new Date(Math.floor(us / 1000));
  if (Number.isNaN(date.getTime())) return `${us} µs`;
  return date.toISOString().replace("Z", `${String(us % 1000).padStart(3, "0")}Z`);
}

/** `1 234 567`, with narrow spaces. */
export const count = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

export const plural = (n: number, noun: string): string =>
  `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** Seconds, minutes, hours or days, whichever says it shortest. */
export function span(us: number): string {
  const seconds = us / 1_000_000;
  const units = [
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
  ] as const;
  const unit = units.find(([, length]) => seconds >= 2 * length);
  if (unit === undefined) return `${Number(seconds.toPrecision(3))} s`;
  return plural(Math.round(seconds / unit[1]), unit[0]);
}

import { svg } from "./dom.ts";

/** Units of a drawing from left to right; it is scaled to the width that there is. */
export const WIDTH = 1000;
const LEFT = 96;

/** From times, in microseconds, to units of a drawing. */
export interface Scale {
  readonly from: number;
  readonly to: number;
  readonly left: number;
  readonly width: number;
  readonly x: (us: number) => number;
}

/** Covers all of the times with a little room; null: there are none. */
export function scaleOf(times: readonly number[]): Scale | null {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const us of times) {
    low = Math.min(low, us);
    high = Math.max(high, us);
  }
  if (low > high) return null;
  const room = Math.max(1_000_000, (high - low) * 0.02);
  const [from, to, width] = [low - room, high + room, WIDTH - LEFT - 4];
  const x = (us: number) =>
    LEFT + ((Math.min(Math.max(us, from), to) - from) / (to - from)) * width;
  return { from, to, left: LEFT, width, x };
}

const SECOND = 1_000_000;
/** In seconds: what people count time in. */
const STEPS = [
  1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800,
  2_592_000, 7_776_000, 31_536_000,
];

/** Ticks at round times, as long lines between two heights with the time under them. */
export function axis({ from, to, x }: Scale, top: number, bottom: number): SVGElement[] {
  const step =
    (STEPS.find((s) => (to - from) / (s * SECOND) <= 8) ?? (to - from) / SECOND) * SECOND;
  const marks: SVGElement[] = [];
  let day = "";
  for (let us = Math.ceil(from / step) * step; us <= to && marks.length < 40; us += step) {
    const date = new Date(us / 1000);
    if (Number.isNaN(date.getTime())) break;
    const [today = "", time = ""] = date.toISOString().split("T");
    const whole = step >= 86_400 * SECOND;
    const shown = whole ? today : time.slice(0, step < 60 * SECOND ? 8 : 5);
    const below = whole || today === day ? null : today;
    day = today;
    marks.push(
      svg("line", { class: "grid", x1: x(us), x2: x(us), y1: top, y2: bottom }),
      svg("text", { class: "tick", x: x(us), y: bottom + 16 }, shown),
    );
    if (below !== null) marks.push(svg("text", { class: "tick", x: x(us), y: bottom + 31 }, below));
  }
  return marks;
}

import type { LedgerReport } from "../../verifier/report.ts";
import type { Course } from "../course.ts";
import { count, isoOf, plural } from "../figures.ts";
import { OUTCOME_NAMES, OUTCOMES, outcomeOf } from "../outcome.ts";
import type { Row } from "../row.ts";
import { el, section, svg } from "./dom.ts";
import { axis, type Scale, scaleOf, WIDTH } from "./scale.ts";

interface Lane {
  readonly y: number;
  readonly height: number;
}
type LaneName = "states" | "leases" | "beats" | "idle" | "receipts" | "heads";

/** From above, with their heights in units of the drawing. */
const LANES: readonly (readonly [LaneName, string, number])[] = [
  ["states", "State", 22],
  ["leases", "Leases", 16],
  ["beats", "Heartbeats", 14],
  ["idle", "Proven idle", 8],
  ["receipts", "Receipts", 74],
  ["heads", "Heads", 14],
];
const GAP = 14;
const BINS = 220;

/**
 * Everything that was said about one ledger, along its own clock. `select` is called with the place in
 * `rows` of the first receipt of a bar that was clicked.
 */
export function timeline(
  report: LedgerReport,
  course: Course,
  rows: readonly Row[],
  select: (at: number) => void,
): HTMLElement {
  const scale = scaleOf(timesOf(report, course, rows));
  if (scale === null) return section("timeline", "Timeline", el("p", {}, "Nothing tells when."));
  const drawn: Record<LaneName, (lane: Lane) => SVGElement[]> = {
    states: (lane) => states(report, scale, lane),
    leases: (lane) => leases(report, scale, lane),
    beats: (lane) => beats(course, scale, lane),
    idle: (lane) => idle(report, scale, lane),
    receipts: (lane) => bars(rows, scale, lane, select),
    heads: (lane) => heads(course, scale, lane),
  };
  let y = GAP / 2;
  const lanes: SVGElement[] = [];
  for (const [name, title, height] of LANES) {
    const marks = drawn[name]({ y, height });
    // A lane of which the pack says nothing would look like one in which nothing happened.
    if (marks.length === 0) continue;
    const at = { x: 0, y: y + Math.min(height, 22) / 2 + 4 };
    lanes.push(svg("text", { class: "lane", ...at }, title), ...marks);
    y += height + GAP;
  }
  const says = `Timeline of ${plural(rows.length, "receipt")}, ${plural(course.beats.length, "heartbeat")} and ${plural(report.states.length, "change")} of state, from ${isoOf(scale.from)} to ${isoOf(scale.to)}`;
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${y + 36}`, class: "timeline", role: "img", "aria-label": says },
    ...axis(scale, 0, y),
    ...lanes,
  );
  return section(
    "timeline",
    "Timeline",
    el("div", { class: "wide-scroll" }, drawing),
    legend(rows),
  );
}

function timesOf({ states, leases }: LedgerReport, course: Course, rows: readonly Row[]): number[] {
  const ends = [rows[0], rows.at(-1)].flatMap((r) => (r === undefined ? [] : [r.openedAtUs]));
  const said = [course.beats[0], course.beats.at(-1)].filter((t) => t !== undefined);
  const heads = course.heads.map((h) => h.atUs).filter((t) => t > 0);
  const held = leases.flatMap((l) => [l.notBeforeUs]);
  return [...ends, ...said, ...heads, ...held, ...states.map((s) => s.atUs)];
}

function states({ states }: LedgerReport, scale: Scale, { y, height }: Lane): SVGElement[] {
  return states.flatMap(({ atUs, to, cause }, i) => {
    const [from, until] = [scale.x(atUs), scale.x(states[i + 1]?.atUs ?? scale.to)];
    const width = Math.max(1.5, until - from);
    const bar = svg(
      "rect",
      { class: `state is-${to.toLowerCase()}`, x: from, y, width, height, rx: 2 },
      svg("title", {}, `${to} from ${isoOf(atUs)}: ${cause}`),
    );
    const fits = width > to.length * 7 + 10;
    return fits ? [bar, svg("text", { class: "state-name", x: from + 6, y: y + 15 }, to)] : [bar];
  });
}

function leases({ leases }: LedgerReport, scale: Scale, { y, height }: Lane): SVGElement[] {
  return thinned(leases).map(({ leaseId, notBeforeUs, notAfterUs }, i) => {
    const from = scale.x(notBeforeUs);
    const width = Math.max(1, scale.x(Math.min(notAfterUs, scale.to)) - from);
    const at = {
      x: from,
      y: y + (i % 2) * (height / 2 + 1),
      width,
      height: height / 2 - 1,
      rx: 1.5,
    };
    const says = `${leaseId}, ${isoOf(notBeforeUs)} to ${isoOf(notAfterUs)}`;
    return svg("rect", { class: "lease", ...at }, svg("title", {}, says));
  });
}

function beats({ beats }: Course, scale: Scale, { y, height }: Lane): SVGElement[] {
  if (beats.length === 0) return [];
  const d = thinned(beats).map((us) => `M${scale.x(us).toFixed(1)} ${y}v${height}`);
  return [
    svg(
      "path",
      { class: "beat", d: d.join("") },
      svg("title", {}, plural(beats.length, "heartbeat")),
    ),
  ];
}

/** As heartbeats prove it: nothing was begun. */
function idle({ idle }: LedgerReport, scale: Scale, { y, height }: Lane): SVGElement[] {
  return thinned(idle).map(({ fromUs, untilUs, beats }) => {
    const x = scale.x(fromUs);
    const width = Math.max(1.5, scale.x(untilUs) - x);
    const says = `Nothing was begun from ${isoOf(fromUs)} to ${isoOf(untilUs)}: ${plural(beats, "heartbeat")}`;
    return svg("rect", { class: "idle", x, y, width, height, rx: 2 }, svg("title", {}, says));
  });
}

function heads({ heads, revocations }: Course, scale: Scale, lane: Lane): SVGElement[] {
  const y = lane.y + lane.height / 2;
  const cosigned = heads.filter((h) => h.atUs > 0);
  return [
    ...thinned(cosigned).map(({ atUs, size, witnesses }) => {
      const by = witnesses.length > 0 ? ` and ${plural(witnesses.length, "witness")}` : "";
      const says = svg("title", {}, `Head ${count(size)}, countersigned ${isoOf(atUs)}${by}`);
      return svg("path", { class: "head", d: `M${scale.x(atUs)} ${y - 6}l6 6l-6 6l-6 -6z` }, says);
    }),
    ...thinned(revocations).map(({ effectiveUs, kind, epoch }) => {
      const says = svg("title", {}, `Revocation ${epoch} of a ${kind}, ${isoOf(effectiveUs)}`);
      return svg("path", { class: "revoked", d: `M${scale.x(effectiveUs)} ${y - 6}v12` }, says);
    }),
  ];
}

/** Receipts by time, stacked by how they ended. */
function bars(
  rows: readonly Row[],
  scale: Scale,
  lane: Lane,
  select: (at: number) => void,
): SVGElement[] {
  const bins = binned(rows, scale);
  const most = Math.max(1, ...bins.map((b) => b.total));
  const base = lane.y + lane.height;
  const width = scale.width / BINS;
  return bins.flatMap(({ first, total, of }, i) => {
    if (total === 0) return [];
    let y = base;
    const parts = OUTCOME_NAMES.filter((name) => of[name] > 0).map((name) => {
      const tall = Math.max(2, (of[name] / most) * lane.height);
      y -= tall;
      return svg("rect", {
        class: `is-${name}`,
        x: scale.left + i * width,
        y,
        width: width - 0.6,
        height: tall,
      });
    });
    const says = `${plural(total, "receipt")} from receipt ${count(rows[first]?.seq ?? 0)}`;
    const bar = svg("g", { class: "bar" }, ...parts, svg("title", {}, says));
    bar.addEventListener("click", () => select(first));
    return [bar];
  });
}

function binned(rows: readonly Row[], scale: Scale) {
  const bins = Array.from({ length: BINS }, () => ({
    first: -1,
    total: 0,
    of: { completed: 0, denied: 0, failed: 0, record: 0 },
  }));
  for (const [at, row] of rows.entries()) {
    const part = (scale.x(row.openedAtUs) - scale.left) / scale.width;
    const bin = bins[Math.min(BINS - 1, Math.max(0, Math.floor(part * BINS)))];
    if (bin === undefined) continue;
    if (bin.total === 0) bin.first = at;
    bin.total++;
    bin.of[outcomeOf(row)]++;
  }
  return bins;
}

/** No more marks than can be told apart. */
function thinned<T>(marks: readonly T[]): T[] {
  const step = Math.max(1, Math.ceil(marks.length / WIDTH));
  return marks.filter((_, i) => i % step === 0);
}

function legend(rows: readonly Row[]): HTMLElement {
  const of = { completed: 0, denied: 0, failed: 0, record: 0 };
  for (const row of rows) of[outcomeOf(row)]++;
  const items = OUTCOME_NAMES.map((name) =>
    el(
      "li",
      {},
      el("span", { class: `mark is-${name}`, "aria-hidden": "true" }, OUTCOMES[name].mark),
      `${OUTCOMES[name].name}: ${count(of[name])}`,
    ),
  );
  return el("ul", { class: "legend" }, ...items);
}

import { exitCodeOf, type Report } from "../../verifier/report.ts";
import { count, plural, span } from "../figures.ts";
import { el, hash, said, second, svg } from "./dom.ts";

/** What the page calls a report: one that nobody but the pack vouches for is never called better. */
export type Headline = Report["verdict"] | "UNPINNED";

export const headlineOf = ({ verdict, pinned }: Report): Headline =>
  verdict === "BROKEN" || pinned ? verdict : "UNPINNED";

const MEANS: Record<Headline, string> = {
  BROKEN:
    "This pack does not hold. What failed first is named below, and nothing from there on may be relied on.",
  UNPINNED:
    "No trust file was given, so the pack vouches for itself, as a forged one would. Add your own trust file to learn more.",
  INTACT:
    "Every receipt shown is whole, signed and in order. Nobody beside the keeper of the ledger vouches that it was not rewritten.",
  PROVEN:
    "Each receipt shown is signed and stands, by itself, in a countersigned ledger. What lies between them is not shown.",
  ANCHORED:
    "Every receipt shown is whole, signed and in order, and the control plane countersigned a head over them.",
  WITNESSED:
    "Every receipt shown is whole, signed and in order, and witnesses that you named countersigned a head over them.",
};

/** Each rung takes the one before it. */
const RUNGS = [
  ["INTACT", "whole, signed, in order"],
  ["ANCHORED", "countersigned by the control plane"],
  ["WITNESSED", "countersigned by your witnesses"],
] as const;

export interface Named {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** The answer, what it means, and how far up it reaches. */
export function verdictBanner(report: Report, pack: Named): HTMLElement {
  const headline = headlineOf(report);
  return el(
    "section",
    {
      id: "verdict",
      class: `verdict is-${headline.toLowerCase()}`,
      "aria-labelledby": "verdict-title",
    },
    seal(headline),
    el("h1", { id: "verdict-title", tabindex: -1 }, headline),
    el("p", { class: "lede" }, MEANS[headline]),
    ladder(headline),
    facts(report, pack),
  );
}

function ladder(headline: Headline): HTMLElement {
  const reached = RUNGS.findIndex(([name]) => name === headline);
  const rungs = RUNGS.map(([name, says], i) =>
    el(
      "li",
      {
        class: i <= reached ? "reached" : "open",
        ...(i === reached ? { "aria-current": "step" } : {}),
      },
      el("b", {}, name),
      el("span", {}, says),
    ),
  );
  return el("ol", { class: "ladder", "aria-label": "How much is proven" }, ...rungs);
}

function facts(report: Report, pack: Named): HTMLElement {
  const { ledgers, tenant, flags } = report;
  const records = ledgers.reduce((n, l) => n + l.counts.records, 0);
  const receipts = ledgers.reduce((n, l) => n + l.counts.receipts, 0) - records;
  const further = records === 0 ? "" : `, and ${plural(records, "record")} of the control plane's`;
  const anchors = ledgers.map((l) => l.anchor).filter((a) => a !== null);
  const anchor = anchors.length === ledgers.length ? anchors[0] : undefined;
  const hidden = ledgers.reduce((us, l) => Math.max(us, l.hiddenAtMostUs), 0);
  return el(
    "dl",
    { class: "facts" },
    ...fact("Tenant", tenant === "" ? "not told" : said(tenant, 200)),
    ...fact("Receipts that hold", `${count(receipts)}${further}`),
    ...fact(
      "Newest countersigned head",
      anchor === undefined
        ? "none over all that is shown"
        : el(
            "span",
            {},
            `${count(anchor.size)}, `,
            anchor.cosignedAtUs ? second(anchor.cosignedAtUs) : "by witnesses",
          ),
    ),
    ...fact("History could be hidden for", hidden === 0 ? "not told" : `${span(hidden)} at most`),
    ...fact("Remarks", flags.length === 0 ? "none" : plural(flags.length, "remark")),
    ...fact("dragons verify ends with", `exit code ${exitCodeOf(report)}`),
    ...fact("File", el("span", {}, said(pack.name, 200), `, ${count(pack.bytes)} bytes`), true),
    ...fact("SHA-256 of the file", hash(pack.sha256), true),
  );
}

function fact(name: string, value: Node | string, wide = false): HTMLElement[] {
  return [el("div", wide ? { class: "wide" } : {}, el("dt", {}, name), el("dd", {}, value))];
}

/** A shape for each, so that nothing hangs on colour. */
function seal(headline: Headline): SVGElement {
  const ring = (r: number) => svg("circle", { cx: 32, cy: 32, r });
  const line = (d: string) => svg("path", { d });
  const marks: Record<Headline, SVGElement[]> = {
    BROKEN: [ring(28), line("M22 22 L42 42 M42 22 L22 42")],
    UNPINNED: [ring(28), line("M25 25 a7.5 7.5 0 1 1 10 7 q-3 1.5 -3 5 M32 44 v0.5")],
    INTACT: [ring(28), line("M21 33 l8 8 l15 -17")],
    PROVEN: [ring(28), line("M21 33 l8 8 l15 -17"), line("M32 2 v5 M32 57 v5 M2 32 h5 M57 32 h5")],
    ANCHORED: [ring(28), ring(22), line("M23 33 l7 7 l12 -14")],
    WITNESSED: [ring(30), ring(25), ring(20), line("M24 33 l6 6 l11 -13")],
  };
  return svg(
    "svg",
    { class: "seal", viewBox: "0 0 64 64", "aria-hidden": "true" },
    ...marks[headline],
  );
}

import type { CheckLine, Report } from "../../verifier/report.ts";
import { count } from "../figures.ts";
import { el, said, section } from "./dom.ts";

const GROUPS = [
  ["The pack, and what it rests on", 1, 19],
  ["Each receipt", 20, 39],
  ["The end", 40, 99],
] as const;

/** Every check in its order. What was not looked at is never drawn like what held. */
export function checksTable({ checks }: Report): HTMLElement {
  const bodies = GROUPS.map(([title, from, to]) =>
    el(
      "tbody",
      {},
      el("tr", { class: "group" }, el("th", { colspan: 4, scope: "rowgroup" }, title)),
      ...checks.filter((c) => c.number >= from && c.number <= to).map(line),
    ),
  );
  const head = ["", "Check", "Held", "Result"].map((name) => el("th", { scope: "col" }, name));
  return section(
    "checks",
    "Checks",
    el(
      "p",
      { class: "hint" },
      "In the order in which they run. The first that fails ends the reading.",
    ),
    el("table", { class: "checks" }, el("thead", {}, el("tr", {}, ...head)), ...bodies),
  );
}

const CLASSES: Record<CheckLine["status"], string> = {
  PASS: "pass",
  FAIL: "fail",
  "NOT CHECKABLE OFFLINE": "unchecked",
  "NOT REACHED": "unreached",
};

function line({ number, says, status, held }: CheckLine): HTMLElement {
  return el(
    "tr",
    { class: CLASSES[status] },
    el("td", { class: "number" }, `${number}`),
    el("td", {}, said(`${says.charAt(0).toUpperCase()}${says.slice(1)}`)),
    el("td", { class: "number" }, held === 0 ? "" : `${count(held)}×`),
    el("td", { class: "status" }, status),
  );
}

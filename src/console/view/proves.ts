import type { Report } from "../../verifier/report.ts";
import { el, said, section } from "./dom.ts";

/** What it proves and what it does not, in the verifier's own sentences, and everything it remarked. */
export function provesAndNot({ proves, doesNotProve, pinned }: Report): HTMLElement {
  const lines = (of: readonly string[]) => el("ul", {}, ...of.map((s) => el("li", {}, said(s))));
  const nothing = el(
    "p",
    {},
    "As a whole, nothing. The first break says up to where its receipts hold.",
  );
  return el(
    "div",
    { class: pinned ? "columns" : "columns is-unpinned" },
    section("proves", "What this proves", proves.length === 0 ? nothing : lines(proves)),
    section("proves-not", "What it does not prove", lines(doesNotProve)),
  );
}

/** The first finding is the verdict itself, which stands above. */
export function findings({ findings: [, ...rest] }: Report): HTMLElement | string {
  if (rest.length === 0) return "";
  return section(
    "findings",
    "Findings",
    el("ul", { class: "findings" }, ...rest.map((s) => el("li", {}, said(s)))),
  );
}

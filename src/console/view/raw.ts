import { isPrintable } from "../../domain/printable.ts";
import type { Report } from "../../verifier/report.ts";
import { el, said, section } from "./dom.ts";

/** The report as `dragons verify -o json` prints it, to the last byte. */
const reportText = (report: Report): string => `${JSON.stringify(report, null, 2)}\n`;

export function rawReport(report: Report): HTMLElement {
  const text = reportText(report);
  const body = el("pre", { class: "json", tabindex: 0, "aria-label": "The report as JSON" });
  const details = el("details", {}, el("summary", {}, "Read it"), body);
  // A long report is drawn when somebody wants to see it, and no sooner.
  details.addEventListener("toggle", () => {
    if (details.open && body.firstChild === null) body.append(...drawn(text));
  });
  const save = el("a", { class: "button quiet", download: "report.json" }, "Save report.json");
  save.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  return section(
    "report",
    "The report as JSON",
    el(
      "p",
      { class: "hint" },
      "Word for word what ",
      el("code", {}, "dragons verify -o json"),
      " prints.",
    ),
    el("p", { class: "actions" }, save),
    details,
  );
}

/** Lines that could be misread are written out; what is saved is as it is. */
function drawn(text: string): (Node | string)[] {
  const lines = text.split(/(?<=\n)/);
  return lines.flatMap((line) =>
    isPrintable(line.trimEnd()) ? [line] : [said(line.trimEnd(), line.length), "\n"],
  );
}

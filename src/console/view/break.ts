import { CHECKS, type CheckName } from "../../verifier/checks.ts";
import type { BrokenAt, Report } from "../../verifier/report.ts";
import { count } from "../figures.ts";
import { el, hash, said, section } from "./dom.ts";

/** Where the pack stops holding: what was checked, what it should have been, and what follows from it. */
export function firstBreak(
  broken: BrokenAt,
  salvage: Report["salvage"],
  show: (() => void) | null,
): HTMLElement {
  const { index, code, check, detail, expected, found, suspect, untrusted_from: from } = broken;
  const where = index === 0 ? "the pack itself" : `receipt ${count(index)}`;
  return section(
    "break",
    `First break: ${where}`,
    el("p", { class: "break-detail" }, said(sentence(detail))),
    expected === null || found === null ? null : hashes(broken, expected, found),
    el(
      "p",
      {},
      `Check ${CHECKS[check].number} did not hold: ${CHECKS[check].says}. `,
      el("code", {}, code),
    ),
    index === 0 ? null : strip(broken),
    el(
      "p",
      {},
      index === 0
        ? "It broke before any receipt was looked at, or at what all of them rest on: nothing in it may be relied on."
        : `Nothing from receipt ${count(from)} on may be relied on.` +
            (suspect === index
              ? ""
              : ` Most likely receipt ${count(suspect)} was changed: it is the next one that tells.`),
    ),
    salvage === null || salvage.proven === 0 ? null : el("p", {}, salvaged(salvage)),
    show === null ? null : showButton(show),
  );
}

const salvaged = ({ proven, shown, under }: NonNullable<Report["salvage"]>): string =>
  `By themselves, ${count(proven)} of the ${count(shown)} receipts of this ledger are proven to have stood under the countersigned head of ${count(under)}.`;

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

/** Whose word the two hashes are. Of any other check: the next receipt's, and this one's. */
const WORDS: Partial<Record<CheckName, readonly [string, string]>> = {
  CHAIN: ["as the receipt carries it", "the hash of the receipt before it, as that one stands now"],
  PAYLOAD: ["as it was committed to and signed", "as it comes out of what is shown"],
  INTENT_CHAIN: ["as it was stated and signed", "as it comes out of the intents shown"],
  HEADS: ["the root that was signed", "the root of the receipts shown"],
};
const NEXT = [
  "the hash that this receipt had, as its leaf or the receipt after it carries it",
  "its hash as it stands now",
] as const;

function hashes({ check, code }: BrokenAt, expected: string, found: string): HTMLElement {
  const [wanted, came] = (code === "E_LEAF_MISMATCH" ? undefined : WORDS[check]) ?? NEXT;
  return el(
    "dl",
    { class: "hashes" },
    el("dt", {}, "Expected"),
    el("dd", {}, hash(expected), el("span", {}, wanted)),
    el("dt", {}, "Found"),
    el("dd", { class: "found" }, hash(found), el("span", {}, came)),
  );
}

/** The chain around the break: what holds, what does not, what hangs on it. */
function strip({ index, untrusted_from: from }: BrokenAt): HTMLElement {
  const first = Math.max(1, from - 2);
  const links = [];
  if (first > 1) links.push(el("li", { class: "more" }, `1–${count(first - 1)}`));
  for (let seq = first; seq <= index; seq++) {
    const is = seq === index ? "bad" : seq >= from ? "untrusted" : "good";
    links.push(el("li", { class: is }, count(seq)));
  }
  links.push(el("li", { class: "untrusted" }, "all after it"));
  const label = `Receipts up to ${from - 1} hold; receipt ${index} does not; what follows hangs on it`;
  return el("ol", { class: "strip", role: "img", "aria-label": label }, ...links);
}

function showButton(show: () => void): HTMLElement {
  const button = el("button", { type: "button", class: "quiet" }, "Read the receipt as it stands");
  button.addEventListener("click", show);
  return el("p", { class: "actions" }, button);
}

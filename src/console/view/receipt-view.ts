import type { PayloadField } from "../../domain/payload.ts";
import type { LedgerReport } from "../../verifier/report.ts";
import { count } from "../figures.ts";
import type { Entry, Shown, Step } from "../shown.ts";
import { el, hash, instant, said } from "./dom.ts";

const STEPS: Record<PayloadField, { title: string; asks: string }> = {
  goal: { title: "Goal", asks: "what for" },
  action: { title: "Action", asks: "what was asked" },
  evidence: { title: "Evidence", asks: "how it was carried out" },
  outcome: { title: "Outcome", asks: "what came of it" },
  claim: { title: "Claim", asks: "all that the gate decided from" },
};

/** What is known of a receipt beside itself. `holds`: the verifier proved it. */
export interface Standing {
  readonly holds: boolean;
  /** What came of deciding again; null: it does not hold. */
  readonly decision: string | null;
  readonly ledger: LedgerReport | undefined;
}

/** One receipt from its goal to its outcome, by what right, and as it was signed. */
export function receiptView(shown: Shown, standing: Standing): HTMLElement {
  const { seq, kind, verdict, reason, count: times } = shown.header;
  const because = reason === "UNSPECIFIED" ? "" : ` · ${reason}`;
  const many = times > 1 ? ` · ${count(times)} alike` : "";
  return el(
    "article",
    { class: standing.holds ? "receipt" : "receipt unproven", "aria-labelledby": "receipt-title" },
    el("h3", { id: "receipt-title" }, `Receipt ${count(seq)}`),
    el("p", { class: "receipt-kind" }, `${kind} · ${verdict}${because}${many}`),
    standing.holds
      ? null
      : el(
          "p",
          { class: "notice" },
          "This receipt does not hold. What it says is shown as it stands, and proves nothing.",
        ),
    el("ol", { class: "spine" }, ...shown.steps.map((step) => stepView(step, standing.decision))),
    right(shown, standing),
    signed(shown),
  );
}

function stepView(step: Step, decision: string | null): HTMLElement {
  const { title, asks } = STEPS[step.field];
  const said = step.field === "claim" && decision !== null ? DECIDED[decision] : undefined;
  return el(
    "li",
    { class: `step is-${step.state.toLowerCase()}` },
    el("h4", {}, title, el("span", {}, asks)),
    body(step),
    said === undefined ? null : el("p", { class: "decided" }, said),
  );
}

const DECIDED: Record<string, string> = {
  SAME: "Decided again here, from this claim, the manifest and the lease: the same.",
  NOT_REPRODUCIBLE: "Cannot be decided again offline: it hung on something that no receipt holds.",
  UNSHOWN: "Cannot be decided again: the claim is withheld.",
};

function body({ state, entries, commitment }: Step): HTMLElement {
  switch (state) {
    case "SHOWN":
      return list(entries);
    case "UNREADABLE":
      return el(
        "div",
        {},
        el("p", { class: "hint" }, "Laid open, and of no form that is known."),
        list(entries),
      );
    case "EMPTY":
      return el("p", { class: "hint" }, "Nothing: it was committed to as empty.");
    case "WITHHELD":
      return el(
        "p",
        { class: "withheld" },
        el("b", {}, "Withheld"),
        " by whoever exported the pack. Its signature fixes what it was: ",
        hash(commitment, true),
      );
  }
}

const list = (entries: readonly Entry[]): HTMLElement =>
  el(
    "dl",
    {},
    ...entries.flatMap((e) => [el("dt", {}, said(e.label, 120)), el("dd", {}, drawn(e))]),
  );

function drawn(entry: Entry): Node | string {
  switch (entry.is) {
    case "text":
      return said(entry.value);
    case "hash":
      return hash(entry.value.slice(0, 512));
    case "time":
      return instant(entry.value);
    case "count":
      return count(entry.value);
  }
}

/** The lease that it cites, the grant that this was cut from, and whose keys signed that. */
function right({ header }: Shown, { ledger }: Standing): HTMLElement | null {
  if (header.leaseRef === "") return null;
  const lease = ledger?.leases.find((l) => l.ref === header.leaseRef);
  const grant = ledger?.grants.find((g) => g.ref === lease?.grantRef);
  const entries: [string, Node | string][] = [
    ["Lease", lease ? said(lease.leaseId) : hash(header.leaseRef)],
  ];
  if (lease !== undefined) {
    entries.push(["Held from", instant(lease.notBeforeUs)], ["Until", instant(lease.notAfterUs)]);
  }
  if (grant !== undefined) {
    entries.push(["Cut from grant", said(grant.grantId)], ["Granted for", said(grant.purpose)]);
    entries.push(...grant.signedBy.map((key): [string, Node] => ["Signed by operator", hash(key)]));
  }
  const rows = entries.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  return el("section", { class: "right" }, el("h4", {}, "By what right"), el("dl", {}, ...rows));
}

function signed({ header, hash: own }: Shown): HTMLElement {
  const rows: [string, Node | string][] = [
    ["Receipt id", said(header.receiptId)],
    ["Scope", header.scope === "" ? "none" : said(header.scope, 200)],
    ["Opened", instant(header.openedAtUs)],
    [
      "Last byte left",
      header.egressLastUs === 0 ? "nothing was forwarded" : instant(header.egressLastUs),
    ],
    ["Closed", instant(header.closedAtUs)],
    ["Hash", hash(own)],
    ["Hash of the one before", hash(header.prevHash)],
    ["Payload hash", hash(header.payloadHash)],
    ["Manifest", hash(header.manifestHash)],
    [
      "Intent",
      header.intentSeq === 0
        ? "none"
        : `${count(header.intentSeq)} of ${count(header.intentsOpened)} opened`,
    ],
  ];
  if (header.refersTo !== "") rows.push(["Speaks of", hash(header.refersTo)]);
  if (header.wouldDeny !== "UNSPECIFIED") rows.push(["Would be refused for", header.wouldDeny]);
  return el(
    "section",
    { class: "signed" },
    el("h4", {}, "As it was signed"),
    el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  );
}

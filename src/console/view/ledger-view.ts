import type { LedgerReport, Report } from "../../verifier/report.ts";
import type { Course } from "../course.ts";
import { count, plural } from "../figures.ts";
import type { Place, Row } from "../row.ts";
import { el, hash, said, section } from "./dom.ts";
import { ReceiptList } from "./receipt-list.ts";
import { receiptView } from "./receipt-view.ts";
import type { Thread } from "./thread.ts";
import { timeline } from "./timeline.ts";

/** What was told of one ledger while it was read. */
export interface Told {
  readonly course: Course;
  readonly rows: Row[];
}

/** One ledger: who it is, what happened when, and every receipt. */
export class LedgerView {
  readonly element: HTMLElement;
  readonly #report: LedgerReport | undefined;
  readonly #thread: Thread;
  readonly #detail = el("div", { class: "receipt-detail", "aria-live": "polite" });
  readonly #list: ReceiptList;
  #wanted: Place | null = null;

  constructor(report: Report, { course, rows }: Told, thread: Thread) {
    this.#thread = thread;
    this.#report = report.ledgers.find((l) => l.ledger === course.ledger);
    const held = this.#report?.counts.receipts ?? rows.length;
    this.#list = new ReceiptList(rows, held - rows.length, (row) => this.open(row, row));
    this.#detail.append(
      el("p", { class: "hint" }, "Choose a receipt to read it from goal to outcome."),
    );
    const show = (at: number) => {
      this.#list.show(at);
      this.#list.element.scrollIntoView({ block: "nearest" });
    };
    this.element = el(
      "div",
      {},
      this.#report ? identity(this.#report) : null,
      this.#report ? timeline(this.#report, course, rows, show) : null,
      section(
        "receipts",
        "Receipts",
        el("div", { class: "receipts" }, this.#list.element, this.#detail),
      ),
    );
    if (rows.length > 0)
      this.#list.show(
        Math.max(
          0,
          rows.findIndex((row) => row.kind === "ACTION"),
        ),
      );
  }

  /** Reads a receipt again from the file; `row`: as it was proven, null: it does not hold. */
  open(place: Place, row: Row | null): void {
    this.#wanted = place;
    if (row === null) this.#list.clear();
    this.#thread.receipt(place).then(
      (shown) => {
        if (this.#wanted !== place) return;
        // The file is the auditor's, and may be exchanged under the page: only what was proven is shown as such.
        const holds = row !== null && shown.hash === row.hash;
        const standing = { holds, decision: holds ? row.decision : null, ledger: this.#report };
        this.#detail.replaceChildren(receiptView(shown, standing));
      },
      (error: Error) => {
        const what =
          row === null
            ? "It cannot be read as a receipt at all"
            : "The file could not be read again";
        this.#detail.replaceChildren(
          el("p", { class: "notice" }, `${what}: `, said(error.message, 400)),
        );
      },
    );
  }
}

function identity(report: LedgerReport): HTMLElement {
  return report.role === "CONTROL" ? controlIdentity(report) : workIdentity(report);
}

const shownOf = ({ from, to, size }: LedgerReport) =>
  `${count(from)} to ${count(to)} of ${count(size)}`;

function controlIdentity(report: LedgerReport): HTMLElement {
  return section(
    "ledger",
    "The control plane's ledger",
    pairs([
      ["Ledger", hash(report.ledger)],
      ["Signed by", hash(report.ledgerKey)],
      ["Records shown", shownOf(report)],
    ]),
  );
}

function workIdentity(report: LedgerReport): HTMLElement {
  const { counts } = report;
  const did = `${count(counts.completed)} completed, ${count(counts.denied)} denied, ${count(counts.failed)} failed, ${count(counts.cut)} cut, ${count(counts.indeterminate)} unknown`;
  const purposes = report.grants.flatMap(({ purpose }, i) => [
    i > 0 ? "; " : "",
    said(purpose, 200),
  ]);
  const open = report.openIntents.length;
  return section(
    "ledger",
    "The ledger",
    pairs([
      ["Agent", said(report.manifest, 200)],
      ["Instance", said(report.instanceId, 200)],
      ["Manifest", hash(report.manifestHash)],
      ["Ledger", hash(report.ledger)],
      ["Signed by", hash(report.ledgerKey)],
      ["Receipts shown", shownOf(report)],
      ["Actions", did],
      ["Granted for", el("span", {}, ...purposes)],
      [
        "Leases, heartbeats",
        `${plural(report.leases.length, "lease")}, ${plural(report.heartbeats, "heartbeat")}`,
      ],
      ...(open === 0
        ? []
        : [["Still open", `${plural(open, "action")} begun whose end is not shown`] as const]),
    ]),
  );
}

const pairs = (rows: readonly (readonly [string, Node | string])[]): HTMLElement =>
  el(
    "dl",
    { class: "pairs" },
    ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );

import { count, isoOf, plural } from "../figures.ts";
import { OUTCOME_NAMES, OUTCOMES, type Outcome, outcomeOf } from "../outcome.ts";
import type { Row } from "../row.ts";
import { el, said } from "./dom.ts";

const ROW_PX = 52;
/** Rows drawn beyond what is seen, so that a turn of the wheel meets no gap. */
const SPARE = 12;

/**
 * Receipts of one ledger, of which only those in sight are in the document: a hundred thousand scroll
 * like ten. Arrow keys, Page Up and Down, Home and End move through it.
 */
export class ReceiptList {
  readonly element: HTMLElement;
  readonly #rows: readonly Row[];
  readonly #select: (row: Row) => void;
  readonly #box = el("div", {
    class: "receipt-list",
    role: "listbox",
    tabindex: 0,
    "aria-label": "Receipts",
  });
  readonly #spacer = el("div", { class: "spacer" });
  readonly #told = el("p", { class: "hint", role: "status" });
  /** Places in `rows` that the filter lets through. */
  #shown: number[];
  /** Of these the one that is chosen. */
  #chosen = -1;

  /** `beyond`: how many receipts hold that are not among the rows. */
  constructor(rows: readonly Row[], beyond: number, select: (row: Row) => void) {
    this.#rows = rows;
    this.#select = select;
    this.#shown = [...rows.keys()];
    this.#box.append(this.#spacer);
    this.#box.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("click", ({ target }) => {
      const option = (target as Element).closest("[data-at]");
      if (option !== null) this.#choose(Number(option.getAttribute("data-at")));
    });
    new ResizeObserver(() => this.#draw()).observe(this.#box);
    const listed =
      beyond === 0
        ? null
        : el(
            "p",
            { class: "hint" },
            `Listed are the first ${count(rows.length)}; ${plural(beyond, "more receipt")} held and were checked all the same.`,
          );
    this.element = el(
      "div",
      { class: "receipts-left" },
      this.#filters(),
      listed,
      this.#told,
      this.#box,
    );
  }

  /** Chooses a receipt by its place in the rows, and drops a filter that hides it. */
  show(at: number): void {
    let place = this.#shown.indexOf(at);
    if (place < 0) {
      this.#shown = [...this.#rows.keys()];
      place = at;
    }
    this.#choose(place);
  }

  /** Chooses none: what is shown beside it is not among its rows. */
  clear(): void {
    this.#chosen = -1;
    this.#draw();
  }

  #filters(): HTMLElement {
    const search = el("input", {
      type: "search",
      placeholder: "Number, action, scope, reason, hash",
      "aria-label": "Search receipts",
    });
    const ended = el(
      "select",
      { "aria-label": "Which receipts" },
      el("option", { value: "" }, "All receipts"),
      ...OUTCOME_NAMES.map((name) => el("option", { value: name }, OUTCOMES[name].name)),
      el("option", { value: "observed" }, "Merely observed"),
      el("option", { value: "withheld" }, "With something withheld"),
    );
    const apply = () => this.#filter(search.value.trim().toLowerCase(), ended.value);
    search.addEventListener("input", apply);
    ended.addEventListener("change", apply);
    return el("div", { class: "filters" }, search, ended);
  }

  #filter(words: string, ended: string): void {
    this.#shown = [...this.#rows.keys()].filter((at) => {
      const row = this.#rows[at] as Row;
      return isOf(row, ended as Outcome | "" | "observed" | "withheld") && speaksOf(row, words);
    });
    this.#chosen = -1;
    this.#box.scrollTop = 0;
    this.#draw();
  }

  #choose(place: number): void {
    const at = Math.min(Math.max(place, 0), this.#shown.length - 1);
    const row = this.#rows[this.#shown[at] ?? -1];
    if (row === undefined) return;
    this.#chosen = at;
    const { scrollTop, clientHeight } = this.#box;
    if (at * ROW_PX < scrollTop) this.#box.scrollTop = at * ROW_PX;
    if ((at + 1) * ROW_PX > scrollTop + clientHeight) {
      this.#box.scrollTop = (at + 1) * ROW_PX - clientHeight;
    }
    this.#draw();
    this.#select(row);
  }

  #key(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.#box.clientHeight / ROW_PX) - 1);
    const moves: Record<string, number> = {
      ArrowDown: this.#chosen + 1,
      ArrowUp: this.#chosen - 1,
      PageDown: this.#chosen + page,
      PageUp: this.#chosen - page,
      Home: 0,
      End: this.#shown.length - 1,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(to);
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.#box;
    const total = this.#shown.length;
    this.#told.textContent =
      total === this.#rows.length
        ? plural(total, "receipt")
        : `${count(total)} of ${plural(this.#rows.length, "receipt")}`;
    this.#spacer.style.height = `${total * ROW_PX}px`;
    const from = Math.max(0, Math.floor(scrollTop / ROW_PX) - SPARE);
    const to = Math.min(total, Math.ceil((scrollTop + clientHeight) / ROW_PX) + SPARE);
    const options: HTMLElement[] = [];
    for (let place = from; place < to; place++) options.push(this.#option(place));
    this.#spacer.replaceChildren(...options);
    if (this.#chosen < 0) this.#box.removeAttribute("aria-activedescendant");
    else this.#box.setAttribute("aria-activedescendant", `receipt-${this.#chosen}`);
  }

  #option(place: number): HTMLElement {
    const row = this.#rows[this.#shown[place] as number] as Row;
    const ended = outcomeOf(row);
    const option = el(
      "div",
      {
        id: `receipt-${place}`,
        class: "row",
        role: "option",
        "data-at": place,
        "aria-selected": String(place === this.#chosen),
        "aria-setsize": this.#shown.length,
        "aria-posinset": place + 1,
      },
      el("span", { class: "seq" }, count(row.seq)),
      el("span", { class: `mark is-${ended}`, title: OUTCOMES[ended].name }, OUTCOMES[ended].mark),
      el(
        "span",
        { class: "what" },
        row.action === null
          ? el("i", {}, row.withheld > 0 ? "withheld" : "nothing told")
          : said(row.action),
      ),
      el("span", { class: "when" }, isoOf(row.openedAtUs).slice(0, 23).replace("T", " ")),
      el("span", { class: "why" }, remark(row)),
    );
    option.style.transform = `translateY(${place * ROW_PX}px)`;
    return option;
  }
}

function remark({ kind, verdict, reason, scope, count: times, observed }: Row): Node | string {
  const because = reason === "UNSPECIFIED" ? verdict : reason;
  if (kind === "DENIAL") return times > 1 ? `${because} ×${count(times)}` : because;
  if (kind !== "ACTION") return kind;
  if (verdict !== "COMPLETED") return because;
  return observed ? "observed" : said(scope, 60);
}

function isOf(row: Row, ended: Outcome | "" | "observed" | "withheld"): boolean {
  if (ended === "") return true;
  if (ended === "observed") return row.observed;
  if (ended === "withheld") return row.withheld > 0;
  return outcomeOf(row) === ended;
}

function speaksOf(row: Row, words: string): boolean {
  if (words === "") return true;
  const { seq, action, scope, reason, verdict, hash } = row;
  if (String(seq) === words) return true;
  return `${action ?? ""}\n${scope}\n${reason}\n${verdict}\n${hash}`.toLowerCase().includes(words);
}

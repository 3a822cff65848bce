import { trustFileMax } from "../domain/limits.ts";
import type { Report } from "../verifier/report.ts";
import { count } from "./figures.ts";
import type { Tell } from "./messages.ts";
import { firstBreak } from "./view/break.ts";
import { checksTable } from "./view/checks-table.ts";
import { byId, el, said } from "./view/dom.ts";
import { watchIntake } from "./view/intake.ts";
import { LedgerView, type Told } from "./view/ledger-view.ts";
import { findings, provesAndNot } from "./view/proves.ts";
import { rawReport } from "./view/raw.ts";
import { Thread } from "./view/thread.ts";
import { headlineOf, verdictBanner } from "./view/verdict.ts";

type Done = Extract<Tell, { tell: "report" }>;

/** The verification that is going on, or whose outcome is shown. */
let thread: Thread | null = null;

watchIntake(({ pack, trust }) => void begin(pack, trust));
byId("cancel").addEventListener("click", () => {
  thread?.end();
  byId("progress").hidden = true;
});
byId("own-hash").textContent = `sha256sum ${ownName()}`;

async function begin(pack: File, trust: File | null): Promise<void> {
  thread?.end();
  byId("outcome").replaceChildren();
  document.body.classList.remove("answered");
  if (trust !== null && trust.size > 4 * trustFileMax)
    return refuse("the trust file is too large to be one");
  const text = trust === null ? null : await trust.text();
  const own = new Thread(pack);
  thread = own;
  const ledgers: Told[] = [];
  let held = 0;
  byId("progress").hidden = false;
  showProgress(0, pack.size, 0);
  own.verify(text, Date.now() * 1000, (tell) => {
    if (thread !== own) return;
    switch (tell.tell) {
      case "progress":
        return showProgress(tell.read, tell.of, held);
      case "course":
        ledgers.push({ course: tell.course, rows: [] });
        return;
      case "rows":
        held += tell.rows.length;
        for (const row of tell.rows) ledgers.at(-1)?.rows.push(row);
        return;
      case "report":
        byId("progress").hidden = true;
        return show(tell, pack, ledgers, own);
      case "fault":
        return refuse(`${tell.fault.field}: ${tell.fault.fix}`, "The trust file is not in order");
      default:
        return refuse(
          tell.tell === "failure" ? tell.message : tell.tell,
          "It could not be checked",
        );
    }
  });
}

function showProgress(read: number, of: number, held: number): void {
  byId<HTMLProgressElement>("progress-bar").value = of === 0 ? 1 : read / of;
  byId("progress-note").textContent =
    `${count(read)} of ${count(of)} bytes, ${count(held)} receipts hold`;
}

function refuse(why: string, title = "The trust file is not in order"): void {
  byId("progress").hidden = true;
  byId("verdict-said").textContent = `${title}: ${why}`;
  byId("outcome").replaceChildren(
    el(
      "section",
      { class: "refused" },
      el("h2", {}, title),
      el("p", { class: "notice" }, said(why, 600)),
    ),
  );
}

function show(done: Done, pack: File, ledgers: readonly Told[], own: Thread): void {
  const { report, sha256, broken } = done;
  const views = ledgers.map((told) => new LedgerView(report, told, own));
  const room = el("div", {});
  const choose = (at: number) => room.replaceChildren(...(views[at] ? [views[at].element] : []));
  choose(0);
  // The one that broke was read last.
  const last = views.length - 1;
  const openBroken = () => {
    if (broken === null) return;
    choose(last);
    views[last]?.open(broken, null);
  };
  openBroken();
  const showBroken =
    broken === null || last < 0
      ? null
      : () => {
          openBroken();
          byId("receipts").scrollIntoView();
        };
  byId("outcome").replaceChildren(
    verdictBanner(report, { name: pack.name, bytes: pack.size, sha256 }),
    report.broken === null ? "" : firstBreak(report.broken, report.salvage, showBroken),
    provesAndNot(report),
    findings(report),
    ledgers.length > 1 ? chooser(report, ledgers, choose) : "",
    room,
    checksTable(report),
    rawReport(report),
  );
  document.body.classList.add("answered");
  byId("verdict-said").textContent = `${headlineOf(report)}. ${report.findings[0] ?? ""}`;
  byId("verdict").scrollIntoView();
}

function chooser(
  { ledgers }: Report,
  told: readonly Told[],
  choose: (at: number) => void,
): HTMLElement {
  const options = told.map(({ course }, i) => {
    const of = ledgers.find((l) => l.ledger === course.ledger);
    const short = course.ledger.slice(0, 16);
    const name =
      of === undefined
        ? short
        : `${of.role === "CONTROL" ? `the control plane's own, ${short}` : `${of.manifest}, ${of.instanceId}`}, ${of.verdict}`;
    return el("option", { value: i }, said(name, 200).textContent ?? "");
  });
  const select = el("select", { id: "ledger-choice" }, ...options);
  select.addEventListener("change", () => choose(Number(select.value)));
  return el("p", { class: "chooser" }, el("label", { for: "ledger-choice" }, "Ledger"), select);
}

/** This file's name, for the command that hashes it. */
function ownName(): string {
  const name = decodeURIComponent(location.pathname.split("/").at(-1) ?? "");
  return /^[\w.-]+$/.test(name) ? name : "auditor.html";
}

import { CHECKS } from "./checks.ts";
import { FLAGS, type Flag } from "./flags.ts";
import type { LedgerReport, Report } from "./report.ts";

type Said = Pick<Report, "findings" | "proves" | "doesNotProve">;

/** A report in sentences that a person may quote: what was found, what it proves, what it does not. */
export function saysWhat(report: Omit<Report, keyof Said>): Said {
  return {
    findings: [
      verdictLine(report),
      ...salvaged(report),
      ...report.ledgers.flatMap(ledgerLines),
      ...report.flags.map((flag) => flagLine(flag, report.ledgers.length > 1)),
      ...supposed(report),
    ],
    proves: report.verdict === "BROKEN" ? [] : provenBy(report),
    doesNotProve: LIMITS,
  };
}

function verdictLine({ verdict, broken, pinned, ledgers }: Omit<Report, keyof Said>): string {
  const word = pinned ? "" : " UNPINNED: no trust file was given, so the pack vouches for itself.";
  if (broken !== null) {
    const where = broken.index === 0 ? "in the pack itself" : `at receipt ${broken.index}`;
    const from =
      broken.index === 0
        ? ""
        : ` Nothing from receipt ${broken.untrusted_from} on may be relied on.`;
    const { number, says } = CHECKS[broken.check];
    return `BROKEN(${broken.code}, ${broken.index}) ${where}: ${broken.detail}. Check ${number} says: ${says}.${from}${word}`;
  }
  const records = ledgers.reduce((n, l) => n + l.counts.records, 0);
  const receipts = ledgers.reduce((n, l) => n + l.counts.receipts, 0) - records;
  const shown =
    records === 0 ? `${receipts} receipts` : `${receipts} receipts and ${records} records`;
  return `${verdict}: ${shown} in ${plural(ledgers.length, "ledger")}, ${MEANS[verdict]}.${word}`;
}

const MEANS = {
  BROKEN: "",
  INTACT: "whole and signed, but no countersigned head covers them",
  PROVEN:
    "each signed and, by itself, under a countersigned head; what lies between them is not shown",
  ANCHORED: "whole, signed, and under a head that the control plane countersigned",
  WITNESSED: "whole, signed, and under a head that the auditor's own witnesses countersigned",
} as const;

function salvaged({ salvage }: Omit<Report, keyof Said>): string[] {
  if (salvage === null) return [];
  const { proven, shown, under, seqs } = salvage;
  const which = seqs.length === 0 ? "" : `: ${places(seqs)}`;
  return [
    `${proven} of ${shown} receipts of that ledger are individually proven, signed and under the countersigned head of ${under}${which}. What lies between them, their leases and their decisions are not.`,
  ];
}

function supposed({ whatIf }: Omit<Report, keyof Said>): string[] {
  if (whatIf === null) return [];
  const { scopes, allowed, refused, unshown, changes } = whatIf;
  const said = (c: (typeof changes)[number]) => `receipt ${c.seq}: ${c.was}, would be ${c.would}`;
  const others = changes.length === 0 ? "all as it was" : changes.slice(0, 20).map(said).join("; ");
  return [
    `Under a lease of ${scopes.length === 0 ? "no scope" : scopes.join(", ")}: ${allowed} allowed, ${refused} refused, ${unshown} not to be decided; ${others}.`,
  ];
}

function stateLines({
  history,
  leases,
  states,
  idle,
  brackets,
  witnessedSize,
}: LedgerReport): string[] {
  const lines: string[] = [];
  const [worst] = history.objections;
  if (history.agreement === "AGREES")
    lines.push(`Its ${plural(states.length, "change")} of state follow from what they cite.`);
  else if (worst !== undefined)
    lines.push(
      `${history.objections.length} of its ${states.length} changes of state ${history.agreement === "DIFFERS" ? "do not follow from what they cite" : "cannot be decided anew"}; the first, to ${worst.to} at ${time(worst.atUs)}: ${worst.why}.`,
    );
  const noted = [...leases, ...states].filter((x) => x.recordedSeq > 0).length;
  if (noted > 0 && noted === leases.length + states.length)
    lines.push(
      `The control plane's ledger has each of its ${plural(leases.length, "lease")} and ${plural(states.length, "change")} of state.`,
    );
  const [longest] = idle.toSorted((a, b) => b.untilUs - b.fromUs - (a.untilUs - a.fromUs));
  if (longest !== undefined) {
    const { fromUs, untilUs, beats, datedFromUs: a, datedUntilUs: b } = longest;
    const others = a > 0 ? `; by the control plane's clock from ${time(a)} to ${time(b)}` : "";
    lines.push(
      `Nothing was begun in ${plural(idle.length, "time")}; the longest, by ${beats} heartbeats without a gap, from ${time(fromUs)} to ${time(untilUs)}${others}.`,
    );
  }
  if (witnessedSize > 0)
    lines.push(`Your witnesses stand behind its receipts up to ${witnessedSize}.`);
  const last = brackets.findLast((b) => b.beforeUs > 0);
  if (last !== undefined)
    lines.push(
      `By others' clocks receipts up to ${last.toSeq} were there at ${time(last.beforeUs)}.`,
    );
  return lines;
}

function ledgerLines(ledger: LedgerReport): string[] {
  const { counts, anchor } = ledger;
  const who =
    ledger.role === "CONTROL"
      ? "the control plane's own"
      : `${ledger.manifest}, instance ${ledger.instanceId}`;
  const head = anchor
    ? `head ${anchor.size} countersigned ${time(anchor.cosignedAtUs)}`
    : "no countersigned head";
  const shown = `Ledger ${ledger.ledger.slice(0, 16)} (${who}): ${ledger.role === "CONTROL" ? "records" : "receipts"} ${ledger.from} to ${ledger.to}, ${head}.`;
  if (ledger.role === "CONTROL") return [shown];
  return [
    shown,
    `It completed ${counts.completed}, failed ${counts.failed}, denied ${counts.denied}, cut ${counts.cut}, and left ${counts.indeterminate} indeterminate.`,
    ...(counts.observed === 0
      ? []
      : [
          `${counts.observed} of its actions were in no scope: a grant that merely observed let them pass.`,
        ]),
    ...stateLines(ledger),
    `Decisions repeated: ${counts.decisionsSame} the same, ${counts.decisionsNotReproducible} not reproducible offline, ${counts.decisionsUnshown} with the claim withheld.`,
  ];
}

/** `named`: whether to say of which ledger it is. */
function flagLine({ flag, count, at, detail, ledger }: Flag, named: boolean): string {
  const where =
    at.length > 0 ? `@${places(at)}` : count > 1 || flag === "UNANCHORED_TAIL" ? `:${count}` : "";
  const of = named && ledger !== "" ? ` of ledger ${ledger.slice(0, 16)}` : "";
  return `${flag}${where}${of}: ${FLAGS[flag]}${detail === "" ? "" : ` (${detail})`}.`;
}

function provenBy({ ledgers, pinned }: Omit<Report, keyof Said>): string[] {
  const lines = [
    "Every receipt shown is signed by its ledger's key, in an unbroken chain, under leases that held when it was opened.",
    pinned
      ? "Each lease was cut from a grant that an operator of the tenant signed."
      : "Who the operators are rests on the pack's own word, since no trust file was given.",
  ];
  const longest = ledgers.reduce((us, l) => Math.max(us, l.hiddenAtMostUs), 0);
  if (longest > 0) {
    lines.push(
      `Each lease pins the history that earned it: hiding actions could go on for ${longest / 1_000_000} s at most.`,
    );
  }
  return lines;
}

const LIMITS = [
  "Whoever holds the ledger key can rewrite what no pinned or countersigned head covers yet.",
  "Tenant and vendor together can drop the newest checkpoint; only a witness, or a head that you hold yourself, shows that.",
  "A receipt tells what crossed the boundary, not that nothing went round it.",
];

const places = (at: Flag["at"]): string =>
  at.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
const time = (us: number): string =>
  us === 0 ? "by witnesses" : new Date(us / 1000).toISOString().replace(/\.\d+Z$/, "Z");
const plural = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

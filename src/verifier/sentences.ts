import { CHECKS } from "./checks.ts";
import { FLAGS, type Flag } from "./flags.ts";
import type { LedgerReport, Report } from "./report.ts";

type Said = Pick<Report, "findings" | "proves" | "doesNotProve">;

/** A report in sentences that a person may quote: what was found, what it proves, what it does not. */
export function saysWhat(report: Omit<Report, keyof Said>): Said {
  return {
    findings: [
      verdictLine(report),
      ...report.ledgers.flatMap(ledgerLines),
      ...report.flags.map(flagLine),
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
  const receipts = ledgers.reduce((n, l) => n + l.counts.receipts, 0);
  return `${verdict}: ${receipts} receipts in ${plural(ledgers.length, "ledger")}, ${MEANS[verdict]}.${word}`;
}

const MEANS = {
  BROKEN: "",
  INTACT: "whole and signed, but no countersigned head covers them",
  ANCHORED: "whole, signed, and under a head that the control plane countersigned",
  WITNESSED: "whole, signed, and under a head that the auditor's own witnesses countersigned",
} as const;

function ledgerLines(ledger: LedgerReport): string[] {
  const { counts, anchor } = ledger;
  const who =
    ledger.role === "CONTROL"
      ? "the control plane's own"
      : `${ledger.manifest}, instance ${ledger.instanceId}`;
  const head = anchor
    ? `head ${anchor.size} countersigned ${time(anchor.cosignedAtUs)}`
    : "no countersigned head";
  const shown = `Ledger ${ledger.ledger.slice(0, 16)} (${who}): receipts ${ledger.from} to ${ledger.to}, ${head}.`;
  if (ledger.role === "CONTROL") return [shown];
  return [
    shown,
    `It completed ${counts.completed}, failed ${counts.failed}, denied ${counts.denied}, cut ${counts.cut}, and left ${counts.indeterminate} indeterminate.`,
    ...(counts.observed === 0
      ? []
      : [
          `${counts.observed} of its actions were in no scope: a grant that merely observed let them pass.`,
        ]),
    `Decisions repeated: ${counts.decisionsSame} the same, ${counts.decisionsNotReproducible} not reproducible offline, ${counts.decisionsUnshown} with the claim withheld.`,
  ];
}

function flagLine({ flag, count, at, detail }: Flag): string {
  const places = at.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
  const where =
    at.length > 0 ? `@${places}` : count > 1 || flag === "UNANCHORED_TAIL" ? `:${count}` : "";
  return `${flag}${where}: ${FLAGS[flag]}${detail === "" ? "" : ` (${detail})`}.`;
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

const time = (us: number): string =>
  us === 0 ? "by witnesses" : new Date(us / 1000).toISOString().replace(/\.\d+Z$/, "Z");
const plural = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

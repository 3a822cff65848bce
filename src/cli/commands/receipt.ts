import type { Command } from "commander";
import { actionText } from "../../domain/action-text.ts";
import type { OpenReceipt, ReceiptFilter, ReceiptView } from "../actions/receipt.ts";
import { defined, leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Json, printEvent, printOne, printRows, type Row, say } from "../output.ts";
import { parseChoice, parseCount, plural, showTime } from "../units.ts";

interface Filter {
  instance?: string;
  ledger?: string;
  verdict?: string;
  limit: string;
  central?: boolean;
}

interface WatchFilter extends Filter {
  scope?: string;
  name?: string;
  agentVersion?: string;
  when?: string;
}

export function register(program: Command): void {
  const receipt = program.command("receipt").description("what was done, and what was refused");
  const sources = [...OPERATOR, "sidecar"] as const;
  filtered(
    leaf(receipt, "list", "list receipts: headers, or with --sidecar what they commit to", sources),
  )
    .option("--limit <n>", "at most so many", "100")
    .option(...CENTRAL)
    .action(run<Filter>(listReceipts));
  filtered(
    leaf(receipt, "watch", "show each receipt as the control plane comes to hold it", OPERATOR),
  )
    .option("--scope <name>", "only under this scope")
    .option("--name <name>", "only of agents of this name")
    .option("--agent-version <version>", "only of this version of their manifest")
    .option("--when <condition>", "such as 'receipt.verdict == \"DENIED\"'")
    .action(
      run<WatchFilter>(async (context, options) => {
        const { watchReceipts } = await import("../actions/receipt.ts");
        const { agentVersion: version, name, scope, when } = options;
        const filter = {
          ...(await filterOf(context, options)),
          ...defined({ scope, name, version, when }),
        };
        const begun = () => say("— watching —");
        for await (const r of watchReceipts(await context.control(), filter, { begun })) {
          printEvent(context.format, row(r));
        }
      }),
    );
  leaf(receipt, "show <receipt>", "show one: its header, or with --sidecar all of it", sources)
    .option(...CENTRAL)
    .action(
      run<Pick<Filter, "central">>(async (context, options, [id = ""]) => {
        const { getReceipt, openReceipt } = await import("../actions/receipt.ts");
        if (!asksSidecar(context, options)) {
          return printOne(context.format, detail(await getReceipt(await context.control(), id)));
        }
        const { entry } = await (await context.sidecar()).evidence.getEntry({ receiptId: id });
        if (entry !== undefined) printOne(context.format, openDetail(openReceipt(entry)));
      }),
    );
  leaf(
    receipt,
    "correct <receipt>",
    "say in a further receipt what is wrong with one: it stays as it is",
    ["sidecar"],
  )
    .requiredOption("--reason <text>", "what is right; everybody who reads the ledger sees it")
    .action(
      run<{ reason: string }>(async (context, { reason }, [id = ""]) => {
        const { evidence } = await context.sidecar();
        const { receiptId } = await evidence.correct({ receiptId: id, text: reason });
        amended(context, receiptId, `corrects ${id}`);
      }),
    );
  leaf(
    receipt,
    "redact <receipt>",
    "erase what one holds beside its header, and say so in a further receipt",
    ["sidecar"],
  )
    .requiredOption("--reason <text>", "why; it stays, and everybody who reads the ledger sees it")
    .option(
      "--fields <names>",
      "of goal, action, evidence, outcome, claim; all of them unless said",
    )
    .action(
      run<{ reason: string; fields?: string }>(async (context, options, [id = ""]) => {
        const { evidence } = await context.sidecar();
        const fields = options.fields?.split(",").map((f) => f.trim()) ?? [];
        const { reason } = options;
        const { receiptId } = await evidence.redact({ receiptId: id, fields, reason });
        amended(context, receiptId, `erased from ${id}: ${fields.join(", ") || "everything"}`);
      }),
    );
}

function amended(context: Context, receiptId: string, what: string): void {
  const data = { receiptId };
  printOne(context.format, { name: receiptId, cells: { RECEIPT: receiptId }, data });
  say(`dragons: ${receiptId} ${what}`);
}

const CENTRAL = ["--central", "the control plane's headers, even where a sidecar is set"] as const;

/** The sidecar, where one is set, knows more; the control plane has the headers, and of every ledger. */
const asksSidecar = (
  context: Context,
  { central, instance, ledger }: Pick<Filter, "central" | "instance" | "ledger">,
): boolean =>
  central !== true &&
  instance === undefined &&
  ledger === undefined &&
  context.optional("sidecar") !== null;

const filtered = (command: Command): Command =>
  command
    .option("--instance <id>", "only of this instance, as the control plane has them")
    .option("--ledger <id>", "only of this ledger, as the control plane has them")
    .option("--verdict <verdict>", "completed, failed, denied, cut or indeterminate");

async function listReceipts(context: Context, options: Filter): Promise<void> {
  const limit = parseCount(options.limit, "--limit");
  const { listEntries, listReceipts } = await import("../actions/receipt.ts");
  const rows: Row[] = [];
  if (asksSidecar(context, options)) {
    const verdict = await verdictOf(options);
    for await (const r of listEntries(await context.sidecar())) {
      if (verdict !== undefined && r.verdict !== verdict) continue;
      rows.push(openRow(r));
      if (rows.length === limit) break;
    }
  } else {
    const filter = await filterOf(context, options);
    for await (const r of listReceipts(await context.control(), filter)) {
      rows.push(row(r));
      if (rows.length === limit) break;
    }
  }
  printRows(context.format, rows);
}

async function verdictOf({ verdict }: Filter) {
  const { VERDICTS } = await import("../../domain/receipt.ts");
  return verdict === undefined ? undefined : parseChoice(verdict, "--verdict", VERDICTS);
}

async function filterOf(context: Context, options: Filter): Promise<ReceiptFilter> {
  const { getOrganism } = await import("../actions/organism.ts");
  const verdict = await verdictOf(options);
  const { ledger } = options;
  if (ledger !== undefined && !/^[0-9a-f]{64}$/.test(ledger)) {
    throw new Failure(
      EXIT.usage,
      `--ledger: ${ledger} is not 64 hex digits; see: dragons organism show`,
    );
  }
  const ledgerId =
    ledger ??
    (options.instance === undefined
      ? undefined
      : (await getOrganism(await context.control(), options.instance)).organism.ledgerId);
  return {
    ...defined({ ledgerId, verdict }),
  };
}

const row = (r: ReceiptView): Row => ({
  name: r.receiptId,
  cells: {
    receipt: r.receiptId,
    seq: `${r.seq}`,
    kind: r.kind.toLowerCase(),
    verdict: r.verdict === "UNSPECIFIED" ? "-" : r.verdict.toLowerCase(),
    reason: reasonsOf(r),
    scope: r.scope || "-",
    opened: showTime(r.openedAtUs),
  },
  data: header(r),
});

/** Why it did not complete, and why it would not even have begun. */
export const reasonsOf = ({ reason, wouldDeny }: ReceiptView): string =>
  [reason, wouldDeny === "UNSPECIFIED" ? wouldDeny : `WOULD_DENY ${wouldDeny}`]
    .filter((r) => r !== "UNSPECIFIED")
    .join(", ") || "-";

/** The header alone: an open receipt has more, in forms that are not for printing. */
const header = (r: ReceiptView): { [key: string]: Json } => ({
  receiptId: r.receiptId,
  ledgerId: r.ledgerId,
  seq: r.seq,
  kind: r.kind,
  verdict: r.verdict,
  reason: r.reason,
  scope: r.scope,
  wouldDeny: r.wouldDeny,
  openedAtUs: r.openedAtUs,
  closedAtUs: r.closedAtUs,
  egressLastUs: r.egressLastUs,
  intentSeq: r.intentSeq,
  count: r.count,
  leaseRef: r.leaseRef,
  manifestHash: r.manifestHash,
  payloadHash: r.payloadHash,
  prevHash: r.prevHash,
  signer: r.signer,
});

const plain = (value: unknown): Json =>
  JSON.parse(
    JSON.stringify(value, (_key, v) =>
      v instanceof Uint8Array ? Buffer.from(v).toString("hex") : v,
    ),
  ) as Json;

function openRow(r: OpenReceipt): Row {
  const base = row(r);
  const { claim } = r.contents;
  const asked = claim === null ? "-" : actionText(claim);
  return { ...base, cells: { ...base.cells, action: asked }, data: openData(r) };
}

const openData = (r: OpenReceipt): Json => ({
  ...header(r),
  disclosed: [...r.disclosed],
  contents: plain(r.contents),
});

function detail(r: ReceiptView): Row {
  const cells = {
    ...row(r).cells,
    closed: showTime(r.closedAtUs),
    "last byte": showTime(r.egressLastUs),
    ledger: r.ledgerId,
    lease: r.leaseRef || "-",
    manifest: r.manifestHash,
    "signed by": r.signer,
  };
  return { ...row(r), cells };
}

function openDetail(r: OpenReceipt): Row {
  const { goal, action, evidence, outcome, claim } = r.contents;
  const cells = {
    ...detail(r).cells,
    goal: goal === null ? "not kept" : [goal.purpose, goal.goal].filter((g) => g !== "").join(": "),
    claim: claim === null ? "not kept" : `${claim.protocol.toLowerCase()} ${actionText(claim)}`,
    action:
      action === null
        ? "not kept"
        : `${plural(action.messages, "message")}, ${plural(action.bodyBytes, "byte")} out`,
    evidence: evidence === null ? "not kept" : `dialled ${evidence.dialled || "nothing"}`,
    outcome:
      outcome === null
        ? "not kept"
        : `${outcome.status}; ${plural(outcome.messages, "message")}, ${plural(outcome.bodyBytes, "byte")} back`,
  };
  return { ...row(r), cells, data: openData(r) };
}

import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import type { PayloadField } from "../../domain/payload.ts";
import { leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { printOne, say } from "../output.ts";
import { parseCount, parseInstant } from "../units.ts";
import { register as inactivity } from "./inactivity.ts";

interface Export {
  out: string;
  from?: string;
  to?: string;
  disclose?: string;
  lease?: string;
  since?: string;
  until?: string;
  receipt?: string[];
  withPage?: boolean;
  withoutControl?: boolean;
  organism?: string;
  wholeTenant?: boolean;
}

export function register(program: Command): void {
  const evidence = program.command("evidence").description("proof for whoever was not there");
  leaf(evidence, "export", "write an evidence pack", ["sidecar", ...OPERATOR, "trust"])
    .option("--out <file>", "where to write it", "evidence.dragons")
    .option("--from <seq>", "first receipt [1]")
    .option("--to <seq>", "last receipt [the newest]")
    .option("--lease <id>", "the receipts under this lease, and what lies between them")
    .option(
      "--since <time>",
      "receipts opened from then on: 2026-11-24T09:00:00Z, or how long ago: 2h",
    )
    .option("--until <time>", "receipts opened before then")
    .option("--receipt <id...>", "only these, each by itself: PROVEN, never ANCHORED")
    .option("--disclose <fields>", "of goal,action,evidence,outcome,claim; the rest is withheld")
    .option(
      "--without-control",
      "leave out the control plane's own ledger, which is put beside it where a control plane is set",
    )
    .option(
      "--organism <name>",
      "what the control plane holds of NAME, INSTANCE or NAME/INSTANCE: receipt headers, no payloads; the ledger of the sidecar that is set comes from there, payloads and all",
    )
    .option(
      "--whole-tenant",
      "the same of every organism, with all that was recorded in the tenant",
    )
    .option("--with-page", "put the page that an auditor can check it with beside it")
    .action(
      run<Export>(async (context, options) => {
        if (options.organism !== undefined || options.wholeTenant) {
          await exportFromControl(context, options);
          return;
        }
        const { exportEvidence } = await import("../actions/export.ts");
        const disclose = await fieldsOf(options.disclose);
        const out = resolve(options.out);
        const trust = context.optional("trust") ?? "FILE";
        const asked = {
          out,
          disclose,
          ...(await chosen(options)),
          ...(options.from === undefined ? {} : { fromSeq: parseCount(options.from, "--from") }),
          ...(options.to === undefined ? {} : { toSeq: parseCount(options.to, "--to") }),
        };
        const control = options.withoutControl ? null : await context.controlIfSet();
        const written = await exportEvidence(await context.sidecar(), asked, control);
        const { bytes, records } = written;
        if (records === null)
          leftOut(written.leftOut ?? (options.withoutControl ? null : NONE_SET));
        const page = options.withPage ? await beside(out) : null;
        printOne(context.format, {
          name: out,
          cells: {
            pack: out,
            bytes: `${bytes}`,
            ...(records && { "control plane": `records ${records.from} to ${records.to}` }),
            ...(page && { page: page.file }),
            next: `dragons verify ${out} --trust ${trust}`,
          },
          data: {
            file: out,
            bytes,
            records,
            ...(page && { page: page.file, pageSha256: page.sha256 }),
          },
        });
      }),
    );
  leaf(evidence, "fork <instance>", "write the proof that an instance's ledger has two histories", [
    ...OPERATOR,
    "trust",
  ])
    .option("--out <file>", "where to write it", "fork.dragons")
    .action(
      run<{ out: string }>(async (context, options, [instance = ""]) => {
        const { exportFork } = await import("../actions/fork.ts");
        const out = resolve(options.out);
        const { ledger, kind } = await exportFork(await context.control(), instance, out);
        const trust = context.optional("trust") ?? "FILE";
        printOne(context.format, {
          name: out,
          cells: { proof: out, ledger, kind, next: `dragons verify ${out} --trust ${trust}` },
          data: { file: out, ledger, kind },
        });
      }),
    );
  inactivity(evidence);
}

const NONE_SET = "none is set";

/** Says what a pack without the control plane's ledger lacks; `why`: null where that was asked for. */
function leftOut(why: string | null): void {
  say(
    `dragons: left out: the control plane's own ledger of the tenant${why === null ? "" : ` (${why})`}: changes of state are not shown, and nothing says that leases were recorded`,
  );
}

/** A view of what the control plane holds. @throws Failure, usage, for what only a sidecar has. */
async function exportFromControl(context: Context, options: Export): Promise<void> {
  const { organism, wholeTenant, out, withPage } = options;
  if (organism !== undefined && wholeTenant)
    throw new Failure(EXIT.usage, "--organism or --whole-tenant: one of them");
  const { from, to, lease, since, until, receipt, withoutControl } = options;
  const chosen = { from, to, lease, since, until, receipt, withoutControl };
  if (Object.values(chosen).some((x) => x !== undefined))
    throw new Failure(
      EXIT.usage,
      "--organism, --whole-tenant: whole ledgers, with the control plane's own; a part of one is exported from its sidecar",
    );
  const { exportHeld } = await import("../actions/export-held.ts");
  const file = resolve(out);
  const written = await exportHeld(await context.control(), {
    out: file,
    organism: organism ?? null,
    sidecar: context.optional("sidecar") === null ? null : await context.sidecar(),
    disclose: await fieldsOf(options.disclose),
  });
  const { bytes, records, ledgers, unheld, own } = written;
  if (unheld.length > 0)
    say(
      `dragons: left out: ${unheld.length} of whose receipts the control plane holds none, or hashes alone: ${unheld.map((id) => id.slice(0, 16)).join(", ")}`,
    );
  const page = withPage ? await beside(file) : null;
  printOne(context.format, {
    name: file,
    cells: {
      pack: file,
      bytes: `${bytes}`,
      ledgers: own === null ? `${ledgers}` : `${ledgers}, one from the sidecar`,
      ...(records && { "control plane": `records ${records.from} to ${records.to}` }),
      ...(page && { page: page.file }),
      next: `dragons verify ${file} --trust ${context.optional("trust") ?? "FILE"}`,
    },
    data: {
      file,
      bytes,
      records,
      ledgers,
      unheld: [...unheld],
      own,
      ...(page && { page: page.file, pageSha256: page.sha256 }),
    },
  });
}

/** The page, and the word that it is not ours to vouch for. */
async function beside(pack: string): Promise<{ file: string; sha256: string }> {
  const { putPage } = await import("../actions/auditor-page.ts");
  const page = await putPage(dirname(pack));
  say(
    `dragons: an auditor trusts no page that comes with a pack: theirs is from a release, and its SHA-256 is ${page.sha256}`,
  );
  return page;
}

/** @throws Failure, usage, where one choice excludes another. */
async function chosen({ lease, since, until, receipt, from, to }: Export) {
  const range = from !== undefined || to !== undefined;
  const covered = lease !== undefined || since !== undefined || until !== undefined;
  if ([range, covered, receipt !== undefined].filter(Boolean).length > 1) {
    throw new Failure(
      EXIT.usage,
      "--from and --to, --lease with --since and --until, or --receipt: one of them",
    );
  }
  const { systemClock } = await import("../../native/clock.ts");
  const nowUs = systemClock.nowUs();
  return {
    ...(lease !== undefined && { leaseId: lease }),
    ...(since !== undefined && { sinceUs: parseInstant(since, "--since", nowUs) }),
    ...(until !== undefined && { untilUs: parseInstant(until, "--until", nowUs) }),
    ...(receipt !== undefined && { receiptIds: receipt }),
  };
}

async function fieldsOf(text: string | undefined): Promise<PayloadField[]> {
  const { PAYLOAD_FIELDS } = await import("../../domain/payload.ts");
  return (text ?? "").split(",").flatMap((name) => {
    const field = PAYLOAD_FIELDS.find((f) => f === name.trim());
    if (field !== undefined) return [field];
    if (name.trim() === "") return [];
    throw new Failure(EXIT.usage, `--disclose: ${name} is none of ${PAYLOAD_FIELDS.join(", ")}`);
  });
}

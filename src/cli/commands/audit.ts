import type { Command } from "commander";
import { leaf, OPERATOR, run } from "../command.ts";
import { printOne, printRows, type Row } from "../output.ts";
import { parseChoice, parseCount, short, showTime } from "../units.ts";

export function register(program: Command): void {
  const audit = program.command("audit").description("all that was recorded and decided");
  leaf(audit, "list", "list the tenant ledger's records, in order", OPERATOR)
    .option("--what <kind>", "only of this kind: grant, lease, transition, …")
    .option("--limit <n>", "at most so many", "1000")
    .action(
      run<{ what?: string; limit: string }>(async (context, options) => {
        const { listRecords } = await import("../actions/audit.ts");
        const limit = parseCount(options.limit, "--limit");
        const { RECORDED } = await import("../../domain/record.ts");
        const what =
          options.what === undefined ? null : parseChoice(options.what, "--what", RECORDED);
        const rows: Row[] = [];
        for await (const r of listRecords(await context.control())) {
          if (what !== null && r.what !== what) continue;
          rows.push({
            name: r.receiptId,
            cells: {
              seq: `${r.seq}`,
              at: showTime(r.atUs),
              what: r.what,
              summary: r.summary || "-",
              actor: r.actor === "" ? "control plane" : short(r.actor),
            },
            data: { ...r },
          });
          if (rows.length === limit) break;
        }
        printRows(context.format, rows);
      }),
    );
  leaf(
    audit,
    "checkpoint",
    "print the tenant ledger's head as a signed note, to hold on to",
    OPERATOR,
  ).action(
    run(async (context) => {
      const { tenantCheckpoint } = await import("../actions/audit.ts");
      const { name, note, witnessed } = await tenantCheckpoint(await context.control());
      // The newest one that somebody outside has seen says more than a newer one that nobody has.
      const best = witnessed === "" ? note : witnessed;
      if (context.format === "table") process.stdout.write(best);
      else printOne(context.format, { name, cells: {}, data: { note, witnessed } });
    }),
  );
}

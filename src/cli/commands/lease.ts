import type { Command } from "commander";
import type { LeaseView } from "../actions/lease.ts";
import { leaf, OPERATOR, run } from "../command.ts";
import { printOne, printRows, type Row } from "../output.ts";
import { showDuration, showLeft, showTime } from "../units.ts";

export function register(program: Command): void {
  const lease = program.command("lease").description("short authority, cut from grants");
  leaf(lease, "list", "list the lease that each instance holds now", OPERATOR).action(
    run(async (context) => {
      const { listLeases } = await import("../actions/lease.ts");
      printRows(context.format, (await listLeases(await context.control())).map(row));
    }),
  );
  leaf(lease, "show <lease>", "show one lease", OPERATOR).action(
    run(async (context, _options, [id = ""]) => {
      const { autonomyUnder, getLease } = await import("../actions/lease.ts");
      const control = await context.control();
      const found = await getLease(control, id);
      const autonomy = await autonomyUnder(control, found);
      const cells = {
        ...row(found).cells,
        ledger: found.ledgerId,
        grant: found.grantRef,
        from: showTime(found.notBeforeUs),
        "earned by": `head ${found.headSize}`,
        autonomy: autonomy === null ? "-" : showDuration(autonomy.autonomyLeftUs),
        left: autonomy === null ? "-" : showLeft(autonomy.left),
      };
      const data = {
        ...(row(found).data as object),
        secondsOfAutonomyLeft:
          autonomy === null ? null : Math.floor(autonomy.autonomyLeftUs / 1_000_000),
        left: autonomy?.left.map((l) => ({ ...l })) ?? null,
      };
      printOne(context.format, { ...row(found), cells, data });
    }),
  );
  leaf(lease, "revoke <lease-or-instance>", "take a lease back now, until a release", OPERATOR)
    .requiredOption("--reason <text>", "why; recorded")
    .action(
      run<{ reason: string }>(async (context, options, [which = ""]) => {
        const { revokeLease } = await import("../actions/lease.ts");
        const order = { which, reason: options.reason };
        const { epoch } = await revokeLease(await context.control(), order);
        printOne(context.format, {
          name: which,
          cells: { revoked: which, epoch: `${epoch}` },
          data: { revoked: which, epoch },
        });
      }),
    );
}

const row = (l: LeaseView): Row => ({
  name: l.leaseId,
  cells: {
    lease: l.leaseId,
    instance: l.instanceId,
    number: `${l.leaseSeq}`,
    scopes: l.scopes.map((s) => s.name).join(", "),
    until: showTime(l.notAfterUs),
    state: l.revokedEpoch === 0 ? "held" : `revoked by epoch ${l.revokedEpoch}`,
  },
  data: { ...l, scopes: l.scopes.map(({ name, limits }) => ({ name, limits: { ...limits } })) },
});

import type { Command } from "commander";
import { leaf, run } from "../command.ts";
import { printOne } from "../output.ts";
import { observing, showDuration, showLeft, showTime } from "../units.ts";

/** `dragons sidecar` itself is a process and is not dispatched here. */
export function register(program: Command): void {
  const sidecar = program.command("sidecar", { hidden: true });
  leaf(sidecar, "status", "how the sidecar of a data folder is", ["sidecar"]).action(
    run(async (context) => {
      const { sidecarStatus } = await import("../actions/evidence.ts");
      const s = await sidecarStatus(await context.sidecar());
      printOne(context.format, {
        name: s.instanceId,
        cells: {
          instance: s.instanceId,
          tenant: s.tenant,
          authority:
            s.standing === null ? `held${observing(s.observeUntilUs)}` : `none: ${s.standing}`,
          lease: s.leaseId === "" ? "none" : `${s.leaseId} until ${showTime(s.leaseUntilUs)}`,
          agent: `${s.enforcement}, measured by ${s.measured === "launched" ? "its launch" : s.measured}`,
          left: showLeft(s.left),
          autonomy: showDuration(s.autonomyLeftUs),
          session: s.attached ? `attached, epoch ${s.sessionEpoch}` : "none",
          receipts: `${s.size} made, ${s.heldSize} held at the centre`,
          "in flight": `${s.inFlight}`,
          ledger: s.ledgerId,
          manifest: s.manifestHash,
        },
        data: {
          ...s,
          scopes: [...s.scopes],
          secondsOfAutonomyLeft: Math.floor(s.autonomyLeftUs / 1_000_000),
          left: s.left.map((l) => ({ ...l })),
        },
      });
    }),
  );
}

import type { Command } from "commander";
import { leaf, run } from "../command.ts";
import { EXIT } from "../failure.ts";
import { printOne } from "../output.ts";

export function register(program: Command): void {
  const ledger = program.command("ledger").description("the ledger of a sidecar");
  leaf(ledger, "check", "walk all of it: chain, signatures, commitments", ["sidecar"]).action(
    run(async (context) => {
      const { checkLedger } = await import("../actions/evidence.ts");
      const found = await checkLedger(await context.sidecar());
      const { fault } = found;
      const at = fault !== null && fault.seq > 0 ? `at receipt ${fault.seq}: ` : "";
      printOne(context.format, {
        name: fault === null ? "whole" : "broken",
        cells: {
          ledger: fault === null ? "whole" : `BROKEN ${at}${fault.detail}`,
          receipts: `${found.size}`,
          root: found.root,
          "open intents": `${found.openIntents}`,
        },
        data: { ...found, fault: fault === null ? null : { ...fault } },
      });
      if (fault !== null) process.exitCode = EXIT.refused;
    }),
  );
}

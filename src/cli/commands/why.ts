import type { Command } from "commander";
import { leaf, run } from "../command.ts";
import { printOne, say } from "../output.ts";
import { showTime } from "../units.ts";
import { reasonsOf } from "./receipt.ts";

export function register(program: Command): void {
  leaf(program, "why <receipt>", "why it was allowed or refused, and what would allow it", [
    "sidecar",
  ]).action(
    run(async (context, _options, [id = ""]) => {
      const { explainReceipt } = await import("../actions/why.ts");
      const why = await explainReceipt(await context.sidecar(), id);
      const { receipt, lease, grant } = why;
      const reasons = reasonsOf(receipt);
      const reason = reasons === "-" ? "" : ` (${reasons})`;
      printOne(context.format, {
        name: receipt.receiptId,
        cells: {
          receipt: `${receipt.receiptId}, number ${receipt.seq}, ${showTime(receipt.openedAtUs)}`,
          asked: why.action ?? "not kept",
          answer: `${receipt.verdict}${reason}`,
          because: why.clause,
          rule: why.rule ?? "none",
          read: why.inputs.map((i) => `${i.name} ${i.type} ${i.value}`).join(", ") || "nothing",
          lease: lease === null ? "none" : `${lease.leaseId}: ${lease.scopes.join(", ")}`,
          grant: `${grant.grantId}: ${grant.purpose}`,
          "granted by": grant.signedBy.join(", "),
          manifest: `${why.manifest}, ${receipt.manifestHash}`,
          "signed by": `${receipt.signer}; the signature verifies`,
        },
        data: {
          receiptId: receipt.receiptId,
          seq: receipt.seq,
          verdict: receipt.verdict,
          reason: receipt.reason,
          wouldDeny: receipt.wouldDeny,
          action: why.action,
          clause: why.clause,
          rule: why.rule,
          inputs: why.inputs.map((i) => ({ ...i })),
          remedy: why.remedy,
          lease: lease === null ? null : { ...lease },
          grant: { ...grant },
          manifest: why.manifest,
          manifestHash: receipt.manifestHash,
          signer: receipt.signer,
        },
      });
      if (context.format === "table" && why.remedy !== "") {
        say(`\nwhat would allow it:\n${why.remedy}`);
      }
    }),
  );
}

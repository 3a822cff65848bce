import type { Command } from "commander";
import type { Proposal } from "../actions/proposal.ts";
import { leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { printOne, say } from "../output.ts";

/** How other commands take it: `--propose FILE` instead of recording. */
export const PROPOSE = [
  "--propose <file>",
  "write it there for others to sign, and record nothing",
] as const;

export function register(program: Command): void {
  const proposal = program.command("proposal").description("what several must sign, as a file");
  leaf(proposal, "show <file>", "show in words what is to be signed, and who has", []).action(
    run(async (context, _options, [file = ""]) => {
      const { readProposal } = await import("../actions/proposal.ts");
      await show(context, await readProposal(file));
    }),
  );
  leaf(proposal, "sign <file>", "add a signature; it says first what is signed", ["grantKey"])
    .option("--key <key>", "the key to sign with, instead of the grant key: the root, of a keyset")
    .action(
      run<{ key?: string }>(async (context, options, [file = ""]) => {
        const { readProposal, signProposal } = await import("../actions/proposal.ts");
        const { shown } = await import("../actions/proposal-shown.ts");
        const { openSigner } = await import("../actions/keys.ts");
        for (const [name, value] of Object.entries(shown(await readProposal(file)))) {
          say(`${name}: ${value}`);
        }
        const signer = await openSigner(options.key ?? context.required("grantKey"));
        await show(context, await signProposal(file, signer));
      }),
    );
  leaf(proposal, "record <file>", "record it, once enough have signed", OPERATOR).action(
    run(async (context, _options, [file = ""]) => {
      const { readProposal, recordedAt } = await import("../actions/proposal.ts");
      const { shown } = await import("../actions/proposal-shown.ts");
      const { kind, signed } = await readProposal(file);
      const revision = await recordedAt(await context.control())(kind, signed);
      const said = shown({ kind, signed });
      const cells = { ...said, recorded: `revision ${revision}` };
      printOne(context.format, { name: said.ref ?? file, cells, data: { kind, revision } });
    }),
  );
}

async function show(context: Context, proposal: Proposal): Promise<void> {
  const { shown } = await import("../actions/proposal-shown.ts");
  const cells = shown(proposal);
  printOne(context.format, { name: cells.ref ?? "", cells, data: cells });
}

/** Where what was signed goes: into the file that was asked for, or to the control plane. */
export async function outletOf(
  context: Context,
  propose: string | undefined,
): Promise<import("../actions/proposal.ts").Outlet> {
  const { proposedIn, recordedAt } = await import("../actions/proposal.ts");
  return propose === undefined ? recordedAt(await context.control()) : proposedIn(propose);
}

/** What to do with a proposal that was just written. */
export const proposed = (file: string): Record<string, string> => ({
  proposal: file,
  next: `dragons proposal sign ${file}`,
});

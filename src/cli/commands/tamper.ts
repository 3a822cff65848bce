import { extname, resolve } from "node:path";
import type { Command } from "commander";
import { run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { printOne } from "../output.ts";
import { parseCount } from "../units.ts";

interface Tamper {
  at?: string;
  receipt?: string;
  out?: string;
}

export function register(program: Command): void {
  program
    .command("tamper <pack>")
    .description("change one bit of a pack, to see that verifying finds it")
    .option("--at <byte>", "which byte, from 0")
    .option("--receipt <seq>", "a byte of this receipt that leaves the pack readable")
    .option("-o, --out <file>", "where the changed copy goes [PACK with .tampered]")
    .action(
      run<Tamper>(async (context, options, [pack = ""]) => {
        const { tamperPack } = await import("../actions/verify.ts");
        const extension = extname(pack);
        const stem = pack.slice(0, pack.length - extension.length);
        const out = resolve(options.out ?? `${stem}.tampered${extension}`);
        const at = await tamperPack(pack, where(options), out);
        const trust = context.optional("trust") ?? "FILE";
        const cells = {
          pack: out,
          byte: `${at}`,
          next: `dragons verify ${out} --trust ${trust}`,
        };
        printOne("table", { name: out, cells, data: { file: out, byte: at } });
      }),
    );
}

function where({ at, receipt }: Tamper) {
  if (at !== undefined && receipt === undefined) return { at: parseCount(at, "--at", 0) };
  if (receipt !== undefined && at === undefined) {
    return { receipt: parseCount(receipt, "--receipt") };
  }
  throw new Failure(EXIT.usage, "say which byte: either --at BYTE or --receipt SEQ");
}

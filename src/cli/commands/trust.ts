import { resolve } from "node:path";
import type { Command } from "commander";
import { collect, leaf, run } from "../command.ts";
import { printOne, type Row, say } from "../output.ts";
import { parseCount } from "../units.ts";

interface Init {
  root?: string;
  maxAge?: string;
  witness: string[];
  quorum?: string;
}

export function register(program: Command): void {
  const trust = program.command("trust").description("what evidence is verified against");
  leaf(trust, "init [file]", "write a trust file from the tenant root's public key", [
    "tenant",
    "rootKey",
    "trust",
  ])
    .option("--root <hex>", "the public key, instead of a --root-key to take it from")
    .option("--max-age <seconds>", "checkpoints older than this are called stale")
    .option(
      "--witness <vkey>",
      "a witness that you believe, as it names its key; repeatable",
      collect,
      [],
    )
    .option("--quorum <n>", "how many of the witnesses suffice [all]")
    .action(
      run<Init>(async (context, options, [file]) => {
        const { writeTrust } = await import("../actions/trust.ts");
        const { publicKeyOf } = await import("../actions/keys.ts");
        const root = options.root ?? context.required("rootKey");
        const path = resolve(file ?? context.optional("trust") ?? "trust.json");
        await writeTrust(path, {
          tenant: context.required("tenant"),
          rootKey: await publicKeyOf(root, "--root"),
          witnesses: options.witness,
          ...(options.quorum === undefined
            ? {}
            : { quorum: parseCount(options.quorum, "--quorum") }),
          ...(options.maxAge === undefined
            ? {}
            : { maxAgeSeconds: parseCount(options.maxAge, "--max-age") }),
        });
        say(`trust file: ${path}`);
        await show(path, context.format);
      }),
    );
  leaf(trust, "adopt <handover>", "pin the root that the pinned one hands over to", [
    "trust",
  ]).action(
    run(async (context, _options, [handover = ""]) => {
      const { adoptRoot } = await import("../actions/trust.ts");
      const { readProposal } = await import("../actions/proposal.ts");
      const path = context.required("trust");
      await adoptRoot(path, (await readProposal(handover)).signed);
      say(`trust file: ${path}`);
      await show(path, context.format);
    }),
  );
  leaf(trust, "show [file]", "show a trust file, checked", ["trust"]).action(
    run(async (context, _options, [file]) =>
      show(file ?? context.required("trust"), context.format),
    ),
  );
}

async function show(path: string, format: Parameters<typeof printOne>[0]): Promise<void> {
  const { readTrust } = await import("../actions/trust.ts");
  const { toHex } = await import("../../domain/bytes.ts");
  const trust = await readTrust(path);
  const data = {
    file: path,
    tenant: trust.tenant,
    rootKey: toHex(trust.rootKey),
    keysetVersion: trust.keysetVersion,
    cosigners: trust.cosigners?.map(toHex) ?? null,
    witnesses: trust.witnesses.map((w) => ({ name: w.name, key: toHex(w.key) })),
    quorum: trust.quorum,
    maxAgeSeconds: trust.maxAgeUs === null ? null : trust.maxAgeUs / 1_000_000,
  };
  const row: Row = {
    name: trust.tenant,
    cells: {
      tenant: data.tenant,
      root: data.rootKey,
      keyset: `version ${data.keysetVersion} or later`,
      cosigners: data.cosigners === null ? "those of the keyset" : data.cosigners.join(", "),
      witnesses:
        data.quorum === 0 ? "none asked for" : `${data.quorum} of ${data.witnesses.length}`,
    },
    data,
  };
  printOne(format, row);
}

import { resolve } from "node:path";
import type { Command } from "commander";
import { leaf, OPERATOR, run } from "../command.ts";
import { printOne } from "../output.ts";

interface Create {
  dock: string;
  joinKey: string;
  out?: string;
}

export function register(program: Command): void {
  const token = program.command("token").description("what a sidecar is given to come aboard");
  leaf(token, "create", "write a join token: a secret, in a file of mode 0600", [
    ...OPERATOR,
    "trust",
  ])
    .requiredOption("--dock <dock>", "id of the dock")
    .requiredOption("--join-key <file>", "the dock's join key")
    .option("--out <file>", "where to write it [<dock>.token]")
    .action(
      run<Create>(async (context, options) => {
        const { createToken, writeSecret } = await import("../actions/token.ts");
        const { getDock } = await import("../actions/dock.ts");
        const { readTrust } = await import("../actions/trust.ts");
        const { readKeyset } = await import("../actions/operator.ts");
        const { fromHex } = await import("../../domain/bytes.ts");
        const trust = await readTrust(context.required("trust"));
        const control = await context.control();
        const { dock, grant } = await getDock(control, options.dock);
        const { body: keyset } = await readKeyset(control, trust.rootKey);
        const text = await createToken({
          tenantId: trust.tenant,
          joinKeyFile: options.joinKey,
          dockRef: fromHex(dock.ref),
          manifestHash: fromHex(grant.manifestHash),
          rootKey: trust.rootKey,
          controlAddress: control.address,
          controlCa: control.ca,
          keysetVersion: Math.max(trust.keysetVersion, keyset.keysetVersion),
        });
        const file = resolve(options.out ?? `${options.dock}.token`);
        await writeSecret(file, text);
        printOne(context.format, {
          name: file,
          cells: {
            token: file,
            dock: options.dock,
            next: `dragons sidecar --data DIR --manifest dragon.yaml --token ${file}`,
          },
          data: { file, dockId: options.dock, grantId: grant.grantId },
        });
      }),
    );
}

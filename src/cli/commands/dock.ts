import { join, resolve } from "node:path";
import type { Command } from "commander";
import { collect, leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { printOne, printRows } from "../output.ts";
import { parseCount, parseDuration, short, showTime } from "../units.ts";
import { COSIGN, grantSigners } from "./grant.ts";
import { outletOf, PROPOSE, proposed } from "./proposal.ts";

interface Create {
  grant: string;
  ledgers: string;
  for?: string;
  joinKey?: string;
  cosign: string[];
  propose?: string;
}

export function register(program: Command): void {
  const dock = program.command("dock").description("where instances of a grant come aboard");
  leaf(dock, "create", "open a grant to new instances", [...OPERATOR, "grantKey", "trust"])
    .requiredOption("--grant <grant>", "id of the grant")
    .option("--ledgers <n>", "ledgers that its join key may open", "1")
    .option("--for <time>", "how long it is open, at most 7d [1h]")
    .option("--join-key <file>", "where its join key is written [a new file beside the profile]")
    .option("--cosign <key>", COSIGN, collect, [])
    .option(...PROPOSE)
    .action(run(createDock));
  leaf(dock, "list", "list docks", OPERATOR).action(
    run(async (context) => {
      const { listDocks } = await import("../actions/dock.ts");
      const rows = (await listDocks(await context.control())).map((d) => ({
        name: d.dockId,
        cells: {
          dock: d.dockId,
          grant: short(d.grantRef),
          ledgers: `${d.ledgers} of ${d.joinKeys.reduce((n, k) => n + k.ledgersMax, 0)}`,
          until: showTime(d.notAfterUs),
        },
        data: { ...d, joinKeys: d.joinKeys.map((k) => ({ ...k })) },
      }));
      printRows(context.format, rows);
    }),
  );
}

async function createDock(context: Context, options: Create): Promise<void> {
  const { createDock } = await import("../actions/dock.ts");
  const { requestId } = await import("../client.ts");
  const { verifiedGrant } = await import("../actions/grant.ts");
  const { readTrust } = await import("../actions/trust.ts");
  const { generateKey } = await import("../actions/keys.ts");
  const { dockTtlDefaultUs } = await import("../../domain/limits.ts");

  const forUs = options.for === undefined ? dockTtlDefaultUs : parseDuration(options.for, "--for");
  const ledgersMax = parseCount(options.ledgers, "--ledgers");
  const { rootKey } = await readTrust(context.required("trust"));
  const signers = await grantSigners(context, options.cosign);
  const control = await context.control();
  const grant = await verifiedGrant(control, rootKey, options.grant);
  const file = resolve(
    options.joinKey ?? join(context.keysFolder, `${options.grant}-${requestId()}.join.key`),
  );
  // Kept before the dock is recorded: without its join key a dock opens nothing.
  const joinKey = await generateKey(file);
  const wanted = { grantRef: grant.ref, joinKey, ledgersMax, forUs };
  const { propose } = options;
  const outlet = await outletOf(context, propose);
  const { dockId } = await createDock(control, signers, wanted, outlet);
  const next = `dragons token create --dock ${dockId} --join-key ${file}`;
  printOne(context.format, {
    name: dockId,
    cells: {
      dock: dockId,
      grant: options.grant,
      "join key": file,
      ...(propose === undefined ? { next } : proposed(propose)),
    },
    data: { dockId, grantId: options.grant, joinKeyFile: file },
  });
}

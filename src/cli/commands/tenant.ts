import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import type { TenantView } from "../actions/tenant.ts";
import { collect, leaf, OPERATOR, OWNER, run } from "../command.ts";
import type { Context } from "../context.ts";
import { printOne, printRows, type Row, say } from "../output.ts";
import { readReady } from "../profile.ts";
import { parseDuration } from "../units.ts";
import { COSIGN, grantSigners } from "./grant.ts";
import { outletOf, PROPOSE, proposed } from "./proposal.ts";

interface Ready {
  ready?: string;
}
interface Order {
  reason: string;
  cosign: string[];
  propose?: string;
}
interface Create extends Ready {
  keys?: string;
  for?: string;
}

export function register(program: Command): void {
  const tenant = program
    .command("tenant")
    .description("tenants of a control plane; stop and resume one");
  const ready = "ready file of the control plane: its address, authority, id and owner's token";
  const settings = [...OWNER, "audience", "operator", "trust"] as const;
  leaf(tenant, "create <name>", "found a tenant with its first keys", settings)
    .option("--keys <dir>", "root.key, grant.key and login.key; what is missing is made")
    .option("--for <time>", "how long the operator's keys are good for [365d]")
    .option("--ready <file>", ready)
    .action(run(createTenant));
  leaf(tenant, "list", "list the tenants", OWNER)
    .option("--ready <file>", ready)
    .action(
      run<Ready>(async (context, options) => {
        const { listTenants } = await import("../actions/tenant.ts");
        const tenants = await listTenants(await owner(context, options).owner());
        printRows(context.format, tenants.map(row));
      }),
    );
  const orders = [
    ["stop", "stop the world: every lease ends now, until it is resumed", "stopped"],
    ["resume", "lease again, after a stop or a restore from a backup", "resumed"],
  ] as const;
  for (const [verb, summary, done] of orders) {
    leaf(tenant, verb, summary, [...OPERATOR, "grantKey"])
      .requiredOption("--reason <text>", "why; recorded")
      .option("--cosign <key>", COSIGN, collect, [])
      .option(...PROPOSE)
      .action(
        run<Order>(async (context, { reason, cosign, propose }) => {
          const { resumeTenant, stopTenant } = await import("../actions/tenant.ts");
          const carryOut = verb === "stop" ? stopTenant : resumeTenant;
          const signers = await grantSigners(context, cosign);
          const control = await context.control();
          const outlet = await outletOf(context, propose);
          const { epoch } = await carryOut(control, signers, { reason }, outlet);
          const how = propose === undefined ? { [done]: `epoch ${epoch}` } : proposed(propose);
          const cells = { tenant: control.tenant, ...how };
          printOne(context.format, { name: control.tenant, cells, data: { epoch } });
        }),
      );
  }
}

const owner = (context: Context, { ready }: Ready): Context =>
  ready === undefined ? context : context.under(readReady(ready));

/** Founds the tenant, and writes a profile and a trust file with which everything else works. */
async function createTenant(
  given: Context,
  options: Create,
  [name = ""]: readonly string[],
): Promise<void> {
  const context = owner(given, options);
  const { createTenant } = await import("../actions/tenant.ts");
  const { keptKey } = await import("../actions/keys.ts");
  const { writeTrust } = await import("../actions/trust.ts");
  const { writeFirstProfile } = await import("../actions/profile.ts");
  const { operatorKeyTtlUs } = await import("../../domain/limits.ts");

  const holder = context.optional("operator") ?? "admin";
  const ttlUs = options.for === undefined ? operatorKeyTtlUs : parseDuration(options.for, "--for");
  const keys = resolve(options.keys ?? context.keysFolder);
  const file = (key: string) => join(keys, key);
  const control = await context.owner();
  const [root, grant, login] = [
    await keptKey(file("root.key")),
    await keptKey(file("grant.key")),
    await keptKey(file("login.key")),
  ];
  const founded = await createTenant(control, {
    tenantId: name,
    root,
    keys: [
      { role: "OPERATOR_GRANT", key: grant.publicKey, holder, ttlUs },
      { role: "OPERATOR_LOGIN", key: login.publicKey, holder, ttlUs, loginRole: "ADMIN" },
    ],
  });
  const trust = resolve(
    context.optional("trust") ?? join(dirname(context.profilePath), "trust.json"),
  );
  await writeTrust(trust, { tenant: name, rootKey: root.publicKey });
  const profile = {
    control: control.address,
    controlCa: resolve(context.required("controlCa")),
    ...(context.optional("audience") === null ? {} : { audience: context.required("audience") }),
    tenant: name,
    operator: holder,
    loginKey: file("login.key"),
    grantKey: file("grant.key"),
    rootKey: file("root.key"),
    trust,
  };
  const written = await writeFirstProfile(context.profilePath, profile);
  say(`trust file: ${trust}`);
  say(
    written
      ? `profile: ${context.profilePath}; keep ${file("root.key")} offline once operators are added`
      : `profile ${context.profilePath} is there already and stays as it is; add --profile to use another`,
  );
  printOne(context.format, row(founded));
}

const row = (t: TenantView): Row => ({
  name: t.tenant,
  cells: { tenant: t.tenant, keyset: `${t.keysetVersion}`, root: t.rootKey },
  data: { ...t },
});

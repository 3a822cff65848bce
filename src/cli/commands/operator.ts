import { resolve } from "node:path";
import type { Command } from "commander";
import type { NewKey } from "../actions/operator.ts";
import { leaf, OPERATOR, run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { printOne, printRows } from "../output.ts";
import { parseChoice, parseDuration, short, showTime } from "../units.ts";
import { amendingOf } from "./key.ts";
import { PROPOSE, proposed } from "./proposal.ts";

interface Add {
  login?: string;
  role: string;
  grant?: string;
  for?: string;
  propose?: string;
}

export function register(program: Command): void {
  const operator = program.command("operator").description("who speaks for a tenant");
  leaf(operator, "keygen <file>", "make a key; prints its public half", []).action(
    run(async (context, _options, [file = ""]) => {
      const { generateKey } = await import("../actions/keys.ts");
      const { toHex } = await import("../../domain/bytes.ts");
      const path = resolve(file);
      const publicKey = toHex(await generateKey(path));
      const cells = { public: publicKey, file: path };
      printOne(context.format, { name: publicKey, cells, data: { publicKey, file: path } });
    }),
  );
  leaf(operator, "add <name>", "add an operator's keys: the next keyset, signed by the root", [
    ...OPERATOR,
    "rootKey",
    "trust",
  ])
    .option("--login <key>", "public key in hex, or key file, that signs them in")
    .option("--role <role>", "viewer, operator or admin", "operator")
    .option("--grant <key>", "public key in hex, or key file, that signs grants")
    .option("--for <time>", "how long the keys are good for [365d]")
    .option(...PROPOSE)
    .action(
      run<Add>(async (context, options, [holder = ""]) => {
        const { addKeys } = await import("../actions/operator.ts");
        const { propose } = options;
        const added = await newKeys(holder, options);
        const amending = await amendingOf(context, propose);
        const { version } = await addKeys(await context.control(), amending, added);
        const cells = { operator: holder, keys: `${added.length}`, keyset: `version ${version}` };
        printOne(context.format, {
          name: holder,
          cells: { ...cells, ...(propose === undefined ? {} : proposed(propose)) },
          data: { operator: holder, keysetVersion: version },
        });
      }),
    );
  leaf(operator, "list", "list the keys of the keyset", [...OPERATOR, "trust"]).action(
    run(async (context) => {
      const { listKeys } = await import("../actions/operator.ts");
      const { readTrust } = await import("../actions/trust.ts");
      const { rootKey } = await readTrust(context.required("trust"));
      const { keys } = await listKeys(await context.control(), rootKey);
      const rows = keys.map((k) => ({
        name: k.key,
        cells: {
          holder: k.holder,
          role: k.role.toLowerCase(),
          login: k.loginRole === "UNSPECIFIED" ? "-" : k.loginRole.toLowerCase(),
          key: short(k.key),
          until: showTime(k.notAfterUs),
          compromised: showTime(k.compromisedFromUs),
        },
        data: { ...k },
      }));
      printRows(context.format, rows);
    }),
  );
}

async function newKeys(holder: string, options: Add): Promise<NewKey[]> {
  const { publicKeyOf } = await import("../actions/keys.ts");
  const { LOGIN_ROLES } = await import("../../domain/keyset.ts");
  const { operatorKeyTtlUs } = await import("../../domain/limits.ts");
  const ttlUs = options.for === undefined ? operatorKeyTtlUs : parseDuration(options.for, "--for");
  const keys: NewKey[] = [];
  if (options.login !== undefined) {
    const loginRole = parseChoice(options.role, "--role", LOGIN_ROLES);
    const key = await publicKeyOf(options.login, "--login");
    keys.push({ role: "OPERATOR_LOGIN", key, holder, loginRole, ttlUs });
  }
  if (options.grant !== undefined) {
    const key = await publicKeyOf(options.grant, "--grant");
    keys.push({ role: "OPERATOR_GRANT", key, holder, ttlUs });
  }
  if (keys.length > 0) return keys;
  throw new Failure(EXIT.usage, "give a key to add: --login KEY, --grant KEY, or both");
}

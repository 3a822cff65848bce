import { resolve } from "node:path";
import type { Command } from "commander";
import type { Amending } from "../actions/operator.ts";
import { collect, leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { printOne, say } from "../output.ts";
import { parseCount, parseDuration, parseInstant } from "../units.ts";
import { COSIGN, grantSigners } from "./grant.ts";
import { outletOf, PROPOSE, proposed } from "./proposal.ts";

interface Propose {
  propose?: string;
}
interface Rotate extends Propose {
  to?: string;
  overlap?: string;
  for?: string;
  compromised?: string;
  statement?: string;
}

/** Commands that make the next keyset: signed by the root, which may be somewhere else. */
const KEYSET = [...OPERATOR, "rootKey", "trust"] as const;

export function register(program: Command): void {
  const key = program.command("key").description("the keys of the keyset, exchanged and given up");
  leaf(
    key,
    "rotate <key>",
    "put another key in the place of one: root, issuer, cosigner, control-ledger, control-ca, hex or key file",
    KEYSET,
  )
    .option("--to <key>", "the key that takes its place; the control plane makes its own")
    .option("--overlap <time>", "how long the old one may still sign [24h]")
    .option("--for <time>", "how long the new one is good for [365d; the control plane's 3650d]")
    .option(
      "--compromised <time>",
      "the old one fell into other hands then: nothing it signed counts",
    )
    .option("--statement <file>", "of the root: where the handover is written [root-handover.json]")
    .option(...PROPOSE)
    .action(run(rotate));
  leaf(key, "expire <key>", "let a key sign nothing more; what it signed stays good", KEYSET)
    .option("--in <time>", "not now but after so long")
    .option(...PROPOSE)
    .action(
      run<Propose & { in?: string }>(async (context, options, [which = ""]) => {
        const inUs = options.in === undefined ? 0 : parseDuration(options.in, "--in");
        await change(context, options, which, "expires", (entry, nowUs) => ({
          notAfterUs: Math.min(entry.notAfterUs, Math.max(nowUs + inUs, entry.notBeforeUs + 1)),
        }));
      }),
    );
  leaf(key, "compromised <key>", "a key fell into other hands: what rests on it ends", KEYSET)
    .requiredOption("--from <time>", "since when: 2026-11-24T09:00:00Z, or how long ago: 2h")
    .option(...PROPOSE)
    .action(
      run<Propose & { from: string }>(async (context, options, [which = ""]) => {
        await change(context, options, which, "compromised", (_, nowUs) => ({
          compromisedFromUs: parseInstant(options.from, "--from", nowUs),
        }));
      }),
    );
  leaf(key, "revoke <key>", "take a key back at once, by operators' word, without the root", [
    ...OPERATOR,
    "grantKey",
  ])
    .requiredOption("--reason <text>", "why; recorded")
    .option("--cosign <key>", COSIGN, collect, [])
    .option(...PROPOSE)
    .action(run(revokeKey));
  leaf(key, "witness <key>", "add the key of a witness: hex or key file", KEYSET)
    .requiredOption("--holder <name>", "who holds it")
    .option("--for <time>", "how long it is good for [365d]")
    .option(...PROPOSE)
    .action(
      run<Propose & { holder: string; for?: string }>(async (context, options, [which = ""]) => {
        const { addKeys } = await import("../actions/operator.ts");
        const { publicKeyOf } = await import("../actions/keys.ts");
        const { operatorKeyTtlUs } = await import("../../domain/limits.ts");
        const ttlUs =
          options.for === undefined ? operatorKeyTtlUs : parseDuration(options.for, "--for");
        const entry = { role: "WITNESS", key: await publicKeyOf(which, "key"), ttlUs } as const;
        const amending = await amendingOf(context, options.propose);
        const added = [{ ...entry, holder: options.holder }];
        told(context, options, which, await addKeys(await context.control(), amending, added));
      }),
    );
  leaf(key, "export <file>", "write the keyset that is in force, for: dragons sidecar --keyset", [
    ...OPERATOR,
    "trust",
  ]).action(run(exportKeyset));
  leaf(key, "threshold <n>", "how many operators must sign grants, docks, revocations", KEYSET)
    .option(...PROPOSE)
    .action(
      run<Propose>(async (context, options, [n = ""]) => {
        const { setThreshold } = await import("../actions/key.ts");
        const amending = await amendingOf(context, options.propose);
        const signatures = parseCount(n, "threshold");
        told(
          context,
          options,
          n,
          await setThreshold(await context.control(), amending, signatures),
        );
        say("what fewer had signed counts no more: sign grants, docks and resumes again");
      }),
    );
}

/** The root signs, if it is at hand; else the next keyset is only proposed. */
export async function amendingOf(context: Context, propose: string | undefined): Promise<Amending> {
  const { byRoot } = await import("../actions/operator.ts");
  const { openSigner } = await import("../actions/keys.ts");
  if (propose === undefined) {
    return byRoot(await context.control(), await openSigner(context.required("rootKey")));
  }
  const { readTrust } = await import("../actions/trust.ts");
  const { rootKey } = await readTrust(context.required("trust"));
  return { rootKey, signers: [], outlet: await outletOf(context, propose) };
}

/** A key of the keyset as it may be typed: a role of the control plane's, hex, a key file or a command. */
async function named(which: string): Promise<string> {
  if (/^(issuer|cosigner|control-ledger|[0-9a-f]{8,64})$/i.test(which)) return which;
  const { publicKeyOf } = await import("../actions/keys.ts");
  const { toHex } = await import("../../domain/bytes.ts");
  return toHex(await publicKeyOf(which, "key"));
}

async function change(
  context: Context,
  options: Propose,
  which: string,
  what: string,
  bend: Parameters<typeof import("../actions/key.ts").changeKey>[3],
): Promise<void> {
  const { changeKey } = await import("../actions/key.ts");
  const amending = await amendingOf(context, options.propose);
  const done = await changeKey(await context.control(), amending, await named(which), bend);
  told(context, options, which, done, what);
}

function told(
  context: Context,
  { propose }: Propose,
  which: string,
  { version }: { readonly version: number },
  what = "keyset",
): void {
  const cells = { key: which, [what]: `by keyset version ${version}` };
  printOne(context.format, {
    name: which,
    cells: { ...cells, ...(propose === undefined ? {} : proposed(propose)) },
    data: { key: which, keysetVersion: version },
  });
}

async function rotate(
  context: Context,
  options: Rotate,
  [which = ""]: readonly string[],
): Promise<void> {
  if (which === "root") return rotateRoot(context, options);
  if (which === "control-ca") return nameControlCas(context, options);
  const { rotateKey } = await import("../actions/key.ts");
  const { publicKeyOf } = await import("../actions/keys.ts");
  const { controlKeyTtlUs, keyOverlapUs, operatorKeyTtlUs } = await import(
    "../../domain/limits.ts"
  );
  const { to, overlap, compromised, propose } = options;
  const own = to === undefined ? controlKeyTtlUs : operatorKeyTtlUs;
  const control = await context.control();
  const amending = await amendingOf(context, propose);
  const done = await rotateKey(control, amending, {
    which: await named(which),
    to: to === undefined ? null : await publicKeyOf(to, "--to"),
    overlapUs: overlap === undefined ? keyOverlapUs : parseDuration(overlap, "--overlap"),
    ttlUs: options.for === undefined ? own : parseDuration(options.for, "--for"),
    compromisedFromUs:
      compromised === undefined
        ? null
        : parseInstant(compromised, "--compromised", control.clock.nowUs()),
  });
  printOne(context.format, {
    name: done.to,
    cells: {
      from: done.from,
      to: done.to,
      keyset: `version ${done.version}`,
      ...(propose === undefined ? {} : proposed(propose)),
    },
    data: { ...done },
  });
}

/** The keyset names what `--control-ca` holds: both authorities before they are switched, one after. */
async function nameControlCas(context: Context, options: Rotate): Promise<void> {
  const { authoritiesIn } = await import("../../native/pki.ts");
  const { nameControlCas } = await import("../actions/key.ts");
  const { toHex } = await import("../../domain/bytes.ts");
  const { native } = await import("../../native/crypto.ts");
  const control = await context.control();
  let cas: Uint8Array[];
  try {
    cas = authoritiesIn(control.ca);
  } catch (error) {
    throw new Failure(EXIT.config, `--control-ca: ${(error as Error).message}`);
  }
  const amending = await amendingOf(context, options.propose);
  const { version } = await nameControlCas(control, amending, cas);
  const names = cas.map((der) => toHex(native.sha256(der)));
  printOne(context.format, {
    name: "control-ca",
    cells: {
      authorities: names.join(" "),
      keyset: `version ${version}`,
      ...(options.propose === undefined ? {} : proposed(options.propose)),
    },
    data: { authorities: names, keysetVersion: version },
  });
}

async function rotateRoot(context: Context, { to, statement, propose }: Rotate): Promise<void> {
  if (to === undefined) {
    throw new Failure(
      EXIT.usage,
      "--to: name the new root's key; make it with: dragons operator keygen FILE",
    );
  }
  const { rotateRoot } = await import("../actions/key.ts");
  const { openSigner } = await import("../actions/keys.ts");
  const { proposedIn } = await import("../actions/proposal.ts");
  const { toHex } = await import("../../domain/bytes.ts");
  const root = await openSigner(to);
  const amending = await amendingOf(context, propose);
  const { version, signed } = await rotateRoot(await context.control(), amending, root);
  const file = resolve(propose ?? statement ?? "root-handover.json");
  if (propose === undefined) await proposedIn(file)("keyset", signed);
  const name = toHex(root.publicKey);
  const adopt = { handover: file, next: `dragons trust adopt ${file}` };
  printOne(context.format, {
    name,
    cells: {
      root: name,
      keyset: `version ${version}`,
      ...(propose === undefined ? adopt : proposed(file)),
    },
    data: { rootKey: name, keysetVersion: version, handover: file },
  });
}

/** It holds no secret, and whoever reads it believes the root alone. */
async function exportKeyset(
  context: Context,
  _: unknown,
  [file = ""]: readonly string[],
): Promise<void> {
  const { readKeyset } = await import("../actions/operator.ts");
  const { readTrust } = await import("../actions/trust.ts");
  const { encodeSigned } = await import("../../domain/signing.ts");
  const { writeAtomic } = await import("../../native/atomic-file.ts");
  const { rootKey } = await readTrust(context.required("trust"));
  const { body, signed } = await readKeyset(await context.control(), rootKey);
  await writeAtomic(file, encodeSigned(signed), 0o644);
  printOne(context.format, {
    name: file,
    cells: { keyset: `version ${body.keysetVersion}`, file },
    data: { keysetVersion: body.keysetVersion, file: resolve(file) },
  });
}

async function revokeKey(
  context: Context,
  options: Propose & { reason: string; cosign: string[] },
  [which = ""]: readonly string[],
): Promise<void> {
  const { publicKeyOf } = await import("../actions/keys.ts");
  const { revoke } = await import("../actions/revocation.ts");
  const { toHex } = await import("../../domain/bytes.ts");
  const target = await publicKeyOf(which, "key");
  const signers = await grantSigners(context, options.cosign);
  const outlet = await outletOf(context, options.propose);
  const what = { kind: "KEY", target, reason: options.reason } as const;
  const { epoch } = await revoke(await context.control(), signers, what, outlet);
  const name = toHex(target);
  const how =
    options.propose === undefined ? { revoked: `epoch ${epoch}` } : proposed(options.propose);
  printOne(context.format, { name, cells: { key: name, ...how }, data: { key: name, epoch } });
}

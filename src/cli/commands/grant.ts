import type { Command } from "commander";
import type { GrantView } from "../actions/grant.ts";
import { leftBy } from "../actions/left.ts";
import { collect, leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { printOne, printRows, type Row, say } from "../output.ts";
import {
  observing,
  parseChoice,
  parseCount,
  parseDuration,
  short,
  showDuration,
  showLeft,
  showTime,
} from "../units.ts";
import { outletOf, PROPOSE, proposed } from "./proposal.ts";

interface Create {
  manifest: string;
  scope: string[];
  unlimited?: boolean;
  ttl?: string;
  for?: string;
  observe?: string;
  purpose: string;
  instances: string;
  measure: string;
  heartbeat?: string;
  stallDegraded?: string;
  stallAutoheal?: string;
  silentBeyondLease?: string;
  quarantineStalled?: boolean;
  cosign: string[];
  propose?: string;
}

interface Revoke {
  reason: string;
  cosign: string[];
  propose?: string;
}

export const COSIGN = "a further grant key, where the keyset asks for several; may repeat";

export function register(program: Command): void {
  const grant = program.command("grant").description("operators' signed word: who may do what");
  leaf(grant, "create", "sign a grant and record it", [...OPERATOR, "grantKey"])
    .requiredOption("--manifest <manifest>", "a dragon.yaml, a name@version or a hash")
    .requiredOption(
      "--scope <scope>",
      "name:max_actions=N,max_bytes=1MB,rate_per_minute=N,max_concurrent=N; may repeat",
      collect,
      [],
    )
    .requiredOption("--purpose <text>", "what for: stands in every receipt")
    .option("--unlimited", "limits that are not said do not exist")
    .option("--ttl <time>", "longest lease [60s]")
    .option("--for <time>", "how long it holds [24h]")
    .option(
      "--observe <time>",
      "merely observe for so long: let pass what no scope allows, and say so",
    )
    .option("--instances <n>", "instances at once", "1")
    .option("--measure <level>", "declared, files or launched", "files")
    .option("--heartbeat <time>", "between signs of life [10s]")
    .option("--stall-degraded <time>", "without progress until it is degraded [30m]")
    .option("--stall-autoheal <time>", "without progress until it is remedied [60m]")
    .option("--silent-beyond-lease <state>", "stop or quarantine what is silent past its lease")
    .option("--quarantine-stalled", "quarantine a stall that remedies do not cure")
    .option("--cosign <key>", COSIGN, collect, [])
    .option(...PROPOSE)
    .action(run(createGrant));
  leaf(grant, "list", "list grants", OPERATOR).action(
    run(async (context) => {
      const { listGrants } = await import("../actions/grant.ts");
      printRows(context.format, (await listGrants(await context.control())).map(row));
    }),
  );
  leaf(grant, "show <grant>", "show one grant", OPERATOR).action(
    run(async (context, _options, [id = ""]) => {
      const { getGrant } = await import("../actions/grant.ts");
      printOne(context.format, detail(await getGrant(await context.control(), id)));
    }),
  );
  leaf(grant, "revoke <grant>", "take a grant back for good", [...OPERATOR, "grantKey"])
    .requiredOption("--reason <text>", "why; recorded")
    .option("--cosign <key>", COSIGN, collect, [])
    .option(...PROPOSE)
    .action(
      run<Revoke>(async (context, { reason, cosign, propose }, [grantId = ""]) => {
        const { revokeGrant } = await import("../actions/grant.ts");
        const signers = await grantSigners(context, cosign);
        const outlet = await outletOf(context, propose);
        const order = { grantId, reason };
        const { epoch } = await revokeGrant(await context.control(), signers, order, outlet);
        const how = propose === undefined ? { revoked: `epoch ${epoch}` } : proposed(propose);
        const cells = { grant: grantId, ...how };
        printOne(context.format, { name: grantId, cells, data: { grantId, epoch } });
      }),
    );
}

/** Everyone who is to sign: the grant key that is set, and those that --cosign names. */
export async function grantSigners(context: Context, cosign: readonly string[]) {
  const { openSigner } = await import("../actions/keys.ts");
  return Promise.all([context.required("grantKey"), ...cosign].map(openSigner));
}

async function createGrant(context: Context, options: Create): Promise<void> {
  const { createGrant, getGrant, parseScope } = await import("../actions/grant.ts");
  const { findManifest } = await import("../actions/manifest.ts");
  const { MEASURES } = await import("../../domain/grant.ts");
  const { grantTtlDefaultUs, leaseTtlDefaultUs } = await import("../../domain/limits.ts");
  const time = (value: string | undefined, flag: string, otherwise: number) =>
    value === undefined ? otherwise : parseDuration(value, flag);

  const scopes = options.scope.map((s) => parseScope(s, options.unlimited === true));
  const wanted = {
    scopes,
    purpose: options.purpose,
    forUs: time(options.for, "--for", grantTtlDefaultUs),
    leaseTtlMaxUs: time(options.ttl, "--ttl", leaseTtlDefaultUs),
    instancesMax: parseCount(options.instances, "--instances"),
    measureMin: parseChoice(options.measure, "--measure", MEASURES),
    ...(options.observe === undefined
      ? {}
      : { observeForUs: parseDuration(options.observe, "--observe") }),
    liveness: {
      heartbeatIntervalUs: time(options.heartbeat, "--heartbeat", 0),
      stallDegradedUs: time(options.stallDegraded, "--stall-degraded", 0),
      stallAutohealUs: time(options.stallAutoheal, "--stall-autoheal", 0),
      silentBeyondLease:
        options.silentBeyondLease === undefined
          ? ("UNSPECIFIED" as const)
          : parseChoice(options.silentBeyondLease, "--silent-beyond-lease", [
              "STOP",
              "QUARANTINE",
            ] as const),
      quarantineStalled:
        options.quarantineStalled === true ? ("YES" as const) : ("UNSPECIFIED" as const),
    },
  };
  const signers = await grantSigners(context, options.cosign);
  const control = await context.control();
  const found = await findManifest(control, options.manifest);
  const { propose } = options;
  const whole = { ...wanted, manifest: found.manifest, manifestHash: found.hash };
  const outlet = await outletOf(context, propose);
  const { grantId } = await createGrant(control, signers, whole, outlet);
  if (propose !== undefined) {
    const cells = { grant: grantId, ...proposed(propose) };
    printOne(context.format, { name: grantId, cells, data: { grantId, proposal: propose } });
    return;
  }
  const made = await getGrant(control, grantId);
  if (made.observeUntilUs > 0) {
    say(`IT MERELY OBSERVES until ${showTime(made.observeUntilUs)}: what no scope allows passes`);
  }
  printOne(context.format, detail(made));
}

const row = (g: GrantView): Row => ({
  name: g.grantId,
  cells: {
    grant: g.grantId,
    manifest: short(g.manifestHash),
    scopes: g.scopes.map((s) => s.name).join(", "),
    until: showTime(g.notAfterUs),
    state: stateOf(g),
    purpose: g.purpose,
  },
  data: { ...g, scopes: g.scopes.map(({ name, limits }) => ({ name, limits: { ...limits } })) },
});

const stateOf = ({ revokedEpoch, observeUntilUs }: GrantView): string =>
  revokedEpoch === 0 ? `in force${observing(observeUntilUs)}` : `revoked by epoch ${revokedEpoch}`;

function detail(g: GrantView): Row {
  const cells = {
    grant: g.grantId,
    manifest: g.manifestHash,
    scopes: showLeft(leftBy(g.scopes, [])),
    from: showTime(g.notBeforeUs),
    until: showTime(g.notAfterUs),
    lease: `at most ${showDuration(g.leaseTtlMaxUs)}`,
    instances: `${g.instancesMax}`,
    measured: g.measureMin.toLowerCase(),
    purpose: g.purpose,
    "signed by": g.signedBy.join(", "),
    state: stateOf(g),
    next: `dragons dock create --grant ${g.grantId}`,
  };
  return { ...row(g), cells };
}

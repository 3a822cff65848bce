import type { Command } from "commander";
import type { HistoryView } from "../actions/history.ts";
import type { OrganismView, PulseView } from "../actions/organism.ts";
import { collect, defined, leaf, OPERATOR, run } from "../command.ts";
import type { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { printEvent, printOne, printRows, type Row, say } from "../output.ts";
import { observing, parseChoice, showDuration, showLeft, showTime } from "../units.ts";
import { COSIGN, grantSigners } from "./grant.ts";
import { outletOf, PROPOSE, proposed } from "./proposal.ts";

interface Filter {
  state?: string;
}
interface WatchFilter extends Filter {
  name?: string;
  agentVersion?: string;
  scope?: string;
  when?: string;
}
interface Reason {
  reason: string;
}

const alarmRow = ({ revision, alarm }: { revision: number; alarm: string }): Row => ({
  name: `alarm-${revision}`,
  cells: { what: "ALARM", alarm },
  data: { event: "ALARM", revision, alarm },
});

export function register(program: Command): void {
  const organism = program
    .command("organism")
    .description("governed agents, and whether they live");
  leaf(organism, "list", "list organisms", OPERATOR)
    .option("--state <state>", "only in this state")
    .action(
      run<Filter>(async (context, options) => {
        const { listOrganisms } = await import("../actions/organism.ts");
        const state = await stateOf(options);
        printRows(context.format, (await listOrganisms(await context.control(), state)).map(row));
      }),
    );
  leaf(organism, "watch", "show what is there, then every change, once and in order", OPERATOR)
    .option("--state <state>", "only changes from or to this state")
    .option("--name <name>", "only agents of this name")
    .option("--agent-version <version>", "only this version of their manifest")
    .option("--scope <name>", "only agents whose grant names this scope")
    .option("--when <condition>", "such as 'organism.state == \"DEGRADED\"'")
    .action(
      run<WatchFilter>(async (context, options) => {
        const { watchOrganisms } = await import("../actions/organism.ts");
        const { agentVersion: version, name, scope, when } = options;
        const state = await stateOf(options);
        const filter = defined({ state, name, version, scope, when });
        for await (const seen of watchOrganisms(await context.control(), filter)) {
          if (seen.event === "ORGANISM") printEvent(context.format, row(seen.organism));
          else if (seen.event === "ALARM") printEvent(context.format, alarmRow(seen));
          else if (seen.event === "SYNCED") say("— that is what is there; changes follow —");
        }
      }),
    );
  leaf(organism, "revoke <instance>", "take an instance back for good: no lease, no successor", [
    ...OPERATOR,
    "grantKey",
  ])
    .requiredOption("--reason <text>", "why; recorded")
    .option("--cosign <key>", COSIGN, collect, [])
    .option(...PROPOSE)
    .action(run(revokeInstance));
  leaf(organism, "show <instance>", "show one organism with its latest beat", OPERATOR).action(
    run(async (context, _options, [instanceId = ""]) => {
      const { getOrganism } = await import("../actions/organism.ts");
      const { organism: found, pulse } = await getOrganism(await context.control(), instanceId);
      const beat =
        pulse === null
          ? { beat: "none yet" }
          : {
              beat: `${pulse.beat}, heard ${showTime(pulse.heardAtUs)}`,
              session: pulse.attached ? "attached" : "none",
              enforcement: pulse.enforcement?.toLowerCase() ?? "not told",
              receipts: `${pulse.size} made, ${pulse.heldSize} held at the centre`,
              "in flight": `${pulse.inFlight}`,
              lease:
                pulse.leaseId === ""
                  ? "none"
                  : `${pulse.leaseId} until ${showTime(pulse.leaseUntilUs)}`,
              autonomy: showDuration(pulse.autonomyLeftUs),
              left: showLeft(pulse.left),
            };
      const base = row(found);
      const cells = {
        ...base.cells,
        cause: found.cause ?? "-",
        desired: found.desired.toLowerCase(),
        ledger: found.ledgerId,
        docked: showTime(found.dockedAtUs),
        ...beat,
      };
      const data = { ...(base.data as object), pulse: pulse === null ? null : pulseData(pulse) };
      printOne(context.format, { ...base, cells, data });
      if (pulse !== null) sayLeftOpen(found, pulse);
    }),
  );
  leaf(organism, "history <instance>", "list its changes of state, each decided again here", [
    ...OPERATOR,
    "trust",
  ]).action(
    run(async (context, _options, [instanceId = ""]) => {
      const { organismHistory } = await import("../actions/history.ts");
      const { readTrust } = await import("../actions/trust.ts");
      const { rootKey } = await readTrust(context.required("trust"));
      const history = await organismHistory(await context.control(), rootKey, instanceId);
      const rows = history.transitions.map((t) => ({
        name: t.transitionId,
        cells: {
          at: showTime(t.atUs),
          from: t.from.toLowerCase(),
          to: t.to.toLowerCase(),
          cause: t.cause === "CONDITION" ? t.condition : t.cause,
          reason: t.reason || "-",
          "decided again": t.agreement.toLowerCase(),
        },
        data: { ...t },
      }));
      printRows(context.format, rows);
      sayAgreement(history);
    }),
  );
  order(organism, "quarantine <instance>", "take all authority from it, now").action(
    run<Reason>(async (context, { reason }, [instanceId = ""]) => {
      const { quarantine } = await import("../actions/organism.ts");
      const after = await quarantine(await context.control(), { instanceId, reason });
      printOne(context.format, row(after));
    }),
  );
  order(organism, "release <instance>", "let it out, naming what is released")
    .option("--condition <type>", "what is released [all that holds it]; may repeat", collect, [])
    .action(
      run<Reason & { condition: string[] }>(async (context, options, [instanceId = ""]) => {
        const { release } = await import("../actions/organism.ts");
        const { CONDITION_TYPES } = await import("../../domain/transition.ts");
        const conditions = options.condition.map((c) =>
          parseChoice(c, "--condition", CONDITION_TYPES),
        );
        const { reason } = options;
        const after = await release(await context.control(), { instanceId, reason, conditions });
        printOne(context.format, row(after));
      }),
    );
  order(organism, "stop <instance>", "end it for good").action(
    run<Reason>(async (context, { reason }, [instanceId = ""]) => {
      const { stop } = await import("../actions/organism.ts");
      printOne(context.format, row(await stop(await context.control(), { instanceId, reason })));
    }),
  );
}

/** Whether anybody else would have decided the same, in a sentence and the exit code. */
function sayAgreement({ transitions, agreement, whole }: HistoryView): void {
  const of = (a: string) => transitions.filter((t) => t.agreement === a);
  for (const t of transitions) {
    if (t.agreement !== "AGREES") say(`${t.transitionId} ${t.agreement.toLowerCase()}: ${t.why}`);
  }
  const agree = `${of("AGREES").length} of ${transitions.length} follow from what they cite`;
  say(whole ? agree : `${agree}; it does not begin with its birth`);
  if (agreement === "DIFFERS") throw new Failure(EXIT.refused, "this history was not decided so");
}

/** What to type where nobody speaks for a ledger that is not at its end. */
function sayLeftOpen({ instanceId, state, conditions }: OrganismView, pulse: PulseView): void {
  const owed = pulse.inFlight + Math.max(pulse.size - pulse.heldSize, 0);
  const gone = state === "STOPPED" || conditions.some((c) => c.type === "SILENT");
  if (pulse.attached || !gone || owed === 0) return;
  say("its ledger was left open; where its folder is: dragons sidecar --close --data DIR");
  if (state === "STOPPED") return;
  say(`where that is lost: dragons organism stop ${instanceId} --reason TEXT`);
}

const pulseData = (pulse: PulseView) => ({
  ...pulse,
  secondsOfAutonomyLeft: Math.floor(pulse.autonomyLeftUs / 1_000_000),
  left: pulse.left.map((l) => ({ ...l })),
});

const order = (parent: Command, usage: string, summary: string): Command =>
  leaf(parent, usage, summary, OPERATOR).requiredOption("--reason <text>", "why; recorded");

async function stateOf({ state }: Filter) {
  const { STATES } = await import("../../domain/transition.ts");
  return state === undefined ? undefined : parseChoice(state, "--state", STATES);
}

/** What operators want of it, where that is not what it was made for. */
const DESIRED = { UNSPECIFIED: "?", RUN: "to run", HOLD: "held", STOP: "to stop" } as const;

const row = (o: OrganismView): Row => ({
  name: o.instanceId,
  cells: {
    instance: o.instanceId,
    manifest: o.manifest,
    state:
      o.state.toLowerCase() +
      (o.desired === "RUN" ? "" : ` (${DESIRED[o.desired]})`) +
      observing(o.observeUntilUs),
    conditions: o.conditions.map((c) => c.type).join(", ") || "-",
    since: showTime(o.sinceUs),
    revision: `${o.revision}`,
  },
  data: { ...o, conditions: o.conditions.map((c) => ({ ...c })) },
});

async function revokeInstance(
  context: Context,
  { reason, cosign, propose }: Reason & { cosign: string[]; propose?: string },
  [instanceId = ""]: readonly string[],
): Promise<void> {
  const { getOrganism } = await import("../actions/organism.ts");
  const { revoke } = await import("../actions/revocation.ts");
  const { fromHex } = await import("../../domain/bytes.ts");
  const signers = await grantSigners(context, cosign);
  const outlet = await outletOf(context, propose);
  const control = await context.control();
  const { organism } = await getOrganism(control, instanceId);
  const what = { kind: "INSTANCE", target: fromHex(organism.ledgerId), reason } as const;
  const { epoch } = await revoke(control, signers, what, outlet);
  const how = propose === undefined ? { revoked: `epoch ${epoch}` } : proposed(propose);
  const cells = { instance: instanceId, ...how };
  printOne(context.format, { name: instanceId, cells, data: { instanceId, epoch } });
}

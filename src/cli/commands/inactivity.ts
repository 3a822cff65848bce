import type { Command } from "commander";
import type { AskedTime, IdleAnswer } from "../../verifier/idle-proof.ts";
import type { LedgerReport } from "../../verifier/report.ts";
import type { Ledger } from "../../verifier/verify.ts";
import { leaf, run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Json, printOne } from "../output.ts";
import { parseInstant, plural, short, showTime } from "../units.ts";
import { progress, takePack, tell } from "./verify.ts";

interface Asked {
  since?: string;
  until?: string;
}

type Answered = Pick<LedgerReport, "ledger" | "manifest" | "instanceId"> & IdleAnswer;

export function register(evidence: Command): void {
  leaf(evidence, "inactivity <pack>", "prove, offline, that nothing was begun in a time", ["trust"])
    .option(
      "--since <time>",
      "2026-11-24T09:00:00Z, or how long ago: 2h [the first countersigned head]",
    )
    .option("--until <time>", "likewise [as far as heartbeats can be dated]")
    .addHelpText(
      "after",
      "\nTimes are the control plane's. Exit codes: 0 all of that time is proven idle, 3 not all of it, 2 a broken pack, 64 usage, 78 bad or missing trust file.",
    )
    .action(
      run<Asked>(async (context, options, [pack = ""]) => {
        const { verifyPack } = await import("../actions/verify.ts");
        const { idleWithin } = await import("../../verifier/idle-proof.ts");
        const { systemClock } = await import("../../native/clock.ts");
        const nowUs = systemClock.nowUs();
        const asked = timeOf(options, nowUs);
        const taken = await takePack(context, pack);
        if (taken === null) return;
        const meter = progress();
        const opened = new Map<string, Ledger>();
        const report = await verifyPack(pack, taken.trust, nowUs, {
          onProgress: meter.show,
          onLedger: (ledger) => void opened.set(ledger.id, ledger),
        }).finally(meter.clear);
        // What is broken, or vouches for itself, proves nothing.
        if (report.verdict === "BROKEN" || !report.pinned) return tell(context, report);
        const ledgers = report.ledgers.flatMap(({ ledger, manifest, instanceId }): Answered[] => {
          const found = opened.get(ledger);
          if (found?.role !== "WORK") return [];
          return [{ ledger, manifest, instanceId, ...idleWithin(found, asked) }];
        });
        const idle = ledgers.length > 0 && ledgers.every((l) => l.idle);
        const name = idle ? "IDLE" : "UNPROVEN";
        if (context.format === "table")
          print([report.findings[0] ?? "", answer(ledgers, name)], ledgers);
        else {
          const { verdict, tenant } = report;
          const data = { verdict, tenant, idle, ledgers } as unknown as Json;
          printOne(context.format, { name, cells: {}, data });
        }
        if (!idle) process.exitCode = EXIT.unproven;
      }),
    );
}

/** @throws Failure, usage, for what is no time, or none that ends after it begins. */
function timeOf({ since, until }: Asked, nowUs: number): AskedTime {
  const fromUs = since === undefined ? null : parseInstant(since, "--since", nowUs);
  const untilUs = until === undefined ? null : parseInstant(until, "--until", nowUs);
  if (fromUs !== null && untilUs !== null && fromUs >= untilUs)
    throw new Failure(EXIT.usage, `--until: ${until} is not after --since ${since}`);
  return { fromUs, untilUs };
}

function answer(ledgers: readonly Answered[], name: string): string {
  const idle = ledgers.filter((l) => l.idle).length;
  return `${name}: ${idle} of ${plural(ledgers.length, "ledger")} proven to have begun nothing in all of that time, by the control plane's clock.`;
}

function print(said: readonly string[], ledgers: readonly Answered[]): void {
  const lines = ledgers.flatMap((l) => [
    "",
    `Ledger ${short(l.ledger)} (${l.manifest}, instance ${l.instanceId}), ${times(l)}: ${l.idle ? "idle" : "not all proven"}`,
    ...[...l.spans.map(spanLine), ...l.gaps.map(gapLine)]
      .sort((a, b) => a.fromUs - b.fromUs)
      .map(({ line }) => `  ${line}`),
  ]);
  process.stdout.write(`${[...said, ...lines].join("\n")}\n`);
}

type Span = IdleAnswer["spans"][number];
type Gap = IdleAnswer["gaps"][number];

const times = ({ fromUs, untilUs }: Gap | Answered | Span): string =>
  `${showTime(fromUs)} to ${showTime(untilUs)}`;

/** With the artifacts that say so, as the pack has them. */
const spanLine = (s: Span) => ({
  fromUs: s.fromUs,
  line: `idle      ${times(s)}: ${plural(s.intentsOpened, "action")} begun before; checkpoint of ${s.size} (root ${short(s.root)}), heartbeats ${s.fromCounter} to ${s.untilCounter} of session ${s.sessionEpoch} (the last ${s.heartbeatId}), lease ${s.leaseId}`,
});

const gapLine = (g: Gap) => ({ fromUs: g.fromUs, line: `unproven  ${times(g)}: ${g.why}` });

import { closeSync, openSync, writeSync } from "node:fs";
import type { Command } from "commander";
import { SCOPE_NAME } from "../../domain/manifest.ts";
import type { ForkReport } from "../../verifier/fork-proof.ts";
import type { Report } from "../../verifier/report.ts";
import type { TimelineEntry } from "../../verifier/timeline.ts";
import type { TrustFile } from "../../verifier/trust-file.ts";
import type { Supposed } from "../../verifier/what-if.ts";
import { leaf, run } from "../command.ts";
import type { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Format, type Json, printOne, say } from "../output.ts";

export function register(program: Command): void {
  leaf(program, "verify <pack>", "check an evidence pack, offline, against a trust file", ["trust"])
    .option("--timeline <file>", "write each receipt that holds as a line of JSON")
    .option(
      "--what-if <scopes>",
      "decide every claim anew as under a lease of these scopes, by commas; none: an empty text",
    )
    .addHelpText(
      "after",
      "\nExit codes: 0 anchored or witnessed, 2 broken, 3 intact or proven only, 64 usage, 78 bad or missing trust file.",
    )
    .action(
      run<{ timeline?: string; whatIf?: string }>(async (context, options, [pack = ""]) => {
        const { verifyPack } = await import("../actions/verify.ts");
        const { systemClock } = await import("../../native/clock.ts");
        const taken = await takePack(context, pack);
        if (taken === null) return;
        const meter = progress();
        const lines = timeline(options.timeline);
        const report = await verifyPack(pack, taken.trust, systemClock.nowUs(), {
          onProgress: meter.show,
          onReceipt: lines.write,
          ...(options.whatIf !== undefined && { whatIf: supposed(options.whatIf) }),
        }).finally(() => {
          meter.clear();
          lines.close();
        });
        await tell(context, report);
      }),
    );
}

/**
 * What a pack is judged by; `trust`: null, no trust file is set. Returns null for a file that proves a fork: that is
 * judged here, and told.
 */
export async function takePack(
  context: Context,
  pack: string,
): Promise<{ readonly trust: TrustFile | null } | null> {
  const { readTrust } = await import("../actions/trust.ts");
  const { keepSmallFor } = await import("../actions/verify.ts");
  const { judgeFork } = await import("../actions/fork.ts");
  const file = context.optional("trust");
  const trust = file === null ? null : await readTrust(file);
  const fork = await judgeFork(pack, trust);
  if (fork !== null) {
    printFork(fork, context.format);
    return null;
  }
  await keepSmallFor(pack);
  return { trust };
}

/** Prints a report, and leaves its exit code. */
export async function tell({ format }: Context, report: Report): Promise<void> {
  const { exitCodeOf } = await import("../../verifier/report.ts");
  if (format === "table") print(report);
  else {
    const data = report as unknown as Json;
    printOne(format, { name: report.verdict, cells: {}, data });
  }
  if (!report.pinned) {
    say(
      "dragons: trust: no trust file was given, so nobody but the pack vouches; add --trust FILE",
    );
  }
  process.exitCode = exitCodeOf(report);
}

/** @throws Failure, usage, on what is no scope's name. */
function supposed(text: string): Supposed {
  const scopes = text === "" ? [] : text.split(",").map((s) => s.trim());
  const odd = scopes.find((s) => !SCOPE_NAME.test(s));
  if (odd === undefined) return { scopes };
  throw new Failure(
    EXIT.usage,
    `--what-if: ${JSON.stringify(odd)} is not a scope's name, such as read:payments`,
  );
}

/** Nothing of a ledger with two histories may be relied on, nor of a file that does not prove it. */
function printFork(report: ForkReport, format: Format): void {
  if (format === "table") process.stdout.write(`${report.findings.join("\n")}\n`);
  else {
    const data = report as unknown as Json;
    printOne(format, { name: report.verdict, cells: {}, data });
  }
  process.exitCode = report.pinned ? EXIT.refused : EXIT.config;
}

function print(report: Report): void {
  const lines = [
    ...report.findings,
    ...(report.proves.length === 0 ? [] : ["", "What this proves:"]),
    ...report.proves.map((line) => `  ${line}`),
    "",
    "What was checked:",
    ...report.checks.map(checkLine),
    "",
    "What it does not prove:",
    ...report.doesNotProve.map((line) => `  ${line}`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

const checkLine = ({ number, name, status, held, says }: Report["checks"][number]): string =>
  `  ${status.padEnd(22)}${String(number).padStart(2)} ${name.padEnd(18)}${says}${held > 0 ? ` (${held})` : ""}`;

/** Lines as they are proven, so that a long ledger is never held whole. */
function timeline(file: string | undefined) {
  if (file === undefined) return { write: () => {}, close: () => {} };
  const fd = opened(file);
  return {
    write: (entry: TimelineEntry): void => void writeSync(fd, `${JSON.stringify(entry)}\n`),
    close: (): void => closeSync(fd),
  };
}

function opened(file: string): number {
  try {
    return openSync(file, "w");
  } catch (error) {
    throw new Failure(EXIT.usage, `--timeline: ${(error as Error).message}`);
  }
}

/** How far the reading is, on a terminal and nowhere else. */
export function progress(): { show: (read: number, of: number) => void; clear: () => void } {
  const { stderr } = process;
  let shown = -1;
  return {
    show(read, of) {
      const percent = of === 0 ? 100 : Math.floor((read / of) * 100);
      if (!stderr.isTTY || percent === shown) return;
      shown = percent;
      stderr.write(`\rverifying ${percent} %`);
    },
    clear() {
      if (shown >= 0) stderr.write("\r\u001b[K");
    },
  };
}

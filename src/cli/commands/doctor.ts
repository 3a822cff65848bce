import type { Command } from "commander";
import { leaf, run } from "../command.ts";
import { printRows } from "../output.ts";
import { SETTINGS, type Setting } from "../profile.ts";

export function register(program: Command): void {
  const settings = Object.keys(SETTINGS) as Setting[];
  leaf(program, "doctor", "look for what would stop a command or a sidecar here", settings).action(
    run(async (context) => {
      const { examine, exitOf } = await import("../actions/doctor.ts");
      const { trySealing } = await import("./processes.ts");
      const findings = await examine(context, trySealing);
      printRows(
        context.format,
        findings.map((f) => ({
          name: f.check,
          cells: { check: f.check, is: f.level, detail: f.detail },
          data: { ...f },
        })),
      );
      process.exitCode = exitOf(findings);
    }),
  );
}

import type { Command } from "commander";
import { leaf, run } from "../command.ts";
import { printRows } from "../output.ts";
import { SETTINGS, type Setting } from "../profile.ts";

export function register(program: Command): void {
  const config = program.command("config").description("what commands work with");
  const settings = Object.keys(SETTINGS) as Setting[];
  leaf(config, "view", "show every setting", settings)
    .option("--origin", "show where each comes from")
    .action(
      run<{ origin?: boolean }>(async (context, options) => {
        const rows = settings.map((setting) => {
          const { value, origin } = context.resolved(setting);
          // Keys and tokens are named by their files: there is no secret to hide here.
          return {
            name: setting,
            cells: {
              setting,
              value: value === "" ? "-" : value,
              ...(options.origin === true
                ? { origin: origin === "profile" ? `profile ${context.profilePath}` : origin }
                : {}),
            },
            data: { setting, value, origin },
          };
        });
        printRows(context.format, rows);
      }),
    );
}

import type { Command } from "commander";
import type { Branch } from "../actions/completion.ts";
import { EXIT, Failure } from "../failure.ts";

export function register(program: Command): void {
  program
    .command("completion <shell>")
    .description("print completions for bash, zsh or fish")
    .action(async (given: string) => {
      const { completionScript, SHELLS } = await import("../actions/completion.ts");
      const shell = SHELLS.find((s) => s === given);
      if (shell === undefined) {
        throw new Failure(EXIT.usage, `completion: ${given} is none of ${SHELLS.join(", ")}`);
      }
      process.stdout.write(completionScript(shell, treeOf(program)));
    });
}

function treeOf(program: Command): Branch {
  const root = branchOf(program);
  const known = new Set(root.branches.map((b) => b.name));
  // Processes read their own flags, and are no commands of commander's.
  const processes = PROCESSES.filter((p) => !known.has(p.name));
  return { ...root, branches: [...root.branches, ...processes] };
}

const branchOf = (command: Command): Branch => ({
  name: command.name(),
  summary: command.description().replaceAll('"', "'"),
  flags: command.options.flatMap((o) => (o.long === undefined || o.long === null ? [] : [o.long])),
  branches: command.commands.map(branchOf),
});

const PROCESSES: readonly Branch[] = (
  [
    ["dev", "everything on this machine, with a story"],
    ["run", "launch an unmodified agent under a sidecar"],
    ["learn", "run one that may do anything, and write down what it needs"],
    ["sidecar", "the process beside the agent"],
    ["control", "the control plane"],
  ] as const
).map(([name, summary]) => ({ name, summary, flags: ["--help"], branches: [] }));

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { register as audit } from "./commands/audit.ts";
import { register as completion } from "./commands/completion.ts";
import { register as config } from "./commands/config.ts";
import { register as dock } from "./commands/dock.ts";
import { register as doctor } from "./commands/doctor.ts";
import { register as evidence } from "./commands/evidence.ts";
import { register as gateway } from "./commands/gateway.ts";
import { register as grant } from "./commands/grant.ts";
import { register as key } from "./commands/key.ts";
import { register as lease } from "./commands/lease.ts";
import { register as ledger } from "./commands/ledger.ts";
import { register as manifest } from "./commands/manifest.ts";
import { register as mcp } from "./commands/mcp.ts";
import { register as operator } from "./commands/operator.ts";
import { register as organism } from "./commands/organism.ts";
import { register as proposal } from "./commands/proposal.ts";
import { register as receipt } from "./commands/receipt.ts";
import { register as scope } from "./commands/scope.ts";
import { register as sidecar } from "./commands/sidecar.ts";
import { register as tamper } from "./commands/tamper.ts";
import { register as tenant } from "./commands/tenant.ts";
import { register as token } from "./commands/token.ts";
import { register as trust } from "./commands/trust.ts";
import { register as verify } from "./commands/verify.ts";
import { register as why } from "./commands/why.ts";
import { EXIT } from "./failure.ts";
import { say } from "./output.ts";

const NOUNS = [
  tenant,
  trust,
  operator,
  key,
  proposal,
  manifest,
  mcp,
  scope,
  grant,
  gateway,
  dock,
  token,
  lease,
  organism,
  receipt,
  ledger,
  why,
  evidence,
  verify,
  tamper,
  audit,
  sidecar,
  config,
  doctor,
  completion,
];

/** Runs one command and leaves its exit code in `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough, such as `head`, is no fault of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode ?? EXIT.ok);
  });
  if (argv[0] === "run" || argv[0] === "learn") {
    // Begins this process anew: not once somebody was asked, or something recorded.
    await (await import("./commands/processes.ts")).beforeSidecar();
  }
  process.exitCode = await runCommand(argv);
}

/** Runs one command. Resolves with its exit code; whatever went wrong has been said. */
export async function runCommand(argv: readonly string[]): Promise<number> {
  try {
    const ended = await asProcess(argv);
    if (ended !== null) return ended;
    await program().parseAsync(argv, { from: "user" });
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    // Help and version are answers; anything else that commander ends with is wrong usage.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const { explain } = await import("./explain.ts");
    const failure = explain(error);
    if (failure !== null) {
      say(`dragons: ${failure.message}`);
      return failure.exit;
    }
    say(`dragons: this is a bug: ${error instanceof Error ? error.stack : String(error)}`);
    return EXIT.bug;
  }
}

/** Commands that become a process of their own read their own flags. null: it is none of them. */
async function asProcess([name, ...args]: readonly string[]): Promise<number | null> {
  switch (name) {
    case "sidecar":
      if (args[0] === "status") return null;
      return (await import("./commands/processes.ts")).sidecar(args);
    case "control":
      return (await import("./commands/processes.ts")).control(args);
    // What `run` becomes once the agent is admitted.
    case "keeper":
      return (await import("./commands/processes.ts")).keeper(args);
    case "run":
      return (await import("./commands/run.ts")).run(args);
    case "learn":
      return (await import("./commands/learn.ts")).learn(args);
    case "mcp":
      if (args[0] === "install" || args[0] === "uninstall") return null;
      return (await import("./commands/mcp.ts")).mcp(args);
    case "dev":
      return (await import("./commands/dev.ts")).dev(args);
    default:
      return null;
  }
}

function program(): Command {
  const root = new Command("dragons")
    .description("leases, receipts and signs of life for autonomous agents")
    .version(version(), "--version", "print the version")
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`dragons: ${text.replace(/^error: /, "")}`),
    })
    .showHelpAfterError("add --help to see what it takes")
    .addHelpText("after", PROCESSES);
  for (const register of NOUNS) register(root);
  return root;
}

/** As npm knows it. */
const version = (): string =>
  (
    JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as {
      version: string;
    }
  ).version;

const PROCESSES = `
Processes, each with its own --help:
  dev        everything on this machine, with a story
  run        launch an unmodified agent under a sidecar
  mcp        stand before an MCP server on pipes; install and uninstall it in a client
  learn      run one that may do anything, and write down what it needs
  sidecar    the process beside the agent
  control    the control plane
`;

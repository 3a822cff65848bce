import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import type { Command } from "commander";
import { isServerName } from "../../domain/mcp-server.ts";
import { leaf, run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { printRows, say } from "../output.ts";

/** What clients are to start, wherever they are. */
const LAUNCHER = join(import.meta.dirname, "../../../bin/dragons");

const USAGE = `dragons mcp [--server NAME] [options of dragons run] -- SERVER...

Stands between an MCP client and a server on pipes: the client starts this instead of the server. What
passes is judged by rules such as  mcp: tools/call create_ticket, server: NAME  and has receipts. Under
dragons run, it is that sidecar that judges; else a sidecar of its own is started, and the server sealed
under it, as dragons run does.

  --server NAME   what rules call the server  [from its command]

  dragons mcp install CONFIG      put it before the servers of an MCP client
  dragons mcp uninstall CONFIG    put the client's own configuration back
`;

/** `dragons mcp -- SERVER`, as a process: its exit code is the server's. */
export async function mcp(args: readonly string[]): Promise<number> {
  const end = args.indexOf("--");
  const own = end < 0 ? args : args.slice(0, end);
  const command = end < 0 ? [] : args.slice(end + 1);
  if (own.includes("--help") || own.includes("-h")) {
    process.stdout.write(USAGE);
    return EXIT.ok;
  }
  if (command.length === 0) {
    throw new Failure(EXIT.usage, "name the server's command after --: dragons mcp … -- SERVER");
  }
  const { server, rest } = split(own, command);
  const { findSidecar, wrapServer } = await import("../actions/mcp-wrap.ts");
  const sidecar = findSidecar(process.env);
  if (sidecar !== null) {
    if (rest.length > 0) {
      throw new Failure(EXIT.usage, `${rest[0]} is for a sidecar that is started; one is here`);
    }
    return wrapServer(sidecar, server, command);
  }
  // Begins this process anew: not once anything was read.
  await (await import("./processes.ts")).beforeSidecar();
  const { launch, parse } = await import("./run.ts");
  const { wanted } = parse("mcp", args, { server: { type: "string" } });
  const again = [process.execPath, LAUNCHER, "mcp", "--server", server];
  return launch(wanted as NonNullable<typeof wanted>, [...again, "--", ...command]);
}

function split(own: readonly string[], command: readonly string[]) {
  const at = own.findIndex((word) => word === "--server" || word.startsWith("--server="));
  if (at < 0) return { server: nameOf(command), rest: own };
  const width = own[at] === "--server" ? 2 : 1;
  const { values } = parseArgs({
    args: own.slice(at, at + width),
    options: { server: { type: "string" } },
  });
  const server = values.server ?? "";
  if (!isServerName(server)) {
    throw new Failure(EXIT.usage, `--server: ${server} is not a name such as tracker`);
  }
  return { server, rest: [...own.slice(0, at), ...own.slice(at + width)] };
}

/** `server-files` for `npx -y @scope/server-files@1.2`: the last word that is no flag and no folder. */
function nameOf(command: readonly string[]): string {
  const words = command.slice(1).filter((w) => !w.startsWith("-") && !w.startsWith("/"));
  const said = words[0] ?? (command[0] as string);
  const name = basename(said.replace(/(?<=.)@[^/]*$/, ""))
    .replace(/\.[a-z]+$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63);
  return isServerName(name) ? name : "server";
}

interface Install {
  client?: string;
  server: string[];
  route: string[];
  option: string[];
}

/** What is no process: an MCP client's configuration, rewritten and put back. */
export function register(program: Command): void {
  const mcp = program.command("mcp", { hidden: true }).description("MCP servers, judged");
  const CLIENT =
    "a client's own configuration: claude-desktop, claude-code, cursor, vscode, windsurf";
  const collect = (value: string, before: string[]): string[] => [...before, value];
  leaf(mcp, "install [config]", "put dragons mcp before the servers of an MCP client", [])
    .option("--client <name>", CLIENT)
    .option("--server <name>", "only this one; may repeat", collect, [])
    .option("--route <name=host:port>", "a server by HTTP, at a sidecar's --route", collect, [])
    .option("--option <flag>", "of dragons mcp, for each server; may repeat", collect, [])
    .action(
      run<Install>(async (context, { client, server, route, option }, [config]) => {
        const { configOf, install } = await import("../actions/mcp-config.ts");
        const file = configOf(config, client);
        const done = await install(file, {
          launcher: LAUNCHER,
          servers: server,
          routes: route,
          options: option,
        });
        printRows(context.format, done.map(rowOf));
        if (done.some((d) => d.change === "wrapped" || d.change === "routed")) {
          say(`the original is in ${file}.dragons; put it back by: dragons mcp uninstall ${file}`);
        }
      }),
    );
  leaf(mcp, "uninstall [config]", "put an MCP client's own configuration back", [])
    .option("--client <name>", CLIENT)
    .action(
      run<Install>(async (context, { client }, [config]) => {
        const { configOf, uninstall } = await import("../actions/mcp-config.ts");
        printRows(context.format, (await uninstall(configOf(config, client))).map(rowOf));
      }),
    );
}

const rowOf = (done: { server: string; change: string; detail: string }) => ({
  name: done.server,
  cells: { server: done.server, is: done.change, detail: done.detail },
  data: { ...done },
});

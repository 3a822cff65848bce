import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { Terminal } from "../cli/terminal.ts";
import { lacks } from "../skips.ts";

/** The example of an MCP agent, as its README would have it: under `dragons run`, its configuration rewritten. */
// It starts six processes, one after the other, on a machine that may be busy.
vi.setConfig({ testTimeout: 120_000 });

const HOME = join(import.meta.dirname, "../..");
const LAUNCHER = join(HOME, "bin/dragons");

let terminal: Terminal;
let control: RunningControl;

beforeAll(async () => {
  terminal = await Terminal.open();
  // Where the SDK is found.
  await symlink(join(HOME, "node_modules"), terminal.path("node_modules"));
  const listen = { host: "127.0.0.1", port: 0 };
  const readyFile = terminal.path("ready.json");
  const data = terminal.path("control");
  const config = { data, listen, names: [], readyFile, stdinEof: false };
  control = await runControl(config, { clock: systemClock });
  await terminal.dragons("tenant", "create", "acme", "--ready", "ready.json", "--operator", "al");
});
afterAll(async () => {
  await control.close();
  await terminal.close();
});

const start = (...words: string[]) => {
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "pipe"] });
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    said.out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    said.err += chunk.toString();
  });
  return { child, said };
};

async function runsExample(...contain: string[]): Promise<void> {
  await cp(join(HOME, "examples/tickets"), terminal.folder, { recursive: true });
  const server = start("server.mjs", "0");
  const [line] = (await once(server.child.stdout, "data")) as [Buffer];
  const url = line.toString().trim();
  for (const file of ["mcp.json", "dragon.yaml"]) {
    const text = (await readFile(file, "utf8")).replace("http://127.0.0.1:3939/mcp", url);
    await writeFile(file, text.replace('"node"', JSON.stringify(process.execPath)));
  }
  const before = await readFile("mcp.json", "utf8");
  expect((await terminal.dragons("mcp", "install", "mcp.json")).code).toBe(0);

  const words = ["run", ...contain, "--yes", "--", process.execPath, "my_agent.mjs"];
  const agent = start(LAUNCHER, ...words, "mcp.json");
  const [code] = (await once(agent.child, "close")) as [number];
  server.child.kill();
  expect([code, agent.said.out.split("\n")]).toEqual([
    0,
    [
      "notes: has create_ticket, delete_tickets",
      "notes: create_ticket: 1 tickets",
      "notes: create_ticket: 2 tickets",
      "notes: delete_tickets: SCOPE_NOT_GRANTED",
      "tracker: has create_ticket, delete_tickets",
      "tracker: create_ticket: 1 tickets",
      "tracker: create_ticket: CONDITION_FALSE",
      "tracker: delete_tickets: SCOPE_NOT_GRANTED",
      "",
    ],
  ]);
  expect(agent.said.err).toContain("mcp: tools/call delete_tickets");
  await terminal.dragons("mcp", "uninstall", "mcp.json");
  expect(await readFile("mcp.json", "utf8")).toBe(before);
}

test("an unmodified MCP agent writes its tickets, and deletes none", async () => {
  await runsExample("--contain", "off");
});

test.skipIf(lacks("cage"))("and in a cage, where dragons mcp finds the sidecar, too", async () => {
  await runsExample();
});

/** The server alone, in a folder without a manifest: its agent is whoever types this. */
async function alone(folder: string, ...flags: string[]): Promise<string> {
  await mkdir(folder);
  await cp(join(HOME, "examples/tickets/server.mjs"), `${folder}/server.mjs`);
  // In a cage nothing above its folder is seen.
  await symlink(join(HOME, "node_modules"), `${folder}/node_modules`);
  const profile = ["--profile", terminal.path(".dragons/profile.json")];
  const allow = ["--allow", "mcp tools/call create_ticket at notes"];
  const words = ["mcp", "--server", "notes", ...flags, ...profile, ...allow, "--"];
  const client = new Client(
    { name: "agent", version: "1" },
    { versionNegotiation: { mode: { pin: "2026-07-28" } } },
  );
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [LAUNCHER, ...words, process.execPath, "server.mjs"],
    cwd: terminal.path(folder),
    stderr: "pipe",
  });
  let said = "";
  transport.stderr?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  await client.connect(transport);
  const call = (name: string) => client.callTool({ name, arguments: { title: "bug" } });
  expect((await client.listTools()).tools.map((t) => t.name)).toEqual(["create_ticket"]);
  expect(await call("create_ticket")).toMatchObject({ content: [{ text: "1 tickets" }] });
  expect(await call("delete_tickets")).toMatchObject({
    isError: true,
    _meta: {
      "dev.dragons/denial": {
        remedy: expect.stringContaining("--allow 'mcp tools/call delete_tickets at notes'"),
      },
    },
  });
  await client.close();
  expect(await readFile(".dragons/agents/server/dragon.yaml", "utf8")).toContain("server: notes");
  return said;
}

test("under no sidecar dragons mcp starts one, by an identity that is drafted from the server", async () => {
  const said = await alone("bare", "--contain", "off", "--mcp-lists", "leased");
  expect(said).toContain("runs advisory");
});

test.skipIf(lacks("cage"))("and seals the server under it, if not told otherwise", async () => {
  expect(await alone("sealed", "--mcp-lists", "leased")).toContain("runs sealed");
});

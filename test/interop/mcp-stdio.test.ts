import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Client as Client2026 } from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2026 } from "@modelcontextprotocol/client/stdio";
import { Client as Client2025 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio2025 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { CreateMessageRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CREDENTIAL, openRig, type Rig } from "../datapath/harness.ts";

/** Both official SDKs as client and as server, on pipes, with `dragons mcp` between them. */
// Each starts a client's server, which is a process that starts another.
vi.setConfig({ testTimeout: 60_000 });

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");
const SERVER = join(import.meta.dirname, "mcp/stdio-server.ts");
const INFO = { name: "agent", version: "1" };
const ANSWER = {
  role: "assistant" as const,
  model: "a-model",
  content: { type: "text" as const, text: "because" },
};

interface Agent {
  tool(name: string, args?: Record<string, unknown>): Promise<unknown>;
  read(uri: string): Promise<unknown>;
  tools(): Promise<string[]>;
  close(): Promise<void>;
}

async function agent2025(command: string, args: string[], env: Record<string, string>) {
  const client = new Client2025(INFO, { capabilities: { sampling: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, () => ANSWER);
  await client.connect(new Stdio2025({ command, args, env, stderr: "ignore" }));
  return {
    tool: (name: string, args = {}) => client.callTool({ name, arguments: args }),
    read: (uri: string) => client.readResource({ uri }),
    tools: async () => (await client.listTools()).tools.map((t) => t.name),
    close: () => client.close(),
  };
}

async function agent2026(command: string, args: string[], env: Record<string, string>) {
  const client = new Client2026(INFO, {
    capabilities: { sampling: {} },
    versionNegotiation: { mode: { pin: "2026-07-28" } },
  });
  client.setRequestHandler("sampling/createMessage", () => ANSWER);
  await client.connect(new Stdio2026({ command, args, env, stderr: "ignore" }));
  return {
    tool: (name: string, args = {}) => client.callTool({ name, arguments: args }),
    read: (uri: string) => client.readResource({ uri }),
    tools: async () => (await client.listTools()).tools.map((t) => t.name),
    close: () => client.close(),
  };
}

let rig: Rig;
let agents: Agent[];

beforeEach(async () => {
  rig = await openRig();
  agents = [];
});
afterEach(async () => {
  await Promise.all(agents.map((agent) => agent.close()));
  await rig.close();
});

const sidecar = () => {
  const { host, port } = rig.stack.proxyAddress;
  return { DRAGONS_PROXY: `http://agent:${CREDENTIAL}@${host}:${port}` };
};
/** `dragons mcp`, as a client would start it. */
const wrapped = (name: string, ...server: string[]) => [
  LAUNCHER,
  "mcp",
  "--server",
  name,
  "--",
  ...server,
];

const GENERATIONS = [
  ["2025-11-25", "2025", agent2025],
  ["2026-07-28", "2026", agent2026],
] as const;

describe.each(GENERATIONS)("MCP %s on pipes", (_, generation, connect) => {
  const open = async (name: string): Promise<Agent> => {
    const args = wrapped(name, process.execPath, SERVER, generation);
    const agent = await connect(process.execPath, args, {
      ...sidecar(),
      PATH: process.env.PATH ?? "",
    });
    agents.push(agent);
    return agent;
  };
  const told = async () => {
    for (const agent of agents.splice(0)) await agent.close();
    await rig.gate.idle();
    return rig.ledger.closed.map(({ verdict, draft: { claim } }) =>
      [claim.verb, claim.path, verdict].filter((word) => word !== "").join(" "),
    );
  };

  test("is what it is without a sidecar, with a receipt for each message", async () => {
    const alone = await connect(process.execPath, [SERVER, generation], {});
    agents.push(alone);
    const agent = await open("tracker");
    expect(await agent.tools()).toEqual(await alone.tools());
    expect(await agent.tool("echo", { a: 1 })).toEqual(await alone.tool("echo", { a: 1 }));
    expect(await agent.read("memo://ok")).toEqual(await alone.read("memo://ok"));
    // A model's result, an error with a code of our own, and conditions over arguments.
    expect(await agent.tool("secret")).toMatchObject({
      isError: true,
      _meta: { "dev.dragons/denial": { reason: "SCOPE_NOT_GRANTED" } },
    });
    expect(await agent.tool("pay", { amount: 6 })).toMatchObject({
      isError: true,
      _meta: { "dev.dragons/denial": { reason: "CONDITION_FALSE" } },
    });
    await expect(agent.read("memo://secret")).rejects.toMatchObject({ code: -31403 });
    expect(await told()).toEqual(
      expect.arrayContaining([
        "tools/list COMPLETED",
        "tools/call echo COMPLETED",
        "resources/read memo://ok COMPLETED",
      ]),
    );
  });

  test("asks the agent nothing without leave, and with leave has a receipt", async () => {
    const tracker = await open("tracker");
    expect(JSON.stringify(await tracker.tool("ask"))).toMatch(/SCOPE_NOT_GRANTED/);
    const friend = await open("friend");
    expect(JSON.stringify(await friend.tool("ask"))).toContain("told by a-model");
    rig.authority.revoke();
    expect(await friend.tool("echo")).toMatchObject({
      isError: true,
      _meta: { "dev.dragons/denial": { reason: "LEASE_REVOKED" } },
    });
    expect(await told()).toContain("sampling/createMessage COMPLETED");
  });
});

describe("the wrapper is as the server that it wraps:", () => {
  const start = (env: Record<string, string>, ...server: string[]) => {
    const child = spawn(process.execPath, wrapped("tracker", ...server), {
      env: { PATH: process.env.PATH ?? "", ...env },
    });
    const said = { out: "", err: "" };
    child.stdout.on("data", (chunk: Buffer) => {
      said.out += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      said.err += chunk.toString();
    });
    return { child, said, ended: once(child, "close") as Promise<[number]> };
  };

  test("exit code, stderr and the end of stdin pass", async () => {
    const { child, said, ended } = start(
      sidecar(),
      "sh",
      "-c",
      "echo here >&2; cat >/dev/null; echo gone >&2; exit 7",
    );
    child.stdin.end();
    expect(await ended).toEqual([7, null]);
    expect(said).toEqual({ out: "", err: "here\ngone\n" });
  });

  test("signals pass, and its end by one is told as shells tell it", async () => {
    const { child, said, ended } = start(sidecar(), "sh", "-c", "echo ready >&2; exec sleep 60");
    while (!said.err.includes("ready")) await once(child.stderr, "data");
    child.kill("SIGTERM");
    expect(await ended).toEqual([143, null]);
  });

  test("what is no command is told as shells tell it", async () => {
    const { ended } = start(sidecar(), "no-such-command-here");
    expect(await ended).toEqual([127, null]);
  });

  test("it finds the sidecar of a process above it, whose client told it nothing", async () => {
    const words = wrapped("tracker", "sh", "-c", "cat >/dev/null; exit 5");
    const bare = `env -u DRAGONS_PROXY ${process.execPath} ${words.map((w) => `'${w}'`).join(" ")}; exit $?`;
    const child = spawn("sh", ["-c", bare], {
      env: { PATH: process.env.PATH ?? "", ...sidecar() },
      stdio: ["pipe", "inherit", "inherit"],
    });
    child.stdin.end();
    expect(await once(child, "close")).toEqual([5, null]);
  });

  test("without its sidecar nothing starts, and with its sidecar's end it ends", async () => {
    const away = start({ DRAGONS_PROXY: "http://agent:x@127.0.0.1:1" }, "sh", "-c", "echo on >&2");
    expect(await away.ended).toEqual([69, null]);
    expect(away.said.err).toMatch(/the sidecar cannot be reached, so nothing passes/);

    const { child, said, ended } = start(sidecar(), "sh", "-c", "echo ready >&2; exec sleep 60");
    while (!said.err.includes("ready")) await once(child.stderr, "data");
    await rig.close();
    expect(await ended).toEqual([69, null]);
    expect(said.err).toContain("the sidecar is gone, so nothing passes any more");
  });

  test("a wrong credential is refused, and so is a name that the manifest gives to a URL", async () => {
    const { host, port } = rig.stack.proxyAddress;
    const wrong = start({ DRAGONS_PROXY: `http://agent:guess@${host}:${port}` }, "cat");
    expect(await wrong.ended).toEqual([77, null]);
    rig.servers.push({
      name: "tracker",
      scheme: "HTTPS",
      target: "tracker.internal:443",
      path: "/mcp",
    });
    const { said, ended } = start(sidecar(), "cat");
    expect(await ended).toEqual([2, null]);
    expect(said.err).toContain("tracker is at https://tracker.internal/mcp");
  });
});

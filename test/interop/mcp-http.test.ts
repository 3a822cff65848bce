import {
  Client as Client2026,
  StreamableHTTPClientTransport as Http2026,
} from "@modelcontextprotocol/client";
import { Client as Client2025 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Http2025 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OutcomeBody } from "../../src/domain/payload.ts";
import { openRig, type Rig } from "../datapath/harness.ts";
import { type Gates, type Served, serve2025, serve2026 } from "./mcp/peers.ts";

/** Both official SDKs as client and as server, over streamable HTTP, through the sidecar. */

const INFO = { name: "agent", version: "1" };
const ANSWER = {
  role: "assistant" as const,
  model: "a-model",
  content: { type: "text" as const, text: "because" },
};

interface Agent {
  readonly session: string | undefined;
  tool(name: string, args?: Record<string, unknown>): Promise<unknown>;
  counted(onProgress: (n: number) => void): Promise<unknown>;
  read(uri: string): Promise<unknown>;
  tools(): Promise<string[]>;
  /** Calls a tool, or goes on with a call from the event that it came to. */
  from(name: string, event: string | undefined, onEvent: (id: string) => void): Promise<unknown>;
  /** Ends its session, where there are any. */
  end(): Promise<void>;
  close(): Promise<void>;
}

async function agent2025(url: URL, sessionId?: string): Promise<Agent> {
  const client = new Client2025(INFO, { capabilities: { sampling: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, () => ANSWER);
  const transport = new Http2025(url, sessionId === undefined ? {} : { sessionId });
  await client.connect(transport);
  return {
    session: transport.sessionId,
    tool: (name, args = {}) => client.callTool({ name, arguments: args }),
    counted: (onProgress) =>
      client.callTool({ name: "count", arguments: {} }, undefined, {
        onprogress: ({ progress }) => onProgress(progress),
      }),
    read: (uri) => client.readResource({ uri }),
    tools: async () => (await client.listTools()).tools.map((t) => t.name),
    from: (name, event, onEvent) =>
      client.callTool({ name, arguments: {} }, undefined, {
        onresumptiontoken: onEvent,
        ...(event === undefined ? {} : { resumptionToken: event }),
      }),
    end: () => transport.terminateSession(),
    close: () => client.close(),
  };
}

async function agent2026(url: URL): Promise<Agent> {
  const client = new Client2026(INFO, {
    capabilities: { sampling: {} },
    versionNegotiation: { mode: { pin: "2026-07-28" } },
  });
  client.setRequestHandler("sampling/createMessage", () => ANSWER);
  await client.connect(new Http2026(url));
  return {
    session: undefined,
    tool: (name, args = {}) => client.callTool({ name, arguments: args }),
    counted: (onProgress) =>
      client.callTool(
        { name: "count", arguments: {} },
        { onprogress: ({ progress }) => onProgress(progress) },
      ),
    read: (uri) => client.readResource({ uri }),
    tools: async () => (await client.listTools()).tools.map((t) => t.name),
    from: () => Promise.reject(new Error("a call is not taken up again")),
    end: async () => {},
    close: () => client.close(),
  };
}

const GENERATIONS = [
  ["2025-11-25", serve2025, agent2025],
  ["2026-07-28", serve2026, agent2026],
] as const;

describe.each(GENERATIONS)("MCP %s", (version, serve, connect) => {
  let gates: Gates;
  let goOn: () => void;
  let served: Served;
  let rig: Rig;
  let url: URL;
  let closing: (() => unknown)[];

  /** The server under this name, through a reverse route; the agent is only pointed at it. */
  const open = async (name: string, leasedLists = false): Promise<Agent> => {
    url = await route(name, leasedLists);
    const agent = await connect(url);
    closing.push(() => agent.close());
    return agent;
  };
  const route = async (name: string, leasedLists: boolean): Promise<URL> => {
    const target = `127.0.0.1:${served.port}`;
    rig = await openRig({
      servers: [{ name, scheme: "HTTP", target, path: "/mcp" }],
      routes: [{ listen: { host: "127.0.0.1", port: 0 }, scheme: "http", target }],
      leasedLists,
    });
    closing.push(() => rig.close());
    return new URL(`http://127.0.0.1:${rig.stack.routeAddresses[0]?.port}/mcp`);
  };
  /** What receipts tell of what was let in, once all of it has ended. */
  const told = async () => {
    for (const close of closing.splice(1).reverse()) await close();
    return rig.ledger.closed.map(({ verdict, draft: { claim } }) =>
      [claim.verb, claim.path, verdict].filter((word) => word !== "").join(" "),
    );
  };

  beforeEach(async () => {
    let release = (): void => {};
    gates = { goOn: new Promise((resolve) => (release = resolve)) };
    goOn = () => release();
    closing = [];
    served = await serve(gates);
    closing.push(() => served.close());
  });
  afterEach(async () => {
    goOn();
    for (const close of closing.reverse()) await close();
  });

  test("the agent sees what it would see without a sidecar, and each message has a receipt", async () => {
    const alone = await connect(new URL(`http://127.0.0.1:${served.port}/mcp`));
    const agent = await open("tracker");
    for (const a of [alone, agent]) {
      expect(await a.tools()).toEqual(["echo", "pay", "count", "ask", "secret"]);
    }
    expect(await agent.tool("echo", { a: 1 })).toEqual(await alone.tool("echo", { a: 1 }));
    expect(await agent.tool("pay", { amount: 5 })).toEqual(await alone.tool("pay", { amount: 5 }));
    expect(await agent.read("memo://ok")).toEqual(await alone.read("memo://ok"));
    await alone.close();
    expect(await told()).toEqual(
      expect.arrayContaining([
        "tools/call echo COMPLETED",
        "tools/call pay COMPLETED",
        "resources/read memo://ok COMPLETED",
        "tools/list COMPLETED",
      ]),
    );
  });

  test("a tool that no scope allows is a result that the model reads", async () => {
    const agent = await open("tracker");
    const before = served.heard.length;
    const result = await agent.tool("secret");
    expect(result).toMatchObject({
      isError: true,
      content: [{ type: "text", text: expect.stringContaining("tools/call secret at tracker") }],
      _meta: {
        "dev.dragons/denial": {
          reason: "SCOPE_NOT_GRANTED",
          receipt_id: expect.stringMatching(/^rcp_/),
          remedy: expect.stringContaining("mcp: tools/call secret"),
        },
      },
    });
    expect(await agent.tool("pay", { amount: 6 })).toMatchObject({
      isError: true,
      _meta: { "dev.dragons/denial": { reason: "CONDITION_FALSE" } },
    });
    expect(served.heard.slice(before).join()).not.toMatch(/secret|"amount":6/);
  });

  test("anything else is an error with a code of our own", async () => {
    const agent = await open("tracker");
    await expect(agent.read("memo://secret")).rejects.toMatchObject({
      code: -31403,
      data: { "dev.dragons/denial": { reason: "SCOPE_NOT_GRANTED" } },
    });
    await expect(agent.read("memo://a/../ok")).rejects.toMatchObject({ code: -31400 });
  });

  test("events pass one by one, and the last word is the refusal when leave is taken back", async () => {
    const agent = await open("tracker");
    const seen: number[] = [];
    const first = Promise.withResolvers<void>();
    const result = agent.counted((n) => {
      seen.push(n);
      first.resolve();
    });
    await first.promise;
    rig.authority.revoke();
    expect(await result).toMatchObject({
      isError: true,
      _meta: { "dev.dragons/denial": { reason: "LEASE_REVOKED" } },
    });
    expect(seen).toEqual([1]);
    expect(await told()).toContain("tools/call count CUT");
  });

  test("a server asks the agent nothing without leave", async () => {
    const agent = await open("tracker");
    const result = JSON.stringify(await agent.tool("ask"));
    expect(result).toMatch(/SCOPE_NOT_GRANTED/);
    expect(result).not.toContain("told by");
    expect(rig.ledger.recorded).toMatchObject([{ reason: "SCOPE_NOT_GRANTED" }]);
  });

  test("and with leave, each question has a receipt", async () => {
    const agent = await open("friend");
    expect(JSON.stringify(await agent.tool("ask"))).toContain("told by a-model");
    expect(await told()).toContain("sampling/createMessage COMPLETED");
    if (version === "2025-11-25") return;
    // There it is asked inside a result, and the call with the answer is of the same action.
    const calls = rig.ledger.opened.filter(({ claim }) => claim.verb === "tools/call");
    expect(calls.map(({ claim }) => claim.inputs)).toEqual([
      [],
      [{ name: "continues", type: "STRING", value: calls[0]?.receiptId }],
    ]);
  });

  test("lists hold what is leased, where that is wanted", async () => {
    const agent = await open("tracker", true);
    expect(await agent.tools()).toEqual(["echo", "pay", "count", "ask"]);
  });

  if (version === "2025-11-25") {
    test("a call whose stream its server ends goes on by another, and has one receipt", async () => {
      const agent = await open("tracker");
      const events: string[] = [];
      const came = Promise.withResolvers<void>();
      const result = agent.from("poll", undefined, (id) => {
        events.push(id);
        came.resolve();
      });
      await came.promise;
      goOn();
      expect(await result).toMatchObject({ content: [{ text: "poll {}" }] });
      const receipts = await told();
      expect(receipts.filter((r) => r.startsWith("tools/call"))).toEqual([
        "tools/call poll COMPLETED",
      ]);
      const [call] = rig.ledger.closed.filter((c) => c.draft.claim.verb === "tools/call");
      const { status, messages } = OutcomeBody.decode(call?.outcome as Uint8Array);
      expect({ status, messages }).toEqual({ status: "mcp result", messages: 1 });
    });

    test("an agent that was cut off takes its call up again", async () => {
      const first = await open("tracker");
      const came = Promise.withResolvers<string>();
      const lost = first.from("count", undefined, came.resolve).catch(() => "lost");
      const event = await came.promise;
      await first.close();
      expect(await lost).toBe("lost");
      const second = await agent2025(url, first.session);
      closing.push(() => second.close());
      const result = second.from("count", event, () => {});
      goOn();
      expect(await result).toMatchObject({ content: [{ text: "count {}" }] });
      expect(await told()).toContain("tools/call count COMPLETED");
    });

    test("a session is listened to and ended through the sidecar", async () => {
      const agent = await open("tracker");
      expect(agent.session).toMatch(/^[0-9a-f-]{36}$/);
      await agent.end();
      expect(await told()).toContain("session/end COMPLETED");
      expect(rig.ledger.opened.map((o) => o.claim.verb)).toContain("session/listen");
    });
  }
});

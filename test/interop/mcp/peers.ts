import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { Server as Server2025 } from "@modelcontextprotocol/sdk/server/index.js";
import {
  type EventStore,
  StreamableHTTPServerTransport,
} from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  CreateMessageResultSchema,
  GetPromptRequestSchema,
  ListResourcesRequestSchema,
  ListToolsRequestSchema,
  ReadResourceRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import {
  createMcpHandler,
  inputRequired,
  Server as Server2026,
} from "@modelcontextprotocol/server";

/** The same small server by both official SDKs, each as its own documentation has it. */

const CAPABILITIES = { tools: {}, resources: {}, prompts: {} };
const INFO = { name: "tracker", version: "1" };
const TOOLS = ["echo", "pay", "count", "ask", "secret"].map((name) => ({
  name,
  description: `the tool ${name}`,
  inputSchema: { type: "object" as const },
}));
const text = (said: string) => ({ content: [{ type: "text" as const, text: said }] });
const RESOURCES = [
  { uri: "memo://ok", name: "ok" },
  { uri: "memo://secret", name: "secret" },
];
const contents = (uri: string) => ({ contents: [{ uri, text: `what ${uri} says` }] });
const prompt = (name: string) => ({
  messages: [{ role: "user" as const, content: { type: "text" as const, text: name } }],
});
const QUESTION = {
  messages: [{ role: "user" as const, content: { type: "text" as const, text: "why?" } }],
  maxTokens: 10,
};

/** How far `count` counts before it waits to be told to go on; tests hold the other end. */
export interface Gates {
  goOn: Promise<void>;
}

export function server2025(gates: Gates): Server2025 {
  const server = new Server2025(INFO, { capabilities: CAPABILITIES });
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: TOOLS }));
  server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources: RESOURCES }));
  server.setRequestHandler(ReadResourceRequestSchema, ({ params }) => contents(params.uri));
  server.setRequestHandler(GetPromptRequestSchema, ({ params }) => prompt(params.name));
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    if (params.name === "count") {
      const token = params._meta?.progressToken ?? 0;
      for (const progress of [1, 2]) {
        await extra.sendNotification({
          method: "notifications/progress",
          params: { progressToken: token, progress },
        });
        if (progress === 1) await gates.goOn;
      }
    }
    if (params.name === "poll") {
      extra.closeSSEStream?.();
      await gates.goOn;
    }
    if (params.name !== "ask") return text(`${params.name} ${JSON.stringify(params.arguments)}`);
    const request = { method: "sampling/createMessage" as const, params: QUESTION };
    const answer = await extra
      .sendRequest(request, CreateMessageResultSchema)
      .catch((error: Error) => error);
    return text(
      answer instanceof Error ? `not told: ${answer.message}` : `told by ${answer.model}`,
    );
  });
  return server;
}

export function server2026(gates: Gates): Server2026 {
  const server = new Server2026(INFO, { capabilities: CAPABILITIES });
  server.setRequestHandler("tools/list", () => ({ tools: TOOLS }));
  server.setRequestHandler("resources/list", () => ({ resources: RESOURCES }));
  server.setRequestHandler("resources/read", ({ params }) => contents(params.uri));
  server.setRequestHandler("prompts/get", ({ params }) => prompt(params.name));
  server.setRequestHandler("tools/call", async ({ params }, ctx) => {
    if (params.name === "count") {
      const token = params._meta?.progressToken ?? 0;
      for (const progress of [1, 2]) {
        await ctx.mcpReq.notify({
          method: "notifications/progress",
          params: { progressToken: token, progress },
        });
        if (progress === 1) await gates.goOn;
      }
    }
    if (params.name !== "ask") return text(`${params.name} ${JSON.stringify(params.arguments)}`);
    const answers = ctx.mcpReq.inputResponses as Record<string, { model?: string }> | undefined;
    const told = answers?.why;
    if (told === undefined) {
      return inputRequired({ inputRequests: { why: inputRequired.createMessage(QUESTION) } });
    }
    return text(`told by ${told.model}`);
  });
  return server;
}

export interface Served {
  readonly port: number;
  /** Bodies of all requests that reached it. */
  readonly heard: string[];
  close(): void;
}

type Handle = (request: IncomingMessage, response: ServerResponse, body: string) => Promise<void>;

async function serve(handle: Handle): Promise<Served> {
  const heard: string[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      heard.push(body);
      void handle(request, response, body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** What was said on each stream, so that it can be gone on with: ids are `<stream>/<number>`. */
function eventStore(): EventStore {
  const streams = new Map<string, Parameters<EventStore["storeEvent"]>[1][]>();
  return {
    async storeEvent(stream, message) {
      const said = streams.get(stream) ?? [];
      streams.set(stream, said);
      return `${stream}/${said.push(message)}`;
    },
    async replayEventsAfter(last, { send }) {
      const [stream = "", at] = last.split("/");
      for (const [i, message] of (streams.get(stream) ?? []).entries()) {
        if (i >= Number(at)) await send(`${stream}/${i + 1}`, message);
      }
      return stream;
    },
  };
}

/** 2025-11-25: sessions, a stream by GET, their end by DELETE. */
export function serve2025(gates: Gates): Promise<Served> {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  return serve(async (request, response, body) => {
    const known = sessions.get(String(request.headers["mcp-session-id"]));
    const transport =
      known ??
      new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: eventStore(),
        retryInterval: 1,
        onsessioninitialized: (id) => void sessions.set(id, transport),
      });
    if (known === undefined) await server2025(gates).connect(transport);
    await transport.handleRequest(request, response, body === "" ? undefined : JSON.parse(body));
  });
}

/** 2026-07-28: nothing is remembered, each request is whole in itself. */
export async function serve2026(gates: Gates): Promise<Served> {
  const handler = createMcpHandler(() => server2026(gates), { legacy: "reject" });
  const served = await serve(async (request, response, body) => {
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const answer = await handler.fetch(
      new Request(`http://${request.headers.host}${request.url}`, {
        method: request.method ?? "POST",
        headers: request.headers as Record<string, string>,
        signal: gone.signal,
        ...(body === "" ? {} : { body }),
      }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.flushHeaders();
    if (answer.body === null) response.end();
    else Readable.fromWeb(answer.body as never).pipe(response);
  });
  return {
    ...served,
    close() {
      served.close();
      void handler.close();
    },
  };
}

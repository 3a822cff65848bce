// A small MCP server of tickets, by the official SDK: on pipes, or by HTTP at the port that is given.
//
//     node server.mjs [PORT]
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { createMcpHandler, Server } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";

const title = { type: "object", properties: { title: { type: "string" } }, required: ["title"] };
const TOOLS = [
  { name: "create_ticket", description: "writes a ticket", inputSchema: title },
  { name: "delete_tickets", description: "deletes every ticket", inputSchema: { type: "object" } },
];
const tickets = [];

function server() {
  const made = new Server({ name: "tickets", version: "1" }, { capabilities: { tools: {} } });
  made.setRequestHandler("tools/list", () => ({ tools: TOOLS }));
  made.setRequestHandler("tools/call", ({ params }) => {
    if (params.name === "delete_tickets") tickets.splice(0);
    else tickets.push(params.arguments.title);
    return { content: [{ type: "text", text: `${tickets.length} tickets` }] };
  });
  return made;
}

const [port] = process.argv.slice(2);
if (port === undefined) {
  serveStdio(server);
} else {
  const handler = createMcpHandler(server);
  createServer(async (request, response) => {
    const answer = await handler.fetch(
      new Request(`http://${request.headers.host}${request.url}`, {
        method: request.method,
        headers: request.headers,
        ...(request.method === "POST" ? { body: Readable.toWeb(request), duplex: "half" } : {}),
      }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body === null) response.end();
    else Readable.fromWeb(answer.body).pipe(response);
  }).listen(Number(port), "127.0.0.1", function listening() {
    console.log(`http://127.0.0.1:${this.address().port}/mcp`);
  });
}

// An unmodified MCP agent: the official SDK and a client's configuration, nothing of Dragons.
//
//     node my_agent.mjs mcp.json
//
// At each of its servers it writes a bug and a wish, and then tries to delete everything.
import { readFileSync } from "node:fs";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [config] = process.argv.slice(2);
if (config === undefined) {
  console.error("usage: my_agent.mjs mcp.json");
  process.exit(64);
}
const { mcpServers } = JSON.parse(readFileSync(config, "utf8"));

for (const [name, { command, args, env, url }] of Object.entries(mcpServers)) {
  const client = new Client(
    { name: "my-agent", version: "1" },
    { versionNegotiation: { mode: "auto" } },
  );
  await client.connect(
    url === undefined
      ? new StdioClientTransport({ command, args, env })
      : new StreamableHTTPClientTransport(new URL(url)),
  );
  const { tools } = await client.listTools();
  console.log(`${name}: has ${tools.map((tool) => tool.name).join(", ")}`);
  for (const [tool, title] of [
    ["create_ticket", "bug: it does not start"],
    ["create_ticket", "wish: it should sing"],
    ["delete_tickets", undefined],
  ]) {
    const { content, isError } = await client.callTool({ name: tool, arguments: { title } });
    const said = content.map((part) => part.text).join(" ");
    console.log(`${name}: ${tool}: ${isError ? (said.match(/\(([A-Z_]+)/)?.[1] ?? said) : said}`);
  }
  await client.close();
}

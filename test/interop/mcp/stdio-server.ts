import { StdioServerTransport as Stdio2025 } from "@modelcontextprotocol/sdk/server/stdio.js";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { server2025, server2026 } from "./peers.ts";

/** The small server on pipes: `stdio-server.ts 2025|2026`. It says on stderr that it runs. */
const gates = { goOn: Promise.resolve() };
process.stderr.write("server: running\n");
if (process.argv[2] === "2025") await server2025(gates).connect(new Stdio2025());
else serveStdio(() => server2026(gates), { legacy: "reject" });

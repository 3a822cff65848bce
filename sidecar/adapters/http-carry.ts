import { type McpServer, serverAt, serverUrl } from "../../src/domain/mcp-server.ts";
import { HttpCall, type HttpServices } from "./http-call.ts";
import type { HttpClientSide } from "./http-client.ts";
import type { HttpRequest } from "./http-request.ts";
import { McpCall, type McpCallServices } from "./mcp-call.ts";

export interface CarryServices extends HttpServices, McpCallServices {
  /** MCP servers that speak HTTP, by the manifest. */
  readonly servers: readonly McpServer[];
}

/**
 * Carries a request that was read: as MCP, if it is for an MCP server's endpoint, so that no rule for
 * HTTP is a way round those for MCP; else as HTTP.
 */
export async function carryHttp(
  client: HttpClientSide,
  request: HttpRequest,
  services: CarryServices,
): Promise<void> {
  const at = serverAt(services.servers, request.claim);
  if (at === null) return new HttpCall(client, request, services).run();
  if (at.is === "ENDPOINT" && request.webSocket && client.http2) {
    const detail = `the MCP server ${at.server.name} is spoken to by POST and GET, and by no WebSocket`;
    return client.deny(services.gate.refuse(request, "PROTOCOL_UNSUPPORTED", detail));
  }
  if (at.is === "ENDPOINT") return new McpCall(client, request, at.server, services).run();
  const url = serverUrl(at.server);
  const detail = `some take it for the MCP server ${at.server.name}; write ${url} for that`;
  client.deny(services.gate.refuse(request, "REQUEST_NOT_NORMAL", detail));
}

import { isServerName, serverUrl } from "../../src/domain/mcp-server.ts";
import { PIPE_HOST, PIPE_PROTOCOL } from "../../src/domain/pipe-frames.ts";
import type { CarryServices } from "./http-carry.ts";
import type { Http1Client } from "./http-client.ts";
import { listOf } from "./http-fields.ts";
import type { RawFields } from "./http-head.ts";
import type { HttpRequest } from "./http-request.ts";
import { McpPipe } from "./mcp-pipe.ts";

/** Whether a request asks for the pipes of an MCP server, which a wrapper of ours holds. */
export const asksForPipe = ({ method, claim }: HttpRequest, fields: RawFields): boolean =>
  method === "GET" &&
  claim.target === `${PIPE_HOST}:80` &&
  listOf(fields, "connection").includes("upgrade") &&
  listOf(fields, "upgrade").join() === PIPE_PROTOCOL;

/**
 * Carries the pipes of an MCP server until its wrapper goes. The name is the agent's word, so it is none
 * that the manifest gives to a server elsewhere.
 */
export async function carryPipe(
  client: Http1Client,
  request: HttpRequest,
  services: CarryServices,
): Promise<void> {
  const name = request.claim.path.slice(1);
  const { gate, servers } = services;
  if (!isServerName(name)) {
    client.deny(gate.refuse(request, "REQUEST_NOT_NORMAL", `${name} is no server's name`));
    return;
  }
  const elsewhere = servers.find((server) => server.name === name);
  if (elsewhere !== undefined) {
    const detail = `by the manifest ${name} is at ${serverUrl(elsewhere)}, and on no pipes`;
    client.deny(gate.refuse(request, "AUTHORITY_MISMATCH", detail));
    return;
  }
  const head = { status: 101, phrase: "Switching Protocols", minor: 1, fields: [] } as const;
  await new McpPipe(client.switchProtocols(head, PIPE_PROTOCOL), name, services).run();
}

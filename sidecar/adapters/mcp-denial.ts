import { mcpCode, RENDERINGS, type Reason } from "../../src/domain/reason.ts";
import type { Denial } from "./exchange.ts";
import { type McpId, type McpRequest, versionOf } from "./mcp-message.ts";

/** MCP's own code for headers that say otherwise than the body, from 2026-07-28 on. */
export const HEADER_MISMATCH = -32020;

/** What a refusal is about, as far as it was read. */
export interface About {
  readonly id: McpId | null;
  readonly method: string;
  /** It names its version itself, as from 2026-07-28 on. */
  readonly modern: boolean;
}

export const aboutOf = (request: McpRequest): About => ({
  id: request.id,
  method: request.method,
  modern: versionOf(request) !== null,
});

const LATER: readonly Reason[] = [
  "LEDGER_UNAVAILABLE",
  "OVERLOADED",
  "UPSTREAM_UNREACHABLE",
  "UPSTREAM_FAILED",
  "DEADLINE_EXCEEDED",
  "HANDOFF",
];

/** A sentence that a model can act on: what, why, and whether to try again. */
function sentence({ reason, message, receiptId }: Denial): string {
  const next = LATER.includes(reason)
    ? "It may be tried again later."
    : "Trying again will not help: an operator would have to allow it.";
  const receipt = receiptId === "" ? "" : `, receipt ${receiptId}`;
  return `Refused by policy, and not carried out: ${message} (${reason}${receipt}). ${next}`;
}

function details(denial: Denial): Record<string, string> {
  const { reason, receiptId, leaseId, scope, remedy } = denial;
  return {
    reason,
    ...(receiptId === "" ? {} : { receipt_id: receiptId }),
    ...(leaseId === "" ? {} : { lease_id: leaseId }),
    ...(scope === "" ? {} : { scope }),
    ...(remedy === "" ? {} : { remedy }),
  };
}

/**
 * A refusal as the answer to an MCP request: of a tool's call a result that the model reads, else an
 * error outside of the codes that JSON-RPC and MCP keep for themselves. One line.
 *
 * @param code instead of the reason's own.
 */
export function mcpDenial(denial: Denial, { id, method, modern }: About, code?: number): Buffer {
  const { reason } = denial;
  const asResult = method === "tools/call" && RENDERINGS[reason].mcp === "RESULT";
  const answer =
    asResult && code === undefined
      ? {
          result: {
            content: [{ type: "text", text: sentence(denial) }],
            isError: true,
            _meta: { "dev.dragons/denial": details(denial) },
            ...(modern ? { resultType: "complete" } : {}),
          },
        }
      : {
          error: {
            code: code ?? mcpCode(reason),
            message: sentence(denial),
            data: { "dev.dragons/denial": details(denial) },
          },
        };
  return Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
}

/** How HTTP carries such an answer. */
export const ownWords = (status: number, body: Buffer) => ({
  status,
  type: "application/json",
  body,
});

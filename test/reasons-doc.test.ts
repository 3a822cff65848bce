import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { mcpCode, REASONS, RENDERINGS } from "../src/domain/reason.ts";
import { STATUS_CODES } from "../src/wire/status.ts";

const FILE = join(import.meta.dirname, "../docs/reasons.md");

const row = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;

function render(): string {
  const reasons = REASONS.filter((r) => r !== "UNSPECIFIED");
  return [
    "# Why an action was refused, cut or left open",
    "",
    "One closed list. Every surface shows the same reason, with the same receipt, lease and scope.",
    "Written from `src/domain/reason.ts`: `UPDATE_DOCS=1 npx vitest run test/reasons-doc.test.ts`.",
    "",
    row(["reason", "gRPC", "HTTP", "MCP `tools/call`", "MCP, else", "exit", "in a sentence"]),
    row(["---", "---", "---", "---", "---", "---", "---"]),
    ...reasons.map((reason) => {
      const { grpc, http, mcp, exit, sentence } = RENDERINGS[reason];
      const answer = mcp === "RESULT" ? "result, `isError`" : `error ${mcpCode(reason)}`;
      const code = `${STATUS_CODES[grpc]} (${grpc})`;
      return row([`\`${reason}\``, code, http, answer, mcpCode(reason), exit, sentence]);
    }),
    "",
    "- gRPC: `grpc-status-details-bin` holds a `google.rpc.ErrorInfo` with the reason, the domain",
    "  `dragons.dev`, and `receipt_id`, `lease_id` and `scope`. No reason asks for a retry.",
    "- HTTP: `application/problem+json` with the same fields, and the header `dragons-receipt`.",
    "- MCP: a tool's refusal is a result that the model reads; other requests get a JSON-RPC error. Both hold",
    "  the same fields under `dev.dragons/denial`. Who has not shown itself is told by HTTP's 407 alone.",
    "- Exit: of a command that ends for this reason; all exit codes are in the README.",
    "- `LEDGER_UNAVAILABLE` has no receipt id: what could not be recorded has none. A LIFECYCLE",
    "  receipt counts such refusals once the ledger takes receipts again.",
    "- WOULD_DENY and a reason of scope or condition stand beside the verdict of an action that a grant",
    "  merely observed: it passed, and is refused for that reason once observing is over.",
    "",
  ].join("\n");
}

describe("docs/reasons.md", () => {
  test("holds the table that the code renders from", () => {
    if (process.env.UPDATE_DOCS === "1") writeFileSync(FILE, render());
    expect(readFileSync(FILE, "utf8")).toBe(render());
  });

  test("every reason is a gRPC error, an HTTP error and a failing exit code", () => {
    for (const reason of REASONS) {
      const { grpc, http, exit, sentence } = RENDERINGS[reason];
      expect(STATUS_CODES[grpc], reason).toBeDefined();
      expect(grpc, reason).not.toBe(0);
      expect(http, reason).toBeGreaterThanOrEqual(400);
      expect(http, reason).toBeLessThan(600);
      expect([1, 2, 69, 75, 77], reason).toContain(exit);
      expect(sentence, reason).toMatch(/^[A-Z].*\.$/);
      // JSON-RPC keeps −32768..−32000 for itself.
      expect(mcpCode(reason), reason).toBeGreaterThan(-32_000);
    }
  });
});

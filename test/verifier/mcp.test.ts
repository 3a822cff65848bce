import { describe, expect, test } from "vitest";
import type { Claim } from "../../src/domain/claim.ts";
import type { Manifest } from "../../src/domain/manifest.ts";
import type { McpServer } from "../../src/domain/mcp-server.ts";
import type { Rule } from "../../src/domain/rule.ts";
import { lacks } from "../skips.ts";
import { type Act, check, checked, Story } from "./build.ts";
import { expectAgreement } from "./second.ts";

/** What MCP asks is decided again by whoever reads a pack: by rules, and by who may greet a server. */

const mcp = (verb: string, path = "", when = "", target = "tracker"): Rule => {
  return { protocol: "MCP", target, verb, path, when, scheme: "UNSPECIFIED" };
};
const SERVER: McpServer = {
  name: "tracker",
  scheme: "HTTPS",
  target: "tracker.internal:443",
  path: "/mcp",
};

const FIRST = "rcp_0189dcd553117d408db09496a2eef37b";

async function told(act: Act, more: Partial<Manifest> = {}) {
  const story = await Story.begin({
    manifest: (manifest) => ({
      ...manifest,
      capabilities: [
        {
          name: "read:payments",
          rules: [
            mcp("tools/call", "pay", "args.amount <= 5"),
            mcp("tools/call", "{list,get}_*"),
            mcp("sampling/createMessage", "", "", "friend"),
          ],
        },
        manifest.capabilities[1] as Manifest["capabilities"][0],
      ],
      servers: [SERVER],
      ...more,
    }),
  });
  await story.lifecycle();
  await story.lease();
  await story.act(act);
  await story.beat();
  await story.checkpoint();
  const report = await check(story, await story.pack());
  return report.broken === null ? report.verdict : report.broken.code;
}
const act = (verb: string, path = "", more: Partial<Claim> = {}): Act => ({
  action: {
    protocol: "MCP",
    target: "tracker",
    verb,
    path,
    scheme: "UNSPECIFIED",
    inputs: [],
    ...more,
  },
});

describe("a message of MCP", () => {
  test.each<[string, Act]>([
    ["a tool that a rule names", act("tools/call", "get_ticket")],
    ["a greeting, whatever the rule's condition", act("initialize")],
    ["a list", act("tools/list")],
    ["a session's end", act("session/end")],
    ["a server's question with leave", act("sampling/createMessage", "", { target: "friend" })],
    [
      "a tool whose arguments are as they must be",
      act("tools/call", "pay", { inputs: [{ name: "args.amount", type: "INT", value: "5" }] }),
    ],
    [
      "what goes on from a receipt, by its rule as ever",
      act("tools/call", "pay", {
        inputs: [
          { name: "args.amount", type: "INT", value: "5" },
          { name: "continues", type: "STRING", value: FIRST },
        ],
      }),
    ],
  ])("was allowed: %s", async (_, given) => {
    expect(await told(given)).toBe("ANCHORED");
  });

  test.each<[string, Act]>([
    ["another tool", act("tools/call", "delete_all")],
    ["a tool by other letters", act("tools/call", "Get_ticket")],
    ["a greeting of another server", act("initialize", "", { target: "other" })],
    ["a greeting that names something", act("tools/list", "x")],
    ["what is no greeting", act("logging/setLevel")],
    ["a server's question without leave", act("sampling/createMessage")],
    [
      "arguments that are not as they must be",
      act("tools/call", "pay", { inputs: [{ name: "args.amount", type: "INT", value: "6" }] }),
    ],
  ])("was not: %s", async (_, given) => {
    expect(await told(given)).toBe("E_SCOPE_EXCEEDED");
  });

  test.each<[string, Act]>([
    ["a target that is no server's name", act("tools/list", "", { target: "tracker:443" })],
    ["a scheme", act("tools/list", "", { scheme: "HTTPS" })],
    [
      "an input that nothing reads",
      act("tools/list", "", { inputs: [{ name: "began", type: "STRING", value: FIRST }] }),
    ],
    [
      "an input that says more than a name",
      act("tools/list", "", { inputs: [{ name: "!args.ok", type: "BOOL", value: "true" }] }),
    ],
    [
      "what it goes on from, and that is no receipt",
      act("tools/list", "", { inputs: [{ name: "continues", type: "STRING", value: "rcp_1" }] }),
    ],
    [
      "what it goes on from in another type",
      act("tools/list", "", { inputs: [{ name: "continues", type: "INT", value: "1" }] }),
    ],
    [
      "what another protocol goes on from",
      act("POST", "/", {
        protocol: "HTTP",
        target: "tracker.internal:443",
        scheme: "HTTPS",
        inputs: [{ name: "continues", type: "STRING", value: FIRST }],
      }),
    ],
  ])("is not normal with %s", async (_, given) => {
    expect(await told(given)).toBe("E_SCOPE_NOT_NORMAL");
  });
});

test.each<[string, McpServer[]]>([
  ["out of order", [SERVER, { ...SERVER, name: "friend", path: "/f" }]],
  ["twice", [SERVER, SERVER]],
  ["without a name", [{ ...SERVER, name: "Tracker" }]],
  ["without a scheme", [{ ...SERVER, scheme: "UNSPECIFIED" }]],
  ["at no target", [{ ...SERVER, target: "tracker.internal" }]],
  ["at no normal path", [{ ...SERVER, path: "/a/../mcp" }]],
])("a manifest with servers %s is none", async (_, servers) => {
  expect(await told(act("tools/list"), { servers })).not.toBe("ANCHORED");
});

test.each<[string, string[]]>([
  ["that is none of its own", ["read:nothing"]],
  ["twice", ["read:payments", "read:payments"]],
])("a manifest that merely listens to a scope %s is none", async (_, listens) => {
  expect(await told(act("tools/list"), { listens: ["read:payments"] })).toBe("ANCHORED");
  expect(await told(act("tools/list"), { listens })).not.toBe("ANCHORED");
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

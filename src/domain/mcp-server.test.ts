import { describe, expect, test } from "vitest";
import { manifestBody } from "../../test/fixtures/authority.ts";
import { checkRecording } from "./manifest.ts";
import { type McpServer, readServerUrl, serverAt, serverUrl } from "./mcp-server.ts";
import type { Rule } from "./rule.ts";

const server = (url: string, name = "tracker") => readServerUrl(name, url) as McpServer;
const TRACKER = server("https://tracker.internal/mcp");

describe("a server's URL", () => {
  test.each([
    ["https://Tracker.internal:443//mcp", "https://tracker.internal/mcp"],
    ["http://127.0.0.1:3939/a/./%6dcp", "http://127.0.0.1:3939/a/mcp"],
    ["https://tracker.internal", "https://tracker.internal/"],
  ])("%s has one spelling", (said, spelled) => {
    expect(serverUrl(server(said))).toBe(spelled);
  });

  test.each(["tracker", "ftp://h/mcp", "https://h/mcp?key=1", "https://a:b@h/", "https://h/a\\b"])(
    "is none: %s",
    (said) => {
      expect(readServerUrl("tracker", said)).toEqual(expect.any(String));
    },
  );
});

describe("a request is for an endpoint", () => {
  const at = (path: string, over: Partial<{ target: string; scheme: "HTTP" | "HTTPS" }> = {}) =>
    serverAt([TRACKER], { target: "tracker.internal:443", scheme: "HTTPS", path, ...over })?.is;

  test("by its target, scheme and path", () => {
    expect(at("/mcp")).toBe("ENDPOINT");
    expect(at("/mcp", { target: "other.internal:443" })).toBeUndefined();
  });
  test.each(["/MCP", "/mcp/", "/mcp/x", "/mcp.json", "/mcp;v=1", "/mcp%20", "/mcp:x", "/mcp%2F"])(
    "near enough for some server: %s",
    (path) => expect(at(path)).toBe("NEAR"),
  );
  test("or in the clear, where it is meant by TLS", () => {
    expect(at("/mcp", { scheme: "HTTP" })).toBe("NEAR");
  });
  test.each(["/", "/mcpx", "/mcp-admin", "/mcp_2", "/v1/mcp", "/.well-known/x/mcp"])(
    "not: %s",
    (path) => expect(at(path)).toBeUndefined(),
  );
  test("at the root alone, of one at the root", () => {
    const root = server("https://root.internal/");
    const of = (path: string) =>
      serverAt([root], { target: "root.internal:443", scheme: "HTTPS", path })?.is;
    expect([of("/"), of("/token")]).toEqual(["ENDPOINT", undefined]);
  });
});

describe("a manifest is not recorded", () => {
  const http = (path: string): Rule => {
    const target = "tracker.internal:443";
    return { protocol: "HTTP", target, verb: "POST", path, when: "", scheme: "HTTPS" };
  };
  const recording = (servers: McpServer[], ...rules: Rule[]) =>
    checkRecording(
      manifestBody({
        servers,
        ...(rules.length > 0 ? { capabilities: [{ name: "a:b", rules }] } : {}),
      }),
    )?.detail;

  test("with a rule for HTTP at an endpoint, which would decide nothing", () => {
    expect(recording([TRACKER], http("/mcp"))).toContain("endpoint of the MCP server tracker");
    expect(recording([TRACKER], http("/v1/*"))).toBeUndefined();
  });
  test("with a rule that passes on unread what goes to one", () => {
    const opaque: Rule = { ...http(""), protocol: "OPAQUE", verb: "" };
    expect(recording([TRACKER], opaque)).toContain("passes on unread what goes to the MCP server");
    expect(recording([], opaque)).toBeUndefined();
  });
  test("with two servers at one endpoint", () => {
    const twice = [
      { ...TRACKER, name: "a" },
      { ...TRACKER, path: "/MCP/" },
    ];
    expect(recording(twice)).toContain("has a and tracker at one endpoint");
  });
});

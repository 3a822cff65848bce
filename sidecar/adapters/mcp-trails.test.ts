import { describe, expect, test } from "vitest";
import { utf8 } from "../../src/domain/bytes.ts";
import { mcpTrailsMax } from "../../src/domain/limits.ts";
import { type McpRequest, type McpResponse, readMessage } from "./mcp-message.ts";
import { McpTrails } from "./mcp-trails.ts";

const json = (message: object) => utf8(JSON.stringify({ jsonrpc: "2.0", id: 1, ...message }));
const said = (method: string, params: object) => json({ method, params });
const request = (method: string, params: object) => readMessage(said(method, params)) as McpRequest;
const result = (value: object) => readMessage(json({ result: value })) as McpResponse;
const call = (params: object = {}) => said("tools/call", { name: "ask", ...params });
const begun = (receiptId: string, asked = call()) => {
  return { server: "tracker", verb: "tools/call", path: "ask", asked, receiptId };
};
const ASKS = { why: { method: "sampling/createMessage" } };
const ANSWERS = { why: { model: "m" } };

/** What a retry, or a task's message, is found to go on from after one result. */
const resultOf = (value: object, asked = call()) => {
  const trails = new McpTrails();
  trails.note(begun("rcp_1", asked), result(value));
  return {
    retry: (params: object, path = "ask") =>
      trails.of("tracker", path, request("tools/call", { name: path, ...params })),
    task: (method: string, taskId: unknown, server = "tracker") =>
      trails.of(server, "", request(method, { taskId })),
  };
};

describe("a call that is asked for again", () => {
  test("goes on from the one whose result asked, by the state that it gives back", () => {
    const { retry } = resultOf({ inputRequests: ASKS, requestState: "s" });
    expect(retry({ inputResponses: ANSWERS, requestState: "s" })).toBe("rcp_1");
    expect(retry({ requestState: "s" })).toBe("rcp_1");
    expect(retry({ inputResponses: ANSWERS, requestState: "t" })).toBeNull();
    expect(retry({ inputResponses: ANSWERS })).toBeNull();
    expect(retry({ requestState: "s" }, "pay")).toBeNull();
    expect(retry({ requestState: 1 })).toBeNull();
  });

  test("without state by its arguments and by what was asked, whatever the order of their keys", () => {
    const asked = call({ arguments: { b: [1, { d: "x", c: null }], a: true } });
    const { retry } = resultOf({ inputRequests: { ...ASKS, how: ASKS.why } }, asked);
    const inputResponses = { how: ANSWERS.why, why: ANSWERS.why };
    const args = { a: true, b: [1, { c: null, d: "x" }] };
    expect(retry({ arguments: args, inputResponses })).toBe("rcp_1");
    expect(retry({ arguments: { ...args, a: false }, inputResponses })).toBeNull();
    expect(retry({ arguments: args, inputResponses: ANSWERS })).toBeNull();
  });

  test("begins anew where it answers nothing", () => {
    expect(resultOf({ inputRequests: ASKS }).retry({})).toBe("");
    expect(resultOf({ content: [] }).retry({ inputResponses: ANSWERS })).toBeNull();
  });
});

describe("what is said of a task", () => {
  test.each([
    ["of 2025-11-25", { task: { taskId: "t1", status: "working" } }],
    ["of 2026-07-28", { resultType: "task", taskId: "t1", status: "working" }],
  ])("%s goes on from the call that began it", (_, value) => {
    const { task } = resultOf(value);
    for (const method of ["tasks/get", "tasks/result", "tasks/cancel"]) {
      expect(task(method, "t1")).toBe("rcp_1");
    }
    expect(task("tasks/get", "t2")).toBeNull();
    expect(task("tasks/get", "t1", "friend")).toBeNull();
    expect(task("tasks/get", 1)).toBeNull();
  });

  test("no other result makes a task", () => {
    expect(resultOf({ taskId: "t1" }).task("tasks/get", "t1")).toBeNull();
    const trails = new McpTrails();
    trails.note({ ...begun("rcp_1"), verb: "tools/list" }, result({ task: { taskId: "t1" } }));
    expect(trails.of("tracker", "", request("tasks/get", { taskId: "t1" }))).toBeNull();
  });
});

test("the newest are remembered, and what is asked for counts as new", () => {
  const trails = new McpTrails();
  const task = (i: number) => trails.of("tracker", "", request("tasks/get", { taskId: `t${i}` }));
  for (let i = 0; i < mcpTrailsMax; i++) {
    trails.note(begun(`rcp_${i}`), result({ task: { taskId: `t${i}` } }));
  }
  expect(task(0)).toBe("rcp_0");
  trails.note(begun("rcp_new"), result({ task: { taskId: "new" } }));
  expect([task(0), task(1), task(2)]).toEqual(["rcp_0", null, "rcp_2"]);
});

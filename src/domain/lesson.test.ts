import { expect, test } from "vitest";
import type { Claim } from "./claim.ts";
import { capabilitiesOf, lessonOf, type Taught } from "./lesson.ts";
import { type Capability, ManifestBody } from "./manifest.ts";
import type { ReceiptHeader } from "./receipt.ts";
import type { Rule } from "./rule.ts";

const PLACE = { protocol: "HTTP", target: "api.example:443", scheme: "HTTPS" } as const;
const ruleOf = (verb: string, path: string, when = ""): Rule => ({ ...PLACE, verb, path, when });
const manifest = (...capabilities: Capability[]) => ({
  ...ManifestBody.empty(),
  name: "agent",
  agentVersion: "v1",
  capabilities,
});
const taught = (
  verb: string,
  path: string,
  header: Partial<ReceiptHeader> = {},
  inputs: Claim["inputs"] = [],
): Taught => ({
  header: { kind: "ACTION", reason: "UNSPECIFIED", count: 1, egressLastUs: 1, ...header },
  claim: { version: 1, ...PLACE, verb, path, inputs, limitState: [] },
});

test("what passed outside of the manifest is learnt; what stood on a rule keeps it as it is written", () => {
  const held = manifest(
    { name: "read:orders", rules: [ruleOf("GET", "/orders/*"), ruleOf("GET", "/lists/*")] },
    { name: "write:all", rules: [ruleOf("DELETE", "/orders/*")] },
  );
  const lesson = lessonOf(held, [
    taught("GET", "/orders/7"),
    taught("GET", "/orders/a"),
    taught("GET", "/users/1"),
    taught("GET", "/users/2", { count: 3 }),
    taught("POST", "/users"),
  ]);
  expect(lesson.actions).toBe(7);
  expect(lesson.kept).toMatchObject([{ scope: "read:orders", count: 2 }]);
  expect(lesson.idle.map((i) => i.rule.path)).toEqual(["/lists/*", "/orders/*"]);
  expect(lesson.learnt.map((l) => [l.scope, l.rule.verb, l.rule.path, l.count])).toEqual([
    ["read:api", "GET", "/users/*", 4],
    ["write:api", "POST", "/users", 1],
  ]);
  expect(capabilitiesOf(lesson)).toEqual([
    { name: "read:api", rules: [ruleOf("GET", "/users/*")] },
    { name: "read:orders", rules: [ruleOf("GET", "/orders/*")] },
    { name: "write:api", rules: [ruleOf("POST", "/users")] },
  ]);
});

test("what is learnt is put nowhere where it would merely be listened to", () => {
  const polls = { name: "read:api", rules: [ruleOf("GET", "/poll")] };
  const held = { ...manifest(polls), listens: ["read:api"] };
  const lesson = lessonOf(held, [taught("GET", "/poll"), taught("GET", "/orders")]);
  expect(capabilitiesOf(lesson)).toEqual([
    polls,
    { name: "use:api", rules: [ruleOf("GET", "/orders")] },
  ]);
});

test("no rule is drafted round a condition", () => {
  const when = "json.amount <= 50";
  const held = manifest({ name: "write:entries", rules: [ruleOf("POST", "/v1/entries", when)] });
  const amount = (value: string) => [{ name: "json.amount", type: "INT" as const, value }];
  const lesson = lessonOf(held, [
    taught("POST", "/v1/entries", {}, amount("7")),
    taught("POST", "/v1/entries", {}, amount("70")),
    taught("POST", "/v1/1"),
    taught("POST", "/v1/2"),
  ]);
  expect(lesson.kept).toMatchObject([{ scope: "write:entries", count: 1 }]);
  expect(lesson.unmet).toMatchObject([{ scope: "write:entries", count: 1 }]);
  expect(lesson.learnt.map((l) => l.rule.path)).toEqual(["/v1/1", "/v1/2"]);
});

test("what MCP needs around a call takes no rule of its own, but where there was no call", () => {
  const said = (target: string, verb: string, path = ""): Taught => ({
    ...taught("", ""),
    claim: {
      ...(taught("", "").claim as Claim),
      protocol: "MCP",
      scheme: "UNSPECIFIED",
      target,
      verb,
      path,
    },
  });
  const lesson = lessonOf(manifest(), [
    said("tracker", "initialize"),
    said("tracker", "tools/list"),
    said("tracker", "tools/call", "create_ticket"),
    said("tracker", "tools/call", "close_ticket"),
    said("idle", "initialize"),
  ]);
  expect(lesson.learnt.map((l) => [l.rule.target, l.rule.verb, l.rule.path])).toEqual([
    ["tracker", "tools/call", "{close_ticket,create_ticket}"],
    ["idle", "initialize", ""],
  ]);
});

test("what was refused all the same is told, and never drafted", () => {
  const nothing = { reason: "UNSPECIFIED", count: 1, egressLastUs: 0 } as const;
  const denial = { kind: "DENIAL", reason: "TARGET_FORBIDDEN", count: 2 } as const;
  const lesson = lessonOf(manifest(), [
    taught("GET", "/latest/meta-data", denial),
    // Let pass, and then not dialled: a rule that names the address would have it dialled.
    taught("GET", "/10.0.0.1", { reason: "TARGET_FORBIDDEN", egressLastUs: 0 }),
    { header: { ...nothing, ...denial, reason: "CALLER_UNIDENTIFIED", count: 0 }, claim: null },
    { header: { ...nothing, kind: "LIFECYCLE" }, claim: null },
  ]);
  expect(lesson).toMatchObject({ actions: 0, kept: [], learnt: [], unmet: [], unwritten: [] });
  expect(lesson.refused.map((r) => [r.action.path, r.reason, r.count])).toEqual([
    ["/latest/meta-data", "TARGET_FORBIDDEN", 2],
    ["/10.0.0.1", "TARGET_FORBIDDEN", 1],
    ["", "CALLER_UNIDENTIFIED", 1],
  ]);
});

test("a written rule that a learnt one makes idle gives way to it", () => {
  const held = manifest({ name: "read:one", rules: [ruleOf("GET", "/users/7")] });
  const lesson = lessonOf(held, [taught("GET", "/users/7"), taught("GET", "/users/8")]);
  expect(lesson).toMatchObject({ kept: [], idle: [], learnt: [{ count: 2 }] });
  expect(capabilitiesOf(lesson)).toEqual([
    { name: "read:api", rules: [ruleOf("GET", "/users/*")] },
  ]);
});

import { describe, expect, test } from "vitest";
import type { Claim } from "../../src/domain/claim.ts";
import type { Rule } from "../../src/domain/rule.ts";
import { lacks } from "../skips.ts";
import { type Act, check, checked, SECOND, START_US, Story, type Twists } from "./build.ts";
import { expectAgreement } from "./second.ts";

/** What passed unread was named as such by whoever granted it, with a bound; both verifiers see to that. */

const BANK: Rule = {
  protocol: "OPAQUE",
  target: "bank.example:443",
  verb: "",
  path: "",
  when: "",
  scheme: "HTTPS",
};
const withRule = (rule: Partial<Rule>, limits: Twists["limits"] = { maxBytes: 1000 }): Twists => ({
  manifest: (m) => ({
    ...m,
    capabilities: [{ name: "read:payments", rules: [{ ...BANK, ...rule }] }],
  }),
  ...(limits === undefined ? {} : { limits }),
});
const opaque: Partial<Claim> = { protocol: "OPAQUE", target: BANK.target, verb: "", path: "" };
const act = (shown: Partial<Claim> = {}): Act => ({ action: { ...opaque, ...shown } });

async function told(twists: Twists, ...acts: Act[]) {
  const story = await Story.begin(twists);
  await story.lifecycle();
  await story.lease();
  for (const one of acts) await story.act(one);
  await story.checkpoint();
  const { broken, verdict } = await check(story, await story.pack());
  return broken === null ? verdict : broken.code;
}

describe("an opaque connection", () => {
  test("holds where a rule names its place", async () => {
    expect(await told(withRule({}), { ...act(), bytes: 700 })).toBe("ANCHORED");
  });

  test.each<[string, Partial<Claim>, string]>([
    ["to another port", { target: "bank.example:444" }, "E_SCOPE_EXCEEDED"],
    ["to another name", { target: "bunk.example:443" }, "E_SCOPE_EXCEEDED"],
    [
      "that says to have been read",
      { protocol: "HTTP", verb: "GET", path: "/" },
      "E_SCOPE_EXCEEDED",
    ],
    ["with a path", { path: "/" }, "E_SCOPE_NOT_NORMAL"],
    ["with a method", { verb: "GET" }, "E_SCOPE_NOT_NORMAL"],
    ["in the clear", { scheme: "HTTP" }, "E_SCOPE_NOT_NORMAL"],
    [
      "with an input",
      { inputs: [{ name: "json.a", type: "INT", value: "1" }] },
      "E_SCOPE_NOT_NORMAL",
    ],
  ])("%s does not", async (_, shown, code) => {
    expect(await told(withRule({}), act(shown))).toBe(code);
  });

  test("does not hold beyond its bytes", async () => {
    expect(await told(withRule({}), { ...act(), bytes: 1001 })).toBe("E_LIMIT_EXCEEDED");
  });

  test("is not what a lease that observes lets pass", async () => {
    const UNTIL = START_US + 3600 * SECOND;
    const observing: Twists = {
      grant: (g) => ({ ...g, observeUntilUs: UNTIL }),
      lease: (l) => ({ ...l, observeUntilUs: UNTIL }),
    };
    const unseen: Act = {
      ...act(),
      scope: "",
      header: (d) => ({ ...d, wouldDeny: "SCOPE_NOT_GRANTED" }),
    };
    expect(await told(observing, unseen)).toBe("E_SCOPE_EXCEEDED");
  });
});

test("no grant lets bytes pass unread without an end", async () => {
  expect(await told(withRule({}, {}))).toBe("E_GRANT_MANIFEST");
});

test.each<[string, Partial<Rule>]>([
  ["a path", { path: "/" }],
  ["a method", { verb: "GET" }],
  ["a condition", { when: 'path[0] == "a"' }],
  ["no TLS", { scheme: "HTTP" }],
  ["whatever scheme", { scheme: "UNSPECIFIED" }],
])("no manifest has an opaque rule with %s", async (_, rule) => {
  expect(await told(withRule(rule))).toBe("E_MANIFEST_FIELD");
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

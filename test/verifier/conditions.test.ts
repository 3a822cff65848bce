import { describe, expect, test } from "vitest";
import type { Claim } from "../../src/domain/claim.ts";
import type { Reason } from "../../src/domain/reason.ts";
import { lacks } from "../skips.ts";
import { type Act, check, checked, Story, search } from "./build.ts";
import { expectAgreement } from "./second.ts";

/** Conditions are decided again by whoever reads a pack, from the claim alone. */

async function told(tell: (story: Story) => Promise<void>) {
  const story = await Story.begin();
  await story.lifecycle();
  await story.lease();
  await tell(story);
  await story.beat();
  await story.checkpoint();
  return check(story, await story.pack());
}
const said = (report: Awaited<ReturnType<typeof check>>) =>
  report.broken === null ? report.verdict : `${report.broken.code}@${report.broken.index}`;

const SEARCH = search("7");
const inputsOf = (act: Act) => act.claim?.({} as Claim).inputs ?? [];
const [account, region] = inputsOf(SEARCH) as [Claim["inputs"][0], Claim["inputs"][0]];
const shown = (inputs: Claim["inputs"], more: Partial<Claim> = {}): Act => ({
  ...SEARCH,
  claim: (claim) => ({ ...claim, inputs, ...more }),
});

describe("an action under a condition", () => {
  test("holds by what its claim says was read", async () => {
    expect(said(await told((s) => s.act(SEARCH)))).toBe("ANCHORED");
  });

  test.each<[string, Claim["inputs"]]>([
    ["another value", inputsOf(search("8"))],
    ["another region", inputsOf(search("7", "mars"))],
    ["nothing at all", []],
    ["half of it", [account]],
    ["what could not be read", [{ ...account, type: "UNREADABLE", value: "TWICE" }, region]],
    ["a value of another type", [{ ...account, type: "INT" }, region]],
    ["a number spelled otherwise", [{ ...account, value: "07" }, region]],
    ["something else", [{ name: "header.accept", type: "STRING", value: "7" }, region]],
  ])("whose claim shows %s was not allowed by it", async (_, inputs) => {
    expect(said(await told((s) => s.act(shown(inputs))))).toBe("E_SCOPE_EXCEEDED@2");
  });

  test.each<[string, Claim["inputs"]]>([
    ["out of order", [region, account]],
    ["twice", [account, account, region]],
    ["in two values", [account, { ...account, value: "8" }, region]],
    ["without a type", [{ ...account, type: "UNSPECIFIED" }, region]],
    ["as a number that is none", [account, { ...region, type: "INT" }]],
    ["as a truth that is none", [account, { ...region, type: "BOOL" }]],
    ["unreadable for no listed reason", [account, { ...region, type: "UNREADABLE", value: "so" }]],
    [
      "among segments of the path",
      [account, region, { name: "path[0]", type: "STRING", value: "x" }],
    ],
    ["longer than any is", [account, { ...region, value: "x".repeat(1025) }]],
  ])("whose inputs stand %s is not normal", async (_, inputs) => {
    expect(said(await told((s) => s.act(shown(inputs))))).toBe("E_SCOPE_NOT_NORMAL@2");
  });

  test("was not allowed in the clear, nor by a claim that leaves that open", async () => {
    const inputs = [account, region];
    expect(said(await told((s) => s.act(shown(inputs, { scheme: "HTTP" }))))).toBe(
      "E_CLAIM_ACTION@2",
    );
    expect(said(await told((s) => s.act(shown(inputs, { scheme: "UNSPECIFIED" }))))).toBe(
      "E_SCOPE_NOT_NORMAL@2",
    );
  });
});

describe("a denial under a condition", () => {
  const denied = (act: Act, reason: Reason) =>
    told((s) => s.deny(act, { reason, scope: "read:payments" }));

  test.each<[string, Act, Reason]>([
    ["false", search("8"), "CONDITION_FALSE"],
    ["false in its second part", search("7", "mars"), "CONDITION_FALSE"],
    ["absent", shown([account]), "CONDITION_UNEVALUABLE"],
    [
      "unreadable",
      shown([{ ...account, type: "UNREADABLE", value: "TWICE" }, region]),
      "CONDITION_UNEVALUABLE",
    ],
  ])("is the same again: %s", async (_, act, reason) => {
    const report = await denied(act, reason);
    expect(said(report)).toBe("ANCHORED");
    expect(report.ledgers[0]?.counts).toMatchObject({ decisionsNotReproducible: 0 });
  });

  test.each<[string, Act, Reason]>([
    ["a condition that holds", SEARCH, "CONDITION_FALSE"],
    ["inputs that are there", SEARCH, "CONDITION_UNEVALUABLE"],
    ["inputs that are there, though false", search("8"), "CONDITION_UNEVALUABLE"],
    ["a falsehood that nobody can tell", shown([account]), "CONDITION_FALSE"],
    ["a scope that is held", search("8"), "SCOPE_NOT_GRANTED"],
    ["a condition where no rule is", { path: "/payments.v1.Payments/Refund" }, "CONDITION_FALSE"],
  ])("for %s differs", async (_, act, reason) => {
    expect(said(await denied(act, reason))).toBe("E_DECISION_DIFFERS@2");
  });

  test("that closes an intent was permitted first: a lease that came later refused it", async () => {
    const later = { kind: "DENIAL", verdict: "DENIED", reason: "SCOPE_NOT_GRANTED" } as const;
    const report = await told((s) =>
      s.act({ header: (d) => ({ ...d, ...later, egressLastUs: 0 }) }),
    );
    expect(said(report)).toBe("ANCHORED");
    expect(report.ledgers[0]?.counts).toMatchObject({ decisionsNotReproducible: 1 });
  });
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

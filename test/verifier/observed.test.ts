import { describe, expect, test } from "vitest";
import { lacks } from "../skips.ts";
import { type Act, check, checked, SECOND, START_US, Story, type Twists } from "./build.ts";
import { expectAgreement } from "./second.ts";

/** What a grant that merely observed let pass stands out in the report, and cannot be hidden in it. */

const UNTIL = START_US + 3600 * SECOND;
const observing: Twists = {
  grant: (g) => ({ ...g, observeUntilUs: UNTIL }),
  lease: (l) => ({ ...l, observeUntilUs: UNTIL }),
};
const observed: Act = {
  path: "/payments.v1.Payments/Refund",
  scope: "",
  header: (d) => ({ ...d, wouldDeny: "SCOPE_NOT_GRANTED" }),
};

async function told(act: Act, twists: Twists = observing) {
  const story = await Story.begin(twists);
  await story.lifecycle();
  await story.lease();
  await story.act();
  await story.act(act);
  await story.checkpoint();
  return check(story, await story.pack());
}

describe("an action that a grant merely observed", () => {
  test("holds, and is flagged and counted and said in a sentence", async () => {
    const report = await told(observed);
    expect(report.broken).toBeNull();
    expect(report.flags).toContainEqual(
      expect.objectContaining({ flag: "OBSERVED", count: 1, at: [[3, 3]] }),
    );
    expect(report.ledgers[0]?.counts).toMatchObject({ completed: 2, observed: 1 });
    expect(report.findings.join("\n")).toContain("1 of its actions were in no scope");
  });

  test.each<[string, Act, Twists, string]>([
    ["under a lease that enforces", observed, {}, "E_SCOPE_EXCEEDED"],
    [
      "passed off as allowed",
      { ...observed, scope: "read:payments", header: (d) => d },
      observing,
      "E_SCOPE_EXCEEDED",
    ],
    [
      "with no scope, and nothing said",
      { ...observed, header: (d) => d },
      observing,
      "E_RECEIPT_FIELDS",
    ],
    [
      "for another reason",
      { ...observed, header: (d) => ({ ...d, wouldDeny: "CONDITION_FALSE" }) },
      observing,
      "E_DECISION_DIFFERS",
    ],
    [
      "said of what a scope allows",
      { header: (d) => ({ ...d, wouldDeny: "SCOPE_NOT_GRANTED" }) },
      observing,
      "E_DECISION_DIFFERS",
    ],
    [
      "under a lease that observes what no operator signed",
      observed,
      { lease: (l) => ({ ...l, observeUntilUs: UNTIL }) },
      "E_LEASE_WIDENED",
    ],
  ])("%s is BROKEN", async (_, act, twists, code) => {
    expect((await told(act, twists)).broken).toMatchObject({ code });
  });

  test("is an action: a denial cannot say it", async () => {
    const story = await Story.begin(observing);
    await story.lifecycle();
    await story.lease();
    await story.lifecycle({ wouldDeny: "SCOPE_NOT_GRANTED" });
    expect((await check(story, await story.pack())).broken).toMatchObject({
      code: "E_RECEIPT_FIELDS",
    });
  });
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

import { describe, expect, test } from "vitest";
import { explainReceipt } from "../../src/cli/actions/why.ts";
import type { SidecarClient } from "../../src/cli/client.ts";
import { REASONS, RENDERINGS, type Reason } from "../../src/domain/reason.ts";
import { SECOND, START_US, Story, search, type Twists } from "../verifier/build.ts";

/** `dragons why` has an answer to every reason, from the receipt's own artifacts. */

/** What the sidecar of a story answers about its last receipt. */
async function whyLast(story: Story) {
  const { seq, signed, row } = story.receipts.at(-1) as Story["receipts"][0];
  const evidence = {
    getEntry: async () => ({
      entry: { seq: BigInt(seq), receipt: signed, payload: row },
      lease: story.leases.at(-1)?.signed,
      grant: story.grant,
      manifest: story.manifestBytes,
    }),
  };
  return explainReceipt({ evidence } as unknown as SidecarClient, "rcp_");
}

async function told(tell: (s: Story) => Promise<void>, twists: Twists = {}) {
  const story = await Story.begin(twists);
  await story.lifecycle();
  await story.lease();
  await tell(story);
  return whyLast(story);
}

const reasons = REASONS.filter((r) => r !== "UNSPECIFIED");
/** The decision itself, made once more, says more than the reason's sentence. */
const DECIDED: Partial<Record<Reason, string>> = {
  MANIFEST_NOT_RECORDED: "no operator has recorded this agent's manifest",
  MANIFEST_RETIRED: "operators have retired this agent's manifest",
  MANIFEST_DRIFT: "the agent's files are no longer those of its manifest",
  QUARANTINED: "the agent is in quarantine until an operator releases it",
  STOPPED: "the agent was stopped",
  LEASE_REVOKED: "the lease was taken back",
  LEASE_EXPIRED: "the lease has ended",
};

describe("a denial", () => {
  test.each(reasons.filter((r) => r !== "SCOPE_NOT_GRANTED"))("for %s", async (reason) => {
    const why = await told((s) => s.deny({}, { reason }));
    expect(why.clause).toBe(DECIDED[reason] ?? RENDERINGS[reason].sentence);
    expect(why.remedy).toBe("");
  });

  test("for a condition, with its rule, the clause that failed, and what was read", async () => {
    const why = await told((s) => s.deny(search("8"), { reason: "CONDITION_FALSE" }));
    expect(why.clause).toBe(
      'read:payments allows payments.v1.Payments/Search at payments.internal:443 only when header["x-account"] == 7',
    );
    expect(why.rule).toBe(
      'read:payments: grpc payments.v1.Payments/Search at https://payments.internal when header["x-account"] == 7 && header["x-region"] in ["eu", "us"]',
    );
    expect(why.inputs[0]).toEqual({ name: 'header["x-account"]', type: "STRING", value: "8" });
  });

  test("for a condition that nothing was there for, with what is missing", async () => {
    const why = await told((s) =>
      s.deny({ path: "/payments.v1.Payments/Search" }, { reason: "CONDITION_UNEVALUABLE" }),
    );
    expect(why.clause).toMatch(/, and header\["x-account"\] is not there$/);
  });

  test("for SCOPE_NOT_GRANTED, with what would allow it", async () => {
    const why = await told((s) => s.deny({ path: "/payments.v1.Payments/Refund" }));
    expect(why.clause).toContain("payments.v1.Payments/Refund at payments.internal:443");
    expect(why.remedy).toContain("dragons grant create");
  });
});

describe("an action", () => {
  test("names the rule that allowed it", async () => {
    const why = await told((s) => s.act());
    expect(why.rule).toMatch(/^read:payments: grpc payments\.v1\.Payments/);
    expect(why.clause).toMatch(/^read:payments allowed it by a lease that held until /);
  });

  test.each(["UPSTREAM_FAILED", "HANDOFF", "CRASHED"] as const)("that %s ended", async (reason) => {
    const header = { verdict: "FAILED", reason } as const;
    const why = await told((s) => s.act({ header: (d) => ({ ...d, ...header }) }));
    expect(why.clause).toContain(`what ended it was ${reason}: ${RENDERINGS[reason].sentence}`);
  });

  test("that a grant merely observed, with what would allow it", async () => {
    const untilUs = START_US + 3600 * SECOND;
    const why = await told(
      (s) =>
        s.act({
          path: "/payments.v1.Payments/Refund",
          scope: "",
          header: (d) => ({ ...d, wouldDeny: "SCOPE_NOT_GRANTED" }),
        }),
      {
        grant: (g) => ({ ...g, observeUntilUs: untilUs }),
        lease: (l) => ({ ...l, observeUntilUs: untilUs }),
      },
    );
    expect(why.clause).toMatch(/^WOULD_DENY SCOPE_NOT_GRANTED: .*its grant merely observes$/);
    expect(why.remedy).toContain("dragons grant create");
  });
});

import type { Claim, LimitState } from "../../../src/domain/claim.ts";
import type { HeartbeatBody } from "../../../src/domain/heartbeat.ts";
import { SECOND, START_US, type Story } from "../../verifier/build.ts";
import { group, story, told } from "./case.ts";

const { cases, add } = group("limits");
export const LIMITS = cases;

const limits = { maxActions: 4, maxBytes: 100, ratePerMinute: 60, maxConcurrent: 2 };
const within = { twists: { limits } };
const state = (change: Partial<LimitState>) => (claim: Claim) => ({
  ...claim,
  limitState: claim.limitState.map((l) => ({ ...l, ...change })),
});
const stating = (change: Partial<LimitState>) =>
  told((s) => s.act({ claim: state(change) }), within);

add(
  "as-it-was",
  [51],
  "what was left, as it was: side by side, over a renewal, with an open call",
  "ANCHORED OPEN_INTENT:1",
  told(async (s) => {
    const first = s.begin({ bytes: 30 });
    const second = s.begin({ bytes: 20 });
    await second();
    await s.lease();
    await first();
    s.begin();
  }, within),
);
const five = async (s: Story) => {
  for (let i = 0; i < 3; i++) await s.act();
  await s.act({ claim: state({ actionsLeft: 1 }) });
};
add(
  "one-too-many",
  [32],
  "one action more than the lease allows",
  "E_LIMIT_EXCEEDED@6",
  told(five, within),
);
add(
  "one-too-many-withheld",
  [32, 47],
  "one action more than the lease allows, its claim withheld",
  "E_LIMIT_EXCEEDED@6",
  told(five, { ...within, disclose: [] }),
);
add(
  "refilled",
  [51],
  "a renewal that counts from the beginning",
  "E_LIMIT_STATE@3",
  told(async (s) => {
    await s.lease();
    await s.act({ claim: state({ actionsLeft: 4 }) });
  }, within),
);
add(
  "more-actions-left",
  [32],
  "a claim that states more actions than were left",
  "E_LIMIT_STATE@3",
  stating({ actionsLeft: 4 }),
);
add(
  "fewer-actions-left",
  [32],
  "a claim that states fewer actions than were left",
  "E_LIMIT_STATE@3",
  stating({ actionsLeft: 2 }),
);
add(
  "more-bytes-left",
  [32],
  "a claim that states more bytes than were left",
  "E_LIMIT_STATE@3",
  stating({ bytesLeft: 101 }),
);
add(
  "more-at-once",
  [32],
  "a claim that states more at once than may be",
  "E_LIMIT_STATE@3",
  stating({ concurrentLeft: 3 }),
);
add(
  "more-in-a-minute",
  [32],
  "a claim that states more in a minute than may be",
  "E_LIMIT_STATE@3",
  stating({ rateLeft: 61 }),
);
add(
  "another-scopes",
  [32],
  "a claim that states what is left of another scope",
  "E_LIMIT_STATE@3",
  stating({ scope: "write:ledger" }),
);
add(
  "none-stated",
  [32],
  "a claim that states no limit",
  "E_LIMIT_STATE@3",
  told((s) => s.act({ claim: (c) => ({ ...c, limitState: [] }) }), within),
);
add(
  "spent",
  [32],
  "a claim that says it was spent permits nothing",
  "E_SCOPE_EXCEEDED@3",
  told((s) => s.act({ claim: state({ rateLeft: 0 }) }), within),
);
add(
  "the-last-one-twice",
  [32],
  "two calls side by side that both took the last action",
  "E_LIMIT_STATE@3",
  told(async (s) => {
    const a = s.begin();
    const b = s.begin({ claim: state({ actionsLeft: 3 }) });
    await b();
    await a();
  }, within),
);
add(
  "bytes-exceeded",
  [32],
  "more bytes than any lease allows",
  "E_LIMIT_EXCEEDED@4",
  told(async (s) => {
    await s.act({ bytes: 60 });
    await s.act({ bytes: 41 });
  }, within),
);
add(
  "bytes-charged-less",
  [32],
  "fewer bytes charged than were sent",
  "E_LIMIT_STATE@3",
  told((s) => s.act({ bytes: 60, header: (h) => ({ ...h, spentBytes: 59 }) }), within),
);
add(
  "bytes-charged-for-nothing",
  [32],
  "bytes charged where nothing limits them",
  "E_LIMIT_STATE@3",
  told((s) => s.act({ header: (h) => ({ ...h, spentBytes: 1 }) })),
);
add(
  "reserved-by-a-crash",
  [32],
  "bytes that a crash left reserved, without a body to show",
  "ANCHORED",
  told(
    (s) =>
      s.act({
        header: (h) => ({ ...h, verdict: "INDETERMINATE", reason: "CRASHED", spentBytes: 90 }),
      }),
    within,
  ),
);
add(
  "faster-than-allowed",
  [49],
  "more in a minute than allowed is told: the clock may have been set",
  "ANCHORED RATE_EXCEEDED:2",
  told(
    async (s) => {
      for (let n = 0; n < 3; n++) await s.act({ claim: state({ rateLeft: 1 }) });
    },
    { twists: { limits: { ratePerMinute: 2 } } },
  ),
);
const beating = (actions: number) =>
  told(
    async (s) => {
      await s.act();
      await s.beat();
      await s.act();
    },
    {
      twists: {
        limits,
        heartbeat: (b: HeartbeatBody) => ({
          ...b,
          spent: [{ scope: "read:payments", actions, bytes: 0 }],
        }),
      },
    },
  );
add(
  "told-less",
  [51],
  "a beat that tells the issuer of less than was spent",
  "E_LIMIT_STATE@3",
  beating(1),
);
add(
  "told-as-it-was",
  [51],
  "a beat that tells the issuer of what was spent",
  "ANCHORED",
  beating(2),
);
const denied = (left: Partial<LimitState>) =>
  told(
    (s) => s.deny({ claim: state(left) }, { reason: "LIMIT_SPENT", scope: "read:payments" }),
    within,
  );
add(
  "denied-spent",
  [32],
  "a denial that says it was spent, as its claim says",
  "ANCHORED",
  denied({ actionsLeft: 0 }),
);
add(
  "denied-unspent",
  [32],
  "a denial that says it was spent, and its claim says what was left",
  "E_DECISION_DIFFERS@3",
  denied({}),
);

const observing = START_US + 3600 * SECOND;
add(
  "observed-before",
  [51],
  "what was merely observed in a scope counts there",
  "ANCHORED OBSERVED:1",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease((b) => ({ ...b, observeUntilUs: observing, scopes: [] }));
      await s.act({ header: (h) => ({ ...h, wouldDeny: "SCOPE_NOT_GRANTED" }) });
      await s.lease();
      await s.act({ claim: state({ actionsLeft: 3 }) });
      await s.checkpoint();
    },
    { twists: { limits, grant: (g) => ({ ...g, observeUntilUs: observing }) } },
  ),
);
const lyingAtLast = async (s: Story) => {
  await s.lifecycle();
  await s.lease();
  for (let n = 0; n < 4; n++) await s.act();
  await s.act({ claim: state({ actionsLeft: 7 }) });
  await s.checkpoint();
};
const nine = { twists: { limits: { maxActions: 9 } } };
add(
  "range-against-itself",
  [32],
  "part of a ledger: what stands in it must agree with itself",
  "E_LIMIT_STATE@6",
  story(lyingAtLast, { ...nine, range: { from: 4, to: 6 } }),
);
add(
  "range-before-it",
  [51],
  "part of a ledger: what went before it is as its first claim says",
  "ANCHORED OPEN_INTENT:1 RANGE:4",
  story(lyingAtLast, { ...nine, range: { from: 2, to: 5 } }),
);

import type { Claim } from "../../../src/domain/claim.ts";
import { type Act, SECOND, START_US, search } from "../../verifier/build.ts";
import { group, told } from "./case.ts";

const { cases, add } = group("scope");
export const SCOPE = cases;

const acting = (act: Act) => told((s) => s.act(act));
const claiming = (over: Partial<Claim>) => acting({ claim: (c) => ({ ...c, ...over }) });

add(
  "outside",
  [32],
  "a call that no scope allows",
  "E_SCOPE_EXCEEDED@3",
  acting({ path: "/payments.v1.Payments/Refund" }),
);
add(
  "next-to-it",
  [33],
  "a service whose name begins like the one that is allowed",
  "E_SCOPE_EXCEEDED@3",
  acting({ path: "/payments.v1.PaymentsX/GetPayment" }),
);
add(
  "below-it",
  [33],
  "a path below the one that is allowed",
  "E_SCOPE_NOT_NORMAL@3",
  acting({ path: "/payments.v1.Payments/GetPayment/x" }),
);
add(
  "another-scope-of-the-manifest",
  [32],
  "a scope that the manifest has and the lease has not",
  "E_SCOPE_EXCEEDED@3",
  acting({ target: "ledger.internal:443", path: "/ledger.v1.Entries/Post", scope: "write:ledger" }),
);
add(
  "another-target",
  [32],
  "another host",
  "E_SCOPE_EXCEEDED@3",
  acting({ target: "payments.example:443" }),
);
add(
  "another-port",
  [32],
  "another port of the same host",
  "E_SCOPE_EXCEEDED@3",
  acting({ target: "payments.internal:444" }),
);
add(
  "another-name",
  [32],
  "allowed in one scope, and put down to another",
  "E_SCOPE_EXCEEDED@3",
  acting({ scope: "write:ledger" }),
);
add(
  "dots",
  [52],
  "a path with dot segments",
  "E_SCOPE_NOT_NORMAL@3",
  claiming({ path: "/payments.v1.Payments/../GetPayment" }),
);
add(
  "escapes",
  [52],
  "a path with escapes",
  "E_SCOPE_NOT_NORMAL@3",
  claiming({ path: "/payments.v1.Payments/Get%2e" }),
);
add(
  "capitals",
  [52],
  "a host in capitals",
  "E_SCOPE_NOT_NORMAL@3",
  claiming({ target: "Payments.internal:443" }),
);
add(
  "no-port",
  [52],
  "a target without a port",
  "E_SCOPE_NOT_NORMAL@3",
  claiming({ target: "payments.internal" }),
);
add(
  "inputs-unsorted",
  [52],
  "inputs out of order",
  "E_SCOPE_NOT_NORMAL@3",
  acting({
    ...search("7"),
    claim: (c) => {
      const { claim } = search("7");
      const plain = claim?.(c) ?? c;
      return { ...plain, inputs: plain.inputs.toReversed() };
    },
  }),
);
add(
  "input-of-another-spelling",
  [52],
  "a number with a zero in front",
  "E_SCOPE_NOT_NORMAL@3",
  acting({
    ...search("7"),
    claim: (c) => ({ ...c, inputs: [{ name: 'header["x-account"]', type: "INT", value: "07" }] }),
  }),
);
add(
  "condition-false",
  [32],
  "a call whose condition is false",
  "E_SCOPE_EXCEEDED@3",
  acting(search("8")),
);
add(
  "condition-unevaluable",
  [32],
  "a call of which a condition lacks an input",
  "E_SCOPE_EXCEEDED@3",
  acting({ path: "/payments.v1.Payments/Search" }),
);
add(
  "condition-under-another-scheme",
  [32],
  "a claim that says HTTP where HTTPS was spoken",
  "E_CLAIM_ACTION@3",
  acting({
    ...search("7"),
    claim: (c) => ({ ...(search("7").claim?.(c) ?? c), scheme: "HTTP" }),
  }),
);
add(
  "claim-of-another-call",
  [32],
  "a claim of another call than was made",
  "E_CLAIM_ACTION@3",
  claiming({ path: "/payments.v1.Payments/ListPayments" }),
);
add(
  "claim-of-another-scheme",
  [32],
  "a claim of another scheme than was spoken",
  "E_CLAIM_ACTION@3",
  claiming({ scheme: "HTTP" }),
);
add(
  "denied-what-is-permitted",
  [32],
  "a denial of what the lease permits",
  "E_DECISION_DIFFERS@3",
  told((s) => s.deny()),
);
add(
  "denied-for-another-reason",
  [32],
  "a denial for another reason than comes out",
  "E_DECISION_DIFFERS@3",
  told((s) => s.deny(search("8"))),
);
add(
  "denied-after-the-end",
  [28, 32],
  "a denial after its lease had ended, put down to the scope: the clock would have refused it first",
  "ANCHORED",
  told(async (s) => {
    s.tick(90 * SECOND);
    await s.deny();
  }),
);
add(
  "denied-and-another-call",
  [32],
  "a denial by the clock whose claim is of another call than the action it shows",
  "E_CLAIM_ACTION@3",
  told((s) =>
    s.act({
      claim: (c) => ({ ...c, path: "/payments.v1.Payments/ListPayments" }),
      header: (d) => ({
        ...d,
        kind: "DENIAL",
        verdict: "DENIED",
        reason: "LEASE_EXPIRED",
        scope: "",
        egressLastUs: 0,
      }),
    }),
  ),
);
add(
  "denied-by-the-clock",
  [32],
  "a denial that rests on the clock cannot be decided again",
  "ANCHORED",
  told((s) => s.deny({}, { reason: "LEASE_EXPIRED" })),
);

const { cases: time, add: when } = group("time");
export const TIME = time;

when(
  "earlier-than-the-one-before",
  [49],
  "opened before the intent that it follows",
  "E_TIME_BACKWARDS@3",
  acting({ openedAtUs: START_US + 1 }),
);
when(
  "closed-before-it-opened",
  [49],
  "closed before it opened",
  "E_TIME_BACKWARDS@3",
  acting({ header: (d) => ({ ...d, closedAtUs: d.openedAtUs - 1 }) }),
);
when(
  "egress-before-it-opened",
  [49],
  "bytes left before it opened",
  "E_TIME_BACKWARDS@3",
  acting({ header: (d) => ({ ...d, egressLastUs: d.openedAtUs - 1 }) }),
);
when(
  "never-opened",
  [49],
  "a receipt that does not say when it opened",
  "E_RECEIPT_FIELDS@3",
  told((s) => s.lifecycle({ openedAtUs: 0 })),
);
when(
  "set-back-between-leases",
  [49],
  "the clock was set back between two leases: told",
  "ANCHORED CLOCK_SET_BACK:1",
  told(async (s) => {
    s.nowUs -= 30 * SECOND;
    await s.lease();
    await s.act();
    s.nowUs += 30 * SECOND;
  }),
);

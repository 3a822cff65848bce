import type { Signer } from "../../../src/domain/crypto.ts";
import { GENESIS } from "../../../src/domain/genesis.ts";
import { HEARTBEAT } from "../../../src/domain/heartbeat.ts";
import type { SignedBytes } from "../../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../../src/domain/signing.ts";
import { TRANSITION, type TransitionBody } from "../../../src/domain/transition.ts";
import { exportPack } from "../../../src/verifier/export.ts";
import { PackHeader } from "../../../src/verifier/pack.ts";
import {
  collect,
  crypto,
  goodStory,
  keyOf,
  receiptFrame,
  type Story,
  type Twists,
} from "../../verifier/build.ts";
import { changed, good, group, only, receiptAt, told } from "./case.ts";

const { cases, add } = group("tenant");
export const TENANTS = cases;

const spliced = (twists: Twists) =>
  changed(async (p) => {
    const theirs = await goodStory(twists);
    receiptAt(p, 3).body = receiptFrame(theirs.receipts[2] as Story["receipts"][0]);
  });
/** Two ledgers in one pack, of which the second is judged by the first one's trust file. */
const both = (twists: Twists) => async () => {
  const [one, other] = [await goodStory(), await goodStory(twists)];
  const pack = await collect(exportPack(crypto, "acme", [one.evidence(), other.evidence()]));
  return { pack, trust: one.trust, nowUs: one.nowUs };
};

add(
  "receipt-of-another-tenant",
  [17],
  "a receipt of another tenant",
  "E_TENANT_MISMATCH@3",
  spliced({ tenant: "other" }),
);
add(
  "receipt-of-another-ledger",
  [18],
  "a receipt of another ledger of the tenant",
  "E_LEDGER_MISMATCH@3",
  spliced({ ledgerName: "second" }),
);
add(
  "pack-of-another-tenant",
  [19],
  "a whole pack of another tenant",
  "E_TENANT_MISMATCH@0",
  async () => {
    const theirs = await goodStory({ tenant: "other" });
    const { story } = await good();
    return { pack: await theirs.pack(), trust: story.trust, nowUs: story.nowUs };
  },
);
add(
  "pack-under-another-name",
  [19],
  "a whole pack of another tenant under this one's name",
  "E_TENANT_MISMATCH@0",
  async () => {
    const theirs = await goodStory({ tenant: "other" });
    const { story } = await good();
    const pack = await collect(exportPack(crypto, "acme", [theirs.evidence()]));
    return { pack, trust: story.trust, nowUs: story.nowUs };
  },
);
add(
  "no-tenant",
  [19],
  "a pack of no tenant",
  "E_TENANT_MISMATCH@0",
  changed((p) => {
    only(p, "HEADER").body = PackHeader.encode({ tenantId: "", ledgers: 1 });
  }),
);
add("two-ledgers", [18], "two ledgers of one tenant", "ANCHORED", both({ ledgerName: "second" }));
add("a-ledger-twice", [5], "one ledger twice", "E_LEDGER_DUP@0", both({}));
add(
  "a-second-ledger-of-another-tenant",
  [17],
  "a second ledger, of another tenant",
  "E_TENANT_MISMATCH@0",
  both({ tenant: "other" }),
);
add(
  "unpinned",
  [20],
  "without a trust file nobody but the pack vouches",
  "INTACT UNPINNED:1",
  async () => {
    const { story } = await good();
    return { pack: await story.pack(), trust: null, nowUs: story.nowUs };
  },
);

const { cases: transitions, add: move } = group("transition");
export const TRANSITIONS = transitions;

const ABSENT = new Uint8Array(0);
/** The first beat of a ledger, as its issuer tells of it. */
const first = async (s: Story, over: Partial<TransitionBody>, signer: Signer) => {
  const { instanceId, body } = beat(s);
  const plain: TransitionBody = {
    ...TRANSITION.body.decode(ABSENT),
    version: 1,
    transitionId: "trn_01930000000170008000000000000001",
    tenantId: s.tenantId,
    instanceId,
    ledgerId: s.ledgerId,
    from: "DOCKED",
    to: "RUNNING",
    cause: "FIRST_BEAT",
    atUs: body.wallUs,
    desired: "RUN",
    artifacts: [body.ref],
    lastBeatUs: body.wallUs,
    ...over,
  };
  return signBody(TRANSITION, plain, [signer]);
};
function beat(s: Story) {
  const [signed] = s.heartbeats as [SignedBytes];
  const { wallUs } = HEARTBEAT.body.decode(signed.body);
  return {
    instanceId: GENESIS.body.decode(s.genesis.body).instanceId,
    body: { wallUs, ref: refOf(crypto, "heartbeat", signed.body) },
  };
}
const moved = (over: Partial<TransitionBody>, signer: Signer = keyOf("issuer")) =>
  told((s) => s.beat(), {
    over: async (s) => ({ transitions: [encodeSigned(await first(s, over, signer))] }),
  });
move("first-beat", [47], "a change of state by the issuer", "ANCHORED", moved({}));
move(
  "by-the-sidecar",
  [35],
  "a change of state that the sidecar signed",
  "E_TRANSITION_SIG@0",
  moved({}, keyOf("ledger")),
);
move(
  "of-another-tenant",
  [17],
  "a change of state of another tenant",
  "E_TRANSITION_TENANT@0",
  moved({ tenantId: "other" }),
);
move(
  "after-the-issuers-end",
  [28],
  "a change of state dated after its issuer's key had ended",
  "E_TRANSITION_KEY_EXPIRED@0",
  moved({ atUs: 1_795_000_000_000_000 + 86_400_000_000 }),
);

import { cosignHead } from "../../../src/domain/checkpoint.ts";
import { HEARTBEAT } from "../../../src/domain/heartbeat.ts";
import type { SignedBytes } from "../../../src/domain/signed.ts";
import { encodeSigned, signBody } from "../../../src/domain/signing.ts";
import { TRANSITION, type TransitionBody } from "../../../src/domain/transition.ts";
import type { LedgerEvidence } from "../../../src/verifier/export.ts";
import { crypto, SECOND, type Story } from "../../verifier/build.ts";
import type { ControlStory } from "../../verifier/control-story.ts";
import { governed, type Recording, remedied } from "../../verifier/recorded.ts";
import { group, type Make } from "./case.ts";

const { cases, add } = group("recorded");
/** What a ledger shows, held against what the control plane's ledger of the tenant has of it. */
export const RECORDED: typeof cases = cases;

type Over = Partial<LedgerEvidence>;
type Told = Awaited<ReturnType<typeof governed>>;

const told =
  (recording: Recording = {}, over: (told: Told) => Over = () => ({}), own: Over = {}): Make =>
  async () => {
    const all = await governed(recording);
    const { story, pack } = all;
    return { pack: await pack(over(all), own), trust: story.trust, nowUs: story.nowUs };
  };

add(
  "all-of-it",
  [47, 54],
  "leases and changes of state, each decided from what it cites, and the control plane's ledger that has them all",
  "ANCHORED",
  told(),
);
add(
  "states-alone",
  [47],
  "changes of state that carry what they were decided from, without the control plane's ledger",
  "ANCHORED",
  async () => {
    const { story, transitions } = await governed();
    return { pack: await story.pack({}, { transitions }), trust: story.trust, nowUs: story.nowUs };
  },
);
add(
  "basis-of-another-form",
  [40],
  "a change of state whose basis says neither yes nor no to whether a session was open",
  "ANCHORED STATES_DIFFER:1",
  async () => {
    const all = await governed();
    const odd = await resigned(all.story, all.states.transitions, (t) => ({
      basis: { ...t.basis, attached: 2 },
    }));
    const { story, pack } = all;
    return { pack: await pack({ transitions: odd }), trust: story.trust, nowUs: story.nowUs };
  },
);
add(
  "lease-unrecorded",
  [54],
  "a lease by the issuer that the control plane's ledger has not",
  "ANCHORED UNRECORDED:1",
  told({ lease: (n) => n !== 2 }),
);
add(
  "state-hidden",
  [54],
  "the quarantine that was recorded is not shown",
  "ANCHORED STATES_DIFFER:1",
  told({}, ({ transitions }) => ({ transitions: transitions.filter((_, i) => i !== 1) })),
);
add(
  "state-unrecorded",
  [54],
  "a change of state by the issuer that the control plane's ledger has not",
  "ANCHORED STATES_DIFFER:1",
  told({ states: (all) => all.slice(0, -1) }),
);
add(
  "states-turned-round",
  [4, 54],
  "changes of state in another order than they were recorded in",
  "ANCHORED STATES_DIFFER:1",
  told({ states: (all) => all.toReversed() }),
);
const remedy =
  (...sent: Parameters<typeof remedied>): Make =>
  async () => {
    const { story, pack } = await remedied(...sent);
    return { pack: await pack(), trust: story.trust, nowUs: story.nowUs };
  };
add(
  "remedy-sent",
  [54],
  "an organism that was remedied, and the directive that it tells of in the control plane's ledger",
  "ANCHORED",
  remedy(),
);
add(
  "remedy-never-sent",
  [54],
  "an organism that is said to have been remedied, and no directive in the control plane's ledger",
  "ANCHORED STATES_DIFFER:1",
  remedy({ kind: null }),
);
add(
  "remedy-of-another-kind",
  [54],
  "another directive than what there is for what was treated",
  "ANCHORED STATES_DIFFER:1",
  remedy({ kind: "REATTACH" }),
);
add(
  "remedy-sent-afterwards",
  [54],
  "a directive that was recorded when all was over",
  "ANCHORED STATES_DIFFER:1",
  remedy({ kind: "RESYNC", late: true }),
);
add(
  "head-by-its-record",
  [13],
  "no checkpoint of its own: a heartbeat states the head that the control plane's ledger records",
  "ANCHORED",
  told({ last: (c) => headOf(c, 3) }, () => ({ checkpoints: [] })),
);
add(
  "head-by-its-record-in-part",
  [13],
  "the same of an earlier head: what came after it rests on nobody's word",
  "ANCHORED UNANCHORED_TAIL:1",
  told({ last: (c) => headOf(c, 2) }, () => ({ checkpoints: [] })),
);
add(
  "head-recorded-under-nothing",
  [13],
  "the record of a head, and nobody countersigned the ledger that it stands in",
  "INTACT UNANCHORED_TAIL:14 UNANCHORED_TAIL:3",
  told({ last: (c) => headOf(c, 3) }, () => ({ checkpoints: [] }), { checkpoints: [] }),
);

/** Records a head of the story's as the control plane countersigned it: by its own line alone. */
async function headOf(control: ControlStory, size: number): Promise<void> {
  const { story } = control;
  const beats = story.heartbeats.map((h) => HEARTBEAT.body.decode(h.body));
  const head = beats.find((b) => b.size === size);
  if (head === undefined) throw new Error(`no beat of ${size}`);
  const cosigner = { name: "control", signer: story.cosigner };
  const note = await cosignHead(crypto, head, cosigner, Math.floor(story.nowUs / SECOND));
  await control.record({ what: "head", artifact: note });
}

/** The last of them changed, and signed again by the issuer. */
async function resigned(
  story: Story,
  all: readonly SignedBytes[],
  change: (body: TransitionBody) => Partial<TransitionBody>,
): Promise<Uint8Array[]> {
  const last = all.at(-1) as SignedBytes;
  const body = TRANSITION.body.decode(last.body);
  const odd = await signBody(TRANSITION, { ...body, ...change(body) }, [story.issuer]);
  return [...all.slice(0, -1), odd].map(encodeSigned);
}

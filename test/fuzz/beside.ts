import { cosignHead } from "../../src/domain/checkpoint.ts";
import { HEARTBEAT } from "../../src/domain/heartbeat.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned } from "../../src/domain/signing.ts";
import type { LedgerEvidence } from "../../src/verifier/export.ts";
import { crypto, SECOND, type Story } from "../verifier/build.ts";
import { ControlStory } from "../verifier/control-story.ts";
import { States } from "../verifier/states.ts";
import type { Random } from "./random.ts";

/** What the control plane's ledger has of a story, and has not; and changes of state, shown or not. */
export async function recordsBeside(
  random: Random,
  story: Story,
): Promise<{ work: Partial<LedgerEvidence>; control: LedgerEvidence }> {
  const control = await ControlStory.begin(story);
  const states = new States(story);
  await states.attached();
  await states.hold();
  await states.release();
  const told = (all: readonly SignedBytes[]) => all.filter(() => !random.oneIn(12));
  for (const { signed } of story.leases) if (!random.oneIn(8)) await control.recordLease(signed);
  for (const beat of told(story.heartbeats)) {
    await control.recordBeat(beat);
    if (random.oneIn(3)) await recordHead(random, control, beat);
  }
  for (const t of told(states.transitions)) await control.recordTransition(t);
  if (!random.oneIn(4)) await control.checkpoint();
  const closed = random.of([0, 0, 4, 1]);
  const rows = control.rows.map((r) => (closed > 0 && random.oneIn(closed) ? shut(r) : r));
  const shown = told(states.transitions).map(encodeSigned);
  return {
    work: { transitions: shown, ...(random.oneIn(2) && { checkpoints: [] }) },
    control: control.evidence({ read: (from, limit) => rows.slice(from - 1, from - 1 + limit) }),
  };
}

type Row = ControlStory["rows"][number];

function shut({ row, ...rest }: Row): Row {
  const { commitments } = PayloadRow.decode(row);
  return { ...rest, row: PayloadRow.encode({ commitments, openings: [] }) };
}

async function recordHead(random: Random, control: ControlStory, beat: SignedBytes): Promise<void> {
  const { story } = control;
  const { ledgerId, size, root } = HEARTBEAT.body.decode(beat.body);
  const head = random.oneIn(8) ? { ledgerId, size: size + 1, root } : { ledgerId, size, root };
  const cosigner = { name: "control", signer: story.cosigner };
  const note = await cosignHead(crypto, head, cosigner, Math.floor(story.nowUs / SECOND));
  await control.record({ what: "head", artifact: note });
}

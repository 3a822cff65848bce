import type { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned } from "../../src/domain/signing.ts";
import type { LedgerEvidence } from "../../src/verifier/export.ts";
import { Story } from "./build.ts";
import { ControlStory } from "./control-story.ts";
import { States } from "./states.ts";

/** How the control plane's ledger differs from what happened. */
export interface Recording {
  /** Whether lease n was recorded; absent: each was. */
  readonly lease?: (n: number) => boolean;
  /** Changes of state that it records, of those that there were; absent: all. */
  readonly states?: (all: readonly SignedBytes[]) => readonly SignedBytes[];
  /** Told when all of it is, and before the checkpoint of the control plane's ledger. */
  readonly last?: (control: ControlStory) => Promise<unknown>;
}

/**
 * An organism that acts under two leases, is quarantined by an operator and let go, beside the control plane's
 * ledger that has all of it.
 */
export async function governed({ lease = () => true, states: of, last }: Recording = {}) {
  const story = await Story.begin();
  const states = new States(story);
  const control = await ControlStory.begin(story);
  await story.lifecycle();
  await control.lease(lease(1));
  await states.attached();
  await story.act();
  await states.beat();
  await control.lease(lease(2));
  await story.act();
  await states.hold();
  await states.release();
  await states.beat();
  await story.checkpoint();
  for (const beat of story.heartbeats) await control.recordBeat(beat);
  for (const t of of?.(states.transitions) ?? states.transitions) await control.recordTransition(t);
  await last?.(control);
  await control.checkpoint();
  const transitions = states.transitions.map(encodeSigned);
  const pack = (over: Partial<LedgerEvidence> = {}, own: Partial<LedgerEvidence> = {}) =>
    control.pack({ transitions, ...over }, own);
  return { story, states, control, transitions, pack };
}

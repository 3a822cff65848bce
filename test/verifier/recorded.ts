import { DIRECTIVE, type DirectiveBody } from "../../src/domain/directive.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import type { LedgerEvidence } from "../../src/verifier/export.ts";
import { crypto, SECOND, Story, uuid } from "./build.ts";
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

/** What is in the tenant's ledger of a remedy that its organism tells of. */
interface Sent {
  /** What was recorded between the two changes of state; null: nothing. */
  readonly kind: DirectiveBody["kind"] | null;
  /** It was recorded once all was over. */
  readonly late?: boolean;
}

/**
 * An organism that lags behind, is told to sync anew, and runs again, beside the control plane's ledger that has all of it.
 */
export async function remedied({ kind, late = false }: Sent = { kind: "RESYNC" }) {
  let syncLag = 0;
  const story = await Story.begin({
    heartbeat: (b) => ({ ...b, syncLag, autonomyLeftUs: SECOND }),
  });
  const states = new States(story);
  const control = await ControlStory.begin(story);
  await story.lifecycle();
  await control.lease();
  await states.attached();
  syncLag = 60_000;
  await states.beat();
  await states.take({ kind: "remedy", outcome: "STARTED", condition: "SYNC_LAG" });
  const begun = states.transitions.length;
  const directive: DirectiveBody = {
    version: 1,
    directiveId: `dir_${uuid(1)}`,
    tenantId: story.tenantId,
    instanceId: uuid(2),
    ledgerId: story.ledgerId,
    sessionEpoch: 1,
    kind: kind ?? "RESYNC",
    issuedAtUs: story.nowUs,
    expiresAtUs: story.nowUs + 60 * SECOND,
    reason: "SYNC_LAG persists",
  };
  const signed = await signBody(DIRECTIVE, directive, [story.issuer]);
  const ref = refOf(crypto, "directive", signed.body);
  await states.take({ kind: "remedy", outcome: "SENT", directive: ref });
  syncLag = 0;
  await states.beat();
  await states.take({ kind: "remedy", outcome: "SUCCEEDED" });
  story.tick(10 * SECOND);
  await states.beat();
  await story.checkpoint();
  for (const beat of story.heartbeats) await control.recordBeat(beat);
  for (const [i, t] of states.transitions.entries()) {
    if (i === begun && kind !== null && !late) await control.recordDirective(signed);
    await control.recordTransition(t);
  }
  if (kind !== null && late) await control.recordDirective(signed);
  await control.checkpoint();
  return { story, states, pack: () => control.pack({ transitions: states.encoded }) };
}

import { expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { leafHash } from "../../src/domain/chain.ts";
import { Frontier } from "../../src/domain/merkle.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned } from "../../src/domain/signing.ts";
import { ControlSection } from "../../src/verifier/control-section.ts";
import { joinPack } from "../../src/verifier/join.ts";
import { once } from "../../src/verifier/pack.ts";
import { surveyPack } from "../../src/verifier/survey.ts";
import { check, collect, crypto, Story } from "./build.ts";
import { ControlStory } from "./control-story.ts";
import { governed } from "./recorded.ts";
import { States } from "./states.ts";

/** A sidecar's pack, and the control plane's records put beside it as they come. */

async function* each(parts: readonly Uint8Array[]) {
  yield* parts;
}

async function joined(pack: Uint8Array, control: ControlStory, fromSeq = 1) {
  const { sections } = await surveyPack(crypto, once(pack));
  const tree = new Frontier(crypto);
  const before = control.rows.slice(0, fromSeq - 1).map((r) => SignedBytes.decode(r.signed).body);
  const leaves = before.map((body) => leafHash(crypto, body));
  for (const leaf of leaves.slice(0, -1)) tree.append(leaf);
  const section = new ControlSection(
    crypto,
    {
      genesis: encodeSigned(control.genesis.signed),
      keyset: encodeSigned(control.story.keyset),
      note: control.checkpoints.at(-1) ?? "",
      witnessedNote: "",
      fromSeq,
      frontier: tree.nodes(),
      lastHash: leaves.at(-1) ?? new Uint8Array(0),
    },
    sections,
    "THEIRS",
  );
  const frames = control.rows.slice(fromSeq - 1).map((r) => section.take(r.signed, r.row));
  const beside = {
    added: (ledger: string) => section.added(ledger),
    section: each([...section.preamble(), ...frames]),
    frames: section.frames,
  };
  const whole = await collect(joinPack(crypto, once(pack), beside));
  return { sections, report: await check(control.story, whole) };
}

const status = ({ checks }: Awaited<ReturnType<typeof check>>, name: string) =>
  checks.find((c) => c.name === name)?.status;

test("states and the heartbeats that they rest on go into their section, and nothing is left closed", async () => {
  const { story, control, states } = await governed();
  // A sidecar that was started again remembers none of its beats.
  const { report } = await joined(await story.pack({}, { heartbeats: [] }), control);
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null, flags: [] });
  expect([status(report, "RECORDED"), status(report, "HISTORY")]).toEqual(["PASS", "PASS"]);
  expect(report.ledgers[0]).toMatchObject({ heartbeats: story.heartbeats.length });
  expect(report.ledgers[0]?.states).toHaveLength(states.transitions.length);
});

test("a heartbeat that the sidecar remembers as well stands there once", async () => {
  const { story, control } = await governed();
  const { report } = await joined(await story.pack(), control);
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(report.ledgers[0]).toMatchObject({ heartbeats: story.heartbeats.length });
});

test("a part comes with the records from the head on that its first lease pins", async () => {
  const { story, control } = await governed();
  const pack = await story.pack({ range: { from: 3, to: 3 } });
  const { sections, report } = await joined(pack, control, 7);
  // Lease 1 is shown for its heartbeats' sake.
  expect(sections).toMatchObject([{ firstSeq: 3, size: 3, controlSize: 5 }]);
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(status(report, "RECORDED")).toBe("PASS");
});

test("another's records are closed, whatever they are; keysets and revocations are not", async () => {
  const { story, control } = await governed();
  const other = await Story.begin({ genesis: (b) => ({ ...b, nonce: crypto.sha256() }) });
  await other.lifecycle();
  const { report } = await joined(await other.pack(), control);
  const own = report.ledgers[1]?.ledger;
  expect(own).toBe(toHex(control.ledger.ledgerId));
  expect(report.flags.find((f) => f.flag === "WITHHELD")).toMatchObject({
    ledger: own,
    // All but the keyset, and the manifest, grant and dock that both rest on.
    count: control.rows.length - 4,
  });
  expect(story.ledgerId).not.toEqual(other.ledgerId);
});

test("a change of state that rests on what came after the pack stays closed, and so do those after it", async () => {
  const story = await Story.begin();
  const states = new States(story);
  const control = await ControlStory.begin(story);
  await story.lifecycle();
  await control.lease();
  await states.attached();
  await story.act();
  await story.checkpoint();
  const pack = await story.pack();
  const known = states.transitions.length;
  await story.act();
  await states.beat();
  await states.hold();
  for (const beat of story.heartbeats) await control.recordBeat(beat);
  for (const t of states.transitions) await control.recordTransition(t);
  await control.checkpoint();
  expect(states.transitions.length).toBeGreaterThan(known);
  const { report } = await joined(pack, control);
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(report.flags.map((f) => f.flag)).toEqual(["WITHHELD"]);
  expect([status(report, "RECORDED"), status(report, "HISTORY")]).toEqual(["PASS", "PASS"]);
});

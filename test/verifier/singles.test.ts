import { expect, test } from "vitest";
import { ProofFrame } from "../../src/verifier/pack.ts";
import { exitCodeOf } from "../../src/verifier/report.ts";
import { lacks } from "../skips.ts";
import { check, checked, goodStory, type Story } from "./build.ts";
import { nth, type Piece, putTogether, takeApart } from "./frames.ts";
import { expectAgreement } from "./second.ts";

const story = await goodStory();

async function changed(seqs: readonly number[], change: (p: Piece[]) => void, of: Story = story) {
  const pieces = await takeApart(await of.pack({ singles: seqs }));
  change(pieces);
  const report = await check(of, putTogether(pieces));
  return report.broken === null ? report.verdict : `${report.broken.code}@${report.broken.index}`;
}
const reproof =
  (n: number, change: (f: ProofFrame) => Partial<ProofFrame>) =>
  (p: Piece[]): void => {
    const piece = p[nth(p, "PROOF", n)] as Piece;
    const frame = ProofFrame.decode(piece.body);
    piece.body = ProofFrame.encode({ ...frame, ...change(frame) });
  };

test("receipts shown by themselves are PROVEN, each by its path to a countersigned root, and never more", async () => {
  for (const singles of [[1], [5], [2, 4], [1, 2, 3, 4, 5]]) {
    const report = await check(story, await story.pack({ singles }));
    expect(report.broken).toBeNull();
    expect(report.verdict).toBe("PROVEN");
    expect(exitCodeOf(report)).toBe(3);
    expect(report.flags).toMatchObject([{ flag: "SINGLE", count: singles.length }]);
    expect(report.ledgers[0]).toMatchObject({ from: singles[0], to: singles.at(-1) });
    const status = (name: string) => report.checks.find((c) => c.name === name)?.status;
    expect(status("INCLUSION")).toBe("PASS");
    // Nobody looked at these, so nobody says that they hold.
    for (const name of ["SEQUENCE", "CHAIN", "INTENT_CHAIN", "HEADS", "TAIL", "LIMITS"])
      expect(status(name)).toBe("NOT CHECKABLE OFFLINE");
  }
});

test("withheld fields of single receipts are told", async () => {
  const report = await check(story, await story.pack({ singles: [2, 4], disclose: ["outcome"] }));
  const both = [
    [2, 2],
    [4, 4],
  ];
  expect(new Map(report.flags.map(({ flag, at }) => [flag as string, at]))).toEqual(
    new Map<string, unknown>([
      ["SCOPE_UNSHOWN", both],
      ["WITHHELD", both],
      ["SINGLE", []],
    ]),
  );
});

test("a path that leads elsewhere, a head that nobody countersigned, an order that is none", async () => {
  const flip = (path: Uint8Array[]) => [new Uint8Array(32), ...path.slice(1)];
  expect(
    await changed(
      [2, 4],
      reproof(2, ({ path }) => ({ path: flip(path) })),
    ),
  ).toBe("E_PROOF_PATH@4");
  expect(
    await changed(
      [2],
      reproof(1, ({ path }) => ({ path: path.slice(1) })),
    ),
  ).toBe("E_PROOF_PATH@2");
  expect(
    await changed(
      [2],
      reproof(1, () => ({ size: 4 })),
    ),
  ).toBe("E_PROOF_HEAD@2");
  expect(await changed([2], (p) => p.splice(nth(p, "CHECKPOINT", 1), 1))).toBe("E_PROOF_HEAD@2");
  const swap = (p: Piece[]) => p.splice(-2, 2, p.at(-1) as Piece, p.at(-2) as Piece);
  expect(await changed([2, 4], swap)).toBe("E_SEQ_DUP@2");
  const twice = (p: Piece[]) => p.push(p.at(-1) as Piece);
  expect(await changed([2], twice)).toBe("E_ID_DUP@2");
});

test("a section has a range or single receipts, not both", async () => {
  const whole = await takeApart(await story.pack());
  const proof = (await takeApart(await story.pack({ singles: [5] }))).at(-1) as Piece;
  const report = await check(story, putTogether([...whole, proof]));
  expect(report.broken).toMatchObject({ code: "E_PACK_ORDER", index: 0 });
});

test("what no checkpoint covers cannot be shown by itself", async () => {
  await expect(story.pack({ singles: [6] })).rejects.toThrow(RangeError);
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

import { concat, text, utf8 } from "../../../src/domain/bytes.ts";
import { cosignCheckpoint } from "../../../src/domain/checkpoint.ts";
import type { SignedBytes } from "../../../src/domain/signed.ts";
import { encodeSigned } from "../../../src/domain/signing.ts";
import { FrontierFrame } from "../../../src/verifier/pack.ts";
import { crypto, goodStory, keyOf, SECOND, type Story } from "../../verifier/build.ts";
import { nth, type Piece } from "../../verifier/frames.ts";
import { changed, drop, good, group, insert, only, story, told, twisted } from "./case.ts";

const { cases, add } = group("heads");
export const HEADS = cases;

const wrong = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const witness = keyOf("witness");
const trusted = { name: "auditor", key: witness.publicKey };

/** Has another cosign the newest checkpoint as well. */
async function witnessed(s: Story, signer = witness, name = "witness.example/w1"): Promise<void> {
  const note = s.checkpoints.pop() as string;
  const seconds = Math.floor(s.nowUs / SECOND) + 1;
  s.checkpoints.push(await cosignCheckpoint(crypto, note, { name, signer }, seconds));
}

/** The good story, its one checkpoint changed. */
const note = (change: (note: string) => string) =>
  changed((p) => {
    const piece = only(p, "CHECKPOINT");
    piece.body = utf8(change(text(piece.body)));
  });

add(
  "tail-cut",
  [8],
  "the last receipt is cut off, and its leaf with it",
  "E_TAIL_TRUNCATED@5",
  changed((p) => {
    drop(p, "RECEIPT", 5);
    drop(p, "LEAVES");
  }),
);
add(
  "tail-not-shown",
  [8],
  "the last receipt is cut off, and its leaf is left: part of the ledger is shown, and that is said",
  "ANCHORED RANGE:4",
  changed((p) => drop(p, "RECEIPT", 5)),
);
add(
  "tail-and-heads-cut",
  [9],
  "the last receipt is cut off, and every head over it: it holds, and nobody vouches for its end",
  "INTACT UNANCHORED_TAIL:4",
  changed((p) => {
    drop(p, "CHECKPOINT");
    drop(p, "HEARTBEAT");
    drop(p, "LEAVES");
    drop(p, "RECEIPT", 5);
  }),
);
add(
  "tail-rewritten",
  [10],
  "the tail is rewritten under an old checkpoint",
  "E_FORK@5",
  story(async (s) => {
    await s.lifecycle();
    await s.lease();
    for (let i = 0; i < 4; i++) await s.act();
    s.checkpoints.push((await good()).story.checkpoints[0] as string);
  }),
);
add(
  "two-roots",
  [11],
  "two cosigned heads of one size and two roots",
  "E_FORK@5",
  story(async (s) => {
    await s.lifecycle();
    await s.lease();
    for (let i = 0; i < 4; i++) await s.act();
    await s.checkpoint();
    await s.checkpoint({ root: wrong(3) });
  }),
);
add(
  "stale",
  [12],
  "the newest cosigned head is older than the auditor allows",
  "ANCHORED STALE_CHECKPOINT:1",
  changed((p) => p, { maxAgeUs: 60 * SECOND, asOfUs: 1_795_000_100_000_000 }),
);
add(
  "beyond-the-checkpoint",
  [13],
  "two receipts after the newest cosigned head",
  "ANCHORED UNANCHORED_TAIL:2",
  story(async (s) => {
    await s.lifecycle();
    await s.lease();
    await s.act();
    await s.checkpoint();
    await s.act();
    await s.act();
  }),
);
add(
  "size-edited",
  [14],
  "the size on a checkpoint is edited",
  "E_CP_SIG@0",
  note((n) => n.replace("\n5\n", "\n4\n")),
);
add(
  "of-another-ledger",
  [15],
  "a checkpoint of another ledger",
  "E_CP_ORIGIN@0",
  changed(async (p) => {
    const theirs = await goodStory({ ledgerName: "second" });
    only(p, "CHECKPOINT").body = utf8(theirs.checkpoints[0] as string);
  }),
);
add(
  "of-another-ledger-and-malformed",
  [15],
  "a checkpoint of another ledger whose signatures are no lines: its form is asked first",
  "E_CP_FIELD@0",
  changed(async (p) => {
    const theirs = await goodStory({ ledgerName: "second" });
    only(p, "CHECKPOINT").body = utf8(`${theirs.checkpoints[0]}no line of a note\n`);
  }),
);
add(
  "cosigned-by-a-stranger",
  [16],
  "a checkpoint that nobody who is trusted cosigned",
  "E_CP_UNSIGNED@0",
  twisted({ cosigner: { name: "control", signer: keyOf("mallory") } }),
);
add(
  "cosigned-by-nobody",
  [16],
  "a checkpoint with its ledger's line alone",
  "E_CP_UNSIGNED@0",
  note((n) => n.replace(/— control .*\n$/u, "")),
);
add(
  "without-the-ledgers-line",
  [16],
  "a checkpoint that its ledger did not sign",
  "E_CP_SIG@0",
  note((n) => n.replace(/— dragons.*\n/u, "")),
);
add(
  "cosigner-of-another-time",
  [16],
  "a cosignature dated after its key had ended",
  "E_CP_UNSIGNED@0",
  twisted({
    keyset: (b) => ({
      ...b,
      keys: b.keys.map((k) =>
        k.role === "COSIGNER" ? { ...k, notAfterUs: k.notBeforeUs + 1 } : k,
      ),
    }),
  }),
);
add(
  "extension-line",
  [14],
  "a checkpoint with a fourth line",
  "E_CP_FIELD@0",
  note((n) => n.replace("\n\n", "\nmore\n\n")),
);
add(
  "size-with-a-zero",
  [14],
  "a size that begins with 0",
  "E_CP_FIELD@0",
  note((n) => n.replace("\n5\n", "\n05\n")),
);
add(
  "root-not-canonical",
  [14],
  "a root in base64 with bits left over",
  "E_CP_FIELD@0",
  note((n) => n.replace(/([A-Za-z0-9+/])=\n\n/, (_, c) => `${c === "B" ? "C" : "B"}=\n\n`)),
);
add(
  "seventeen-lines",
  [16],
  "more signature lines than a note may have",
  "E_CP_FIELD@0",
  note((n) => n + "— a AAAAAAA=\n".repeat(15)),
);
add(
  "cosigned-twice",
  [16],
  "one cosigner's line twice",
  "E_CP_SIG@0",
  note((n) => n + (/— control .*\n$/u.exec(n)?.[0] ?? "")),
);
add(
  "another-line",
  [16],
  "a line by a key that nobody vouches for is told",
  "ANCHORED UNKNOWN_SIGNER:1",
  story(async (s) => {
    await s.lifecycle();
    await s.lease();
    await s.act();
    await s.checkpoint();
    await witnessed(s);
  }),
);
add(
  "witnessed",
  [9],
  "the auditor's witness cosigned it",
  "WITNESSED",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.act();
      await s.checkpoint();
      await witnessed(s);
    },
    { trust: { witnesses: [trusted], quorum: 1 } },
  ),
);
add(
  "quorum-missed",
  [16],
  "one of the two witnesses that the auditor asks for",
  "ANCHORED",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.act();
      await s.checkpoint();
      await witnessed(s);
    },
    {
      trust: {
        witnesses: [trusted, { name: "other", key: keyOf("other witness").publicKey }],
        quorum: 2,
      },
    },
  ),
);
add(
  "one-witness-under-two-names",
  [16],
  "one witness who signs under two names is one",
  "ANCHORED",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.act();
      await s.checkpoint();
      await witnessed(s);
      await witnessed(s, witness, "witness.example/w2");
    },
    {
      trust: {
        witnesses: [trusted, { name: "other", key: keyOf("other witness").publicKey }],
        quorum: 2,
      },
    },
  ),
);
add(
  "witness-forged",
  [16],
  "a line of the auditor's witness that does not verify",
  "E_CP_SIG@0",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.act();
      await s.checkpoint();
      const posing = { ...keyOf("mallory"), publicKey: witness.publicKey };
      await witnessed(s, posing);
    },
    { trust: { witnesses: [trusted], quorum: 1 } },
  ),
);
const holding = (size: number, root: Uint8Array) =>
  told((s) => s.act(), {
    trust: (s) => ({ knownHead: { ledgerId: s.ledgerId, size, root } }),
  });
add(
  "known-head",
  [10],
  "a head that the auditor holds, of a history that was rewritten",
  "E_FORK@2",
  holding(2, wrong(1)),
);
add(
  "known-head-beyond",
  [8],
  "a head that the auditor holds is longer than the ledger",
  "E_TAIL_TRUNCATED@4",
  holding(9, wrong(1)),
);
add(
  "known-head-of-another",
  [15],
  "a head that the auditor holds, of a ledger that is not shown",
  "ANCHORED KNOWN_HEAD_UNUSED:1",
  changed((p) => p, { knownHead: { ledgerId: wrong(8), size: 1, root: wrong(1) } }),
);
add(
  "heartbeat-of-another-history",
  [10],
  "a heartbeat states a root that these receipts do not have",
  "E_HEARTBEAT_HEAD@5",
  twisted({ heartbeat: (b) => ({ ...b, root: wrong(3) }) }),
);
add(
  "heartbeat-of-other-intents",
  [10],
  "a heartbeat states another head of the intents",
  "E_HEARTBEAT_HEAD@5",
  twisted({ heartbeat: (b) => ({ ...b, intentsHead: wrong(3) }) }),
);
add(
  "heartbeat-by-another",
  [21],
  "a heartbeat that the ledger key did not sign",
  "E_HEARTBEAT_SIG@0",
  changed((p) => {
    const piece = only(p, "HEARTBEAT");
    const body = piece.body.slice();
    body[body.length - 1] = (body[body.length - 1] as number) ^ 1;
    piece.body = body;
  }),
);
add(
  "heartbeat-twice",
  [5],
  "one heartbeat twice",
  "E_HEARTBEAT_DUP@0",
  changed((p) => insert(p, "HEARTBEAT", 1, only(p, "HEARTBEAT"))),
);
add(
  "checkpoint-twice",
  [5],
  "one checkpoint twice: the same word again",
  "ANCHORED",
  changed((p) => insert(p, "CHECKPOINT", 1, only(p, "CHECKPOINT"))),
);
add(
  "lines-exchanged",
  [16],
  "a checkpoint on which the ledger's line is the second one",
  "E_CP_SIG@0",
  note((n) => n.replace(/(— dragons.*\n)(— control.*\n)/u, "$2$1")),
);
add(
  "name-of-another",
  [16],
  "a cosigner's line under a name that it was not made for",
  "E_CP_UNSIGNED@0",
  note((n) => n.replace("— control ", "— auditor ")),
);
add(
  "heartbeat-of-another-ledger",
  [18],
  "a heartbeat of another ledger",
  "E_HEARTBEAT_LEDGER@0",
  changed(async (p) => {
    const theirs = await goodStory({ ledgerName: "second", ledger: keyOf("ledger") });
    only(p, "HEARTBEAT").body = encodeSigned(theirs.heartbeats[0] as SignedBytes);
  }),
);

const middle = { range: { from: 3, to: 4 } };
const four = async (s: Story) => {
  for (let i = 0; i < 3; i++) await s.act();
};
const frontier = (change: (f: FrontierFrame) => FrontierFrame) => ({
  ...middle,
  change: (p: Piece[]) => {
    const piece = only(p, "FRONTIER");
    piece.body = FrontierFrame.encode(change(FrontierFrame.decode(piece.body)));
  },
});
add(
  "range",
  [13],
  "part of a ledger, tied to a cosigned head",
  "ANCHORED OPEN_INTENT:1 RANGE:2",
  told(four, middle),
);
add(
  "frontier-altered",
  [10],
  "part of a ledger, tied to another tree",
  "E_FORK@5",
  told(
    four,
    frontier((f) => ({ ...f, nodes: [wrong(1)] })),
  ),
);
add(
  "frontier-last-altered",
  [2],
  "part of a ledger, tied to another receipt before it",
  "E_FORK@5",
  told(
    four,
    frontier((f) => ({ ...f, last: wrong(1) })),
  ),
);
add(
  "frontier-of-another-size",
  [14],
  "subtree roots that make no tree of their size",
  "E_PACK_FRAME@0",
  told(
    four,
    frontier((f) => ({ ...f, nodes: [...f.nodes, wrong(1)] })),
  ),
);
add(
  "frontier-intents-altered",
  [53],
  "part of a ledger, after another head of the intents",
  "E_INTENT_CHAIN@3",
  told(
    four,
    frontier((f) => ({ ...f, intentsHead: wrong(1) })),
  ),
);
add(
  "leaf-altered",
  [1],
  "a receipt after those shown was altered",
  "E_FORK@5",
  told(four, {
    ...middle,
    change: (p) => {
      const leaves = only(p, "LEAVES");
      leaves.body = concat(leaves.body.subarray(0, -32), wrong(1));
    },
  }),
);
add(
  "leaves-cut",
  [8],
  "the receipts after those shown are left out",
  "E_TAIL_TRUNCATED@5",
  told(four, { ...middle, change: (p) => drop(p, "LEAVES") }),
);
add(
  "leaves-not-whole",
  [42],
  "a leaf hash of 31 bytes",
  "E_PACK_FRAME@0",
  told(four, {
    ...middle,
    change: (p) => {
      const piece = p[nth(p, "LEAVES", 1)] as Piece;
      piece.body = piece.body.slice(1);
    },
  }),
);
add(
  "without-a-head",
  [9],
  "part of a ledger that no cosigned head covers",
  "INTACT OPEN_INTENT:1 RANGE:2 UNANCHORED_TAIL:2",
  told(four, {
    ...middle,
    change: (p) => {
      drop(p, "CHECKPOINT");
      drop(p, "LEAVES");
    },
  }),
);

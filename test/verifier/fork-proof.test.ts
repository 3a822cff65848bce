import { expect, test } from "vitest";
import { concat, toHex } from "../../src/domain/bytes.ts";
import type { Equivocation } from "../../src/domain/equivocation.ts";
import { HEARTBEAT, type HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { RECEIPT, ReceiptHeader } from "../../src/domain/receipt.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned, signBody } from "../../src/domain/signing.ts";
import {
  type ForkProof,
  isForkProof,
  judgeForkProof,
  writeForkProof,
} from "../../src/verifier/fork-proof.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";
import { lacks } from "../skips.ts";
import { crypto, goodStory, keyOf, type Story } from "./build.ts";
import { askPython } from "./second.ts";
import { trustJson } from "./trust-json.ts";

const story = await goodStory();
const receipts = story.receipts.map((r) => r.signed);
const [beat] = story.heartbeats as [SignedBytes];
const key = story.ledgerKey;
const wrong = new Uint8Array(32).fill(9);

const again = async (n: number, over: Partial<ReceiptHeader>, by = key): Promise<SignedBytes> => {
  const header = ReceiptHeader.decode((receipts[n - 1] as SignedBytes).body);
  return signBody(RECEIPT, { ...header, ...over }, [by]);
};
const beats = (over: Partial<HeartbeatBody>, by = key): Promise<SignedBytes> =>
  signBody(HEARTBEAT, { ...HEARTBEAT.body.decode(beat.body), ...over }, [by]);

function proofOf(
  kind: Equivocation["kind"],
  first: SignedBytes,
  second: SignedBytes,
  of: Story = story,
): ForkProof {
  return {
    tenantId: of.tenantId,
    keysets: [encodeSigned(of.keyset)],
    manifests: [of.manifestBytes],
    grants: [encodeSigned(of.grant)],
    docks: [encodeSigned(of.dock)],
    genesis: encodeSigned(of.genesis),
    equivocation: { version: 1, ledgerId: of.ledgerId, kind, first, second },
    receipts: [],
  };
}

const one = receipts[2] as SignedBytes;
const late = { closedAtUs: ReceiptHeader.decode(one.body).closedAtUs + 1 };
const root = (second: SignedBytes): ForkProof => ({
  ...proofOf("ROOT", receipts.at(-1) as SignedBytes, second),
  receipts: receipts.map(encodeSigned),
});

type Case = readonly [says: string, file: Uint8Array, wanted: string, trust?: TrustFile | null];
const cases: Case[] = [
  [
    "two receipts of one seq",
    writeForkProof(proofOf("RECEIPTS", one, await again(3, late))),
    "FORKED RECEIPTS@3",
  ],
  ["one receipt twice", writeForkProof(proofOf("RECEIPTS", one, one)), "E_FORK_NONE"],
  [
    "two receipts of two places",
    writeForkProof(proofOf("RECEIPTS", one, receipts[3] as SignedBytes)),
    "E_FORK_NONE",
  ],
  [
    "a receipt that follows another",
    writeForkProof(proofOf("CHAIN", one, await again(4, { prevHash: wrong }))),
    "FORKED CHAIN@3",
  ],
  [
    "a receipt that follows the first",
    writeForkProof(proofOf("CHAIN", one, receipts[3] as SignedBytes)),
    "E_FORK_NONE",
  ],
  [
    "two roots of one size",
    writeForkProof(proofOf("HEADS", beat, await beats({ root: wrong }))),
    "FORKED HEADS@5",
  ],
  [
    "two heads of as many intents",
    writeForkProof(proofOf("HEADS", beat, await beats({ size: 4, intentsHead: wrong }))),
    "FORKED HEADS@5",
  ],
  [
    "two heads that agree",
    writeForkProof(proofOf("HEADS", beat, await beats({ counter: 7 }))),
    "E_FORK_NONE",
  ],
  [
    "a head that is not of its receipts",
    writeForkProof(root(await beats({ root: wrong }))),
    "FORKED ROOT@5",
  ],
  ["a head that is", writeForkProof(root(beat)), "E_FORK_NONE"],
  [
    "a head of other receipts",
    writeForkProof({ ...root(await beats({ root: wrong })), receipts: [] }),
    "E_FORK_FIELD",
  ],
  [
    "receipts that do not follow each other",
    writeForkProof({
      ...root(await beats({ root: wrong })),
      receipts: receipts.toReversed().map(encodeSigned),
    }),
    "E_FORK_FIELD",
  ],
  [
    "a receipt that a stranger signed",
    writeForkProof(proofOf("RECEIPTS", one, await again(3, late, keyOf("mallory")))),
    "E_FORK_SIG",
  ],
  [
    "a head that a stranger signed",
    writeForkProof(proofOf("HEADS", beat, await beats({ root: wrong }, keyOf("mallory")))),
    "E_HEARTBEAT_SIG",
  ],
  [
    "a receipt of another ledger",
    writeForkProof(proofOf("RECEIPTS", one, await again(3, { ledgerId: wrong }))),
    "E_FORK_FIELD",
  ],
  ["no kind", writeForkProof(proofOf("UNSPECIFIED", one, one)), "E_FORK_FIELD"],
  [
    "receipts that nothing asks for",
    writeForkProof({
      ...proofOf("RECEIPTS", one, await again(3, late)),
      receipts: [encodeSigned(one)],
    }),
    "E_FORK_FIELD",
  ],
  [
    "another tenant",
    writeForkProof({ ...proofOf("RECEIPTS", one, await again(3, late)), tenantId: "other" }),
    "E_TENANT_MISMATCH",
  ],
  [
    "without its dock",
    writeForkProof({ ...proofOf("RECEIPTS", one, await again(3, late)), docks: [] }),
    "E_DOCK_MISSING",
  ],
  [
    "an unknown field",
    concat(writeForkProof(proofOf("RECEIPTS", one, await again(3, late))), Uint8Array.of(0x4a, 0)),
    "E_ENC_UNKNOWN_FIELD",
  ],
  [
    "by another root",
    writeForkProof(proofOf("RECEIPTS", one, await again(3, late))),
    "E_KEYSET_SIG",
    { ...story.trust, rootKey: keyOf("mallory").publicKey },
  ],
  [
    "without a trust file",
    writeForkProof(proofOf("RECEIPTS", one, await again(3, late))),
    "FORKED RECEIPTS@3",
    null,
  ],
];
const trustOf = ([, , , trust]: Case) => (trust === undefined ? story.trust : trust);
type Said = Pick<
  ReturnType<typeof judgeForkProof>,
  "verdict" | "broken" | "kind" | "index" | "pinned"
>;
const said = (r: Said): string =>
  r.broken === null ? `${r.verdict} ${r.kind}@${r.index}` : r.broken.code;

test.each(cases.map((c) => [c[0], c] as const))("a proof of a fork: %s", (_, c) => {
  const [, file, wanted] = c;
  const trust = trustOf(c);
  expect(isForkProof(file)).toBe(true);
  const report = judgeForkProof(crypto, file, trust);
  expect(said(report)).toBe(wanted);
  expect(report.pinned).toBe(trust !== null);
  if (report.broken === null) expect(report.ledger).toBe(toHex(story.ledgerId));
});

test("every byte of a proof, changed, proves nothing or something else", () => {
  const file = cases[0]?.[1] as Uint8Array;
  const good = JSON.stringify(judgeForkProof(crypto, file, story.trust));
  const unnoticed: number[] = [];
  for (let at = 0; at < file.length; at += 3) {
    const changed = file.slice();
    changed[at] = (changed[at] as number) ^ (1 << (at % 8));
    if (JSON.stringify(judgeForkProof(crypto, changed, story.trust)) === good) unnoticed.push(at);
  }
  expect(unnoticed).toEqual([]);
});

test.skipIf(lacks("python3"))("the Python verifier says the same of proofs of forks", () => {
  const asked = cases.map((c) => {
    const trust = trustOf(c);
    return { pack: c[1], trust: trust && trustJson(trust), nowUs: 0 };
  });
  const theirs = askPython(asked) as unknown as Said[];
  expect(theirs.map((r, n) => [cases[n]?.[0], said(r), r.pinned])).toEqual(
    cases.map((c) => [c[0], c[2], trustOf(c) !== null]),
  );
});

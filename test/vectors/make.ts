import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { toHex, utf8 } from "../../src/domain/bytes.ts";
import { commitment, leafHash, nextIntentsHead, payloadHash } from "../../src/domain/chain.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { rootOf } from "../../src/domain/merkle.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { pae, type SignedBytes, type SignedName } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { exitCodeOf } from "../../src/verifier/report.ts";
import { locateReceiptByte, tamper } from "../../src/verifier/tamper.ts";
import { check, crypto, goodStory, type Story } from "../verifier/build.ts";
import { attacksPage } from "./attacks/page.ts";
import { makeCorpus, writeCorpus } from "./corpus.ts";

/**
 * The golden vectors of docs/formats.md: one small ledger with its keys, every intermediate value, its
 * pack, and the verdicts on it. Keys are SHA-256 of `test key <name>`, so nothing here is secret.
 */
export async function makeVectors() {
  const story = await goodStory();
  const pack = await story.pack();
  const report = await check(story, pack);
  const at = await locateReceiptByte(pack, 3);
  const broken = await check(story, tamper(pack, at));
  const first = KEYSET.body.decode(story.keyset.body);
  const successor = {
    ...first,
    keysetVersion: 2,
    previous: refOf(crypto, "keyset", story.keyset.body),
    // Of a certificate only the bytes matter here.
    controlCas: ["one", "two"].map((name) => utf8(`authority ${name}`)),
  };
  return {
    format: "dragons vectors 0",
    keys: Object.fromEntries(
      ["root", "operator", "issuer", "cosigner", "join"].map((name) => {
        const { seed, publicKey } = story[name as "root"];
        return [name, { seed: toHex(seed), publicKey: toHex(publicKey) }];
      }),
    ),
    objects: {
      manifest: { bytes: toHex(story.manifestBytes), hash: toHex(story.manifestHash) },
      keyset: object("keyset", story.keyset),
      keysetWithAuthorities: object("keyset", await signBody(KEYSET, successor, [story.root])),
      grant: object("grant", story.grant),
      dock: object("dock", story.dock),
      genesis: object("genesis", story.genesis),
      lease: object("lease", (story.leases[0] as Story["leases"][0]).signed),
      heartbeat: object("heartbeat", story.heartbeats[0] as SignedBytes),
    },
    receipts: story.receipts.map(({ signed, row }) => receipt(story, signed, row)),
    roots: story.receipts.map((_, n) =>
      toHex(
        rootOf(
          crypto,
          story.receipts.slice(0, n + 1).map((r) => r.hash),
        ),
      ),
    ),
    intentsHeads: intentsHeads(story),
    checkpoint: story.checkpoints[0],
    pack: toHex(pack),
    trust: { tenant: story.tenantId, rootKey: toHex(story.root.publicKey) },
    verdicts: [
      { change: null, verdict: report.verdict, exit: exitCodeOf(report) },
      {
        change: { at, xor: 1 },
        verdict: broken.verdict,
        exit: exitCodeOf(broken),
        code: broken.broken?.code,
        index: broken.broken?.index,
      },
    ],
  };
}

function object(name: SignedName, { body, signatures }: SignedBytes) {
  return {
    body: toHex(body),
    pae: toHex(pae(name, body)),
    ref: toHex(refOf(crypto, name, body)),
    signatures: signatures.map((s) => ({ key: toHex(s.key), value: toHex(s.value) })),
  };
}

function receipt(story: Story, signed: SignedBytes, rowBytes: Uint8Array) {
  const header = ReceiptHeader.decode(signed.body);
  const { openings } = PayloadRow.decode(rowBytes);
  const commitments = openings.map((o) =>
    commitment(crypto, { ...o, ...header, ledgerId: story.ledgerId }),
  );
  return {
    ...object("receipt", signed),
    hash: toHex(leafHash(crypto, signed.body)),
    openings: openings.map((o) => ({ field: o.field, salt: toHex(o.salt), data: toHex(o.data) })),
    commitments: commitments.map(toHex),
    payloadHash: toHex(payloadHash(crypto, commitments)),
  };
}

/** I_1, I_2, …, from the receipts that close the intents. */
function intentsHeads(story: Story): string[] {
  const links = story.receipts
    .map((r) => ({ ...ReceiptHeader.decode(r.signed.body), row: PayloadRow.decode(r.row) }))
    .filter((r) => r.intentSeq > 0)
    .sort((a, b) => a.intentSeq - b.intentSeq);
  let head = story.ledgerId;
  return links.map((link) => {
    const claimCommitment = link.row.commitments[4] as Uint8Array;
    head = nextIntentsHead(crypto, head, { ...link, claimCommitment });
    return toHex(head);
  });
}

/** What `npm run vectors` writes, by the file's name in the repository. */
export async function makeFiles(): Promise<Record<string, string>> {
  const corpus = await makeCorpus();
  return {
    "test/vectors/d1.json": `${JSON.stringify(await makeVectors(), null, 2)}\n`,
    "test/vectors/attacks.json": writeCorpus(corpus),
    "docs/attacks.md": attacksPage(corpus),
  };
}

if (import.meta.main) {
  for (const [name, content] of Object.entries(await makeFiles())) {
    writeFileSync(join(import.meta.dirname, "../..", name), content);
  }
}

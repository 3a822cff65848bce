import { leafHash } from "../domain/chain.ts";
import { verifyInclusion } from "../domain/merkle.ts";
import { partsOf } from "./ahead.ts";
import { decodeStrictly } from "./authority.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import { readEntry, singleProblem } from "./entry.ts";
import type { WorkLedger } from "./ledger.ts";
import { ProofFrame } from "./pack.ts";
import { judge, type Proven, saysProblem } from "./receipts.ts";

/** Bit f−1 of each of the five payload fields. */
const ALL_FIELDS = 31;

/** Checks 20 to 39 on a receipt that is shown by itself, as far as one by itself has what they ask. */
export function proveSingle(ledger: WorkLedger, frame: Uint8Array): Proven | Break {
  const { line, heads } = ledger;
  const due = line.lastSeq + 1;
  const proof = decodeStrictly("RECEIPT_ENCODING", ProofFrame, frame, due);
  if (isBroken(proof)) return proof;
  const entry = readEntry(
    line,
    partsOf(() => proof),
    due,
  );
  if (isBroken(entry)) return entry;
  const { header, body } = entry;
  const { seq } = header;
  const misplaced = singleProblem(line, header) ?? saysProblem(line, header);
  if (misplaced !== null) return misplaced;
  const judged = judge(line, header, entry.row);
  if (isBroken(judged)) return judged;

  const bad = (code: "E_SEQ_DUP" | "E_PROOF_HEAD" | "E_PROOF_PATH", what: string) =>
    broken("INCLUSION", code, seq, what);
  if (seq <= line.lastSeq) return bad("E_SEQ_DUP", `it stands after receipt ${line.lastSeq}`);
  const head = heads.find((h) => h.size === proof.size);
  if (head === undefined) return bad("E_PROOF_HEAD", `no checkpoint of ${proof.size} is shown`);
  const hash = leafHash(line.crypto, body);
  if (!verifyInclusion(line.crypto, hash, seq - 1, head, proof.path)) {
    return bad("E_PROOF_PATH", `it is not receipt ${seq} of the checkpoint of ${proof.size}`);
  }
  if (judged.disclosed.openMask !== ALL_FIELDS) line.flags.raise("WITHHELD", seq);
  ledger.singles.push(seq);
  line.lastSeq = seq;
  return { header, hash, ...judged };
}

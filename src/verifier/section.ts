import { toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { type Authority, decodeStrictly, type Root } from "./authority.ts";
import { type CosignedHead, describeHead, proveCheckpoint } from "./checkpoints.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import { type Line, newLine } from "./entry.ts";
import type { Flags } from "./flags.ts";
import { FrontierFrame } from "./pack.ts";
import { Tree } from "./tree.ts";
import type { TrustFile } from "./trust-file.ts";

/** What stands before the receipts of one ledger. */
export interface Preamble {
  readonly GENESIS: Uint8Array;
  readonly KEYSET: Uint8Array[];
  readonly MANIFEST: Uint8Array[];
  readonly GRANT: Uint8Array[];
  readonly DOCK: Uint8Array[];
  readonly LEASE: Uint8Array[];
  readonly REVOCATION: Uint8Array[];
  readonly HEARTBEAT: Uint8Array[];
  readonly TRANSITION: Uint8Array[];
  readonly CHECKPOINT: Uint8Array[];
  readonly FRONTIER: Uint8Array[];
}

export const newPreamble = (genesis: Uint8Array): Preamble => ({
  GENESIS: genesis,
  KEYSET: [],
  MANIFEST: [],
  GRANT: [],
  DOCK: [],
  LEASE: [],
  REVOCATION: [],
  HEARTBEAT: [],
  TRANSITION: [],
  CHECKPOINT: [],
  FRONTIER: [],
});

/** What a section is opened with. */
export interface Given {
  readonly crypto: Crypto;
  readonly frames: Preamble;
  readonly root: Root;
  readonly trust: TrustFile | null;
}

/** One ledger of a pack, of whatever role, ready for its receipts. */
export interface Section {
  /** ref(genesis), hex. */
  readonly id: string;
  readonly line: Line;
  readonly heads: readonly CosignedHead[];
}

type Vouched = Pick<Authority, "tenantId" | "genesis" | "keyset">;

/** Check 12 on every checkpoint of the section. */
export function proveHeads(
  { crypto, frames, trust }: Given,
  authority: Parameters<typeof proveCheckpoint>[2],
  flags: Flags,
): CosignedHead[] | Break {
  const heads: CosignedHead[] = [];
  for (const bytes of frames.CHECKPOINT) {
    const head = proveCheckpoint(crypto, bytes, authority, trust, flags);
    if (isBroken(head)) return head;
    heads.push(head);
  }
  return heads;
}

/** Where the receipts begin: at the first, or behind what a FRONTIER stands for. */
export function startLine(
  { crypto, frames: { FRONTIER } }: Given,
  { genesis, tenantId }: Vouched,
  flags: Flags,
): { line: Line; intentsOpened: number; intentsHead: Uint8Array } | Break {
  const common = { crypto, tenantId, genesis, flags };
  const [bytes, second] = FRONTIER;
  if (bytes === undefined) {
    const tree = new Tree(crypto, { size: 0, nodes: [] });
    const line = newLine({ ...common, tree, lastHash: genesis.ref });
    return { line, intentsOpened: 0, intentsHead: genesis.ref };
  }
  if (second !== undefined) return broken("FRAMES", "E_PACK_ORDER", 0, "a ledger has one FRONTIER");
  const frontier = decodeStrictly("FRAMES", FrontierFrame, bytes);
  if (isBroken(frontier)) return frontier;
  const { size, nodes, last, intentsOpened, intentsHead } = frontier;
  const bad = (what: string) => broken("FRAMES", "E_PACK_FRAME", 0, `FRONTIER: ${what}`);
  if (last.length !== 32 || intentsHead.length !== 32 || nodes.some((n) => n.length !== 32)) {
    return bad("a hash is missing");
  }
  let tree: Tree;
  try {
    tree = new Tree(crypto, { size, nodes }, last);
  } catch {
    return bad(`${nodes.length} nodes do not make a tree of ${size}`);
  }
  return { line: newLine({ ...common, tree, lastHash: last }), intentsOpened, intentsHead };
}

/** Every head that others signed, or that the auditor holds, is to be met on the way. */
export function pinHeads({ id, line: { tree }, heads }: Section, trust: TrustFile | null): void {
  for (const head of heads) {
    const who = `the cosigned ${describeHead(head)}`;
    tree.pin({ size: head.size, root: head.root, code: "E_FORK", who });
  }
  if (trust?.knownHead && toHex(trust.knownHead.ledgerId) === id) {
    const { size, root } = trust.knownHead;
    tree.pin({ size, root, code: "E_FORK", who: `the head of ${size} that the auditor holds` });
  }
}

/** Leaf hashes from the first receipt shown onwards, 32 bytes each, end to end. */
export function addLeaves({ line: { tree } }: Section, bytes: Uint8Array): Break | null {
  if (bytes.length === 0 || bytes.length % 32 !== 0) {
    return broken("FRAMES", "E_PACK_FRAME", 0, "LEAVES are not whole hashes");
  }
  for (let at = 0; at < bytes.length; at += 32) {
    const fault = tree.announce(bytes.subarray(at, at + 32));
    if (fault !== null) return fault;
  }
  return null;
}

/** Check 40: some receipt is shown, and no signed head reaches beyond what is shown and its leaves. */
export function tailProblem({ line: { tree, firstSeq, lastSeq } }: Section): Break | null {
  if (lastSeq < firstSeq) {
    return broken("FRAMES", "E_PACK_EMPTY", 0, "the pack shows no receipt of this ledger");
  }
  const beyond = tree.beyond();
  if (beyond === null) return null;
  const what = `have ${lastSeq}, attested ${beyond.size}: ${beyond.who} covers receipts that are not there`;
  return broken("TAIL", "E_TAIL_TRUNCATED", tree.size + 1, what);
}

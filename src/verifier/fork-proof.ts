import { concat, equal, toHex, utf8 } from "../domain/bytes.ts";
import { bytes, message, nested, repeated, str } from "../domain/canonical.ts";
import { leafHash } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";
import { type Equivocation, EquivocationBody } from "../domain/equivocation.ts";
import { beatLedger, HEARTBEAT, type HeartbeatBody, verifyHeartbeat } from "../domain/heartbeat.ts";
import { isInvalid } from "../domain/invalid.ts";
import { forkProofMax } from "../domain/limits.ts";
import { Frontier } from "../domain/merkle.ts";
import { RECEIPT, type ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes } from "../domain/signed.ts";
import { openSigned } from "../domain/signing.ts";
import { type Authority, decodeStrictly, proveAuthority } from "./authority.ts";
import { type Break, broken, type CheckCode, codeOf, isBroken } from "./checks.ts";
import type { TrustFile } from "./trust-file.ts";

/**
 * A proof that one ledger has two histories, as a file that anyone can take along: what the key
 * signed that cannot both be true, and all that says whose key it is. docs/formats.md, section 6a.
 */
const MAGIC = "dragons fork 1\n";

export const ForkProof = message("forkProof", {
  tenantId: str(1),
  /** SignedBytes each; ascending versions. */
  keysets: repeated(bytes(2)),
  manifests: repeated(bytes(3)),
  grants: repeated(bytes(4)),
  docks: repeated(bytes(5)),
  genesis: bytes(6),
  equivocation: nested(7, EquivocationBody),
  /** Of ROOT: receipts 1 up to the one that it is about. */
  receipts: repeated(bytes(8)),
});
export type ForkProof = ReturnType<typeof ForkProof.decode>;

export const writeForkProof = (proof: ForkProof): Uint8Array =>
  concat(utf8(MAGIC), ForkProof.encode(proof));

/** Whether a file begins as one; what follows may still be anything. */
export const isForkProof = (file: Uint8Array): boolean =>
  equal(file.subarray(0, MAGIC.length), utf8(MAGIC));

/** FORKED: the proof holds, so nothing of this ledger may be relied on from there. BROKEN: it proves nothing. */
export interface ForkReport {
  readonly format: "dragons fork report 0";
  readonly verdict: "FORKED" | "BROKEN";
  readonly pinned: boolean;
  readonly tenant: string;
  /** Hex; empty: its authority is not proven. */
  readonly ledger: string;
  readonly instanceId: string;
  readonly ledgerKey: string;
  readonly kind: Equivocation["kind"];
  /** The receipt or size from which on there are two histories; of two heads of intents, the size of the first. */
  readonly index: number;
  readonly broken: { readonly code: CheckCode; readonly detail: string } | null;
  readonly findings: readonly string[];
}

/** Judges a proof offline. Trust is the auditor's own; without any, the file vouches for itself. */
export function judgeForkProof(
  crypto: Crypto,
  file: Uint8Array,
  trust: TrustFile | null,
): ForkReport {
  const judged = judge(crypto, file, trust);
  const pinned = trust !== null;
  const none = { tenant: "", ledger: "", instanceId: "", ledgerKey: "", index: 0 } as const;
  if (isBroken(judged)) {
    const { code, detail } = judged;
    return {
      ...none,
      format: "dragons fork report 0",
      verdict: "BROKEN",
      pinned,
      kind: "UNSPECIFIED",
      broken: { code, detail },
      findings: [`BROKEN: the file proves no fork: ${detail} (${code})`],
    };
  }
  const { authority, equivocation, index } = judged;
  const { body, ref } = authority.genesis;
  const ledger = toHex(ref);
  return {
    format: "dragons fork report 0",
    verdict: "FORKED",
    pinned,
    tenant: authority.tenantId,
    ledger,
    instanceId: body.instanceId,
    ledgerKey: toHex(body.ledgerKey),
    kind: equivocation.kind,
    index,
    broken: null,
    findings: [
      `FORKED: ledger ${ledger} of instance ${body.instanceId} has two histories`,
      `its key signed ${WHAT[equivocation.kind]} ${index}, and they cannot both be true`,
    ],
  };
}

const WHAT: Record<Equivocation["kind"], string> = {
  UNSPECIFIED: "nothing at",
  RECEIPTS: "two receipts with seq",
  CHAIN: "a receipt and another one before it than it names, at seq",
  HEADS: "two heads of one length, at size",
  ROOT: "receipts and a head that is not theirs, at size",
};

interface Judged {
  readonly authority: Authority;
  readonly equivocation: Equivocation;
  readonly index: number;
}

const unfit = (code: "E_FORK_FIELD" | "E_FORK_SIG" | "E_FORK_NONE", detail: string): Break =>
  broken("FRAMES", code, 0, detail);

function judge(crypto: Crypto, file: Uint8Array, trust: TrustFile | null): Judged | Break {
  if (file.length > forkProofMax) return unfit("E_FORK_FIELD", `above ${forkProofMax} bytes`);
  if (!isForkProof(file)) return unfit("E_FORK_FIELD", "it does not begin with `dragons fork 1`");
  const proof = decodeStrictly("FRAMES", ForkProof, file.subarray(MAGIC.length));
  if (isBroken(proof)) return proof;
  if (proof.tenantId === "" || (trust !== null && trust.tenant !== proof.tenantId)) {
    return broken(
      "TENANT",
      "E_TENANT_MISMATCH",
      0,
      `it is of tenant ${JSON.stringify(proof.tenantId)}`,
    );
  }
  const root = trust ?? selfNamed(proof);
  if (isBroken(root)) return root;
  const authority = proveAuthority(
    crypto,
    {
      GENESIS: proof.genesis,
      KEYSET: proof.keysets,
      MANIFEST: proof.manifests,
      GRANT: proof.grants,
      DOCK: proof.docks,
      LEASE: [],
      REVOCATION: [],
    },
    root,
  );
  if (isBroken(authority)) return authority;
  const { equivocation } = proof;
  if (equivocation.version !== 1 || !equal(equivocation.ledgerId, authority.genesis.ref)) {
    return unfit("E_FORK_FIELD", "it is of another version or ledger");
  }
  if (equivocation.kind !== "ROOT" && proof.receipts.length > 0) {
    return unfit("E_FORK_FIELD", `${equivocation.kind} needs no further receipts`);
  }
  const index = contradiction(crypto, authority, proof);
  return isBroken(index) ? index : { authority, equivocation, index };
}

function selfNamed({ tenantId, keysets }: ForkProof) {
  const [first = new Uint8Array(0)] = keysets;
  const signed = decodeStrictly("KEYSET", SignedBytes, first);
  if (isBroken(signed)) return signed;
  const rootKey = signed.signatures[0]?.key ?? new Uint8Array(32);
  return { tenant: tenantId, rootKey, keysetVersion: 1 };
}

/** Where the two part; or why nothing says that they do. */
function contradiction(crypto: Crypto, authority: Authority, proof: ForkProof): number | Break {
  const { kind, first, second } = proof.equivocation;
  switch (kind) {
    case "RECEIPTS": {
      const a = receiptOf(crypto, authority, first);
      if (isBroken(a)) return a;
      const b = receiptOf(crypto, authority, second);
      if (isBroken(b)) return b;
      const parted = a.seq === b.seq && !equal(first.body, second.body);
      return parted ? a.seq : none("the two receipts are one, or of two places");
    }
    case "CHAIN": {
      const a = receiptOf(crypto, authority, first);
      if (isBroken(a)) return a;
      const b = receiptOf(crypto, authority, second);
      if (isBroken(b)) return b;
      const parted = b.seq === a.seq + 1 && !equal(b.prevHash, leafHash(crypto, first.body));
      return parted
        ? a.seq
        : none("the second receipt follows the first, or does not stand behind it");
    }
    case "HEADS": {
      const a = headOf(crypto, authority, first);
      if (isBroken(a)) return a;
      const b = headOf(crypto, authority, second);
      if (isBroken(b)) return b;
      const roots = a.size === b.size && !equal(a.root, b.root);
      const intents = a.intentsOpened === b.intentsOpened && !equal(a.intentsHead, b.intentsHead);
      return roots || intents ? a.size : none("the two heads agree, or are of two lengths");
    }
    case "ROOT":
      return rootContradiction(crypto, authority, proof);
    default:
      return unfit("E_FORK_FIELD", "it names no kind");
  }
}

const none = (detail: string): Break => unfit("E_FORK_NONE", detail);

/** The receipts up to `first`, chained from the genesis, have another root than the head of their size. */
function rootContradiction(
  crypto: Crypto,
  authority: Authority,
  { equivocation: { first, second }, genesis, receipts }: ForkProof,
): number | Break {
  const head = headOf(crypto, authority, second);
  if (isBroken(head)) return head;
  if (head.size !== receipts.length) {
    return unfit("E_FORK_FIELD", `${receipts.length} receipts for a head of ${head.size}`);
  }
  const tree = new Frontier(crypto);
  let before = authority.genesis.ref;
  let last: Uint8Array = SignedBytes.decode(genesis).body;
  for (const [i, encoded] of receipts.entries()) {
    const signed = decodeStrictly("FRAMES", SignedBytes, encoded);
    if (isBroken(signed)) return signed;
    const header = receiptOf(crypto, authority, signed);
    if (isBroken(header)) return header;
    if (header.seq !== i + 1 || !equal(header.prevHash, before)) {
      return unfit("E_FORK_FIELD", `receipt ${i + 1} does not follow the one before it`);
    }
    before = leafHash(crypto, signed.body);
    tree.append(before);
    last = signed.body;
  }
  if (!equal(first.body, last))
    return unfit("E_FORK_FIELD", "its first part is not the last receipt");
  return equal(tree.root(), head.root) ? none("the head is that of these receipts") : head.size;
}

/** A receipt of this ledger, by its key alone. */
function receiptOf(
  crypto: Crypto,
  { genesis, tenantId }: Authority,
  signed: SignedBytes,
): ReceiptHeader | Break {
  const header = decodeStrictly("FRAMES", RECEIPT.body, signed.body);
  if (isBroken(header)) return header;
  const opened = openSigned(crypto, RECEIPT, signed);
  const own = !isInvalid(opened) && opened.signers.every((k) => equal(k, genesis.body.ledgerKey));
  if (!own || signed.signatures.length !== 1) {
    return unfit("E_FORK_SIG", "a receipt is not signed by the ledger key alone");
  }
  return equal(header.ledgerId, genesis.ref) && header.tenantId === tenantId
    ? header
    : unfit("E_FORK_FIELD", "a receipt is of another ledger");
}

function headOf(
  crypto: Crypto,
  { genesis }: Authority,
  signed: SignedBytes,
): HeartbeatBody | Break {
  const body = decodeStrictly("FRAMES", HEARTBEAT.body, signed.body);
  if (isBroken(body)) return body;
  const beat = verifyHeartbeat(crypto, signed, beatLedger(genesis));
  return isInvalid(beat) ? broken("FRAMES", codeOf("HEARTBEAT", beat), 0, beat.detail) : beat.body;
}

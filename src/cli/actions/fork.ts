import { open, stat } from "node:fs/promises";
import { equal, toHex } from "../../domain/bytes.ts";
import { DOCK } from "../../domain/dock.ts";
import { type Equivocation, EquivocationBody } from "../../domain/equivocation.ts";
import { GENESIS } from "../../domain/genesis.ts";
import { GRANT } from "../../domain/grant.ts";
import { HEARTBEAT } from "../../domain/heartbeat.ts";
import { forkProofMax } from "../../domain/limits.ts";
import { manifestHash } from "../../domain/manifest.ts";
import { SignedBytes, type SignedKind } from "../../domain/signed.ts";
import { encodeSigned, refOf } from "../../domain/signing.ts";
import { writeAtomic } from "../../native/atomic-file.ts";
import { native } from "../../native/crypto.ts";
import {
  type ForkProof,
  type ForkReport,
  isForkProof,
  judgeForkProof,
  writeForkProof,
} from "../../verifier/fork-proof.ts";
import type { TrustFile } from "../../verifier/trust-file.ts";
import { fromWire } from "../../wire/artifacts.ts";
import { type Control, pages } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";

/** Judges a file that is a proof of a fork; null: it is none, and a pack perhaps. */
export async function judgeFork(path: string, trust: TrustFile | null): Promise<ForkReport | null> {
  // Of what cannot be read as a file, the reader of packs tells why.
  const found = await stat(path).catch(() => null);
  const file = found?.isFile() ? await open(path).catch(() => null) : null;
  if (found === null || file === null) return null;
  try {
    const start = new Uint8Array(32);
    await file.read(start, 0, start.length, 0);
    if (!isForkProof(start)) return null;
    if (found.size > forkProofMax) {
      throw new Failure(EXIT.usage, `PACK: a proof of a fork has at most ${forkProofMax} bytes`);
    }
    return judgeForkProof(native, new Uint8Array(await file.readFile()), trust);
  } finally {
    await file.close();
  }
}

/**
 * Writes what the control plane recorded of an instance's fork as a file that anyone can judge.
 * Returns the ledger, hex, and the kind of the contradiction.
 * @throws Failure when nothing is recorded, or not all of what would prove it.
 */
export async function exportFork(
  control: Control,
  instanceId: string,
  out: string,
): Promise<{ readonly ledger: string; readonly kind: Equivocation["kind"] }> {
  const recorded = await recordsOf(control);
  const genesis = recorded.of("genesis").map((b) => read(GENESIS, b));
  const ours = genesis.filter((g) => g.body.instanceId === instanceId);
  const equivocation = recorded
    .of("equivocation")
    .map((b) => EquivocationBody.decode(b))
    .find((e) => ours.some((g) => equal(g.ref, e.ledgerId)));
  if (equivocation === undefined) {
    throw new Failure(EXIT.failed, `no fork of instance ${instanceId} is recorded with its proof`);
  }
  const born = one(ours, equivocation.ledgerId);
  const dock = one(
    recorded.of("dock").map((b) => read(DOCK, b)),
    born.body.dockRef,
  );
  const grant = one(
    recorded.of("grant").map((b) => read(GRANT, b)),
    dock.body.grantRef,
  );
  const manifest = recorded
    .of("manifest")
    .find((m) => equal(manifestHash(native, m), grant.body.manifestHash));
  const keyset = recorded.of("keyset").at(-1);
  if (manifest === undefined || keyset === undefined) throw incomplete();
  const proof: ForkProof = {
    tenantId: born.body.tenantId,
    keysets: [keyset],
    manifests: [manifest],
    grants: [grant.bytes],
    docks: [dock.bytes],
    genesis: born.bytes,
    equivocation,
    receipts: equivocation.kind === "ROOT" ? await receiptsOf(control, equivocation) : [],
  };
  await writeAtomic(out, writeForkProof(proof), 0o644);
  return { ledger: toHex(equivocation.ledgerId), kind: equivocation.kind };
}

/** Everything that was recorded, by kind, in order. */
async function recordsOf({ audit }: Control) {
  const found = new Map<string, Uint8Array[]>();
  for await (const { records } of pages((pageToken) => audit.listRecords({ pageToken }))) {
    for (const { what, artifact } of records) {
      found.set(what, [...(found.get(what) ?? []), artifact]);
    }
  }
  return { of: (what: string): readonly Uint8Array[] => found.get(what) ?? [] };
}

/** Receipts 1 up to the size of the head that contradicts them. */
async function receiptsOf(control: Control, { ledgerId, second }: Equivocation) {
  const { size } = HEARTBEAT.body.decode(second.body);
  const receipts: Uint8Array[] = [];
  const listing = pages((pageToken) => control.ledgers.listReceipts({ ledgerId, pageToken }));
  for await (const page of listing) {
    for (const wire of page.receipts) {
      const signed = fromWire(wire, "receipt");
      if (receipts.length < size && !("invalid" in signed)) receipts.push(encodeSigned(signed));
    }
  }
  return receipts;
}

function read<T>(kind: SignedKind<T>, bytes: Uint8Array) {
  const signed = SignedBytes.decode(bytes);
  return { bytes, body: kind.body.decode(signed.body), ref: refOf(native, kind.name, signed.body) };
}

function one<T extends { readonly ref: Uint8Array }>(list: readonly T[], ref: Uint8Array): T {
  const found = list.find((x) => equal(x.ref, ref));
  if (found === undefined) throw incomplete();
  return found;
}

const incomplete = (): Failure =>
  new Failure(EXIT.failed, "what says whose key it is, is not all recorded here");

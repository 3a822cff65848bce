import { open, readFile } from "node:fs/promises";
import { compare, equal, fromHex, toHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { checkDock, DOCK, DockBody } from "../../domain/dock.ts";
import { checkGrant, GRANT, GrantBody } from "../../domain/grant.ts";
import { isInvalid } from "../../domain/invalid.ts";
import { checkKeyset, KEYSET, KeysetBody } from "../../domain/keyset.ts";
import { proposalBytesMax } from "../../domain/limits.ts";
import { checkRevocation, REVOCATION, RevocationBody } from "../../domain/revocation.ts";
import { pae, type SignedBytes } from "../../domain/signed.ts";
import { openSigned } from "../../domain/signing.ts";
import { writeAtomic } from "../../native/atomic-file.ts";
import { native } from "../../native/crypto.ts";
import { toWire } from "../../wire/artifacts.ts";
import { StatusError } from "../../wire/status.ts";
import { type Control, requestId } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";

/** What several may have to sign, and by whose keys. */
export type ProposalKind = "grant" | "dock" | "keyset" | "revocation";

/**
 * Something to be signed by more people than sit here: it goes from one to the next as a file, which
 * holds no secret, and is recorded by the last of them.
 *
 *     {"format": "dragons proposal 0", "kind": "grant", "body": "<hex>",
 *      "signatures": [{"key": "<hex>", "value": "<hex>"}]}
 */
export interface Proposal {
  readonly kind: ProposalKind;
  readonly signed: SignedBytes;
}

const FORMAT = "dragons proposal 0";

/** What becomes of a thing once it is signed. Returns the tenant ledger's revision; null: not recorded yet. */
export type Outlet = (kind: ProposalKind, signed: SignedBytes) => Promise<number | null>;

/** Records it now. */
export const recordedAt =
  (control: Control): Outlet =>
  async (kind, signed) => {
    const wire = toWire(signed);
    const request = { requestId: requestId() };
    try {
      switch (kind) {
        case "grant":
          return Number((await control.grants.recordGrant({ ...request, grant: wire })).revision);
        case "dock":
          return Number((await control.docks.recordDock({ ...request, dock: wire })).revision);
        case "keyset":
          return Number((await control.keys.recordKeyset({ ...request, keyset: wire })).revision);
        case "revocation": {
          const answer = await control.grants.recordRevocation({ ...request, revocation: wire });
          return Number(answer.revision);
        }
      }
    } catch (error) {
      if (!(error instanceof StatusError) || error.reason !== "E_THRESHOLD") throw error;
      throw new Failure(
        EXIT.notPermitted,
        `${error.message}: add --cosign KEY, or --propose FILE, which the others sign with: dragons proposal sign FILE`,
      );
    }
  };

/** Keeps it in a new file, for others to sign. */
export const proposedIn =
  (path: string): Outlet =>
  async (kind, signed) => {
    const file = await open(path, "wx", 0o644).catch((error: NodeJS.ErrnoException) => {
      const why = error.code === "EEXIST" ? "exists; it is not replaced" : error.message;
      throw new Failure(EXIT.usage, `--propose: ${path}: ${why}`);
    });
    await file.writeFile(format({ kind, signed }));
    await file.close();
    return null;
  };

/** A proposal, decoded strictly, every signature on it verified. @throws Failure naming what is wrong. */
export async function readProposal(path: string): Promise<Proposal> {
  const source = await readFile(path, "utf8").catch((error: Error) => {
    throw new Failure(EXIT.usage, `proposal: ${error.message}`);
  });
  const proposal = source.length > proposalBytesMax ? null : parse(source);
  if (proposal === null) {
    throw new Failure(EXIT.usage, `proposal: ${path} is no file that --propose wrote`);
  }
  const problem = problemOf(proposal);
  if (problem !== null) throw new Failure(EXIT.refused, `proposal ${path}: ${problem}`);
  return proposal;
}

/**
 * Adds a signature to the very bytes that are shown.
 * @throws Failure when this key has signed them already.
 */
export async function signProposal(path: string, signer: Signer): Promise<Proposal> {
  const { kind, signed } = await readProposal(path);
  if (signed.signatures.some((s) => equal(s.key, signer.publicKey))) {
    throw new Failure(EXIT.usage, `proposal ${path}: ${toHex(signer.publicKey)} has signed it`);
  }
  // A keyset is sound or not by the root that signs it: no root takes a role in its own keyset.
  const problem =
    kind === "keyset"
      ? checkKeyset(native, KeysetBody.decode(signed.body), signer.publicKey)
      : null;
  if (problem !== null) throw new Failure(EXIT.refused, `proposal ${path}: ${problem.detail}`);
  const value = await signer.sign(pae(kind, signed.body));
  const signatures = [...signed.signatures, { key: signer.publicKey, value }];
  const next = {
    kind,
    signed: { body: signed.body, signatures: signatures.sort((a, b) => compare(a.key, b.key)) },
  };
  await writeAtomic(path, format(next), 0o644);
  return next;
}

const format = ({ kind, signed }: Proposal): string => {
  const signatures = signed.signatures.map((s) => ({ key: toHex(s.key), value: toHex(s.value) }));
  const file = { format: FORMAT, kind, body: toHex(signed.body), signatures };
  return `${JSON.stringify(file, null, 2)}\n`;
};

const KINDS = { grant: GRANT, dock: DOCK, keyset: KEYSET, revocation: REVOCATION } as const;
const HEX = /^(?:[0-9a-f]{2})+$/;

function parse(source: string): Proposal | null {
  let json: unknown;
  try {
    json = JSON.parse(source);
  } catch {
    return null;
  }
  const { format, kind, body, signatures } = (json ?? {}) as Record<string, unknown>;
  const isKind = typeof kind === "string" && Object.hasOwn(KINDS, kind);
  if (format !== FORMAT || !isKind || !isHex(body) || !Array.isArray(signatures)) return null;
  const read = signatures.map((s: { key?: unknown; value?: unknown } | null) =>
    isHex(s?.key) && isHex(s?.value) ? { key: fromHex(s.key), value: fromHex(s.value) } : null,
  );
  if (read.includes(null)) return null;
  const signed = { body: fromHex(body), signatures: read.filter((s) => s !== null) };
  return { kind: kind as ProposalKind, signed };
}

const isHex = (value: unknown): value is string => typeof value === "string" && HEX.test(value);

/** What is wrong with it, in itself; whether its signers may say it, the control plane judges. */
function problemOf({ kind, signed }: Proposal): string | null {
  if (signed.signatures.length > 0) {
    const opened = openSigned<unknown>(native, KINDS[kind], signed);
    if (isInvalid(opened)) return opened.detail;
  }
  try {
    const problem = {
      grant: () => checkGrant(GrantBody.decode(signed.body)),
      dock: () => checkDock(native, DockBody.decode(signed.body)),
      revocation: () => checkRevocation(RevocationBody.decode(signed.body)),
      keyset: () => readKeyset(signed.body),
    }[kind]();
    return problem?.detail ?? null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Whether it is sound is judged by the root's key, by whoever signs with it or has it pinned. */
function readKeyset(body: Uint8Array): null {
  KeysetBody.decode(body);
  return null;
}

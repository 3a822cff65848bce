import type { Signer } from "../../../src/domain/crypto.ts";
import { PayloadRow } from "../../../src/domain/payload.ts";
import type { ReceiptHeader as Header } from "../../../src/domain/receipt.ts";
import { RECEIPT, ReceiptHeader } from "../../../src/domain/receipt.ts";
import { pae, SignedBytes } from "../../../src/domain/signed.ts";
import { signBody } from "../../../src/domain/signing.ts";
import type { LedgerEvidence } from "../../../src/verifier/export.ts";
import { ReceiptFrame } from "../../../src/verifier/pack.ts";
import type { TrustFile } from "../../../src/verifier/trust-file.ts";
import { goodStory, Story, type Twists } from "../../verifier/build.ts";
import { nth, type Piece, putTogether, takeApart } from "../../verifier/frames.ts";

/** What a case gives a verifier. */
export interface Given {
  readonly pack: Uint8Array;
  readonly trust: TrustFile | null;
  readonly nowUs: number;
}

/**
 * One attack, or one honest pack that looks like one, with the verdict that every verifier owes:
 * `CODE@index` of the first break, else the verdict itself, then the flags that stand with it.
 */
export interface AttackCase {
  readonly name: string;
  readonly group: string;
  /** Rows of the table in docs/attacks.md. */
  readonly rows: readonly number[];
  readonly says: string;
  readonly wanted: string;
  readonly make: () => Promise<Given>;
}

export type Make = () => Promise<Given>;

/** Cases of one kind, in the order in which they are told. */
export function group(name: string) {
  const cases: AttackCase[] = [];
  const add = (
    slug: string,
    rows: readonly number[],
    says: string,
    wanted: string,
    make: Make,
  ): void => {
    cases.push({ name: `${name}/${slug}`, group: name, rows, says, wanted, make });
  };
  return { cases, add };
}

const given = (story: Story, pack: Uint8Array, trust: Partial<TrustFile> = {}): Given => ({
  pack,
  trust: { ...story.trust, ...trust },
  nowUs: story.nowUs,
});

let whole: Promise<{ story: Story; pieces: Piece[] }> | null = null;

/** The good story and its frames; made once, so nobody may change them. */
export function good(): Promise<{ story: Story; pieces: Piece[] }> {
  whole ??= goodStory().then(async (story) => ({
    story,
    pieces: await takeApart(await story.pack()),
  }));
  return whole;
}

export type Change = (pieces: Piece[], story: Story) => unknown;

/** The good pack, its frames changed. */
export const changed =
  (change: Change, trust: Partial<TrustFile> = {}): Make =>
  async () => {
    const { story, pieces } = await good();
    const copy = pieces.map((p) => ({ ...p }));
    await change(copy, story);
    return given(story, putTogether(copy), trust);
  };

/** The good pack's bytes, changed. */
export const bytes =
  (change: (pack: Uint8Array) => Uint8Array | Promise<Uint8Array>): Make =>
  async () => {
    const { story, pieces } = await good();
    return given(story, await change(putTogether(pieces)));
  };

/** The good story with one of its bodies twisted before it was signed. */
export const twisted =
  (twists: Twists, trust: Partial<TrustFile> = {}): Make =>
  async () => {
    const story = await goodStory(twists);
    return given(story, await story.pack(), trust);
  };

export interface Telling {
  readonly twists?: Twists;
  readonly trust?: Partial<TrustFile> | ((story: Story) => Partial<TrustFile>);
  readonly range?: { from: number; to: number };
  readonly over?: (story: Story) => Promise<Partial<LedgerEvidence>> | Partial<LedgerEvidence>;
  /** After the export. */
  readonly change?: Change;
  readonly disclose?: readonly [];
}

/** A good beginning (boot, lease, one call), then something of one's own, under a cosigned head. */
export const told = (tell: (story: Story) => Promise<unknown>, how: Telling = {}): Make =>
  story(async (s) => {
    await s.lifecycle();
    await s.lease();
    await s.act();
    await tell(s);
    await s.checkpoint();
  }, how);

/** A ledger told from its beginning. */
export const story =
  (tell: (story: Story) => Promise<unknown>, how: Telling = {}): Make =>
  async () => {
    const s = await Story.begin(how.twists);
    await tell(s);
    const choice = {
      ...(how.range && { range: how.range }),
      ...(how.disclose && { disclose: how.disclose }),
    };
    let pack = await s.pack(choice, await how.over?.(s));
    if (how.change !== undefined) {
      const pieces = await takeApart(pack);
      await how.change(pieces, s);
      pack = putTogether(pieces);
    }
    return given(s, pack, typeof how.trust === "function" ? how.trust(s) : how.trust);
  };

export const receiptAt = (pieces: Piece[], seq: number): Piece =>
  pieces[nth(pieces, "RECEIPT", seq)] as Piece;

export const only = (pieces: Piece[], kind: Piece["kind"]): Piece =>
  pieces[nth(pieces, kind, 1)] as Piece;

export const drop = (pieces: Piece[], kind: Piece["kind"], n = 1): void =>
  void pieces.splice(nth(pieces, kind, n), 1);

export const insert = (pieces: Piece[], before: Piece["kind"], n: number, piece: Piece): void =>
  void pieces.splice(nth(pieces, before, n), 0, piece);

/** Changes a receipt's header and leaves its signature, or has `signer` sign it anew. */
export async function reheader(
  piece: Piece,
  change: (header: Header) => Partial<Header>,
  signer?: Signer,
): Promise<void> {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const old = SignedBytes.decode(signed);
  const header = ReceiptHeader.decode(old.body);
  const next = { ...header, ...change(header) };
  const fresh = signer
    ? await signBody(RECEIPT, next, [signer])
    : { body: ReceiptHeader.encode(next), signatures: old.signatures };
  piece.body = ReceiptFrame.encode({ signed: SignedBytes.encode(fresh), row });
}

/** Rewrites the raw bytes of a receipt's signed body, and signs them. */
export async function rebody(
  piece: Piece,
  signer: Signer,
  change: (body: Uint8Array) => Uint8Array,
): Promise<void> {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const body = change(SignedBytes.decode(signed).body);
  const value = await signer.sign(pae("receipt", body));
  const fresh = { body, signatures: [{ key: signer.publicKey, value }] };
  piece.body = ReceiptFrame.encode({ signed: SignedBytes.encode(fresh), row });
}

export function rerow(piece: Piece, change: (row: PayloadRow) => PayloadRow): void {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const next = PayloadRow.encode(change(PayloadRow.decode(row)));
  piece.body = ReceiptFrame.encode({ signed, row: next });
}

/** Changes the envelope of a receipt: its body stays. */
export function reseal(piece: Piece, change: (signed: SignedBytes) => SignedBytes): void {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const next = SignedBytes.encode(change(SignedBytes.decode(signed)));
  piece.body = ReceiptFrame.encode({ signed: next, row });
}

export function resign(piece: Piece, change: (value: Uint8Array) => Uint8Array): void {
  reseal(piece, ({ body, signatures }) => ({
    body,
    signatures: signatures.map(({ key, value }) => ({ key, value: change(value) })),
  }));
}

import { describe, expect, test } from "vitest";
import { concat, fromHex, text, toHex, utf8 } from "../../src/domain/bytes.ts";
import type { Claim, LimitState } from "../../src/domain/claim.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import type { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { KEYSET, type KeyEntry, KeysetBody } from "../../src/domain/keyset.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import { RECEIPT, ReceiptHeader } from "../../src/domain/receipt.ts";
import { pae, SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { ReceiptFrame } from "../../src/verifier/pack.ts";
import { lacks } from "../skips.ts";
import {
  check,
  checked,
  goodStory,
  keyOf,
  receiptFrame,
  SECOND,
  START_US,
  Story,
  type Twists,
} from "./build.ts";
import { nth, type Piece, putTogether, takeApart } from "./frames.ts";
import { expectAgreement } from "./second.ts";

// Numbers are the rows of the attack table that the format was designed against.

const story = await goodStory();
const good = await story.pack();
const pieces = await takeApart(good);

/** The verdict on the good pack after its frames were tampered with. */
async function changed(
  change: (pieces: Piece[]) => void,
  of: readonly Piece[] = pieces,
  by = story,
) {
  const copy = of.map((p) => ({ ...p }));
  change(copy);
  return said(await check(by, putTogether(copy)));
}
type Said = Awaited<ReturnType<typeof check>>;
const said = (report: Said) =>
  report.broken === null ? report.verdict : `${report.broken.code}@${report.broken.index}`;

const receiptAt = (copy: Piece[], seq: number): Piece => copy[nth(copy, "RECEIPT", seq)] as Piece;

/** Changes a receipt's header and leaves its signature, or has `signer` sign it anew. */
async function reheader(
  piece: Piece,
  change: (header: ReceiptHeader) => Partial<ReceiptHeader>,
  signer?: { publicKey: Uint8Array; sign(m: Uint8Array): Promise<Uint8Array> },
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
async function rebody(piece: Piece, change: (body: Uint8Array) => Uint8Array): Promise<void> {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const body = change(SignedBytes.decode(signed).body);
  const value = await story.ledgerKey.sign(pae("receipt", body));
  const fresh = { body, signatures: [{ key: story.ledgerKey.publicKey, value }] };
  piece.body = ReceiptFrame.encode({ signed: SignedBytes.encode(fresh), row });
}

function rerow(piece: Piece, change: (row: PayloadRow) => PayloadRow): void {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  piece.body = ReceiptFrame.encode({
    signed,
    row: PayloadRow.encode(change(PayloadRow.decode(row))),
  });
}

function resign(piece: Piece, change: (value: Uint8Array) => Uint8Array): void {
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const { body, signatures } = SignedBytes.decode(signed);
  const [s] = signatures;
  const changed = { key: s?.key as Uint8Array, value: change(s?.value as Uint8Array) };
  piece.body = ReceiptFrame.encode({
    signed: SignedBytes.encode({ body, signatures: [changed] }),
    row,
  });
}

async function verdictOf(twists: Twists): Promise<string> {
  const twisted = await goodStory(twists);
  return said(await check(twisted, await twisted.pack()));
}

/** A good beginning, then something of one's own, under a cosigned head. */
async function told(tell: (s: Story) => Promise<void>, twists: Twists = {}) {
  const s = await Story.begin(twists);
  await s.lifecycle();
  await s.lease();
  await s.act();
  await tell(s);
  await s.checkpoint();
  return check(s, await s.pack());
}

describe("receipts", () => {
  test("1: altered, with its old signature", async () => {
    const copy = pieces.map((p) => ({ ...p }));
    await reheader(receiptAt(copy, 3), (h) => ({ closedAtUs: h.closedAtUs + 1 }));
    expect(await changed(() => {}, copy)).toBe("E_RECEIPT_SIG@3");
  });
  test("2: altered and signed again by the key holder shows at the next one", async () => {
    const copy = pieces.map((p) => ({ ...p }));
    await reheader(receiptAt(copy, 3), (h) => ({ closedAtUs: h.closedAtUs + 1 }), story.ledgerKey);
    const report = await check(story, putTogether(copy));
    expect(report.broken).toMatchObject({
      code: "E_CHAIN_PREV",
      index: 4,
      suspect: 3,
      untrusted_from: 3,
      expected: toHex(story.receipts[2]?.hash as Uint8Array),
    });
    expect(report.broken?.found).not.toBe(report.broken?.expected);
  });
  test("3: one removed", async () => {
    expect(await changed((p) => p.splice(nth(p, "RECEIPT", 3), 1))).toBe("E_SEQ_GAP@3");
  });
  test("4: two exchanged", async () => {
    const swap = (p: Piece[]) =>
      p.splice(nth(p, "RECEIPT", 3), 2, receiptAt(p, 4), receiptAt(p, 3));
    expect(await changed(swap)).toBe("E_SEQ_GAP@3");
  });
  test("5: one twice", async () => {
    expect(await changed((p) => p.splice(nth(p, "RECEIPT", 3), 0, receiptAt(p, 3)))).toBe(
      "E_SEQ_DUP@4",
    );
  });
  test("6: inserted, signed by another under the ledger's name", async () => {
    const copy = pieces.map((p) => ({ ...p }));
    const mallory = keyOf("mallory");
    const posing = { ...mallory, publicKey: story.ledgerKey.publicKey };
    await reheader(receiptAt(copy, 3), (h) => ({ scope: h.scope }), posing);
    expect(await changed(() => {}, copy)).toBe("E_RECEIPT_SIG@3");
  });
  test("7 and 45: commitments that do not give the payload hash", async () => {
    const swap = (p: Piece[]) =>
      rerow(receiptAt(p, 2), ({ commitments: [a, b, c, d, e], openings }) => ({
        commitments: [d, b, c, a, e] as Uint8Array[],
        openings,
      }));
    expect(await changed(swap)).toBe("E_PAYLOAD_HASH@2");
  });
  test("17, 18: of another tenant, of another ledger", async () => {
    for (const [twists, code] of [
      [{ tenant: "other" }, "E_TENANT_MISMATCH@3"],
      [{ ledgerName: "second" }, "E_LEDGER_MISMATCH@3"],
    ] as const) {
      const theirs = await goodStory(twists);
      const stolen = receiptFrame(theirs.receipts[2] as (typeof theirs.receipts)[0]);
      const splice = (p: Piece[]) => {
        receiptAt(p, 3).body = stolen;
      };
      expect(await changed(splice)).toBe(code);
    }
  });
  test("22: signed by a key that says it is another", async () => {
    const copy = pieces.map((p) => ({ ...p }));
    await reheader(receiptAt(copy, 3), () => ({}), keyOf("mallory"));
    expect(await changed(() => {}, copy)).toBe("E_KEY_UNKNOWN@3");
  });
  test("23: S + L", async () => {
    expect(await changed((p) => resign(receiptAt(p, 3), addOrder))).toBe("E_RECEIPT_SIG@3");
  });
  test("27: a signature of 65 bytes", async () => {
    const { signed, row } = ReceiptFrame.decode(receiptAt(pieces, 3).body);
    const { body, signatures } = SignedBytes.decode(signed);
    const key = signatures[0]?.key as Uint8Array;
    const inner = concat(fromHex("0a20"), key, fromHex("1241"), new Uint8Array(65));
    const head = SignedBytes.encode({ body, signatures: [] });
    const long = concat(head, fromHex("12"), Uint8Array.of(inner.length), inner);
    const swap = (p: Piece[]) => {
      receiptAt(p, 3).body = ReceiptFrame.encode({ signed: long, row });
    };
    expect(await changed(swap)).toBe("E_ENC_LENGTH@3");
  });
  test.each([
    [
      "39: an unknown field",
      (b: Uint8Array) => concat(b, fromHex("f80101")),
      "E_ENC_UNKNOWN_FIELD",
    ],
    ["40: a scalar twice", (b: Uint8Array) => concat(b, fromHex("0801")), "E_ENC_ORDER"],
    [
      "41: an overlong varint",
      (b: Uint8Array) => concat(fromHex("088100"), b.slice(2)),
      "E_ENC_VARINT",
    ],
    ["42: bytes after the end", (b: Uint8Array) => concat(b, fromHex("ff")), "E_ENC_TRUNCATED"],
  ])("%s", async (_, change, code) => {
    const copy = pieces.map((p) => ({ ...p }));
    await rebody(receiptAt(copy, 3), change);
    expect(await changed(() => {}, copy)).toBe(`${code}@3`);
  });
  test("43: a lease in a receipt's place", async () => {
    const lease = (pieces[nth(pieces, "LEASE", 1)] as Piece).body;
    const swap = (p: Piece[]) => {
      receiptAt(p, 3).body = ReceiptFrame.encode({
        ...ReceiptFrame.decode(receiptAt(p, 3).body),
        signed: lease,
      });
    };
    expect(await changed(swap)).toMatch(/^E_ENC_[A-Z_]+@3$/);
  });
  test("44, 46: payload altered, opening taken from another receipt", async () => {
    const alter = (p: Piece[]) =>
      rerow(receiptAt(p, 2), (row) => ({
        ...row,
        openings: row.openings.map((o) =>
          o.field === 2 ? { ...o, data: concat(o.data, o.data) } : o,
        ),
      }));
    expect(await changed(alter)).toBe("E_OPENING_MISMATCH@2");
    const move = (p: Piece[]) => {
      const theirs = PayloadRow.decode(ReceiptFrame.decode(receiptAt(p, 4).body).row).openings;
      rerow(receiptAt(p, 2), (row) => ({ ...row, openings: theirs }));
    };
    expect(await changed(move)).toBe("E_OPENING_MISMATCH@2");
  });
  test("47: openings withheld: it holds, and says so", async () => {
    const report = await check(story, await story.pack({ disclose: [] }));
    expect(report.verdict).toBe("ANCHORED");
    expect(report.flags.map((f) => f.flag)).toEqual(["WITHHELD", "SCOPE_UNSHOWN"]);
    expect(report.ledgers[0]?.counts).toMatchObject({ decisionsSame: 0, decisionsUnshown: 4 });
  });
  test("48, 53: a correction of a receipt that is not there, and of one that is", async () => {
    const correcting = (refersTo: Uint8Array) => async (s: Story) => {
      await s.lifecycle({ kind: "CORRECTION", refersTo, leaseRef: s.leaseRef });
    };
    expect(said(await told(correcting(new Uint8Array(32).fill(7))))).toBe("E_REF_UNKNOWN@3");
    const real = await told(async (s) => correcting(s.receipts[1]?.hash as Uint8Array)(s));
    expect(said(real)).toBe("ANCHORED");
  });
  test("an erased field that is still open", async () => {
    const report = await told(async (s) => {
      const refersTo = s.receipts[1]?.hash as Uint8Array;
      await s.lifecycle({ kind: "REDACTION", refersTo, leaseRef: s.leaseRef, redactedMask: 2 });
    });
    expect(said(report)).toBe("E_OPENING_REDACTED@3");
  });
  test("49: an action that opened before the one it follows", async () => {
    expect(said(await told((s) => s.act({ openedAtUs: START_US + 1 })))).toBe("E_TIME_BACKWARDS@3");
  });
  test("a clock that was set back between two leases is told", async () => {
    const report = await told(async (s) => {
      s.nowUs -= 30 * SECOND;
      await s.lease();
      await s.act();
      s.nowUs += 30 * SECOND;
    });
    expect(said(report)).toBe("ANCHORED");
    expect(report.flags).toMatchObject([{ flag: "CLOCK_SET_BACK", at: [[3, 3]] }]);
  });
  test("50: an id that falls, and one that is a UUIDv4", async () => {
    const low = "rcp_01930000000070008000000000000000";
    expect(said(await told((s) => s.act({ receiptId: low })))).toBe("E_ID_ORDER@3");
    const four = "rcp_01930000000040008000000000000009";
    expect(said(await told((s) => s.act({ receiptId: four })))).toBe("E_ID_FORMAT@3");
  });
});

describe("limits", () => {
  const limits = { maxActions: 4, maxBytes: 100, ratePerMinute: 60, maxConcurrent: 2 };
  const state = (change: Partial<LimitState>) => (claim: Claim) => ({
    ...claim,
    limitState: claim.limitState.map((l) => ({ ...l, ...change })),
  });

  test("what was left, as it was, holds: side by side, over a renewal, and with an open call", async () => {
    const report = await told(
      async (s) => {
        const first = s.begin({ bytes: 30 });
        const second = s.begin({ bytes: 20 });
        await second();
        await s.lease();
        await first();
        s.begin();
      },
      { limits },
    );
    expect(said(report)).toBe("ANCHORED");
    expect(report.checks.find((c) => c.name === "LIMITS")).toMatchObject({ status: "PASS" });
  });

  test("one action more than the lease allows, whatever its claim says, and with it withheld", async () => {
    const five = async (s: Story) => {
      await s.act({ scope: "read:payments" });
      await s.act();
      await s.act();
      await s.act({ claim: state({ actionsLeft: 1 }) });
    };
    expect(said(await told(five, { limits }))).toBe("E_LIMIT_EXCEEDED@6");
    const s = await Story.begin({ limits });
    await s.lifecycle();
    await s.lease();
    await s.act();
    await five(s);
    await s.checkpoint();
    const withheld = await check(s, await s.pack({ disclose: [] }));
    expect(said(withheld)).toBe("E_LIMIT_EXCEEDED@6");
  });

  test("a renewal does not refill: the next lease's number counts what went before", async () => {
    const refilled = async (s: Story) => {
      await s.lease();
      await s.act({ claim: state({ actionsLeft: 4 }) });
    };
    expect(said(await told(refilled, { limits }))).toBe("E_LIMIT_STATE@3");
  });

  test.each([
    ["more actions than were left", { actionsLeft: 4 }],
    ["fewer actions than were left", { actionsLeft: 2 }],
    ["more bytes than were left", { bytesLeft: 101 }],
    ["more at once than may be", { concurrentLeft: 3 }],
    ["more in a minute than may be", { rateLeft: 61 }],
    ["another scope", { scope: "write:ledger" }],
  ] as [string, Partial<LimitState>][])("a claim that states %s", async (_, change) => {
    const lying = (s: Story) => s.act({ claim: state(change) });
    expect(said(await told(lying, { limits }))).toBe("E_LIMIT_STATE@3");
  });

  test("a claim that states a limit where there is none, or none at all", async () => {
    const some = (s: Story) => s.act({ claim: state({ bytesLeft: 5 }) });
    expect(said(await told(some))).toBe("E_LIMIT_STATE@3");
    const none = (s: Story) => s.act({ claim: (c) => ({ ...c, limitState: [] }) });
    expect(said(await told(none, { limits }))).toBe("E_LIMIT_STATE@3");
  });

  test("a claim that says it was spent permits nothing", async () => {
    const spent = (s: Story) => s.act({ claim: state({ rateLeft: 0 }) });
    expect(said(await told(spent, { limits }))).toBe("E_SCOPE_EXCEEDED@3");
  });

  test("two claims opened side by side that both took the last action", async () => {
    const both = async (s: Story) => {
      const a = s.begin();
      const b = s.begin({ claim: state({ actionsLeft: 3 }) });
      await b();
      await a();
    };
    // Told where the earlier of the two is known: by then the later one stands before it.
    expect(said(await told(both, { limits }))).toBe("E_LIMIT_STATE@3");
  });

  test("bytes: more than any lease allows, charged wrongly, or charged where nothing limits", async () => {
    const over = async (s: Story) => {
      await s.act({ bytes: 60 });
      await s.act({ bytes: 41 });
    };
    expect(said(await told(over, { limits }))).toBe("E_LIMIT_EXCEEDED@4");
    const less = (s: Story) => s.act({ bytes: 60, header: (h) => ({ ...h, spentBytes: 59 }) });
    expect(said(await told(less, { limits }))).toBe("E_LIMIT_STATE@3");
    const odd = (s: Story) => s.act({ header: (h) => ({ ...h, spentBytes: 1 }) });
    expect(said(await told(odd))).toBe("E_LIMIT_STATE@3");
    const later = async (s: Story) => {
      await s.act({ bytes: 60 });
      await s.act({ claim: state({ bytesLeft: 100 }) });
    };
    expect(said(await told(later, { limits }))).toBe("E_LIMIT_STATE@4");
  });

  test("bytes that a crash left reserved are charged without a body to show", async () => {
    const crashed = async (s: Story) => {
      await s.act({
        header: (h) => ({ ...h, verdict: "INDETERMINATE", reason: "CRASHED", spentBytes: 90 }),
      });
    };
    expect(said(await told(crashed, { limits }))).toBe("ANCHORED");
  });

  test("more in a minute than allowed is told: a clock that was set may look like it", async () => {
    const report = await told(
      async (s) => {
        for (let n = 0; n < 3; n++) await s.act({ claim: state({ rateLeft: 1 }) });
      },
      { limits: { ratePerMinute: 2 } },
    );
    expect(said(report)).toBe("ANCHORED");
    expect(report.flags).toMatchObject([{ flag: "RATE_EXCEEDED", at: [[4, 5]] }]);
  });

  test("a lease that allows more than its grant", async () => {
    const lease: Twists["lease"] = (b) => ({
      ...b,
      scopes: b.scopes.map((s) => ({ ...s, limits: { ...s.limits, maxActions: 5 } })),
    });
    expect(await verdictOf({ limits, lease })).toBe("E_LEASE_WIDENED@0");
  });

  test("a beat that tells the issuer of less than was spent", async () => {
    const spent =
      (actions: number) =>
      (b: HeartbeatBody): HeartbeatBody => ({
        ...b,
        spent: [{ scope: "read:payments", actions, bytes: 0 }],
      });
    const beating = async (s: Story) => {
      await s.act();
      await s.beat();
      await s.act();
    };
    expect(said(await told(beating, { limits, heartbeat: spent(1) }))).toBe("E_LIMIT_STATE@3");
    expect(said(await told(beating, { limits, heartbeat: spent(2) }))).toBe("ANCHORED");
    // Opened, and not durable yet when it beat: that is honest.
    expect(said(await told(beating, { limits, heartbeat: spent(3) }))).toBe("ANCHORED");
  });

  test("a denial that says it was spent, and its claim says what was left", async () => {
    const claim = (left: Partial<LimitState>) => (c: Claim) => state(left)(c);
    const denied = (left: Partial<LimitState>) => async (s: Story) => {
      await s.deny({ claim: claim(left) }, { reason: "LIMIT_SPENT", scope: "read:payments" });
    };
    expect(said(await told(denied({ actionsLeft: 0 }), { limits }))).toBe("ANCHORED");
    expect(said(await told(denied({}), { limits }))).toBe("E_DECISION_DIFFERS@3");
  });

  test("what was merely observed in a scope counts there, as it does in the sidecar", async () => {
    const until = START_US + 3600 * SECOND;
    const s = await Story.begin({ limits, grant: (g) => ({ ...g, observeUntilUs: until }) });
    await s.lifecycle();
    await s.lease((b) => ({ ...b, observeUntilUs: until, scopes: [] }));
    await s.act({ header: (h) => ({ ...h, wouldDeny: "SCOPE_NOT_GRANTED" }) });
    await s.lease();
    await s.act({ claim: state({ actionsLeft: 3 }) });
    await s.checkpoint();
    expect(said(await check(s, await s.pack()))).toBe("ANCHORED");
  });

  test("only part of a ledger: what stands in it must agree with itself", async () => {
    const s = await Story.begin({ limits: { maxActions: 9 } });
    await s.lifecycle();
    await s.lease();
    for (let n = 0; n < 4; n++) await s.act();
    await s.act({ claim: state({ actionsLeft: 7 }) });
    await s.checkpoint();
    expect(said(await check(s, await s.pack({ range: { from: 4, to: 6 } })))).toBe(
      "E_LIMIT_STATE@6",
    );
    expect(said(await check(s, await s.pack({ range: { from: 2, to: 5 } })))).toBe("ANCHORED");
  });
});

describe("leases", () => {
  test("28: expired, the last moment included", async () => {
    const at = START_US + 60 * SECOND;
    expect(said(await told((s) => s.act({ openedAtUs: at })))).toBe("E_LEASE_EXPIRED@3");
    expect(said(await told((s) => s.act({ openedAtUs: at - 1, egressLastUs: at - 1 })))).toBe(
      "ANCHORED",
    );
  });
  test("29: not yet valid", async () => {
    const late = (s: Story) => s.lease((b) => ({ ...b, notBeforeUs: b.notBeforeUs + 30 * SECOND }));
    const report = await told(async (s) => {
      await late(s);
      await s.act();
    });
    expect(said(report)).toBe("E_LEASE_NOT_YET@3");
  });
  test("bytes that left after the lease had ended, and with a second one", async () => {
    const long = (s: Story) => s.act({ egressLastUs: START_US + 80 * SECOND });
    expect(said(await told(long))).toBe("E_LEASE_COVERAGE@3");
    const renewed = await told(async (s) => {
      const close = s.begin({ egressLastUs: START_US + 80 * SECOND });
      s.tick(40 * SECOND);
      await s.lease();
      await close();
    });
    expect(said(renewed)).toBe("ANCHORED");
  });
  test("30, 31: for another manifest, of another tenant", async () => {
    const manifestHash = new Uint8Array(32).fill(1);
    expect(await verdictOf({ lease: (b) => ({ ...b, manifestHash }) })).toBe("E_LEASE_MANIFEST@0");
    expect(await verdictOf({ lease: (b) => ({ ...b, tenantId: "other" }) })).toBe(
      "E_LEASE_TENANT@0",
    );
  });
  test("34: withheld", async () => {
    expect(await changed((p) => p.splice(nth(p, "LEASE", 1), 1))).toBe("E_LEASE_MISSING@2");
  });
  test("35: signed by the sidecar", async () => {
    expect(await verdictOf({ leaseSigner: keyOf("ledger") })).toBe("E_LEASE_SIG@0");
  });
  test("36: pins a head that the chain never had", async () => {
    const headRoot = new Uint8Array(32).fill(9);
    expect(await verdictOf({ lease: (b) => ({ ...b, headRoot }) })).toBe("E_LEASE_HEAD@1");
    const intentsHead = new Uint8Array(32).fill(9);
    expect(await verdictOf({ lease: (b) => ({ ...b, intentsHead }) })).toBe("E_LEASE_HEAD@1");
  });
  test("37: revoked: known to the lease it breaks, not known yet it is told", async () => {
    const revocations = [{ body: {}, signer: keyOf("operator") }];
    const told = await goodStory({ revocations });
    const report = await check(told, await told.pack());
    expect(said(report)).toBe("ANCHORED");
    expect(report.flags.find((f) => f.flag === "USED_AFTER_REVOCATION")).toMatchObject({
      count: 3,
      at: [[2, 4]],
    });
    const lease: Twists["lease"] = (b) => ({ ...b, revocationEpoch: 1 });
    expect(await verdictOf({ revocations, lease })).toBe("E_LEASE_REVOKED@2");
  });
  test("a revocation that leases know of and the pack does not show", async () => {
    const silent = await goodStory({ lease: (b) => ({ ...b, revocationEpoch: 2 }) });
    const report = await check(silent, await silent.pack());
    expect(report.flags.map((f) => f.flag)).toEqual(["REVOCATION_NOT_SHOWN"]);
  });
  test("51: wider than its grant", async () => {
    expect(await verdictOf({ lease: (b) => ({ ...b, notAfterUs: b.notAfterUs + 1 }) })).toBe(
      "E_LEASE_WIDENED@0",
    );
  });
  test("used after the next but one had pinned the intents", async () => {
    const report = await told(async (s) => {
      const old = s.leases[0]?.ref as Uint8Array;
      await s.lease();
      await s.lease();
      await s.act({ header: (d) => ({ ...d, leaseRef: old }) });
    });
    expect(said(report)).toBe("E_HEAD_LAG@3");
  });
  test("a lease that nothing cites", async () => {
    const s = await goodStory();
    for (let i = 0; i < 3; i++) await s.lease();
    const all = await takeApart(await s.pack());
    expect(all.filter((p) => p.kind === "LEASE")).toHaveLength(3);
    const stray = {
      kind: "LEASE" as const,
      body: SignedBytes.encode(s.leases[3]?.signed as SignedBytes),
    };
    all.splice(nth(all, "LEASE", 3) + 1, 0, stray);
    expect(said(await check(s, putTogether(all)))).toBe("E_UNREFERENCED@0");
  });
});

describe("scope", () => {
  test("32, 33: outside the scope, and next to it", async () => {
    for (const act of [
      { path: "/payments.v1.Payments/Refund" },
      { path: "/payments.v1.PaymentsX/GetPayment" },
      { target: "ledger.internal:443", path: "/ledger.v1.Entries/Post", scope: "write:ledger" },
    ]) {
      expect(said(await told((s) => s.act(act)))).toBe("E_SCOPE_EXCEEDED@3");
    }
  });
  test("52: a claim that is not normal", async () => {
    for (const claim of [
      { path: "/payments.v1.Payments/../GetPayment" },
      { path: "/payments.v1.Payments/Get%2e" },
      { target: "Payments.internal:443" },
    ]) {
      const report = await told((s) => s.act({ claim: (c) => ({ ...c, ...claim }) }));
      expect(said(report)).toBe("E_SCOPE_NOT_NORMAL@3");
    }
  });
  test("a claim of another action than was taken", async () => {
    const report = await told((s) =>
      s.act({ claim: (c) => ({ ...c, path: "/payments.v1.Payments/ListPayments" }) }),
    );
    expect(said(report)).toBe("E_CLAIM_ACTION@3");
  });
  test("a denial of what the lease permits", async () => {
    expect(said(await told((s) => s.deny()))).toBe("E_DECISION_DIFFERS@3");
    const clock = await told((s) => s.deny({}, { reason: "LEASE_EXPIRED" }));
    expect(clock.ledgers[0]?.counts).toMatchObject({ decisionsNotReproducible: 1 });
  });
});

describe("payload and manifest", () => {
  test("a completed action with an empty goal", async () => {
    expect(said(await told((s) => s.act({ goal: new Uint8Array(0) })))).toBe("E_EVIDENCE_EMPTY@3");
  });
  test("an action under another manifest; a boot that measured one is told", async () => {
    const manifestHash = new Uint8Array(32).fill(4);
    const report = await told((s) => s.act({ header: (d) => ({ ...d, manifestHash }) }));
    expect(said(report)).toBe("E_MANIFEST_MISSING@3");
    const drift = await told((s) => s.lifecycle({ manifestHash }));
    expect(said(drift)).toBe("ANCHORED");
    expect(drift.flags).toMatchObject([{ flag: "OTHER_MANIFEST", at: [[3, 3]] }]);
  });
  test.each([
    ["an action without a lease", { leaseRef: new Uint8Array(0) }],
    ["completed, with a reason", { reason: "CRASHED" }],
    ["an action that was denied", { verdict: "DENIED" }],
    ["an action that stands for two", { count: 2 }],
    ["an action outside every scope", { scope: "" }],
  ] as const)("%s", async (_, over) => {
    const report = await told((s) => s.act({ header: (d) => ({ ...d, ...over }) }));
    expect(said(report)).toBe("E_RECEIPT_FIELDS@3");
  });
  test.each([
    ["a denial without a reason", { reason: "UNSPECIFIED" }],
    ["denied, and yet forwarded", { egressLastUs: START_US + 59 * SECOND }],
    ["a denial that completed", { verdict: "COMPLETED" }],
    ["a denial that stands for none", { count: 0 }],
  ] as const)("%s", async (_, over) => {
    const report = await told((s) => s.deny({ path: "/a.B/C" }, over));
    expect(said(report)).toBe("E_RECEIPT_FIELDS@3");
  });
  test("a ledger that does not begin with its boot", async () => {
    const s = await Story.begin();
    await s.lease();
    await s.act();
    await s.checkpoint();
    expect(said(await check(s, await s.pack()))).toBe("E_RECEIPT_FIELDS@1");
  });
});

describe("heads", () => {
  test("8: tail cut off", async () => {
    const report = await check(story, await cutTail());
    expect(said(report)).toBe("E_TAIL_TRUNCATED@5");
    expect(report.broken?.detail).toMatch(/^have 4, attested 5/);
  });
  test("9: tail and every head over it cut off", async () => {
    const cut = (p: Piece[]) => {
      for (const kind of ["CHECKPOINT", "HEARTBEAT"] as const) p.splice(nth(p, kind, 1), 1);
      p.splice(nth(p, "RECEIPT", 5), 1);
    };
    expect(await changed(cut)).toBe("INTACT");
  });
  test("10: tail rewritten under an old checkpoint", async () => {
    const forked = await goodStory();
    const ours = forked.checkpoints[0] as string;
    const other = await goodStory();
    await other.lifecycle();
    const s = await Story.begin();
    await s.lifecycle();
    await s.lease();
    for (let i = 0; i < 4; i++) await s.act();
    s.checkpoints.push(ours);
    expect(said(await check(s, await s.pack()))).toBe("E_FORK@5");
  });
  test("11: two roots of one size", async () => {
    const s = await goodStory();
    await s.checkpoint({ root: new Uint8Array(32).fill(3) });
    expect(said(await check(s, await s.pack()))).toBe("E_FORK@5");
  });
  test("12: a stale checkpoint", async () => {
    const trust = { ...story.trust, maxAgeUs: 60 * SECOND };
    const stale = await check(story, good, { trust, nowUs: story.nowUs + 62 * SECOND });
    expect(stale.flags.map((f) => f.flag)).toEqual(["STALE_CHECKPOINT"]);
    expect((await check(story, good, { trust })).flags).toEqual([]);
  });
  test("13: receipts beyond the checkpoint", async () => {
    const s = await goodStory();
    await s.act();
    await s.act();
    const report = await check(s, await s.pack());
    expect(report.verdict).toBe("ANCHORED");
    expect(report.flags).toMatchObject([{ flag: "UNANCHORED_TAIL", count: 2 }]);
  });
  test("14, 15, 16: size edited, of another ledger, by an unknown key", async () => {
    const edit = (p: Piece[]) => {
      const note = p[nth(p, "CHECKPOINT", 1)] as Piece;
      note.body = utf8(text(note.body).replace("\n5\n", "\n4\n"));
    };
    expect(await changed(edit)).toBe("E_CP_SIG@0");
    const theirs = await goodStory({ ledgerName: "second" });
    const swap = (p: Piece[]) => {
      (p[nth(p, "CHECKPOINT", 1)] as Piece).body = utf8(theirs.checkpoints[0] as string);
    };
    expect(await changed(swap)).toBe("E_CP_ORIGIN@0");
    const cosigner = { name: "control", signer: keyOf("mallory") };
    expect(await verdictOf({ cosigner })).toBe("E_CP_UNSIGNED@0");
  });
  test("a head that the auditor holds, of a history that was rewritten", async () => {
    const { ledgerId } = story;
    const knownHead = { ledgerId, size: 3, root: new Uint8Array(32).fill(1) };
    expect(said(await check(story, good, { trust: { ...story.trust, knownHead } }))).toBe(
      "E_FORK@3",
    );
    const longer = { ...knownHead, size: 9 };
    expect(said(await check(story, good, { trust: { ...story.trust, knownHead: longer } }))).toBe(
      "E_TAIL_TRUNCATED@6",
    );
  });
  test("a heartbeat of another history", async () => {
    const root = new Uint8Array(32).fill(3);
    expect(await verdictOf({ heartbeat: (b) => ({ ...b, root }) })).toBe("E_HEARTBEAT_HEAD@5");
  });
});

describe("authority", () => {
  test("19: a whole pack of another tenant", async () => {
    const theirs = await goodStory({ tenant: "other" });
    expect(said(await check(story, await theirs.pack()))).toBe("E_TENANT_MISMATCH@0");
  });
  test("20: a genesis that no join key signed", async () => {
    const genesisSigners = [keyOf("mallory"), keyOf("ledger")];
    expect(await verdictOf({ genesisSigners })).toBe("E_GENESIS_SIG@0");
  });
  test.each([
    ["24: the identity as ledger key", `01${"00".repeat(31)}`, "E_KEY_WEAK"],
    ["25: a ledger key that is not canonical", `ee${"ff".repeat(30)}7f`, "E_KEY_NONCANONICAL"],
  ])("%s", async (_, hex, code) => {
    const posing = { ...keyOf("ledger"), publicKey: fromHex(hex) };
    expect(await verdictOf({ ledger: posing })).toBe(`${code}@0`);
  });
  test("38: another manifest in its place", async () => {
    const other = await goodStory({ manifest: (m) => ({ ...m, agentVersion: "v8" }) });
    const swap = (p: Piece[]) => {
      (p[nth(p, "MANIFEST", 1)] as Piece).body = other.manifestBytes;
    };
    expect(await changed(swap)).toBe("E_MANIFEST_MISSING@0");
  });
  test("a keyset by another root, and one older than the auditor knows", async () => {
    expect(await verdictOf({ keysetSigner: keyOf("mallory") })).toBe("E_KEYSET_SIG@0");
    const trust = { ...story.trust, keysetVersion: 2 };
    expect(said(await check(story, good, { trust }))).toBe("E_KEYSET_ROLLBACK@0");
  });
  test("keysets that drop a key, leave one out, or change hands by one signature", async () => {
    const [a, b] = [story.root, keyOf("second root")];
    const first = story.keyset;
    const next = (
      after: SignedBytes,
      change: (body: KeysetBody) => Partial<KeysetBody>,
      by: readonly Signer[] = [a],
    ) => {
      const body = KeysetBody.decode(after.body);
      const previous = refOf(native, "keyset", after.body);
      const more = { keysetVersion: body.keysetVersion + 1, previous, rootKey: new Uint8Array(0) };
      return signBody(KEYSET, { ...body, ...more, ...change(body) }, by);
    };
    const verdict = async (shown: readonly SignedBytes[], root = a) => {
      const pack = await story.pack({}, { keysets: shown.map(encodeSigned) });
      const trust = { ...story.trust, rootKey: root.publicKey };
      return said(await check(story, pack, { trust }));
    };
    const second = await next(first, () => ({}));
    const third = await next(second, () => ({}));
    expect(await verdict([first, second, third])).toBe("ANCHORED");
    expect(await verdict([first, third])).toBe("E_KEYSET_REF@0");
    expect(await verdict([second, first])).toBe("E_KEYSET_DUP@0");
    const spare = { role: "WITNESS" as const, key: keyOf("spare").publicKey };
    const more = await next(first, ({ keys }) => ({
      keys: [...keys, { ...(keys[0] as KeyEntry), ...spare }],
    }));
    const less = await next(more, ({ keys }) => ({ keys: keys.slice(0, -1) }));
    expect(await verdict([first, more])).toBe("ANCHORED");
    expect(await verdict([more, less])).toBe("E_KEYSET_FIELD@0");

    const handover = await next(first, () => ({ rootKey: b.publicKey }), [a, b]);
    const after = await next(handover, () => ({}), [b]);
    expect(await verdict([first, handover, after])).toBe("ANCHORED");
    expect(await verdict([handover], b)).toBe("ANCHORED");
    expect(await verdict([after], b)).toBe("ANCHORED");
    expect(await verdict([after])).toBe("E_KEYSET_SIG@0");
    expect(await verdict([first, handover, await next(handover, () => ({}))])).toBe(
      "E_KEYSET_SIG@0",
    );
    const alone = await next(first, () => ({ rootKey: b.publicKey }), [b]);
    expect(await verdict([alone], b)).toBe("E_KEYSET_SIG@0");
  });
  test("a grant that no operator signed", async () => {
    expect(await verdictOf({ grantSigners: [keyOf("issuer")] })).toBe("E_GRANT_SIG@0");
  });
});

describe("intents", () => {
  test("one closed twice", async () => {
    const report = await told((s) => s.act({ header: (d) => ({ ...d, intentSeq: 1 }) }));
    expect(said(report)).toBe("E_INTENT_DUP@3");
  });
  test("one still open is told; left out, it is missed", async () => {
    const s = await goodStory();
    s.begin();
    await s.beat();
    await s.lifecycle();
    await s.checkpoint();
    const pack = await s.pack();
    const report = await check(s, pack);
    expect(said(report)).toBe("ANCHORED");
    expect(report.flags).toMatchObject([{ flag: "OPEN_INTENT", at: [[4, 4]] }]);
    const drop = (p: Piece[]) => p.splice(nth(p, "OPEN_INTENT", 1), 1);
    expect(await changed(drop, await takeApart(pack), s)).toBe("E_INTENT_MISSING@6");
  });
  test("the claim of an open call, once a heartbeat has carried it, cannot change", async () => {
    const s = await goodStory();
    s.begin();
    await s.beat();
    const [row, ...rest] = [...s.open.values()];
    expect(rest).toEqual([]);
    s.open.set(4, { ...row, claim: new Uint8Array(3) } as typeof row & object);
    expect(said(await check(s, await s.pack()))).toBe("E_HEARTBEAT_HEAD@5");
  });
});

async function cutTail(): Promise<Uint8Array> {
  const copy = pieces.map((p) => ({ ...p }));
  copy.splice(nth(copy, "RECEIPT", 5), 1);
  return putTogether(copy);
}

/** S + L, the same number to whoever does not look. */
function addOrder(value: Uint8Array): Uint8Array {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  let s = 0n;
  for (let i = 63; i >= 32; i--) s = (s << 8n) | BigInt(value[i] as number);
  s += order;
  const out = value.slice();
  for (let i = 32; i < 64; i++, s >>= 8n) out[i] = Number(s & 0xffn);
  return out;
}

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of all of these",
  () => {
    expectAgreement(checked);
  },
  120_000,
);

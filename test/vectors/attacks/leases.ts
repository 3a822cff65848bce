import { concat } from "../../../src/domain/bytes.ts";
import { LEASE, type LeaseBody } from "../../../src/domain/lease.ts";
import { SignedBytes } from "../../../src/domain/signed.ts";
import { encodeSigned, signBody } from "../../../src/domain/signing.ts";
import {
  goodStory,
  keyOf,
  SECOND,
  START_US,
  type Story,
  type Twists,
} from "../../verifier/build.ts";
import type { Piece } from "../../verifier/frames.ts";
import { changed, drop, group, insert, only, story, told, twisted } from "./case.ts";

const { cases, add } = group("lease");
export const LEASES = cases;

const wrong = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const lease = (twist: (body: LeaseBody) => Partial<LeaseBody>, more: Twists = {}) =>
  twisted({ lease: (b) => ({ ...b, ...twist(b) }), ...more });
/** Signs each lease in the pack anew, changed. */
const relet =
  (twist: (body: LeaseBody) => Partial<LeaseBody>) =>
  async (pieces: Piece[], s: Story): Promise<void> => {
    for (const piece of pieces.filter((p) => p.kind === "LEASE")) {
      const body = LEASE.body.decode(SignedBytes.decode(piece.body).body);
      piece.body = encodeSigned(await signBody(LEASE, { ...body, ...twist(body) }, [s.issuer]));
    }
  };
const END = START_US + 60 * SECOND;

add(
  "expired",
  [28],
  "opened at the very end of its lease",
  "E_LEASE_EXPIRED@3",
  told((s) => s.act({ openedAtUs: END })),
);
add(
  "issued-when-over",
  [28],
  "issued in the moment in which it ended",
  "E_LEASE_EXPIRED@0",
  lease((b) => ({ notBeforeUs: b.issuedAtUs - 30 * SECOND, notAfterUs: b.issuedAtUs })),
);
add(
  "at-the-last-moment",
  [28],
  "opened in the last microsecond of its lease",
  "ANCHORED",
  told((s) => s.act({ openedAtUs: END - 1, egressLastUs: END - 1 })),
);
add(
  "not-yet",
  [29],
  "opened before its lease began",
  "E_LEASE_NOT_YET@3",
  told(async (s) => {
    await s.lease((b) => ({ ...b, notBeforeUs: b.notBeforeUs + 30 * SECOND }));
    await s.act();
  }),
);
add(
  "bytes-after-the-end",
  [28],
  "bytes left after the lease had ended",
  "E_LEASE_COVERAGE@3",
  told((s) => s.act({ egressLastUs: START_US + 80 * SECOND })),
);
add(
  "bytes-at-the-end",
  [28],
  "the last byte left at the very end of the lease",
  "E_LEASE_COVERAGE@3",
  told((s) => s.act({ egressLastUs: END })),
);
add(
  "renewed-meanwhile",
  [28],
  "bytes left after the lease had ended, under the next one",
  "ANCHORED",
  told(async (s) => {
    const close = s.begin({ egressLastUs: START_US + 80 * SECOND });
    s.tick(40 * SECOND);
    await s.lease();
    await close();
  }),
);
add(
  "a-gap-between-leases",
  [28],
  "bytes left across a gap between two leases",
  "E_LEASE_COVERAGE@3",
  told(async (s) => {
    const close = s.begin({ egressLastUs: START_US + 80 * SECOND });
    s.tick(40 * SECOND);
    await s.lease((b) => ({ ...b, notBeforeUs: END + 1 }));
    await close();
  }),
);
add(
  "renewed-without-the-scope",
  [51],
  "bytes left under a next lease that does not grant the scope",
  "E_LEASE_COVERAGE@3",
  told(async (s) => {
    const close = s.begin({ egressLastUs: START_US + 80 * SECOND });
    s.tick(40 * SECOND);
    await s.lease((b) => ({ ...b, scopes: [] }));
    await close();
  }),
);
add(
  "of-another-manifest",
  [30],
  "a lease for another manifest",
  "E_LEASE_MANIFEST@0",
  lease(() => ({ manifestHash: wrong(1) })),
);
add(
  "of-another-tenant",
  [31],
  "a lease of another tenant",
  "E_LEASE_TENANT@0",
  lease(() => ({ tenantId: "other" })),
);
add(
  "of-another-ledger",
  [18],
  "a lease for another ledger",
  "E_LEASE_LEDGER@0",
  told((s) => s.act(), { change: relet(() => ({ ledgerId: wrong(1) })) }),
);
add(
  "of-another-instance",
  [18],
  "a lease for another instance",
  "E_LEASE_LEDGER@0",
  lease(() => ({ instanceId: "0193000000ff70008000000000000001" })),
);
add(
  "withheld",
  [34],
  "the lease is left out",
  "E_LEASE_MISSING@2",
  changed((p) => drop(p, "LEASE")),
);
add(
  "by-the-sidecar",
  [35],
  "the sidecar signs its own lease",
  "E_LEASE_SIG@0",
  twisted({ leaseSigner: keyOf("ledger") }),
);
add(
  "by-an-operator",
  [35],
  "an operator's key signs a lease",
  "E_LEASE_SIG@0",
  twisted({ leaseSigner: keyOf("operator") }),
);
add(
  "altered",
  [35],
  "a lease is altered after it was signed",
  "E_LEASE_SIG@0",
  changed((p) => {
    const { body, signatures } = SignedBytes.decode(only(p, "LEASE").body);
    const longer = concat(body.slice(0, -1), Uint8Array.of((body.at(-1) as number) + 1));
    only(p, "LEASE").body = SignedBytes.encode({ body: longer, signatures });
  }),
);
add(
  "head-not-in-the-chain",
  [36],
  "a lease pins a head that the chain never had",
  "E_LEASE_HEAD@1",
  lease(() => ({ headRoot: wrong(9) })),
);
add(
  "intents-not-in-the-chain",
  [36],
  "a lease pins a head of the intents that never was",
  "E_LEASE_HEAD@1",
  lease(() => ({ intentsHead: wrong(9) })),
);
add(
  "head-beyond",
  [8, 36],
  "a lease pins more receipts than are shown",
  "E_TAIL_TRUNCATED@4",
  told(
    async (s) => {
      await s.act();
      await s.lease();
    },
    { change: relet((b) => ({ headSize: b.headSize === 3 ? 50 : b.headSize })) },
  ),
);
add(
  "without-a-head",
  [36],
  "a lease that pins no head",
  "E_LEASE_FIELD@0",
  lease(() => ({ headRoot: new Uint8Array(0) })),
);
add(
  "control-root-without-a-size",
  [36],
  "a lease that pins half a control head",
  "E_LEASE_FIELD@0",
  lease(() => ({ controlRoot: wrong(1) })),
);
const revocations = [{ body: {}, signer: keyOf("operator") }];
add(
  "revoked-and-known",
  [37],
  "used after a revocation that the lease itself states",
  "E_LEASE_REVOKED@2",
  lease(() => ({ revocationEpoch: 1 }), { revocations }),
);
add(
  "revoked-and-not-known-yet",
  [37],
  "used after a revocation that had not reached it: told",
  "ANCHORED USED_AFTER_REVOCATION:3",
  twisted({ revocations }),
);
add(
  "revocation-not-shown",
  [37],
  "leases know of revocations that are not shown: told",
  "ANCHORED REVOCATION_NOT_SHOWN:1",
  lease(() => ({ revocationEpoch: 2 })),
);
for (const [kind, target] of [
  ["INSTANCE", (s: Story) => s.ledgerId],
  ["MANIFEST", (s: Story) => s.manifestHash],
  ["KEY", (s: Story) => s.operator.publicKey],
] as const) {
  add(
    `revoked-by-${kind.toLowerCase()}`,
    [37],
    `used after a revocation of its ${kind.toLowerCase()}, which the lease states`,
    "E_LEASE_REVOKED@2",
    async () => {
      const plain = await goodStory();
      return lease(() => ({ revocationEpoch: 1 }), {
        revocations: [{ body: { kind, target: target(plain) }, signer: keyOf("operator") }],
      })();
    },
  );
}
add(
  "revoked-tenant-and-resumed",
  [37],
  "the tenant was stopped and resumed before the lease",
  "ANCHORED",
  lease(() => ({ revocationEpoch: 2 }), {
    revocations: [
      { body: { kind: "TENANT", target: new Uint8Array(0) }, signer: keyOf("operator") },
      { body: { kind: "RESUME", target: new Uint8Array(0) }, signer: keyOf("operator") },
    ],
  }),
);
add(
  "revocation-forged",
  [37],
  "a revocation that no operator signed",
  "E_REVOCATION_SIG@0",
  twisted({
    revocations: [{ body: {}, signer: keyOf("mallory") }],
  }),
);
add(
  "revocation-gap",
  [37],
  "a revocation is left out between two",
  "E_REVOCATION_GAP@0",
  twisted({
    revocations: [
      { body: {}, signer: keyOf("operator") },
      { body: { epoch: 3 }, signer: keyOf("operator") },
    ],
  }),
);
add(
  "lasts-longer",
  [51],
  "a lease that lasts longer than its grant allows",
  "E_LEASE_WIDENED@0",
  lease((b) => ({ notAfterUs: b.notAfterUs + 1 })),
);
add(
  "scope-not-granted",
  [51],
  "a lease with a scope that its grant has not",
  "E_LEASE_WIDENED@0",
  lease((b) => ({
    scopes: [
      ...b.scopes,
      { name: "write:ledger", limits: b.scopes[0]?.limits as LeaseBody["scopes"][0]["limits"] },
    ],
  })),
);
add(
  "more-than-granted",
  [51],
  "a lease that allows more actions than its grant",
  "E_LEASE_WIDENED@0",
  lease(
    (b) => ({ scopes: b.scopes.map((s) => ({ ...s, limits: { ...s.limits, maxActions: 5 } })) }),
    { limits: { maxActions: 4 } },
  ),
);
add(
  "outlives-its-grant",
  [51],
  "a lease that ends after its grant",
  "E_LEASE_WIDENED@0",
  twisted({
    grant: (b) => ({ ...b, notAfterUs: START_US + 30 * SECOND }),
    dock: (b) => ({ ...b, notAfterUs: START_US + 30 * SECOND }),
  }),
);
add(
  "observes-more",
  [51],
  "a lease that observes where its grant does not",
  "E_LEASE_WIDENED@0",
  lease(() => ({ observeUntilUs: END })),
);
add(
  "of-another-version",
  [39],
  "a lease of a version to come",
  "E_LEASE_FIELD@0",
  lease(() => ({ version: 2 })),
);
add(
  "number-twice",
  [11],
  "two leases under one number",
  "E_LEASE_DUP@0",
  told(async (s) => {
    await s.lease((b) => ({ ...b, leaseSeq: 1 }));
    await s.act();
  }),
);
add(
  "the-same-twice",
  [5],
  "one lease twice",
  "E_LEASE_DUP@0",
  changed((p) => insert(p, "LEASE", 1, only(p, "LEASE"))),
);
add(
  "before-its-issue",
  [29],
  "a lease that begins an hour before it was issued",
  "E_LEASE_WIDENED@0",
  lease((b) => ({
    issuedAtUs: b.issuedAtUs + 50 * SECOND,
    notBeforeUs: b.notBeforeUs - 1800 * SECOND,
    notAfterUs: b.notBeforeUs - 1770 * SECOND,
  })),
);
add("revocation-twice", [5], "one revocation twice", "E_REVOCATION_DUP@0", async () => {
  const s = await goodStory({ revocations });
  const [one] = s.revocations.map(encodeSigned);
  const pack = await s.pack({}, { revocations: [one, one] as Uint8Array[] });
  return { pack, trust: s.trust, nowUs: s.nowUs };
});
add(
  "head-lag",
  [36],
  "used after the lease two numbers up had pinned the intents",
  "E_HEAD_LAG@3",
  told(async (s) => {
    const old = s.leases[0]?.ref as Uint8Array;
    await s.lease();
    await s.lease();
    await s.act({ header: (d) => ({ ...d, leaseRef: old }) });
  }),
);
add(
  "head-lag-of-one",
  [36],
  "used after the very next lease had pinned the intents: honest, it was on its way",
  "ANCHORED",
  told(async (s) => {
    const close = s.begin();
    await s.lease();
    await close();
    await s.act();
  }),
);
add(
  "where-none-is-cited",
  [51],
  "a lease beside receipts that cite none",
  "E_UNREFERENCED@0",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.checkpoint();
    },
    {
      change: (p, s) => {
        const body = encodeSigned(s.leases[0]?.signed as SignedBytes);
        insert(p, "CHECKPOINT", 1, { kind: "LEASE", body });
      },
    },
  ),
);
add(
  "cited-by-nothing",
  [51],
  "a lease that nothing cites",
  "E_UNREFERENCED@0",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.act();
      for (let i = 0; i < 3; i++) await s.lease();
      await s.checkpoint();
    },
    {
      change: (p, s) => {
        const stray = s.leases[3]?.signed as SignedBytes;
        p.splice(p.findLastIndex((x) => x.kind === "LEASE") + 1, 0, {
          kind: "LEASE",
          body: encodeSigned(stray),
        });
      },
    },
  ),
);
add(
  "id-of-another-form",
  [50],
  "a lease under an id of another kind",
  "E_LEASE_FIELD@0",
  lease((b) => ({ leaseId: b.leaseId.replace("lse_", "grt_") })),
);

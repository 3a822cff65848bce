import type { Signer } from "../../../src/domain/crypto.ts";
import { KEYSET, type KeyEntry, type KeysetBody } from "../../../src/domain/keyset.ts";
import type { SignedBytes } from "../../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../../src/domain/signing.ts";
import type { TrustFile } from "../../../src/verifier/trust-file.ts";
import { crypto, keyOf, SECOND, START_US } from "../../verifier/build.ts";
import { changed, drop, group, insert, twisted } from "./case.ts";

const { cases, add } = group("keyset");
export const KEYSETS = cases;

const keys = (change: (key: KeyEntry) => Partial<KeyEntry>) => (b: KeysetBody) => ({
  ...b,
  keys: b.keys.map((k) => ({ ...k, ...change(k) })),
});
const of = (role: KeyEntry["role"], change: Partial<KeyEntry>) =>
  keys((k) => (k.role === role ? change : {}));

add(
  "by-another-root",
  [20],
  "a keyset by another root",
  "E_KEYSET_SIG@0",
  twisted({ keysetSigner: keyOf("mallory") }),
);
add(
  "rolled-back",
  [12],
  "a keyset older than the auditor knows",
  "E_KEYSET_ROLLBACK@0",
  changed((p) => p, { keysetVersion: 2 }),
);
add(
  "withheld",
  [34],
  "the keyset is left out",
  "E_KEYSET_MISSING@0",
  changed((p) => drop(p, "KEYSET")),
);
add(
  "of-another-tenant",
  [17],
  "a keyset of another tenant",
  "E_TENANT_MISMATCH@0",
  twisted({ keyset: (b) => ({ ...b, tenantId: "other" }) }),
);
add(
  "with-a-root-among-its-keys",
  [24],
  "a keyset in which the root is an issuer as well",
  "E_KEYSET_FIELD@0",
  twisted({ keyset: of("ISSUER", { key: keyOf("root").publicKey }) }),
);
add(
  "unsorted",
  [40],
  "a keyset whose keys are out of order",
  "E_KEYSET_FIELD@0",
  twisted({ keyset: (b) => ({ ...b, keys: b.keys.toReversed() }) }),
);
add(
  "threshold-missed",
  [20],
  "one operator signs what takes two",
  "E_GRANT_SIG@0",
  twisted({
    keyset: (b) => ({
      ...b,
      keys: sorted([
        ...b.keys,
        { ...(b.keys[0] as KeyEntry), key: keyOf("operator two").publicKey },
      ]),
      thresholds: [{ role: "OPERATOR_GRANT", signatures: 2 }],
    }),
  }),
);
add(
  "threshold-met-by-one-twice",
  [20],
  "one operator signs twice what takes two",
  "E_GRANT_SIG@0",
  twisted({
    keyset: (b) => ({
      ...b,
      keys: sorted([
        ...b.keys,
        { ...(b.keys[0] as KeyEntry), key: keyOf("operator two").publicKey },
      ]),
      thresholds: [{ role: "OPERATOR_GRANT", signatures: 2 }],
    }),
    grantSigners: [keyOf("operator"), keyOf("operator")],
  }),
);
add(
  "operator-expired",
  [28],
  "a grant signed after the operator's key had ended",
  "E_GRANT_KEY_EXPIRED@0",
  twisted({ keyset: of("OPERATOR_GRANT", { notAfterUs: START_US - 55 * SECOND }) }),
);
add(
  "operator-compromised",
  [37],
  "a grant by a key that was compromised by then",
  "E_GRANT_KEY_COMPROMISED@0",
  twisted({ keyset: of("OPERATOR_GRANT", { compromisedFromUs: START_US - 55 * SECOND }) }),
);
add(
  "operator-compromised-later",
  [37],
  "a grant by a key that was compromised after it",
  "ANCHORED",
  twisted({ keyset: of("OPERATOR_GRANT", { compromisedFromUs: START_US + SECOND }) }),
);
add(
  "issuer-expired",
  [28],
  "a lease signed after the issuer's key had ended",
  "E_LEASE_KEY_EXPIRED@0",
  twisted({ keyset: of("ISSUER", { notAfterUs: START_US - SECOND }) }),
);
add(
  "issuer-not-yet",
  [29],
  "a lease signed before the issuer's key began",
  "E_LEASE_KEY_EXPIRED@0",
  twisted({ keyset: of("ISSUER", { notBeforeUs: START_US + SECOND }) }),
);
add(
  "issuer-compromised",
  [37],
  "a lease by an issuer that was compromised by then",
  "E_LEASE_KEY_COMPROMISED@0",
  twisted({ keyset: of("ISSUER", { compromisedFromUs: START_US }) }),
);
add(
  "key-of-two-roles",
  [24],
  "one key as operator and issuer",
  "E_KEYSET_FIELD@0",
  twisted({ keyset: of("ISSUER", { key: keyOf("operator").publicKey }) }),
);

const [old, heir] = [keyOf("root"), keyOf("root two")];
/** The keyset after another, changed, and signed by the first root unless told otherwise. */
async function next(
  after: SignedBytes,
  change: (body: KeysetBody) => Partial<KeysetBody> = () => ({}),
  by: readonly Signer[] = [old],
): Promise<SignedBytes> {
  const body = KEYSET.body.decode(after.body);
  const previous = refOf(crypto, "keyset", after.body);
  const more = { keysetVersion: body.keysetVersion + 1, previous, rootKey: new Uint8Array(0) };
  return signBody(KEYSET, { ...body, ...more, ...change(body) }, by);
}
/** The good pack with these keysets in place of its own. */
const shown = (
  make: (first: SignedBytes) => Promise<readonly SignedBytes[]>,
  trust: Partial<TrustFile> = {},
) =>
  changed(async (p, s) => {
    drop(p, "KEYSET");
    for (const signed of await make(s.keyset)) {
      insert(p, "MANIFEST", 1, { kind: "KEYSET", body: encodeSigned(signed) });
    }
  }, trust);
const handover = (first: SignedBytes, by: readonly Signer[] = [old, heir]) =>
  next(first, () => ({ rootKey: heir.publicKey }), by);
const pinned = { rootKey: heir.publicKey };

add(
  "three",
  [47],
  "three keysets, each after the one before",
  "ANCHORED",
  shown(async (first) => {
    const second = await next(first);
    return [first, second, await next(second)];
  }),
);
add(
  "one-left-out",
  [3],
  "three keysets, and the second is left out",
  "E_KEYSET_REF@0",
  shown(async (first) => [first, await next(await next(first))]),
);
add(
  "follows-another",
  [3],
  "a keyset that cites another than the one before",
  "E_KEYSET_REF@0",
  shown(async (first) => [
    first,
    await next(first, () => ({ previous: new Uint8Array(32).fill(1) })),
  ]),
);
add(
  "twice",
  [5],
  "one keyset twice",
  "E_KEYSET_DUP@0",
  shown(async (first) => [first, first]),
);
add(
  "exchanged",
  [4],
  "two keysets change places",
  "E_KEYSET_DUP@0",
  shown(async (first) => [await next(first), first]),
);
add(
  "drops-a-key",
  [37],
  "a keyset that does not name a key of the one before",
  "E_KEYSET_FIELD@0",
  shown(async (first) => {
    const spare = { role: "WITNESS" as const, key: keyOf("spare").publicKey };
    const more = await next(first, ({ keys }) => ({
      keys: [...keys, { ...(keys[0] as KeyEntry), ...spare }],
    }));
    return [more, await next(more, ({ keys }) => ({ keys: keys.slice(0, -1) }))];
  }),
);
add(
  "root-handed-over",
  [20],
  "a keyset that hands over to another root, and the next by that root",
  "ANCHORED",
  shown(async (first) => {
    const second = await handover(first);
    return [first, second, await next(second, () => ({}), [heir])];
  }),
);
add(
  "root-used-again",
  [20],
  "the old root signs again after it handed over",
  "E_KEYSET_SIG@0",
  shown(async (first) => {
    const second = await handover(first);
    return [first, second, await next(second)];
  }),
);
add(
  "heir-pinned",
  [20],
  "the auditor pins the root that was handed over to",
  "ANCHORED",
  shown(async (first) => [await handover(first)], pinned),
);
add(
  "heir-pinned-later",
  [20],
  "the auditor pins the new root, and the hand-over is not shown",
  "ANCHORED",
  shown(async (first) => [await next(await handover(first), () => ({}), [heir])], pinned),
);
add(
  "heir-unknown",
  [20],
  "the auditor pins the old root, and the hand-over is not shown",
  "E_KEYSET_SIG@0",
  shown(async (first) => [await next(await handover(first), () => ({}), [heir])]),
);
add(
  "heir-alone",
  [20],
  "a hand-over that the new root alone signed",
  "E_KEYSET_SIG@0",
  shown(async (first) => [await handover(first, [heir])], pinned),
);
add(
  "heir-silent",
  [20],
  "a hand-over that the old root alone signed",
  "E_KEYSET_SIG@0",
  shown(async (first) => [await handover(first, [old])]),
);

function sorted(list: KeyEntry[]): KeyEntry[] {
  const roles = ["OPERATOR_GRANT", "OPERATOR_LOGIN", "ISSUER", "COSIGNER", "CONTROL_LEDGER"];
  return list.toSorted(
    (a, b) => roles.indexOf(a.role) - roles.indexOf(b.role) || Buffer.compare(a.key, b.key),
  );
}

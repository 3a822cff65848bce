import { beforeEach, describe, expect, test } from "vitest";
import { cosignHead, openNote, originOf } from "../../src/domain/checkpoint.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { KeysetBody } from "../../src/domain/keyset.ts";
import { native } from "../../src/native/crypto.ts";
import { seedSigner } from "../../src/native/keys.ts";
import { CosignedHeads } from "./cosigned.ts";

const seed = (n: number) => new Uint8Array(32).fill(n);
const ledgerSigner = seedSigner(seed(1));
const cosigner = seedSigner(seed(2));
const stranger = seedSigner(seed(3));
const ledgerId = seed(9);
const root = seed(7);
const NAME = "dragons.example/dev";

const keyset: KeysetBody = {
  ...KeysetBody.empty(),
  keys: [
    {
      role: "COSIGNER",
      key: cosigner.publicKey,
      notBeforeUs: 0,
      notAfterUs: 1,
      holder: "control plane",
      compromisedFromUs: 0,
      loginRole: "UNSPECIFIED",
    },
  ],
};

let heads: CosignedHeads;
beforeEach(() => {
  heads = new CosignedHeads(native, ledgerId, ledgerSigner);
  heads.remember({ size: 4, root });
});
const note = (
  change: { size?: number; root?: Uint8Array; ledgerId?: Uint8Array } = {},
  by = cosigner,
) =>
  cosignHead(
    native,
    { ledgerId, size: 4, root, ...change },
    { name: NAME, signer: by },
    1_700_000_000,
  );

describe("a head that came back countersigned", () => {
  test("gets the ledger's own line before the cosigner's, and both verify", async () => {
    const complete = await heads.complete(await note(), keyset);
    const opened = openNote(native, complete as string, [
      { role: "LEDGER", name: originOf(ledgerId), key: ledgerSigner.publicKey },
      { role: "COSIGNER", name: NAME, key: cosigner.publicKey },
    ]);
    expect(isInvalid(opened)).toBe(false);
    expect(opened).toMatchObject({ checkpoint: { size: 4 }, unknown: [] });
    expect("signatures" in opened && opened.signatures.map((s) => s.signer.role)).toEqual([
      "LEDGER",
      "COSIGNER",
    ]);
  });

  test.each([
    ["a size that we never beat with", { size: 5 }],
    ["another root than ours", { root: seed(8) }],
    ["another ledger", { ledgerId: seed(6) }],
  ])("is not ours to sign: %s", async (_, change) => {
    expect(await heads.complete(await note(change), keyset)).toMatchObject({ code: "E_LEDGER" });
  });

  test("counts for nothing when a stranger signed it", async () => {
    expect(await heads.complete(await note({}, stranger), keyset)).toMatchObject({ invalid: true });
  });
});

import { expect, test } from "vitest";
import { encodeSigned } from "../../src/domain/signing.ts";
import { crypto, SECOND, Story } from "../../test/verifier/build.ts";
import { coveringRange } from "./covering.ts";

/** Boot, two calls under one lease, a denial, two calls under the next. */
async function kept() {
  const story = await Story.begin();
  await story.lifecycle();
  await story.lease();
  await story.act();
  await story.act();
  await story.deny({ path: "/payments.v1.Payments/Refund" });
  await story.lease();
  await story.act();
  await story.act();
  const headers = (from: number, limit: number) =>
    story.receipts
      .slice(from - 1, from - 1 + limit)
      .map(({ seq, signed }) => ({ seq, signed: encodeSigned(signed) }));
  const ledger = { head: () => story.chain.head(), headers };
  const leases = { entries: () => story.leases.map((l) => l.signed) };
  return { story, of: { crypto, ledger, leases } };
}
const nothing = { leaseId: "", sinceUs: 0n, untilUs: 0n };

test("a lease or a time is covered from its first receipt to its last", async () => {
  const { story, of } = await kept();
  const [first, second] = story.leases.map((l) => l.body.leaseId);
  expect(await coveringRange(of, nothing)).toBeNull();
  expect(await coveringRange(of, { ...nothing, leaseId: first as string })).toEqual({
    from: 2,
    to: 4,
  });
  expect(await coveringRange(of, { ...nothing, leaseId: second as string })).toEqual({
    from: 5,
    to: 6,
  });
  const at = (seconds: number) => BigInt(story.nowUs - seconds * SECOND);
  expect(await coveringRange(of, { ...nothing, sinceUs: at(1) })).toEqual({ from: 5, to: 6 });
  expect(await coveringRange(of, { ...nothing, untilUs: at(3) })).toEqual({ from: 1, to: 2 });
  const both = { leaseId: second as string, sinceUs: at(0), untilUs: 0n };
  expect(await coveringRange(of, both)).toEqual({ from: 6, to: 6 });
});

test("what is of no receipt is said, and not given as the whole", async () => {
  const { of } = await kept();
  const wrong = (asked: Partial<typeof nothing>) => coveringRange(of, { ...nothing, ...asked });
  await expect(wrong({ leaseId: "lse_1" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(wrong({ sinceUs: 2n ** 52n })).rejects.toMatchObject({ code: "NOT_FOUND" });
});

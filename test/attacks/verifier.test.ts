import { expect, test } from "vitest";
import { u64be } from "../../src/domain/bytes.ts";
import { GRANT } from "../../src/domain/grant.ts";
import { encodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import { Flags } from "../../src/verifier/flags.ts";
import { Intents } from "../../src/verifier/intents.ts";
import { check, crypto, Story } from "../verifier/build.ts";

/**
 * Operators may have granted more to others than to the instances of this dock. An issuer's key cuts
 * leases from that as well, and a sidecar in league with it would take them.
 */
test("a lease cut from another grant than that of the instance's dock breaks the pack", async () => {
  const story = await Story.begin();
  const wide = { ...GRANT.body.decode(story.grant.body), purpose: "for others" };
  const other = await signBody(GRANT, wide, [story.operator]);
  const grantRef = refOf(crypto, "grant", other.body);
  await story.lifecycle();
  await story.lease((body) => ({ ...body, grantRef }));
  await story.act();
  await story.checkpoint();
  const grants = [story.grant, other].map(encodeSigned);
  const report = await check(story, await story.pack({}, { grants }));
  expect(report.broken).toMatchObject({ code: "E_LEASE_REF", index: 0 });
});

test("a key holder who states another intent head in each receipt does not make the verifier slow", () => {
  const intents = new Intents(crypto, new Flags(), 0, crypto.sha256(u64be(0)));
  for (let i = 1; i <= 50_000; i++) {
    const head = crypto.sha256(u64be(i));
    intents.state(9, { head, code: "E_INTENT_CHAIN", index: i, who: `receipt ${i}` });
  }
  expect(intents.missing()).toBe(1);
}, 5_000);

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { AuthorityHolder } from "../../sidecar/gate/authority.ts";
import { authorityDecider } from "../../sidecar/gate/decide.ts";
import { ArtifactFiles } from "../../sidecar/identity/artifact-files.ts";
import { HeldAuthority } from "../../sidecar/identity/held-authority.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { clockSkewMaxUs } from "../../src/domain/limits.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { SteadyClock } from "../../src/native/steady-clock.ts";
import * as f from "../fixtures/authority.ts";

/**
 * A sidecar that is cut off hears of no revocation. What was revoked the moment after its lease was
 * cut it goes on doing for the lease's length and what clocks may differ by, and not a second longer:
 * the bound that docs/keys.md states.
 */

const TTL = 60 * f.SECOND;
const CLAIM = f.claimOf("/payments.v1.Payments/GetPayment");

/** The last true second after the lease was cut at which this sidecar acts; null: it never does. */
async function lastActed(aheadUs: number): Promise<number | null> {
  const chain = await f.makeChain();
  const machine = new ManualClock(f.NOW + aheadUs);
  const clock = new SteadyClock(machine);
  const files = new ArtifactFiles(mkdtempSync(join(tmpdir(), "dragons-partition-")));
  const { keyset, grant, dock, genesis, manifest } = chain;
  const signed = {
    keyset: keyset.signed,
    grant: grant.signed,
    dock: dock.signed,
    genesis: genesis.signed,
    manifest: ManifestBody.encode(manifest),
  };
  const root = f.keys.root.publicKey;
  const authority = f.ok(HeldAuthority.verify(native, root, files, signed, clock.nowUs()));
  const holder = new AuthorityHolder(clock, authorityDecider(authority));
  holder.set({ manifestRecorded: true });
  const body = f.leaseBody(grant.ref, genesis.ref, { notAfterUs: f.NOW + TTL });
  const lease = authority.verifyLease(await f.signLease(body), clock.nowUs());
  if (isInvalid(lease)) return null;
  holder.adopt(lease);
  let last: number | null = null;
  for (let second = 0; second < 400; second++) {
    if (holder.decide(CLAIM).allowed) last = second;
    machine.advance(f.SECOND);
  }
  holder.close();
  return last;
}

describe("a sidecar that is cut off from the word that revokes", () => {
  test("whose clock is right acts until its lease ends", async () => {
    expect(await lastActed(0)).toBe(TTL / f.SECOND - 1);
  });

  test.each([-clockSkewMaxUs, -clockSkewMaxUs / 2, clockSkewMaxUs / 4, clockSkewMaxUs / 2])(
    "whose clock is %d µs ahead acts for no longer than TTL and skew",
    async (aheadUs) => {
      const last = await lastActed(aheadUs);
      expect((last ?? 0) * f.SECOND).toBeLessThan(TTL + clockSkewMaxUs);
    },
  );

  test("whose clock is behind by more than clocks may differ takes no lease", async () => {
    expect(await lastActed(-clockSkewMaxUs - f.SECOND)).toBeNull();
  });
});

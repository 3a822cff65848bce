import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { ArtifactFiles } from "../../sidecar/identity/artifact-files.ts";
import { HeldAuthority } from "../../sidecar/identity/held-authority.ts";
import { DOCK, verifyDock } from "../../src/domain/dock.ts";
import { GENESIS, verifyGenesis } from "../../src/domain/genesis.ts";
import { GRANT, LIMIT_NAMES, UNLIMITED, verifyGrant } from "../../src/domain/grant.ts";
import { KEYSET, type KeyEntry } from "../../src/domain/keyset.ts";
import { clockSkewMaxUs } from "../../src/domain/limits.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import { REVOCATION, type RevocationBody } from "../../src/domain/revocation.ts";
import { signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import * as f from "../fixtures/authority.ts";

/** What a control plane that was taken over, issuer key and all, may try on a running sidecar. */

let authority: HeldAuthority;
let chain: Awaited<ReturnType<typeof f.makeChain>>;

const folder = (): ArtifactFiles => new ArtifactFiles(mkdtempSync(join(tmpdir(), "dragons-held-")));

async function hold(files: ArtifactFiles = folder()): Promise<HeldAuthority> {
  const { keyset, grant, dock, genesis } = chain;
  const signed = {
    keyset: keyset.signed,
    grant: grant.signed,
    dock: dock.signed,
    genesis: genesis.signed,
    manifest: ManifestBody.encode(chain.manifest),
  };
  return f.ok(HeldAuthority.verify(native, f.keys.root.publicKey, files, signed, f.NOW));
}

beforeEach(async () => {
  chain = await f.makeChain();
  authority = await hold();
});

const lease = (more: Parameters<typeof f.leaseBody>[2] = {}) =>
  f.signLease(f.leaseBody(chain.grant.ref, chain.genesis.ref, more));

/** The next keyset, some of its entries bent. */
async function rekey(bend: (entry: KeyEntry) => KeyEntry, tenantId = "acme") {
  const keys = f.keysetBody().keys.map(bend);
  const body = f.keysetBody({ keysetVersion: 2, previous: chain.keyset.ref, keys, tenantId });
  return authority.adoptKeyset(await signBody(KEYSET, body, [f.keys.root]));
}

const compromised =
  (who: keyof typeof f.keys) =>
  (entry: KeyEntry): KeyEntry =>
    entry.key === f.keys[who].publicKey ? { ...entry, compromisedFromUs: 1 } : entry;

test("the fixture's lease holds", async () => {
  f.ok(authority.verifyLease(await lease(), f.NOW));
});

test.each(LIMIT_NAMES)(
  "a lease whose %s goes beyond the grant's is refused, however small the step",
  async (limit) => {
    const granted = { maxActions: 9, maxBytes: 9, ratePerMinute: 9, maxConcurrent: 9 };
    chain = await f.makeChain({ scopes: [{ name: "read:payments", limits: granted }] });
    authority = await hold();
    const asking = (number: number) =>
      lease({ scopes: [{ name: "read:payments", limits: { ...granted, [limit]: number } }] });
    f.ok(authority.verifyLease(await asking(9), f.NOW));
    for (const number of [10, UNLIMITED]) {
      expect(authority.verifyLease(await asking(number), f.NOW)).toMatchObject({
        code: "E_WIDENED",
        detail: expect.stringContaining(limit),
      });
    }
  },
);

describe("once a newer keyset was adopted", () => {
  test.each(["alice", "issuer"] as const)(
    "that gives the key of %s up, nothing that rests on it is leased any more",
    async (who) => {
      f.ok(await rekey(compromised(who)));
      expect(authority.verifyLease(await lease(), f.NOW)).toMatchObject({
        code: "E_KEY_COMPROMISED",
      });
    },
  );

  test("of another tenant under the same root, it is refused, and nothing has changed", async () => {
    expect(await rekey((entry) => entry, "other")).toMatchObject({ code: "E_TENANT" });
    expect(authority.keyset.body.keysetVersion).toBe(1);
    f.ok(authority.verifyLease(await lease(), f.NOW));
  });
});

describe("a revocation", () => {
  const revocation = async (body: Partial<RevocationBody>, signer = f.keys.alice) =>
    signBody(
      REVOCATION,
      {
        version: 1,
        tenantId: "acme",
        epoch: 1,
        previous: new Uint8Array(0),
        kind: "KEY",
        target: f.keys.issuer.publicKey,
        effectiveUs: f.NOW,
        reason: "",
        ...body,
      } as RevocationBody,
      [signer],
    );

  test.each(["alice", "issuer"] as const)(
    "of the key of %s takes every lease back that rests on it",
    async (who) => {
      const target = f.keys[who].publicKey;
      await f.ok(authority.adoptRevocation(await revocation({ target }, f.keys.bob))).durable;
      expect(authority.verifyLease(await lease(), f.NOW)).toMatchObject({ code: "E_REVOKED" });
    },
  );

  test("is adopted by a sidecar whose clock is far behind, now and at its next start", async () => {
    const effectiveUs = f.NOW + 10 * clockSkewMaxUs;
    const files = folder();
    authority = await hold(files);
    await f.ok(authority.adoptRevocation(await revocation({ effectiveUs }))).durable;
    const restarted = await hold(files);
    expect(await restarted.restore()).toBeNull();
    for (const held of [authority, restarted]) {
      expect(held.verifyLease(await lease(), f.NOW)).toMatchObject({ code: "E_REVOKED" });
    }
  });
});

test("no lease is taken under a grant that wants a stronger measure than this version takes", async () => {
  const wanted = f.grantBody({ measureMin: "LAUNCHED" });
  const signed = await signBody(GRANT, wanted, [f.keys.alice]);
  const grant = f.ok(verifyGrant(native, signed, chain.keyset, chain.manifest, f.NOW));
  const docked = await signBody(DOCK, f.dockBody(grant.ref), [f.keys.alice]);
  const dock = f.ok(verifyDock(native, docked, chain.keyset, grant, f.NOW));
  const born = await signBody(GENESIS, f.genesisBody(dock.ref), [f.keys.join, f.keys.ledger]);
  const genesis = f.ok(verifyGenesis(native, born, dock));
  chain = { ...chain, grant, dock, genesis };
  authority = await hold();
  expect(authority.verifyLease(await lease(), f.NOW)).toMatchObject({ code: "E_MANIFEST" });
});

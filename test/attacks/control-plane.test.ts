import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { ArtifactFiles } from "../../sidecar/identity/artifact-files.ts";
import {
  type ChainOfAuthority,
  HeldAuthority,
  ROOT_FILE,
} from "../../sidecar/identity/held-authority.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { DIRECTIVE, type DirectiveBody } from "../../src/domain/directive.ts";
import { DOCK } from "../../src/domain/dock.ts";
import { GENESIS } from "../../src/domain/genesis.ts";
import { GRANT } from "../../src/domain/grant.ts";
import { KEYSET, type KeysetBody } from "../../src/domain/keyset.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import { clockSkewMaxUs } from "../../src/domain/limits.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import { REVOCATION, type RevocationBody } from "../../src/domain/revocation.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import * as f from "../fixtures/authority.ts";

/**
 * A control plane that was taken over, with every key that it holds: issuer, cosigner and the key of
 * the tenant ledger. It says what it likes; a sidecar that pins the tenant root takes nothing from it
 * that operators did not sign.
 */

const stolen = [f.keys.issuer, f.keys.cosigner, f.keys.controlLedger];
const NONE = new Uint8Array(0);
let chain: Awaited<ReturnType<typeof f.makeChain>>;
let files: ArtifactFiles;
let held: HeldAuthority;

const signedChain = (): ChainOfAuthority => ({
  keyset: chain.keyset.signed,
  grant: chain.grant.signed,
  dock: chain.dock.signed,
  genesis: chain.genesis.signed,
  manifest: ManifestBody.encode(chain.manifest),
});

const hold = (more: Partial<ChainOfAuthority> = {}) =>
  HeldAuthority.verify(native, f.keys.root.publicKey, files, { ...signedChain(), ...more }, f.NOW);

/** What the sidecar knows after a restart: its files, verified from the pinned root again. */
async function restarted(): Promise<HeldAuthority> {
  const keyset = (await files.readSigned("keyset")) ?? chain.keyset.signed;
  const again = f.ok(hold({ keyset }));
  expect(await again.restore()).toBeNull();
  return again;
}

beforeEach(async () => {
  chain = await f.makeChain();
  files = new ArtifactFiles(mkdtempSync(join(tmpdir(), "dragons-taken-over-")));
  held = f.ok(hold());
});

const lease = (more: Partial<LeaseBody> = {}, signer: Signer = f.keys.issuer) =>
  f.signLease(f.leaseBody(chain.grant.ref, chain.genesis.ref, more), signer);

const keysetOf = (more: Partial<KeysetBody>, by: Signer[] = [f.keys.root]) =>
  signBody(KEYSET, f.keysetBody({ keysetVersion: 2, previous: chain.keyset.ref, ...more }), by);

async function adopted(
  adoption: ReturnType<HeldAuthority["adoptRevocation" | "adoptKeyset"]>,
): Promise<void> {
  await f.ok(adoption).durable;
}

let last: { epoch: number; ref: Uint8Array };
beforeEach(() => {
  last = { epoch: 0, ref: NONE };
});

/** The next revocation of the honest chain. */
async function revocation(
  kind: RevocationBody["kind"],
  target: Uint8Array,
  by: Signer = kind === "LEASE" ? f.keys.issuer : f.keys.alice,
) {
  const body: RevocationBody = {
    version: 1,
    tenantId: "acme",
    epoch: last.epoch + 1,
    previous: last.ref,
    kind,
    target,
    effectiveUs: f.NOW,
    reason: "",
  };
  const signed = await signBody(REVOCATION, body, [by]);
  last = { epoch: body.epoch, ref: refOf(native, "revocation", signed.body) };
  return signed;
}

describe("cannot cut a lease that is wider than what operators granted", () => {
  const limited = (limits: object) => ({
    scopes: [{ name: "read:payments", limits: { ...f.FREE, maxActions: 1, ...limits } }],
  });
  const wide: [string, Partial<LeaseBody> | (() => Partial<LeaseBody>), string][] = [
    [
      "a scope of the manifest that was not granted",
      { scopes: [{ name: "admin:payments", limits: f.FREE }] },
      "E_WIDENED",
    ],
    ["more actions for each instance", limited({ maxActions: 1001 }), "E_WIDENED"],
    ["more calls at a time", limited({ maxConcurrent: 9 }), "E_WIDENED"],
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["another manifest", { manifestHash: f.sha("other") }, "E_MANIFEST"],
    ["another instance", { instanceId: "0189dcd553117d408db09496a2eef37c" }, "E_LEDGER"],
    ["another ledger", { ledgerId: f.sha("ledger") }, "E_LEDGER"],
    ["another grant", { grantRef: f.sha("grant") }, "E_REF"],
    [
      "a time before the grant's",
      { notBeforeUs: f.NOW - 2 * f.DAY, issuedAtUs: f.NOW - 2 * f.DAY, notAfterUs: f.NOW + 1 },
      "E_WIDENED",
    ],
    [
      "a time after the grant's",
      { notAfterUs: f.NOW + f.DAY + 1, notBeforeUs: f.NOW + f.DAY - 1 },
      "E_WIDENED",
    ],
    ["a longer TTL", { notAfterUs: f.NOW + 61 * f.SECOND }, "E_WIDENED"],
    ["an observing that was not granted", { observeUntilUs: f.NOW + 1 }, "E_WIDENED"],
    ["an issue in the future", { issuedAtUs: f.NOW + clockSkewMaxUs + 1 }, "E_NOT_YET_VALID"],
  ];
  test.each(wide)("%s", async (_, more, code) => {
    const signed = await lease(typeof more === "function" ? more() : more);
    expect(held.verifyLease(signed, f.NOW)).toMatchObject({ code });
  });

  test("and what is as wide as the grant is taken, so that the table above tests something", async () => {
    const whole = { notAfterUs: f.NOW + 60 * f.SECOND, scopes: f.grantBody().scopes };
    f.ok(held.verifyLease(await lease(whole), f.NOW));
  });

  test("nor one by any other key that it holds", async () => {
    for (const key of stolen.slice(1)) {
      const judged = held.verifyLease(await lease({}, key), f.NOW);
      expect(judged).toMatchObject({ code: "E_KEY_UNKNOWN" });
    }
  });
});

describe("cannot invent", () => {
  test("a grant or a dock: operators sign them, in the keyset that the root signed", async () => {
    for (const key of stolen) {
      const grant = await signBody(GRANT, f.grantBody({ instancesMax: 1000 }), [key]);
      expect(hold({ grant })).toMatchObject({ code: "E_KEY_UNKNOWN" });
      const dock = await signBody(DOCK, f.dockBody(chain.grant.ref), [key]);
      expect(hold({ dock })).toMatchObject({ code: "E_KEY_UNKNOWN" });
    }
  });

  test("an instance: its genesis wants a join key that operators named, and its ledger key", async () => {
    const own = f.keyNamed("made up");
    const attempts: [Parameters<typeof f.genesisBody>[1], Signer[], string][] = [
      [{ joinKey: own.publicKey }, [own, f.keys.ledger], "E_KEY_UNKNOWN"],
      [{}, [f.keys.ledger], "E_SIGNATURE"],
      [{}, [f.keys.issuer, f.keys.ledger], "E_SIGNATURE"],
      [{ ledgerKey: own.publicKey }, [f.keys.issuer, own], "E_SIGNATURE"],
    ];
    for (const [more, signers, code] of attempts) {
      const body = f.genesisBody(chain.dock.ref, more);
      expect(hold({ genesis: await signBody(GENESIS, body, signers) })).toMatchObject({ code });
    }
  });

  test("a keyset: the tenant root signs it, alone", async () => {
    for (const key of stolen) {
      expect(held.adoptKeyset(await keysetOf({}, [key]))).toMatchObject({ code: "E_KEY_UNKNOWN" });
    }
    expect(held.adoptKeyset(await keysetOf({}, [f.keys.root, f.keys.issuer]))).toMatchObject({
      code: "E_KEY_UNKNOWN",
    });
  });

  test("a manifest that hashes to what was granted", () => {
    const manifest = ManifestBody.encode({ ...chain.manifest, agentVersion: "v8" });
    expect(hold({ manifest })).toMatchObject({ invalid: true });
  });
});

describe("cannot bring back", () => {
  test("an older keyset, not even when the sidecar has started again", async () => {
    await adopted(held.adoptKeyset(await keysetOf({})));
    for (const sidecar of [held, await restarted()]) {
      expect(sidecar.adoptKeyset(chain.keyset.signed)).toMatchObject({ code: "E_ROLLBACK" });
      expect(sidecar.keyset.body.keysetVersion).toBe(2);
    }
  });

  test("a grant that was revoked, not even when the sidecar has started again", async () => {
    await adopted(held.adoptRevocation(await revocation("GRANT", chain.grant.ref)));
    for (const sidecar of [held, await restarted()]) {
      for (const revocationEpoch of [0, 1]) {
        const judged = sidecar.verifyLease(await lease({ revocationEpoch }), f.NOW);
        expect(judged).toMatchObject({ code: "E_REVOKED" });
      }
    }
  });

  test("another grant that operators did sign once: the dock names its own", async () => {
    const wide = f.grantBody({ grantId: f.idNamed("grt", 9), leaseTtlMaxUs: 3600 * f.SECOND });
    const old = await signBody(GRANT, wide, [f.keys.alice]);
    expect(hold({ grant: old })).toMatchObject({ code: "E_REF" });
    const grantRef = refOf(native, "grant", old.body);
    expect(held.verifyLease(await lease({ grantRef }), f.NOW)).toMatchObject({ code: "E_REF" });
    const dock = await signBody(DOCK, f.dockBody(grantRef), [f.keys.alice]);
    // With its own dock, too: the genesis, which this sidecar signed, names the one that it came by.
    expect(hold({ grant: old, dock })).toMatchObject({ code: "E_REF" });
  });

  test("an older epoch, a gap or another history of revocations", async () => {
    const first = await revocation("GRANT", f.sha("some grant"));
    const second = await revocation("KEY", f.sha("some key"));
    const after = last;
    await adopted(held.adoptRevocation(first));
    await adopted(held.adoptRevocation(second));
    const third = await revocation("INSTANCE", f.sha("a"));
    const fourth = await revocation("INSTANCE", f.sha("b"));
    last = { epoch: 2, ref: f.sha("another second") };
    const other = await revocation("INSTANCE", f.sha("c"));
    last = after;
    for (const sidecar of [held, await restarted()]) {
      expect(sidecar.revocationEpoch).toBe(2);
      expect(sidecar.adoptRevocation(first)).toMatchObject({ code: "E_ROLLBACK" });
      expect(sidecar.adoptRevocation(second)).toMatchObject({ code: "E_ROLLBACK" });
      expect(sidecar.adoptRevocation(fourth)).toMatchObject({ code: "E_REF" });
      expect(sidecar.adoptRevocation(other)).toMatchObject({ code: "E_REF" });
    }
    await adopted(held.adoptRevocation(third));
  });

  test("leases whose issuer knew of revocations that it withholds", async () => {
    const signed = await lease({ revocationEpoch: 1 });
    expect(held.verifyLease(signed, f.NOW)).toMatchObject({ code: "E_REF" });
    await adopted(held.adoptRevocation(await revocation("GRANT", f.sha("some grant"))));
    f.ok(held.verifyLease(signed, f.NOW));
  });

  test("what rests on an issuer key that operators took back: leases, releases", async () => {
    await adopted(held.adoptRevocation(await revocation("KEY", f.keys.issuer.publicKey)));
    const order: DirectiveBody = {
      version: 1,
      directiveId: f.idNamed("dir"),
      tenantId: "acme",
      instanceId: f.INSTANCE,
      ledgerId: chain.genesis.ref,
      sessionEpoch: 1,
      kind: "RELEASE",
      issuedAtUs: f.NOW,
      expiresAtUs: f.NOW + f.SECOND,
      reason: "",
    };
    const release = await signBody(DIRECTIVE, order, [f.keys.issuer]);
    for (const sidecar of [held, await restarted()]) {
      expect(sidecar.verifyLease(await lease({ revocationEpoch: 1 }), f.NOW)).toMatchObject({
        code: "E_REVOKED",
      });
      expect(sidecar.verifyDirective(release, 1, f.NOW)).toMatchObject({ code: "E_REVOKED" });
    }
  });
});

describe("a whole tenant that operators stopped", () => {
  const stop = async () => adopted(held.adoptRevocation(await revocation("TENANT", NONE)));

  test("is dead for every lease, old or new, until operators resume it", async () => {
    await stop();
    for (const sidecar of [held, await restarted()]) {
      for (const revocationEpoch of [0, 1]) {
        expect(sidecar.verifyLease(await lease({ revocationEpoch }), f.NOW)).toMatchObject({
          code: "E_REVOKED",
        });
      }
    }
  });

  test("lives by new leases once it is resumed; those from before stay dead", async () => {
    await stop();
    await adopted(held.adoptRevocation(await revocation("RESUME", NONE)));
    for (const sidecar of [held, await restarted()]) {
      f.ok(sidecar.verifyLease(await lease({ revocationEpoch: 2 }), f.NOW));
      for (const revocationEpoch of [0, 1]) {
        expect(sidecar.verifyLease(await lease({ revocationEpoch }), f.NOW)).toMatchObject({
          code: "E_REVOKED",
        });
      }
    }
  });

  test("is stopped again by the next stop", async () => {
    await stop();
    await adopted(held.adoptRevocation(await revocation("RESUME", NONE)));
    await stop();
    expect(held.verifyLease(await lease({ revocationEpoch: 3 }), f.NOW)).toMatchObject({
      code: "E_REVOKED",
    });
  });

  test("is not resumed by the control plane's own keys", async () => {
    await stop();
    for (const key of stolen) {
      const before = last;
      const resume = await revocation("RESUME", NONE, key);
      last = before;
      expect(held.adoptRevocation(resume)).toMatchObject({ code: "E_KEY_UNKNOWN" });
    }
  });

  test("is not resumed by an operator's key that was stolen and given up", async () => {
    await stop();
    await adopted(held.adoptRevocation(await revocation("RESUME", NONE, f.keys.bob)));
    f.ok(held.verifyLease(await lease({ revocationEpoch: 2 }), f.NOW));
    const givenUp = f
      .keysetBody()
      .keys.map((k) =>
        k.key === f.keys.bob.publicKey ? { ...k, compromisedFromUs: f.NOW - f.DAY } : k,
      );
    const before = held;
    await adopted(held.adoptKeyset(await keysetOf({ keys: givenUp })));
    for (const sidecar of [before, await restarted()]) {
      expect(sidecar.verifyLease(await lease({ revocationEpoch: 2 }), f.NOW)).toMatchObject({
        code: "E_REVOKED",
      });
    }
  });
});

test("a tenant stays stopped once the operator's key that resumed it is revoked", async () => {
  await adopted(held.adoptRevocation(await revocation("TENANT", NONE)));
  await adopted(held.adoptRevocation(await revocation("RESUME", NONE, f.keys.bob)));
  await adopted(held.adoptRevocation(await revocation("KEY", f.keys.bob.publicKey)));
  for (const sidecar of [held, await restarted()]) {
    for (const revocationEpoch of [2, 3]) {
      const judged = sidecar.verifyLease(await lease({ revocationEpoch }), f.NOW);
      expect(judged).toMatchObject({ code: "E_REVOKED" });
    }
  }
});

describe("what takes authority away", () => {
  test("counts before any disk has answered", async () => {
    const signed = await lease();
    f.ok(held.verifyLease(signed, f.NOW));
    const { durable } = f.ok(held.adoptRevocation(await revocation("GRANT", chain.grant.ref)));
    expect(held.verifyLease(signed, f.NOW)).toMatchObject({ code: "E_REVOKED" });
    await durable;
  });

  test("stays, and lets the sidecar start, when the key that said it is given up later", async () => {
    const signed = await lease();
    const { ref } = f.ok(held.verifyLease(signed, f.NOW));
    await adopted(held.adoptRevocation(await revocation("LEASE", ref)));
    const fresh = f.keyNamed("issuer, the next");
    const keys = f.sortedKeys(
      f.entry("ISSUER", fresh),
      ...f
        .keysetBody()
        .keys.map((k) => (k.role === "ISSUER" ? { ...k, compromisedFromUs: f.NOW - f.DAY } : k)),
    );
    await adopted(held.adoptKeyset(await keysetOf({ keys })));
    for (const sidecar of [held, await restarted()]) {
      expect(sidecar.revocationEpoch).toBe(1);
      expect(sidecar.verifyLease(signed, f.NOW)).toMatchObject({ code: "E_KEY_COMPROMISED" });
      f.ok(sidecar.verifyLease(await lease({ leaseSeq: 2 }, fresh), f.NOW));
    }
  });
});

describe("keys that have expired", () => {
  const expiring = (who: Signer, notAfterUs: number) =>
    keysetOf({
      keys: f.keysetBody().keys.map((k) => (k.key === who.publicKey ? { ...k, notAfterUs } : k)),
    });

  test("sign nothing more; what an operator's had signed before goes on", async () => {
    await adopted(held.adoptKeyset(await expiring(f.keys.alice, f.NOW - 1)));
    f.ok(held.verifyLease(await lease(), f.NOW));
    const late = await signBody(GRANT, f.grantBody({ issuedAtUs: f.NOW }), [f.keys.alice]);
    const keyset = held.keyset.signed;
    expect(hold({ keyset, grant: late })).toMatchObject({ code: "E_KEY_EXPIRED" });
  });

  test("cut no leases, and those that were cut before run out by themselves", async () => {
    const before = await lease();
    await adopted(held.adoptKeyset(await expiring(f.keys.issuer, f.NOW + 1)));
    f.ok(held.verifyLease(before, f.NOW));
    const after = await lease({ issuedAtUs: f.NOW + 1 });
    expect(held.verifyLease(after, f.NOW + 1)).toMatchObject({ code: "E_KEY_EXPIRED" });
  });
});

describe("a tenant root that hands over to another", () => {
  const next = f.keyNamed("root, the next");
  const handover = { rootKey: next.publicKey };
  const third = async (by: Signer) => {
    const previous = refOf(native, "keyset", (await keysetOf(handover, [f.keys.root, next])).body);
    return keysetOf({ keysetVersion: 3, previous }, [by]);
  };

  test("is followed without a restart, and after one; the old root says nothing any more", async () => {
    await adopted(held.adoptKeyset(await keysetOf(handover, [f.keys.root, next])));
    expect(held.adoptKeyset(await third(f.keys.root))).toMatchObject({ code: "E_KEY_UNKNOWN" });
    // A start may fall between the keyset and the root that it names: both roots hold it.
    expect((await restarted()).rootKey).toEqual(next.publicKey);
    await adopted(held.adoptKeyset(await third(next)));
    expect(await files.read(ROOT_FILE)).toEqual(next.publicKey);
    const keyset = await files.readSigned("keyset");
    if (keyset === null) throw new Error("no keyset was kept");
    const again = f.ok(
      HeldAuthority.verify(native, next.publicKey, files, { ...signedChain(), keyset }, f.NOW),
    );
    expect(again.keyset.body.keysetVersion).toBe(3);
    f.ok(again.verifyLease(await lease(), f.NOW));
  });

  test("must sign it, and so must the other", async () => {
    for (const by of [[f.keys.root], [next], [next, f.keys.issuer], [f.keys.root, f.keys.issuer]]) {
      expect(held.adoptKeyset(await keysetOf(handover, by))).toMatchObject({
        code: "E_KEY_UNKNOWN",
      });
    }
  });

  test("hands over to nobody who has a role already", async () => {
    const { alice } = f.keys;
    const taken = await keysetOf({ rootKey: alice.publicKey }, [f.keys.root, alice]);
    expect(held.adoptKeyset(taken)).toMatchObject({ code: "E_FIELD" });
  });
});

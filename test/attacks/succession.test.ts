import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { SidecarConfig } from "../../sidecar/config.ts";
import { openInstance } from "../../sidecar/identity/instance.ts";
import { DOCK } from "../../src/domain/dock.ts";
import { formatJoinToken } from "../../src/domain/join-token.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { seedSigner } from "../../src/native/keys.ts";
import { createCa } from "../../src/native/pki.ts";
import * as f from "../fixtures/authority.ts";

test("a control plane hands no older keyset to an instance whose ledger is succeeded", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dragons-succession-"));
  const { keyset, manifest, grant } = await f.makeChain();
  const next = f.keysetBody({ keysetVersion: 2, previous: keyset.ref });
  const newer = await signBody(KEYSET, next, [f.keys.root]);
  const ca = await createCa("test", { nowUs: f.NOW, ttlUs: f.DAY });

  /** Docks by a token of that number, at a control plane that hands out this keyset. */
  async function open(number: 1 | 2, handed: SignedBytes) {
    const joinSeed = f.sha(`join ${number}`);
    const joinKeys = [{ key: seedSigner(joinSeed).publicKey, ledgersMax: 1 }];
    const body = f.dockBody(grant.ref, { dockId: f.idNamed("dck", number), joinKeys });
    const dock = await signBody(DOCK, body, [f.keys.alice]);
    const manifestHash = f.hashOf(manifest);
    const tokenFile = join(folder, `token-${number}`);
    const token = {
      version: 1,
      tenantId: "acme",
      joinSeed,
      dockRef: refOf(native, "dock", dock.body),
      manifestHash,
      rootKey: f.keys.root.publicKey,
      controlAddress: "127.0.0.1:7443",
      controlCa: ca.certPem,
      keysetVersion: 1,
    };
    writeFileSync(tokenFile, formatJoinToken(token));
    const [dataFolder, keysFolder] = [join(folder, "data"), join(folder, "data.keys")];
    const succeed = number > 1;
    const config = { dataFolder, keysFolder, tokenFile, succeed, keysetFile: null, kept: null };
    const handedOut = {
      keyset: handed,
      grant: grant.signed,
      dock,
      manifest: ManifestBody.encode(manifest),
    };
    return openInstance(config as SidecarConfig, manifestHash, f.NOW, () => async () => handedOut);
  }

  const first = await open(1, newer);
  await expect(open(2, keyset.signed)).rejects.toThrow(/keyset 1, .* has held 2/);
  const successor = await open(2, newer);
  const { genesis, keyset: held } = successor.authority;
  expect(held.body.keysetVersion).toBe(2);
  expect(genesis.body.predecessor).toEqual(first.authority.genesis.ref);
});

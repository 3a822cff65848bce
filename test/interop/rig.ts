import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuthorityHolder } from "../../sidecar/gate/authority.ts";
import { authorityDecider } from "../../sidecar/gate/decide.ts";
import { Gate } from "../../sidecar/gate/gate.ts";
import { ArtifactFiles } from "../../sidecar/identity/artifact-files.ts";
import { HeldAuthority } from "../../sidecar/identity/held-authority.ts";
import { openWorkLedger } from "../../sidecar/ledger/open-ledger.ts";
import type { WorkLedger } from "../../sidecar/ledger/work-ledger.ts";
import { openStack, type Stack, type StackConfig } from "../../sidecar/stack.ts";
import { DOCK } from "../../src/domain/dock.ts";
import { GENESIS } from "../../src/domain/genesis.ts";
import { GRANT } from "../../src/domain/grant.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { type Manifest, ManifestBody } from "../../src/domain/manifest.ts";
import { Progress } from "../../src/domain/progress.ts";
import { RECEIPT, type ReceiptHeader, type Verdict } from "../../src/domain/receipt.ts";
import type { Rule } from "../../src/domain/rule.ts";
import { decodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import { systemClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { generateSeed, seedSigner } from "../../src/native/keys.ts";
import { type CertificateAuthority, createCa } from "../../src/native/pki.ts";
import * as fixture from "../fixtures/authority.ts";

export const CREDENTIAL = "launch-secret";
const HOUR_US = 3600 * fixture.SECOND;
const SCOPE = "use:upstream";

export interface Sidecar {
  readonly stack: Stack;
  readonly gate: Gate;
  readonly ledger: WorkLedger;
  /** Stands in for upstreams; the agent trusts it. */
  readonly ca: CertificateAuthority;
  /** Everything written so far, in order. */
  receipts(): ReceiptHeader[];
  close(): Promise<void>;
}

export interface SidecarOptions {
  /** Paths that are granted, by `host:port`. */
  readonly granted: Readonly<Record<string, readonly string[]>>;
  /** Rules beside them. */
  readonly rules?: readonly Rule[];
  readonly routes?: StackConfig["routes"];
  readonly upstreamCa?: string;
}

/**
 * The whole data path of a sidecar, with all of its promises on: a ledger on disk with its signing
 * thread, and a lease that was signed and verified down from a root key. Only the control plane is
 * missing: the lease is handed over here.
 */
export async function openSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { granted, rules = [], routes = [], upstreamCa = "" } = options;
  const folder = mkdtempSync(join(tmpdir(), "dragons-rig-"));
  const clock = systemClock;
  const nowUs = clock.nowUs();
  const seed = generateSeed();
  const authority = await hold(granted, rules, folder, nowUs, seedSigner(seed));
  const ledger = await openWorkLedger({
    folder: join(folder, "ledger"),
    ledgerId: authority.genesis.ref,
    tenantId: authority.genesis.body.tenantId,
    manifestHash: authority.manifestHash,
    seed,
  });
  const holder = new AuthorityHolder(clock, authorityDecider(authority));
  holder.set({ manifestRecorded: true });
  holder.adopt(await lease(authority, nowUs));
  const progress = new Progress(native, generateSeed().reveal());
  const gate = new Gate(
    ledger,
    holder,
    clock,
    {
      manifestHash: authority.manifestHash,
      purpose: authority.grant.body.purpose,
      goal: "",
      measure: "FILES",
      servers: [],
      listens: [],
      enforcement: "ADVISORY",
    },
    {
      denied() {},
      observed() {},
      finished: (action) => progress.record(action, clock.nowUs()),
      low() {},
    },
  );
  const ca = await createCa("Dragons of this test", { nowUs, ttlUs: HOUR_US });
  const stack = await openStack({
    config: {
      proxy: {
        host: "127.0.0.1",
        port: 0,
      },
      credential: CREDENTIAL,
      passesUnread: () => false,
      routes,
      servers: [],
      leasedLists: false,
      upstreamCa,
      agentUid: process.getuid?.() ?? 0,
      transparent: null,
      gateway: null,
    },
    gate,
    ca,
    clock,
    resolve: async () => ["127.0.0.1"],
  });
  return {
    stack,
    gate,
    ledger,
    ca,
    receipts: () =>
      ledger.headers(1, Number.MAX_SAFE_INTEGER).map(({ signed }) => {
        return RECEIPT.body.decode(fixture.ok(decodeSigned(signed)).body);
      }),
    async close() {
      holder.close();
      await stack.close(0);
      await ledger.shutdown();
      rmSync(folder, {
        recursive: true,
        force: true,
      });
    },
  };
}

/** How many calls ended how; what the ledger tells of itself is left out. */
export function countVerdicts(
  receipts: readonly ReceiptHeader[],
): Partial<Record<Verdict, number>> {
  const counts: Partial<Record<Verdict, number>> = {};
  for (const { verdict, kind } of receipts) {
    if (kind !== "LIFECYCLE") counts[verdict] = (counts[verdict] ?? 0) + 1;
  }
  return counts;
}

/** A chain of authority from a root key down to this ledger, verified as a sidecar verifies it. */
async function hold(
  granted: SidecarOptions["granted"],
  more: readonly Rule[],
  folder: string,
  nowUs: number,
  ledgerKey: ReturnType<typeof seedSigner>,
): Promise<HeldAuthority> {
  const window = { notBeforeUs: nowUs - HOUR_US, notAfterUs: nowUs + 24 * HOUR_US };
  const span = { ...window, issuedAtUs: nowUs - HOUR_US };
  const { root, alice, issuer, join: joinKey } = fixture.keys;
  const manifest: Manifest = fixture.manifestBody({
    capabilities: [
      {
        name: SCOPE,
        rules: [
          ...Object.entries(granted).flatMap(([target, paths]) =>
            paths.map((path) => fixture.grpcRule(path, target)),
          ),
          ...more,
        ],
      },
    ],
  });
  const hash = fixture.hashOf(manifest);
  const keyset = await signBody(
    KEYSET,
    fixture.keysetBody({
      issuedAtUs: span.issuedAtUs,
      keys: fixture.sortedKeys(
        fixture.entry("OPERATOR_GRANT", alice, window),
        fixture.entry("ISSUER", issuer, window),
      ),
    }),
    [root],
  );
  const scopes = [{ name: SCOPE, limits: fixture.FREE }];
  const grant = await signBody(
    GRANT,
    fixture.grantBody({ ...span, scopes, manifestHash: hash, leaseTtlMaxUs: HOUR_US }),
    [alice],
  );
  const grantRef = refOf(native, GRANT.name, grant.body);
  const dock = await signBody(DOCK, fixture.dockBody(grantRef, span), [alice]);
  const dockRef = refOf(native, DOCK.name, dock.body);
  const genesis = await signBody(
    GENESIS,
    fixture.genesisBody(dockRef, {
      manifestHash: hash,
      ledgerKey: ledgerKey.publicKey,
      createdAtUs: nowUs,
    }),
    [joinKey, ledgerKey],
  );
  const chain = { keyset, grant, dock, genesis, manifest: ManifestBody.encode(manifest) };
  const files = new ArtifactFiles(join(folder, "artifacts"));
  return fixture.ok(HeldAuthority.verify(native, root.publicKey, files, chain, nowUs));
}

async function lease(authority: HeldAuthority, nowUs: number) {
  const body = fixture.leaseBody(authority.grant.ref, authority.genesis.ref, {
    manifestHash: authority.manifestHash,
    scopes: [
      {
        name: SCOPE,
        limits: fixture.FREE,
      },
    ],
    notBeforeUs: nowUs,
    notAfterUs: nowUs + HOUR_US,
    issuedAtUs: nowUs,
  });
  return fixture.ok(authority.verifyLease(await fixture.signLease(body), nowUs));
}

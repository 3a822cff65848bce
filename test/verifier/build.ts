import { concat } from "../../src/domain/bytes.ts";
import {
  Chain,
  commitment,
  newChainState,
  payloadHash,
  type ReceiptDraft,
} from "../../src/domain/chain.ts";
import { cosignCheckpoint, signCheckpoint } from "../../src/domain/checkpoint.ts";
import { type Claim, ClaimBody, type LimitState } from "../../src/domain/claim.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { DOCK, type DockBody } from "../../src/domain/dock.ts";
import { GENESIS, type GenesisBody } from "../../src/domain/genesis.ts";
import {
  GRANT,
  type GrantBody,
  type Limits,
  NO_LIMITS,
  UNLIMITED,
} from "../../src/domain/grant.ts";
import { HEARTBEAT, type HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { IntentBody } from "../../src/domain/intent.ts";
import { KEYSET, type KeysetBody } from "../../src/domain/keyset.ts";
import { LEASE, type LeaseBody } from "../../src/domain/lease.ts";
import { type Manifest, ManifestBody, manifestHash } from "../../src/domain/manifest.ts";
import {
  ActionBody,
  EvidenceBody,
  GoalBody,
  OutcomeBody,
  PayloadRow,
} from "../../src/domain/payload.ts";
import { RECEIPT } from "../../src/domain/receipt.ts";
import { REVOCATION, type RevocationBody } from "../../src/domain/revocation.ts";
import type { SignedBytes, SignedKind } from "../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { type ExportChoice, exportPack, type LedgerEvidence } from "../../src/verifier/export.ts";
import { ReceiptFrame } from "../../src/verifier/pack.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";
import { type VerifyOptions, verify } from "../../src/verifier/verify.ts";
import type { Checked } from "./second.ts";

export const crypto = native;
const none = new Uint8Array(0);
type Evidence = ReturnType<typeof EvidenceBody.decode>;
export const START_US = 1_795_000_000_000_000;
export const SECOND = 1_000_000;
const SCOPE = "read:payments";

/** A key whose seed is its name: everything built here comes out the same each time. */
export function keyOf(name: string): Signer & { seed: Uint8Array } {
  const seed = crypto.sha256(new TextEncoder().encode(`test key ${name}`));
  return {
    seed,
    publicKey: crypto.publicKey(seed),
    sign: async (message) => crypto.sign(seed, message),
  };
}

const hashOf = (name: string): Uint8Array => crypto.sha256(new TextEncoder().encode(name));
/** A UUIDv7 that counts. */
export const uuid = (n: number): string =>
  `0193${n.toString(16).padStart(8, "0")}7${"0".repeat(3)}8${n.toString(16).padStart(15, "0")}`;

const receiptIdOf = (n: number): string => `rcp_${uuid(n)}`;

/** Spoils, before it is signed, one body of the good story; what is not named stays good. */
export interface Twists {
  tenant?: string;
  keyset?: (body: KeysetBody) => KeysetBody;
  keysetSigner?: Signer;
  manifest?: (body: Manifest) => Manifest;
  grant?: (body: GrantBody) => GrantBody;
  grantSigners?: Signer[];
  dock?: (body: DockBody) => DockBody;
  genesis?: (body: GenesisBody) => GenesisBody;
  genesisSigners?: Signer[];
  lease?: (body: LeaseBody) => LeaseBody;
  leaseSigner?: Signer;
  heartbeat?: (body: HeartbeatBody) => HeartbeatBody;
  ledger?: Signer;
  revocations?: { body: Partial<RevocationBody>; signer: Signer }[];
  cosigner?: { name: string; signer: Signer };
  ledgerName?: string;
  /** Of the one scope, in grant and leases; what is not named is unlimited. */
  limits?: Partial<Limits>;
}

export interface Act {
  scope?: string;
  path?: string;
  target?: string;
  /** Another action, and its claim with it. */
  action?: Partial<Claim>;
  /** Spoils the claim alone, not the action. */
  claim?: (claim: Claim) => Claim;
  header?: (draft: ReceiptDraft) => ReceiptDraft;
  openedAtUs?: number;
  egressLastUs?: number;
  receiptId?: string;
  goal?: Uint8Array;
  evidence?: (evidence: Evidence) => Evidence;
  /** Of the request's body. */
  bytes?: number;
}

/** An instance's ledger in the making, with everything that vouches for it. */
export class Story {
  readonly tenantId: string;
  readonly twists: Twists;
  readonly root = keyOf("root");
  readonly operator = keyOf("operator");
  readonly issuer = keyOf("issuer");
  readonly cosigner = keyOf("cosigner");
  readonly control = keyOf("control");
  readonly join = keyOf("join");
  readonly ledgerKey: Signer;
  readonly receipts: { seq: number; signed: SignedBytes; row: Uint8Array; hash: Uint8Array }[] = [];
  readonly leases: { signed: SignedBytes; ref: Uint8Array; body: LeaseBody }[] = [];
  readonly heartbeats: SignedBytes[] = [];
  readonly checkpoints: string[] = [];
  readonly revocations: SignedBytes[] = [];
  readonly open = new Map<number, IntentBody>();
  /** Intents opened, and bytes charged, in the one scope. */
  opened = 0;
  charged = 0;
  manifestBytes: Uint8Array = none;
  manifestHash: Uint8Array = none;
  keyset!: SignedBytes;
  grant!: SignedBytes;
  dock!: SignedBytes;
  genesis!: SignedBytes;
  grantRef: Uint8Array = none;
  ledgerId: Uint8Array = none;
  chain!: Chain;
  nowUs = START_US;
  #ids = 1;

  private constructor(twists: Twists) {
    this.twists = twists;
    this.tenantId = twists.tenant ?? "acme";
    this.ledgerKey = twists.ledger ?? keyOf(twists.ledgerName ?? "ledger");
  }

  static async begin(twists: Twists = {}): Promise<Story> {
    const story = new Story(twists);
    await story.#authority();
    return story;
  }

  async #sign<T>(
    kind: SignedKind<T>,
    body: T,
    twist: ((b: T) => T) | undefined,
    signers: Signer[],
  ) {
    return signBody(kind, twist === undefined ? body : twist(body), signers);
  }

  async #authority(): Promise<void> {
    const { tenantId, twists } = this;
    const forever = {
      notBeforeUs: START_US - 3600 * SECOND,
      notAfterUs: START_US + 86_400 * SECOND,
    };
    const keys = [
      { role: "OPERATOR_GRANT" as const, key: this.operator.publicKey, holder: "alice" },
      { role: "ISSUER" as const, key: this.issuer.publicKey, holder: "control" },
      { role: "COSIGNER" as const, key: this.cosigner.publicKey, holder: "control" },
      { role: "CONTROL_LEDGER" as const, key: this.control.publicKey, holder: "control" },
    ].map((k) => ({ ...k, ...forever, compromisedFromUs: 0, loginRole: "UNSPECIFIED" as const }));
    this.keyset = await this.#sign(
      KEYSET,
      {
        version: 1,
        tenantId,
        keysetVersion: 1,
        issuedAtUs: START_US - 60 * SECOND,
        keys,
        thresholds: [],
        previous: none,
        rootKey: none,
        controlCas: [],
      },
      twists.keyset,
      [twists.keysetSigner ?? this.root],
    );
    const manifest: Manifest = {
      version: 1,
      name: "reconciler",
      agentVersion: "v7",
      code: [{ path: "agent/main.py", sha256: hashOf("main.py"), size: 120 }],
      config: [],
      runtime: "python3",
      servers: [],
      listens: [],
      capabilities: [
        {
          name: "read:payments",
          rules: [
            {
              protocol: "GRPC",
              target: "payments.internal:443",
              verb: "",
              path: "/payments.v1.Payments/{Get,List}*",
              when: "",
              scheme: "UNSPECIFIED",
            },
            {
              protocol: "GRPC",
              target: "payments.internal:443",
              verb: "",
              path: "/payments.v1.Payments/Search",
              when: 'header["x-account"] == 7 && header["x-region"] in ["eu", "us"]',
              scheme: "HTTPS",
            },
          ],
        },
        {
          name: "write:ledger",
          rules: [
            {
              protocol: "GRPC",
              target: "ledger.internal:443",
              verb: "",
              path: "/ledger.v1.Entries/Post",
              when: "",
              scheme: "UNSPECIFIED",
            },
          ],
        },
      ],
    };
    this.manifestBytes = ManifestBody.encode(twists.manifest?.(manifest) ?? manifest);
    this.manifestHash = manifestHash(crypto, this.manifestBytes);
    const limits = { ...NO_LIMITS, ...this.twists.limits };
    this.grant = await this.#sign(
      GRANT,
      {
        version: 1,
        grantId: `grt_${uuid(1)}`,
        tenantId,
        manifestHash: this.manifestHash,
        scopes: [{ name: "read:payments", limits }],
        ...forever,
        issuedAtUs: START_US - 50 * SECOND,
        leaseTtlMaxUs: 60 * SECOND,
        purpose: "reconcile payments",
        instancesMax: 2,
        measureMin: "DECLARED",
        observeUntilUs: 0,
        liveness: {
          heartbeatIntervalUs: 0,
          stallDegradedUs: 0,
          stallAutohealUs: 0,
          silentBeyondLease: "UNSPECIFIED",
          quarantineStalled: "UNSPECIFIED",
        },
      },
      twists.grant,
      twists.grantSigners ?? [this.operator],
    );
    this.grantRef = refOf(crypto, "grant", this.grant.body);
    this.dock = await this.#sign(
      DOCK,
      {
        version: 1,
        dockId: `dck_${uuid(1)}`,
        tenantId,
        grantRef: this.grantRef,
        joinKeys: [{ key: this.join.publicKey, ledgersMax: 2 }],
        ...forever,
        issuedAtUs: START_US - 40 * SECOND,
      },
      twists.dock,
      [this.operator],
    );
    this.genesis = await this.#sign(
      GENESIS,
      {
        version: 1,
        role: "WORK",
        tenantId,
        instanceId: uuid(2),
        ledgerKey: this.ledgerKey.publicKey,
        manifestHash: this.manifestHash,
        dockRef: refOf(crypto, "dock", this.dock.body),
        joinKey: this.join.publicKey,
        nonce: hashOf(`nonce ${twists.ledgerName ?? ""}`),
        createdAtUs: START_US - 30 * SECOND,
        predecessor: none,
      },
      twists.genesis,
      twists.genesisSigners ?? [this.join, this.ledgerKey],
    );
    this.ledgerId = refOf(crypto, "genesis", this.genesis.body);
    this.chain = new Chain(crypto, newChainState(this.ledgerId, tenantId));
    for (const [i, { body, signer }] of (twists.revocations ?? []).entries()) {
      const before = this.revocations.at(-1);
      const previous = before ? refOf(crypto, "revocation", before.body) : none;
      this.revocations.push(
        await signBody(
          REVOCATION,
          {
            version: 1,
            tenantId,
            epoch: i + 1,
            previous,
            kind: "GRANT",
            target: this.grantRef,
            effectiveUs: START_US,
            reason: "test",
            ...body,
          },
          [signer],
        ),
      );
    }
  }

  tick(us = SECOND): number {
    this.nowUs += us;
    return this.nowUs;
  }

  async lease(twist: (body: LeaseBody) => LeaseBody = (b) => b): Promise<void> {
    const head = this.chain.head();
    const limits = { ...NO_LIMITS, ...this.twists.limits };
    const body: LeaseBody = {
      version: 1,
      leaseId: `lse_${uuid(this.leases.length + 1)}`,
      tenantId: this.tenantId,
      instanceId: uuid(2),
      ledgerId: this.ledgerId,
      manifestHash: this.manifestHash,
      grantRef: this.grantRef,
      leaseSeq: this.leases.length + 1,
      scopes: [{ name: "read:payments", limits }],
      notBeforeUs: this.nowUs,
      notAfterUs: this.nowUs + 60 * SECOND,
      issuedAtUs: this.nowUs,
      headSize: head.size,
      headRoot: head.root,
      intentsOpened: head.intentsOpened,
      intentsHead: head.intentsHead,
      revocationEpoch: 0,
      sessionEpoch: 1,
      controlSize: 0,
      controlRoot: none,
      observeUntilUs: 0,
    };
    const twisted = twist(this.twists.lease?.(body) ?? body);
    const signed = await signBody(LEASE, twisted, [this.twists.leaseSigner ?? this.issuer]);
    this.leases.push({ signed, ref: refOf(crypto, "lease", signed.body), body: twisted });
  }

  get leaseRef(): Uint8Array {
    return this.leases.at(-1)?.ref ?? none;
  }

  async #append(draft: ReceiptDraft, data: Uint8Array[], signer: Signer): Promise<void> {
    const salts = data.map((_, i) => hashOf(`salt ${draft.receiptId} ${i}`));
    const openings = data.map((bytes, i) => ({
      field: i + 1,
      salt: salts[i] as Uint8Array,
      data: bytes,
    }));
    const commitments = openings.map((o) =>
      commitment(crypto, {
        ...o,
        ledgerId: this.ledgerId,
        intentSeq: draft.intentSeq,
        receiptId: draft.receiptId,
      }),
    );
    const { header, hash } = this.chain.append({
      ...draft,
      payloadHash: payloadHash(crypto, commitments),
    });
    const signed = await signBody(RECEIPT, header, [signer]);
    this.receipts.push({
      seq: header.seq,
      signed,
      row: PayloadRow.encode({ commitments, openings }),
      hash,
    });
  }

  #draft(over: Partial<ReceiptDraft>): ReceiptDraft {
    return {
      receiptId: receiptIdOf(this.#ids++),
      manifestHash: this.manifestHash,
      leaseRef: none,
      kind: "LIFECYCLE",
      verdict: "COMPLETED",
      reason: "UNSPECIFIED",
      scope: "",
      openedAtUs: this.nowUs,
      closedAtUs: this.nowUs,
      egressLastUs: 0,
      intentSeq: 0,
      count: 1,
      payloadHash: hashOf(""),
      refersTo: none,
      redactedMask: 0,
      wouldDeny: "UNSPECIFIED",
      spentBytes: 0,
      ...over,
    };
  }

  async lifecycle(over: Partial<ReceiptDraft> = {}): Promise<void> {
    await this.#append(this.#draft(over), [none, none, none, none, none], this.ledgerKey);
  }

  claim({ target, path, scope, action, claim }: Act): Claim {
    const plain: Claim = {
      version: 1,
      protocol: "GRPC",
      target: target ?? "payments.internal:443",
      verb: "",
      path: path ?? "/payments.v1.Payments/GetPayment",
      inputs: [],
      limitState: [this.#left(scope ?? SCOPE)],
      scheme: "HTTPS",
      ...action,
    };
    return claim?.(plain) ?? plain;
  }

  /** As an honest gate would say it: everything opened and charged until now is taken. */
  #left(scope: string): LimitState {
    const limits = this.leases.at(-1)?.body.scopes.find((s) => s.name === scope)?.limits;
    const { maxActions, maxBytes, ratePerMinute, maxConcurrent } = limits ?? NO_LIMITS;
    const left = (limit: number, taken: number) =>
      limit === UNLIMITED ? UNLIMITED : Math.max(0, limit - taken);
    return {
      scope,
      actionsLeft: left(maxActions, this.opened),
      bytesLeft: left(maxBytes, this.charged),
      concurrentLeft: left(maxConcurrent, this.open.size),
      rateLeft: left(ratePerMinute, this.opened),
    };
  }

  /** Opens an intent and returns how to close it. */
  begin(act: Act = {}): () => Promise<void> {
    const openedAtUs = act.openedAtUs ?? this.tick();
    const receiptId = act.receiptId ?? receiptIdOf(this.#ids++);
    const claim = ClaimBody.encode(this.claim(act));
    const intentSeq = this.chain.nextIntentSeq;
    const leaseRef = this.leaseRef;
    const salt = hashOf(`salt ${receiptId} 4`);
    const claimCommitment = commitment(crypto, {
      field: 5,
      ledgerId: this.ledgerId,
      intentSeq,
      receiptId,
      salt,
      data: claim,
    });
    this.chain.openIntent({ receiptId, leaseRef, openedAtUs, claimCommitment });
    this.opened++;
    this.open.set(intentSeq, {
      version: 1,
      receiptId,
      intentSeq,
      leaseRef,
      manifestHash: this.manifestHash,
      scope: "read:payments",
      openedAtUs,
      claim,
      claimSalt: salt,
      goal: none,
      goalSalt: hashOf(`salt ${receiptId} 0`),
      wouldDeny: "UNSPECIFIED",
      reservedBytes: 0,
    });
    return async () => {
      this.open.delete(intentSeq);
      const goal =
        act.goal ??
        GoalBody.encode({ version: 1, purpose: "reconcile payments", goal: "", traceparent: "" });
      const plain = this.claim({ ...act, claim: (c) => c });
      const action = ActionBody.encode({
        version: 1,
        protocol: plain.protocol,
        target: plain.target,
        verb: plain.verb,
        path: plain.path,
        headerNames: [],
        querySha256: new Uint8Array(),
        bodySha256: crypto.sha256(),
        bodyBytes: act.bytes ?? 0,
        messages: 1,
        scheme: plain.scheme,
      });
      const shown: Evidence = {
        version: 1,
        dialled: "127.0.0.1:443",
        peerCertificate: none,
        leases: leaseRef.length > 0 ? [leaseRef] : [],
        firstByteUs: openedAtUs,
        measure: "FILES",
        enforcement: "ADVISORY",
      };
      const evidence = EvidenceBody.encode(act.evidence?.(shown) ?? shown);
      const outcome = OutcomeBody.encode({
        version: 1,
        status: "grpc-status: 0",
        headerNames: [],
        trailerNames: ["grpc-status"],
        bodySha256: crypto.sha256(),
        bodyBytes: 0,
        messages: 1,
      });
      const draft = this.#draft({
        receiptId,
        leaseRef,
        kind: "ACTION",
        scope: act.scope ?? "read:payments",
        openedAtUs,
        egressLastUs: act.egressLastUs ?? openedAtUs + 1000,
        closedAtUs: Math.max(openedAtUs, act.egressLastUs ?? 0) + 2000,
        intentSeq,
        spentBytes: this.twists.limits?.maxBytes === undefined ? 0 : (act.bytes ?? 0),
      });
      this.charged += draft.spentBytes;
      await this.#append(
        act.header?.(draft) ?? draft,
        [goal, action, evidence, outcome, claim],
        this.ledgerKey,
      );
    };
  }

  async act(act: Act = {}): Promise<void> {
    await this.begin(act)();
  }

  async deny(act: Act = {}, over: Partial<ReceiptDraft> = {}): Promise<void> {
    const openedAtUs = this.tick();
    // Limits are asked last: whatever else is refused says nothing of them.
    const asked = over.reason === "LIMIT_SPENT";
    const claim = { ...this.claim(act), ...(asked ? {} : { limitState: [] }) };
    const draft = this.#draft({
      leaseRef: this.leaseRef,
      kind: "DENIAL",
      verdict: "DENIED",
      reason: "SCOPE_NOT_GRANTED",
      openedAtUs,
      closedAtUs: openedAtUs,
      ...over,
    });
    await this.#append(draft, [none, none, none, none, ClaimBody.encode(claim)], this.ledgerKey);
  }

  async beat(): Promise<void> {
    const head = this.chain.head();
    const body: HeartbeatBody = {
      ...HEARTBEAT.body.decode(none),
      version: 1,
      heartbeatId: `hbt_${uuid(this.heartbeats.length + 1)}`,
      tenantId: this.tenantId,
      ledgerId: this.ledgerId,
      sessionEpoch: 1,
      counter: this.heartbeats.length + 1,
      wallUs: this.nowUs,
      monotonicUs: this.nowUs - START_US + 1,
      nextDueUs: this.nowUs + 10 * SECOND,
      child: "RUNNING",
      size: head.size,
      root: head.root,
      intentsOpened: head.intentsOpened,
      intentsHead: head.intentsHead,
      grantRef: this.grantRef,
      leaseRef: this.leaseRef,
      manifestHash: this.manifestHash,
      ledgerHealth: "OK",
      enforcement: "ADVISORY",
    };
    this.heartbeats.push(
      await signBody(HEARTBEAT, this.twists.heartbeat?.(body) ?? body, [this.ledgerKey]),
    );
  }

  async checkpoint(
    over: { size?: number; root?: Uint8Array; ledgerId?: Uint8Array } = {},
  ): Promise<string> {
    const { size, root } = this.chain.head();
    const note = await signCheckpoint(
      crypto,
      { ledgerId: this.ledgerId, size, root, ...over },
      this.ledgerKey,
    );
    const cosigner = this.twists.cosigner ?? { name: "control", signer: this.cosigner };
    const cosigned = await cosignCheckpoint(
      crypto,
      note,
      cosigner,
      Math.floor(this.nowUs / SECOND),
    );
    this.checkpoints.push(cosigned);
    return cosigned;
  }

  evidence(over: Partial<LedgerEvidence> = {}): LedgerEvidence {
    return {
      genesis: encodeSigned(this.genesis),
      keysets: [encodeSigned(this.keyset)],
      manifests: [this.manifestBytes],
      grants: [encodeSigned(this.grant)],
      docks: [encodeSigned(this.dock)],
      leases: this.leases.map((l) => encodeSigned(l.signed)),
      revocations: this.revocations.map(encodeSigned),
      heartbeats: this.heartbeats.map(encodeSigned),
      transitions: [],
      checkpoints: this.checkpoints,
      head: this.chain.head(),
      read: (from, limit) =>
        this.receipts
          .slice(from - 1, from - 1 + limit)
          .map(({ seq, signed, row }) => ({ seq, signed: encodeSigned(signed), row })),
      openIntents: [...this.open.values()].map((i) => IntentBody.encode(i)),
      ...over,
    };
  }

  async pack(choice: ExportChoice = {}, over: Partial<LedgerEvidence> = {}): Promise<Uint8Array> {
    return collect(exportPack(crypto, this.tenantId, [this.evidence(over)], choice));
  }

  get trust(): TrustFile {
    return {
      tenant: this.tenantId,
      rootKey: this.root.publicKey,
      keysetVersion: 1,
      cosigners: null,
      witnesses: [],
      quorum: 0,
      knownHead: null,
      asOfUs: null,
      maxAgeUs: null,
    };
  }
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return concat(...parts);
}

/** An action under a condition: its rule wants account 7. */
export const search = (account: string, region = "eu"): Act => ({
  path: "/payments.v1.Payments/Search",
  claim: (claim) => ({
    ...claim,
    inputs: [
      { name: 'header["x-account"]', type: "STRING", value: account },
      { name: 'header["x-region"]', type: "STRING", value: region },
    ],
  }),
});

/** Boot, lease, three calls (two of them at once), a denial, a beat, and a cosigned head over all. */
export async function goodStory(twists: Twists = {}): Promise<Story> {
  const story = await Story.begin(twists);
  await story.lifecycle();
  await story.lease();
  await story.act();
  const first = story.begin();
  const second = story.begin(search("7"));
  await second();
  await first();
  await story.deny({ path: "/payments.v1.Payments/Refund" });
  await story.beat();
  await story.checkpoint();
  return story;
}

/** What was checked in this file, and what came out: the second verifier is held to it. */
export const checked: Checked[] = [];

/** Ours, on a pack that arrives in one piece. */
export async function check(story: Story, pack: Uint8Array, over: Partial<VerifyOptions> = {}) {
  const chunks = async function* () {
    yield pack;
  };
  const options = { trust: story.trust, nowUs: story.nowUs, ...over };
  const report = await verify(crypto, chunks(), options);
  checked.push({ pack, trust: options.trust, nowUs: options.nowUs, report });
  return report;
}

export const receiptFrame = (r: { signed: SignedBytes; row: Uint8Array }): Uint8Array =>
  ReceiptFrame.encode({ signed: encodeSigned(r.signed), row: r.row });

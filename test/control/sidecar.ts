import type { MessageInitShape } from "@bufbuild/protobuf";
import { attachMessage } from "../../src/control/sessions.ts";
import { Chain, newChainState, type ReceiptDraft } from "../../src/domain/chain.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { enrolMessage } from "../../src/domain/enrolment.ts";
import type { GrantBody } from "../../src/domain/grant.ts";
import { HEARTBEAT, type HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { newId } from "../../src/domain/ids.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { RECEIPT } from "../../src/domain/receipt.ts";
import { pae, type SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { GrantService, ManifestService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import {
  LedgerService,
  type SyncRequestSchema,
  type SyncResponse,
} from "../../src/gen/dragons/v1/ledger_pb.ts";
import {
  type AttachRequestSchema,
  type AttachResponse,
  TetherService,
} from "../../src/gen/dragons/v1/tether_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { generateTlsKey } from "../../src/native/pki.ts";
import { toWire } from "../../src/wire/artifacts.ts";
import { Queue } from "../../src/wire/queue.ts";
import {
  type Door,
  dockBody,
  genesis,
  grantBody,
  type House,
  hashOf,
  ids,
  manifest,
  manifestBytes,
  newSigner,
  random32,
  requestId,
  signDock,
  signGrant,
  type World,
} from "./world.ts";

/** A sidecar as the control plane sees one: a ledger key, a chain, and streams over the real wire. */

const NONE = new Uint8Array(0);
const MANIFEST_HASH = hashOf(manifest());
const NO_BEAT = HEARTBEAT.body.decode(NONE);
const newChain = (ledgerId: Uint8Array, tenantId: string): Chain =>
  new Chain(native, newChainState(ledgerId, tenantId));

export interface Berth {
  readonly dockRef: Uint8Array;
  readonly grantRef: Uint8Array;
  readonly grantId: string;
  readonly join: Signer;
}

/** A manifest, a grant and a dock, recorded as operators do. */
export async function makeBerth(
  world: World,
  house: House,
  more: Partial<GrantBody> = {},
): Promise<Berth> {
  const operator = await house.as("OPERATOR");
  await world
    .client(ManifestService)
    .recordManifest({ requestId: requestId(), manifest: manifestBytes(manifest()) }, operator);
  const grant = await signGrant(house, grantBody(world, house, more));
  const { grantRef, grantId } = await world
    .client(GrantService)
    .recordGrant({ requestId: requestId(), grant }, operator);
  const join = newSigner();
  const body = dockBody(world, house, grantRef, [{ key: join.publicKey, ledgersMax: 100 }]);
  const { dockRef } = await world
    .client(DockService)
    .recordDock({ requestId: requestId(), dock: await signDock(house, body) }, operator);
  return { dockRef, grantRef, grantId, join };
}

type Down = NonNullable<AttachResponse["message"]["case"]>;
type Message<C extends Down> = Extract<AttachResponse["message"], { case: C }>["value"];

export class SimSidecar {
  readonly world: World;
  readonly house: House;
  readonly ledgerKey: Signer;
  readonly ledgerId: Uint8Array;
  readonly instanceId: string;
  readonly grantRef: Uint8Array;
  chain: Chain;
  receipts: SignedBytes[] = [];
  leaseRef: Uint8Array = NONE;
  #door: { readonly of: unknown; readonly door: Promise<Door> } | null = null;

  private constructor(
    world: World,
    house: House,
    berth: Berth,
    born: Awaited<ReturnType<typeof genesis>>,
  ) {
    this.world = world;
    this.house = house;
    this.grantRef = berth.grantRef;
    this.ledgerKey = born.ledgerKey;
    this.ledgerId = born.ledgerId;
    this.instanceId = born.body.instanceId;
    this.chain = newChain(this.ledgerId, this.house.tenantId);
  }

  static async dock(
    world: World,
    house: House,
    berth: Berth,
    more: Parameters<typeof genesis>[4] = {},
  ): Promise<SimSidecar> {
    const born = await genesis(world, house, berth.dockRef, berth.join, more);
    await world.client(DockService).dock({ genesis: born.signed });
    return new SimSidecar(world, house, berth, born);
  }

  /** A connection with this ledger's certificate, the same until the control plane starts anew. */
  certified(): Promise<Door> {
    const { running } = this.world;
    if (this.#door?.of !== running) this.#door = { of: running, door: this.#enrolled() };
    return this.#door.door;
  }

  async #enrolled(): Promise<Door> {
    const { ledgerId, ledgerKey, world } = this;
    const { publicKey: tlsKey, keyPem } = generateTlsKey();
    const askedAtUs = world.clock.nowUs();
    const signature = await ledgerKey.sign(enrolMessage({ ledgerId, tlsKey, askedAtUs }));
    const { certificate: certPem } = await world
      .client(DockService)
      .enrol({ ledgerId, tlsKey, askedAtUs: BigInt(askedAtUs), signature });
    return world.door({ certPem, keyPem });
  }

  /** Chains and signs `n` receipts. */
  async work(n: number, more: Partial<ReceiptDraft> = {}): Promise<void> {
    for (let i = 0; i < n; i++) {
      const nowUs = this.world.clock.nowUs();
      const { body } = this.chain.append({
        receiptId: newId("rcp", ids),
        manifestHash: MANIFEST_HASH,
        leaseRef: NONE,
        kind: "LIFECYCLE",
        verdict: "COMPLETED",
        reason: "UNSPECIFIED",
        scope: "",
        openedAtUs: nowUs,
        closedAtUs: nowUs,
        egressLastUs: 0,
        intentSeq: 0,
        count: 1,
        payloadHash: random32(),
        refersTo: NONE,
        redactedMask: 0,
        wouldDeny: "UNSPECIFIED",
        spentBytes: 0,
        ...more,
      });
      const value = await this.ledgerKey.sign(pae(RECEIPT.name, body));
      this.receipts.push({ body, signatures: [{ key: this.ledgerKey.publicKey, value }] });
    }
  }

  /** Forgets everything from `size` on, as a restored backup would. */
  restore(size: number): void {
    const kept = this.receipts.slice(0, size);
    this.chain = newChain(this.ledgerId, this.house.tenantId);
    for (const { body } of kept) this.chain.append(RECEIPT.body.decode(body));
    this.receipts = kept;
  }

  async attach(
    more: {
      regressed?: boolean;
      key?: Signer;
      lease?: SignedBytes;
      revocations?: readonly SignedBytes[];
      quarantined?: boolean;
    } = {},
  ): Promise<Attachment> {
    const up = new Queue<MessageInitShape<typeof AttachRequestSchema>>(64);
    const client = (await this.certified()).client(TetherService);
    const stream = client.attach(up);
    const attachment = new Attachment(
      this,
      await this.certified(),
      up,
      stream[Symbol.asyncIterator](),
    );
    await attachment.open(more);
    return attachment;
  }

  async beat(
    epoch: number,
    counter: number,
    more: Partial<HeartbeatBody> = {},
    key: Signer = this.ledgerKey,
  ) {
    const { clock } = this.world;
    const head = this.chain.head();
    return signBody(
      HEARTBEAT,
      {
        ...NO_BEAT,
        version: 1,
        heartbeatId: newId("hbt", ids),
        tenantId: this.house.tenantId,
        ledgerId: this.ledgerId,
        sessionEpoch: epoch,
        counter,
        wallUs: clock.nowUs(),
        monotonicUs: clock.monotonicUs(),
        nextDueUs: clock.nowUs() + 10_000_000,
        child: "RUNNING",
        ...head,
        grantRef: this.grantRef,
        leaseRef: this.leaseRef,
        autonomyLeftUs: this.leaseRef.length === 0 ? 0 : 30_000_000,
        manifestHash: MANIFEST_HASH,
        ledgerHealth: "OK",
        enforcement: "ADVISORY",
        ...more,
      },
      [key],
    );
  }
}

export class Attachment {
  readonly sidecar: SimSidecar;
  readonly up: Queue<MessageInitShape<typeof AttachRequestSchema>>;
  readonly #down: AsyncIterator<AttachResponse>;
  readonly #door: Door;
  /** What came and was not asked for. */
  readonly skipped: AttachResponse["message"][] = [];
  /** All that came, in order. */
  readonly heard: AttachResponse["message"][] = [];
  epoch = 0;
  #counter = 0;
  attached!: Message<"attached">;

  constructor(
    sidecar: SimSidecar,
    door: Door,
    up: Queue<MessageInitShape<typeof AttachRequestSchema>>,
    down: AsyncIterator<AttachResponse>,
  ) {
    this.sidecar = sidecar;
    this.#door = door;
    this.up = up;
    this.#down = down;
  }

  async open({
    regressed = false,
    key,
    lease,
    revocations = [],
    quarantined,
  }: {
    regressed?: boolean;
    key?: Signer;
    lease?: SignedBytes;
    revocations?: readonly SignedBytes[];
    quarantined?: boolean;
  }): Promise<void> {
    const { ledgerId, ledgerKey, chain } = this.sidecar;
    this.up.push({ message: { case: "hello", value: { ledgerId } } });
    const { nonce } = await this.next("challenge");
    const signature = await (key ?? ledgerKey).sign(attachMessage(nonce, ledgerId));
    const head = { ...chain.head(), size: BigInt(chain.size), intentsOpened: 0n };
    this.up.push({
      message: {
        case: "proof",
        value: {
          signature,
          head,
          regressed,
          ...(lease === undefined ? {} : { lease: toWire(lease) }),
          revocations: revocations.map(toWire),
          ...(quarantined === undefined ? {} : { standing: { quarantined } }),
        },
      },
    });
    this.attached = await this.next("attached");
    this.epoch = Number(this.attached.sessionEpoch);
  }

  /** The next message of this kind; those before it are put aside. */
  async next<C extends Down>(kind: C): Promise<Message<C>> {
    for (;;) {
      const { done, value } = await this.#down.next();
      if (done) throw new Error(`the stream ended before ${kind}`);
      this.heard.push(value.message);
      if (value.message.case === kind) return value.message.value as Message<C>;
      this.skipped.push(value.message);
    }
  }

  /** The first of this kind that was put aside, or else the next. */
  async take<C extends Down>(kind: C): Promise<Message<C>> {
    const at = this.skipped.findIndex((m) => m.case === kind);
    if (at < 0) return this.next(kind);
    const [found] = this.skipped.splice(at, 1);
    return found?.value as Message<C>;
  }

  /** Sends a beat. */
  async beat(more: Partial<HeartbeatBody> = {}): Promise<SignedBytes> {
    const signed = await this.sidecar.beat(this.epoch, ++this.#counter, more);
    this.up.push({ message: { case: "heartbeat", value: signed } });
    return signed;
  }

  /** Sends a beat and adopts the lease that it earns. */
  async earn(more: Partial<HeartbeatBody> = {}): Promise<LeaseBody> {
    await this.beat(more);
    const lease = await this.next("lease");
    this.sidecar.leaseRef = refOf(native, "lease", lease.body);
    return LeaseBody.decode(lease.body);
  }

  sync(token: Uint8Array = this.attached.sessionToken): Syncing {
    const requests = new Queue<MessageInitShape<typeof SyncRequestSchema>>(64);
    const metadata = { "dragons-session-bin": token };
    const stream = this.#door.client(LedgerService).sync(requests, { metadata });
    return new Syncing(requests, stream[Symbol.asyncIterator]());
  }

  /** Syncs all there is, in one batch. */
  async syncAll(): Promise<number> {
    const sync = this.sync();
    let held = await sync.held();
    for (const { length } = this.sidecar.receipts; held < length; ) {
      sync.send(held + 1, this.sidecar.receipts.slice(held, held + 64));
      held = await sync.held();
    }
    sync.requests.end();
    return held;
  }

  /** Ends the stream, and waits until the control plane has seen it. */
  async leave(): Promise<void> {
    this.up.end();
    for (;;) {
      const { done } = await this.#down.next();
      if (done) return;
    }
  }
}

export class Syncing {
  readonly requests: Queue<MessageInitShape<typeof SyncRequestSchema>>;
  readonly #answers: AsyncIterator<SyncResponse>;

  constructor(
    requests: Queue<MessageInitShape<typeof SyncRequestSchema>>,
    answers: AsyncIterator<SyncResponse>,
  ) {
    this.requests = requests;
    this.#answers = answers;
  }

  send(fromSeq: number, receipts: readonly SignedBytes[]): void {
    this.requests.push({ fromSeq: BigInt(fromSeq), receipts: [...receipts] });
  }

  sendHashes(fromSeq: number, hashes: readonly Uint8Array[]): void {
    this.requests.push({ fromSeq: BigInt(fromSeq), hashes: [...hashes] });
  }

  async held(): Promise<number> {
    const { done, value } = await this.#answers.next();
    if (done) throw new Error("sync ended");
    return Number(value.heldSize);
  }
}

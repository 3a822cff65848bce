import type { MessageInitShape } from "@bufbuild/protobuf";
import { concat, equal, fromHex, text, toHex, utf8 } from "../domain/bytes.ts";
import { policyOf } from "../domain/conditions.ts";
import type { Crypto } from "../domain/crypto.ts";
import { HEARTBEAT, type HeartbeatBody, succession, verifyHeartbeat } from "../domain/heartbeat.ts";
import { isInvalid } from "../domain/invalid.ts";
import type { LeaseBody } from "../domain/lease.ts";
import {
  cosignedAgainUs,
  heartbeatBytesMax,
  revocationsTogetherUs,
  sessionsToldAtOnce,
  sessionsToldEveryUs,
  supersededGraceUs,
  tetherBacklogMax,
} from "../domain/limits.ts";
import type { RevocationBody } from "../domain/revocation.ts";
import type { SignedBytes, Verified } from "../domain/signed.ts";
import { AttachResponseSchema } from "../gen/dragons/v1/tether_pb.ts";
import type { Clock, Timer } from "../native/clock.ts";
import { toWire } from "../wire/artifacts.ts";
import { Encoded } from "../wire/encoded.ts";
import { reasonToWire, stateToWire } from "../wire/enums.ts";
import { Queue } from "../wire/queue.ts";
import { refusal, StatusError, shuttingDown } from "../wire/status.ts";
import { Arena, type Cell } from "./arena.ts";
import { askedBeside } from "./beside.ts";
import { type Contradiction, encodeEquivocation, type HeldLedger } from "./heads.ts";
import { beatIntervalUs, type Earned, type Issuer, type Withheld } from "./issuer.ts";
import type { Organisms } from "./organisms.ts";
import type { LedgerRecord, Recordable } from "./projection.ts";
import { type DownAnswer, RevocationFeed } from "./revocation-feed.ts";
import { someAtATime } from "./some-at-a-time.ts";
import type { RecordedEvent, Tenant } from "./tenant.ts";

export type Down = MessageInitShape<typeof AttachResponseSchema>;
type DownMessage = NonNullable<Down["message"]>;

type Standing = Readonly<Record<"quarantined" | "stopped" | "drifted", boolean>>;

const NONE = new Uint8Array(0);

/** What a sidecar signs to prove its ledger key. */
export const attachMessage = (nonce: Uint8Array, ledgerId: Uint8Array): Uint8Array =>
  concat(utf8("dragons/v1/attach\n"), nonce, ledgerId);

/** What a sidecar says of itself when it has proven its key. */
export interface Attaching {
  readonly ledger: LedgerRecord;
  readonly held: HeldLedger;
  readonly revocationEpoch: number;
  /** Of the keyset that it holds. */
  readonly keysetVersion: number;
  readonly headSize: number;
  /** It knows that its ledger came back shorter. */
  readonly regressed: boolean;
  /** What it denies everything for by itself; null: it does not say. */
  readonly standing: Standing | null;
}

/** One attachment of one ledger, for as long as its stream lives. */
export class Session {
  readonly ledger: LedgerRecord;
  readonly held: HeldLedger;
  readonly epoch: number;
  /** Bearer for Sync, hex. */
  readonly token: string;
  /** What is to be said on the stream. */
  readonly down = new Queue<Down | DownAnswer>(tetherBacklogMax);
  /** When it was told that another took over; 0: it is the current one. */
  supersededUs = 0;
  /** The latest beat whose head has not been judged. */
  waiting: Verified<HeartbeatBody> | null = null;
  /** It was told a cosigned head. */
  hasNote = false;
  /** Revocations that it was sent; until it is greeted, it waits for none. */
  revocationEpoch = Number.POSITIVE_INFINITY;
  readonly #feed: RevocationFeed;
  #judging: Promise<void> | null = null;
  /** Of the last lease that was told. */
  #leaseSeq = 0;
  #withheld: Withheld | null = null;

  constructor(attaching: Attaching, epoch: number, token: string, feed: RevocationFeed) {
    this.#feed = feed;
    this.ledger = attaching.ledger;
    this.held = attaching.held;
    this.epoch = epoch;
    this.token = token;
  }

  get live(): boolean {
    return this.supersededUs === 0 && !this.down.ended;
  }

  say(message: DownMessage): void {
    this.tell({ message });
  }

  /** Whatever is told comes after every revocation before it: no lease that pins one overtakes it. */
  tell(answer: Down | DownAnswer): void {
    this.catchUp();
    this.#push(answer);
  }

  /** Tells of the revocations that it was not sent yet, in their order. */
  catchUp(): void {
    const feed = this.#feed;
    for (let run = feed.after(this.revocationEpoch); run; run = feed.after(run.epoch)) {
      this.revocationEpoch = run.epoch;
      this.#push(run.answer);
    }
  }

  #push(answer: Down | DownAnswer): void {
    if (this.down.push(answer) || this.down.ended) return;
    this.down.fail(
      new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this tether is not read"),
    );
  }

  /** Tells of a lease once, whether it is durable by now or was told ahead of that. */
  lease({ body, signed }: Verified<LeaseBody>): void {
    if (!this.live || body.leaseSeq <= this.#leaseSeq) return;
    this.#leaseSeq = body.leaseSeq;
    this.say({ case: "lease", value: toWire(signed) });
  }

  /** Once for each reason, until a lease is given again. */
  withhold(withheld: Withheld | null): void {
    if (withheld !== null && withheld.detail !== this.#withheld?.detail) {
      const { reason, detail } = withheld;
      this.say({ case: "leaseWithheld", value: { reason: reasonToWire(reason), detail } });
    }
    this.#withheld = withheld;
  }

  /**
   * One judgement at a time, of the latest beat; another is made when a newer one waits by then. Most are made
   * at once: null.
   */
  judging(
    judge: (beat: Verified<HeartbeatBody>) => boolean | Promise<boolean>,
  ): Promise<void> | null {
    if (this.#judging !== null) {
      return this.#judging.then(() => this.judging(judge) ?? undefined);
    }
    const beat = this.waiting;
    if (beat === null || !this.live) return null;
    const done = judge(beat);
    if (typeof done === "boolean") {
      this.#judged(beat, done);
      return null;
    }
    this.#judging = done
      .then((isDone) => this.#judged(beat, isDone))
      .finally(() => {
        this.#judging = null;
      });
    return this.#judging;
  }

  #judged(beat: Verified<HeartbeatBody>, isDone: boolean): void {
    if (isDone && this.waiting === beat) this.waiting = null;
  }
}

/** The sessions of one tenant: at most one current one an instance. */
export class Sessions {
  readonly #tenant: Tenant;
  readonly #crypto: Crypto;
  readonly #random: (n: number) => Uint8Array;
  readonly #clock: Clock;
  readonly #organisms: Organisms;
  readonly #issuer: Issuer;
  /** Told of every beat heard and every session that opened or ended. */
  readonly #onPulse: (instanceId: string) => void;
  readonly #current = new Map<string, Session>();
  readonly #byToken = new Map<string, Session>();
  readonly #arena = new Arena();
  /** The latest cosigned head of each ledger, as a signed note, in UTF-8, and when it was signed. */
  readonly #notes = new Map<LedgerRecord, { readonly note: Cell; atUs: number }>();
  readonly #feed: RevocationFeed;
  /** When those are told whom a revocation does not concern; null: everybody was. */
  #later: Timer | null = null;

  constructor(parts: {
    tenant: Tenant;
    crypto: Crypto;
    random: (n: number) => Uint8Array;
    clock: Clock;
    organisms: Organisms;
    issuer: Issuer;
    onPulse: (instanceId: string) => void;
  }) {
    this.#tenant = parts.tenant;
    this.#crypto = parts.crypto;
    this.#random = parts.random;
    this.#clock = parts.clock;
    this.#organisms = parts.organisms;
    this.#issuer = parts.issuer;
    this.#onPulse = parts.onPulse;
    this.#feed = new RevocationFeed(this.#tenant.revocations());
    this.#tenant.subscribe((event) => this.#recorded(event));
  }

  current(instanceId: string): Session | null {
    return this.#current.get(instanceId) ?? null;
  }

  byToken(token: Uint8Array): Session | null {
    return this.#byToken.get(toHex(token)) ?? null;
  }

  /** The latest cosigned head of a ledger, as a signed note; empty: none since the start. */
  checkpoint(ledger: LedgerRecord): string {
    return text(this.#notes.get(ledger)?.note.get() ?? NONE);
  }

  /**
   * Opens a session for a sidecar that proved its key: the next epoch, above all that processes before this one
   * granted. An older session of the same instance is told that it is over.
   * A stopped organism gets one as well: to be told so, and to deliver what its ledger still has.
   * @throws StatusError: succeeded by another ledger, or shorter than what is held.
   */
  async open(attaching: Attaching): Promise<Session> {
    const { ledger, held, headSize } = attaching;
    const { instanceId } = ledger;
    const newest = this.#tenant.instance(instanceId);
    if (newest === null || !equal(newest.ledgerId, ledger.ledgerId)) {
      const detail = "another ledger has succeeded this one";
      throw new StatusError("FAILED_PRECONDITION", "STATE_UNFIT", detail);
    }
    if (headSize < held.size) {
      if (!attaching.regressed) await this.#fault(instanceId, "REGRESS", ledger.ledgerId, []);
      throw new StatusError(
        "FAILED_PRECONDITION",
        "REGRESS",
        `this ledger has ${headSize} receipts, and ${held.size} are held; if it came out of a ` +
          "backup, begin a successor: --succeed, with a fresh token",
        { held_size: `${held.size}` },
      );
    }
    const { sessionEpoch } = this.#organisms.view(instanceId).facts;
    const epoch = Math.max(sessionEpoch, this.#tenant.sessionFloor) + 1;
    const session = new Session(attaching, epoch, toHex(this.#random(32)), this.#feed);
    this.#supersede(instanceId, epoch);
    this.#current.set(instanceId, session);
    this.#byToken.set(session.token, session);
    const { durable } = this.#organisms.input(instanceId, {
      kind: "session",
      epoch,
      attached: true,
    });
    await durable;
    await this.#tenant.settled();
    this.#greet(session, attaching);
    this.#onPulse(instanceId);
    return session;
  }

  /** The stream ended. */
  close(session: Session): void {
    const { instanceId } = session.ledger;
    session.down.end();
    this.#byToken.delete(session.token);
    if (this.#current.get(instanceId) !== session) return;
    this.#current.delete(instanceId);
    this.#organisms.input(instanceId, { kind: "session", epoch: session.epoch, attached: false });
    this.#onPulse(instanceId);
  }

  /** The control plane ends: sidecars live on by their leases, and attach again. */
  end(): void {
    this.#later?.cancel();
    for (const session of this.#current.values()) session.down.fail(shuttingDown());
  }

  /**
   * A beat came on a session's stream: acknowledged as soon as it is verified, and judged when its
   * receipts are held. Beats of one session are told one after the other.
   * @throws StatusError when it is not this ledger's, or of a session that was never granted.
   */
  async heard(session: Session, signed: SignedBytes): Promise<void> {
    const { instanceId, ledgerId, ledgerKey } = session.ledger;
    const { tenantId } = this.#tenant;
    const isShort = signed.body.length <= heartbeatBytesMax;
    const crypto = isShort
      ? await askedBeside(this.#crypto, HEARTBEAT, signed, ledgerKey)
      : this.#crypto;
    const beat = verifyHeartbeat(crypto, signed, { ledgerId, ledgerKey, tenantId });
    if (isInvalid(beat)) throw refusal(beat);
    const { sessionEpoch, counter } = beat.body;
    if (sessionEpoch > session.epoch) {
      throw new StatusError(
        "INVALID_ARGUMENT",
        "ARGUMENT_INVALID",
        `heartbeat.session_epoch: ${sessionEpoch} was not granted to this stream`,
      );
    }
    this.#proveFork(session, beat);
    if (session.supersededUs > 0 || sessionEpoch < session.epoch) {
      this.#overdue(session, beat);
      return;
    }
    const { refused } = this.#organisms.input(instanceId, { kind: "beat", beat });
    const value = { counter: BigInt(counter), nowUs: BigInt(this.#tenant.nowUs()) };
    session.say({ case: "heartbeatAck", value });
    this.#onPulse(instanceId);
    if (refused !== null) return;
    session.waiting = beat;
    this.advance(session);
  }

  /** Receipts arrived, or a beat did: judges the beat that waits, if it can be judged now. */
  advance(session: Session): void {
    const failed = (error: unknown): void => session.down.fail(error);
    try {
      session.judging((beat) => this.#judge(session, beat))?.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Two histories: what proves them is kept, and the organism is quarantined. */
  async forked(ledger: LedgerRecord, { artifact, proof }: Contradiction): Promise<void> {
    const shown = proof && ({ what: "equivocation", artifact: encodeEquivocation(proof) } as const);
    await this.#fault(ledger.instanceId, "FORK", artifact, shown === null ? [] : [shown]);
  }

  /** Cosigns the head and renews the lease, if it stands and that is due; false: it must wait for receipts. */
  #judge(session: Session, beat: Verified<HeartbeatBody>): boolean | Promise<boolean> {
    const { held, ledger, epoch } = session;
    const standing = held.judge(beat.body);
    if (standing === "AHEAD") return false;
    if (standing === "BEHIND") return true;
    if (standing === "FORK") return this.#proven(session, beat);
    const nowUs = this.#tenant.nowUs();
    const known = this.#notes.get(ledger);
    const moved = beat.body.size > held.cosignedSize || known === undefined;
    // A head that stands still is said again now and then: from the two it follows that nothing was done.
    const isDue = moved || nowUs - known.atUs >= cosignedAgainUs;
    if (!isDue && !session.hasNote) this.#tellNote(session, this.checkpoint(ledger));
    const earned = { ledger, sessionEpoch: epoch, beat, note: null };
    return isDue ? this.#cosign(session, earned, { moved, nowUs }) : this.#settle(session, earned);
  }

  async #proven(session: Session, beat: Verified<HeartbeatBody>): Promise<true> {
    await this.forked(session.ledger, await session.held.contradiction(beat));
    return true;
  }

  /** @param moved the head is another than the one cosigned last. */
  async #cosign(
    session: Session,
    earned: Earned,
    { moved, nowUs }: { readonly moved: boolean; readonly nowUs: number },
  ): Promise<true> {
    const cosigned = await session.held.cosign(earned.beat.body, nowUs);
    // A lease that is due does not wait for the disk to take the head.
    const told = cosigned?.durable.then(() => this.#cosigned(session, cosigned.note, nowUs));
    told?.catch(() => {});
    const note = moved && cosigned !== null ? cosigned.note : null;
    await this.#settle(session, { ...earned, note });
    await told;
    return true;
  }

  /** Renews the lease if that is due; otherwise says why there is none, at once. */
  #settle(session: Session, earned: Earned): true | Promise<true> {
    const nowUs = this.#tenant.nowUs();
    if (this.#issuer.due(earned, nowUs)) return this.#renew(session, earned);
    if (session.live) session.withhold(this.#issuer.withholds(earned, nowUs));
    return true;
  }

  async #renew(session: Session, earned: Earned): Promise<true> {
    const withheld = await this.#issuer.renew(earned, (lease) => session.lease(lease));
    if (session.live) session.withhold(withheld);
    return true;
  }

  #cosigned(session: Session, note: string, atUs: number): void {
    if (!session.live) return;
    const { ledger } = session;
    const kept = this.#notes.get(ledger) ?? { note: this.#arena.cell(), atUs };
    kept.note.set(utf8(note));
    kept.atUs = atUs;
    this.#notes.set(ledger, kept);
    this.#tellNote(session, note);
  }

  #tellNote(session: Session, note: string): void {
    session.hasNote = true;
    session.say({ case: "cosigned", value: { note } });
  }

  /** Two beats that contradict each other prove it by themselves, whichever session says so. */
  #proveFork(session: Session, beat: Verified<HeartbeatBody>): void {
    const { instanceId, ledgerId } = session.ledger;
    const { facts } = this.#organisms.view(instanceId);
    if (succession(facts.beat, beat.body) !== "FORK") return;
    const first = this.#organisms.beat(instanceId);
    if (first === null) return;
    const proof = { version: 1, ledgerId, kind: "HEADS", first, second: beat.signed } as const;
    this.forked(session.ledger, { artifact: beat.ref, proof }).catch(() => {});
  }

  /** A beat of a session that is over. In flight it is nothing; long after it, somebody has the key. */
  #overdue(session: Session, beat: Verified<HeartbeatBody>): void {
    const toldUs = session.supersededUs;
    if (toldUs > 0 && this.#tenant.nowUs() - toldUs < supersededGraceUs) return;
    const shown = { what: "heartbeat", artifact: beat } as const;
    this.#fault(session.ledger.instanceId, "KEY_MISUSE", beat.ref, [shown]).catch(() => {});
  }

  async #fault(
    instanceId: string,
    type: "FORK" | "REGRESS" | "KEY_MISUSE",
    artifact: Uint8Array,
    proofs: readonly Recordable[],
  ): Promise<void> {
    const known = this.#organisms.view(instanceId).holds.some((c) => c.type === type);
    if (known) return;
    await this.#organisms.input(instanceId, { kind: "fault", type, artifact }, proofs).durable;
  }

  #supersede(instanceId: string, epoch: number): void {
    const older = this.#current.get(instanceId);
    if (older === undefined) return;
    older.supersededUs = this.#tenant.nowUs();
    this.#byToken.delete(older.token);
    older.say({ case: "superseded", value: { sessionEpoch: BigInt(epoch) } });
    // It may still speak for a while, so that a key in two places shows.
    this.#clock.after(2 * supersededGraceUs, () => older.down.end());
  }

  /** Attached, and then whatever this sidecar missed while it was away. */
  #greet(session: Session, { revocationEpoch, keysetVersion, standing }: Attaching): void {
    const { ledger, epoch, token, held } = session;
    const tenant = this.#tenant;
    const grant = tenant.grant(ledger.grantRef);
    if (grant === null) throw new Error("a ledger without its grant");
    const view = this.#organisms.view(ledger.instanceId);
    const missed = tenant.revocations().slice(revocationEpoch, this.#feed.epoch);
    // Whoever pins an older root must hear of each that followed before the newest keyset holds.
    for (const { body, signed } of tenant.handovers()) {
      if (body.keysetVersion > keysetVersion)
        session.say({ case: "keyset", value: toWire(signed) });
    }
    session.say({
      case: "attached",
      value: {
        sessionEpoch: BigInt(epoch),
        sessionToken: fromHex(token),
        heldSize: BigInt(held.size),
        keyset: toWire(tenant.keyset().signed),
        grant: toWire(grant.artifact.signed),
        revocations: missed.map((r) => toWire(r.signed)),
        nowUs: BigInt(tenant.nowUs()),
        heartbeatIntervalUs: BigInt(beatIntervalUs(grant, policyOf(view.liveness).intervalUs)),
        state: stateToWire(view.state),
      },
    });
    session.revocationEpoch = this.#feed.epoch;
    const order = standingOrder(view, standing);
    if (order === null) return;
    const why = view.stop.reason || "as decided while it was away";
    this.#organisms.direct(ledger.instanceId, order, why).catch(() => {});
  }

  /** What was recorded is durable: sidecars are told, before anybody else is. */
  #recorded(event: RecordedEvent): void {
    for (const entry of event.entries) {
      switch (entry.what) {
        case "revocation":
          this.#revoked(entry.artifact.body);
          break;
        case "keyset": {
          const message = { case: "keyset", value: toWire(entry.artifact.signed) } as const;
          const answer = Encoded.of(AttachResponseSchema, { message });
          for (const session of this.#live()) session.tell(answer);
          this.#takeBack(this.#tenant.instances());
          break;
        }
        case "lease":
        case "directive": {
          const { instanceId, sessionEpoch } = entry.artifact.body;
          const session = this.#current.get(instanceId);
          if (session?.live !== true || session.epoch !== sessionEpoch) break;
          if (entry.what === "lease") session.lease(entry.artifact);
          else session.say({ case: "directive", value: toWire(entry.artifact.signed) });
          break;
        }
        default:
          break;
      }
    }
  }

  /**
   * Those from whom it takes something are told at once, before anybody else hears of it; all others a
   * moment later, with whatever else was revoked meanwhile: it ends nothing of theirs.
   */
  #revoked(revocation: RevocationBody): void {
    this.#feed.recorded(revocation.epoch);
    const concerned = [...this.#concerned(revocation)];
    for (const { instanceId } of concerned) {
      const session = this.#current.get(instanceId);
      if (session?.live) session.catchUp();
    }
    this.#takeBack(concerned);
    this.#tellLater();
  }

  /** Ledgers whose authority may end with it: rather too many than one too few. */
  #concerned({ kind, target }: RevocationBody): Iterable<LedgerRecord> {
    const tenant = this.#tenant;
    const all = tenant.ledgers();
    switch (kind) {
      case "LEASE": {
        const holder = tenant.holderOf(target);
        return holder === null ? all : [holder];
      }
      case "INSTANCE": {
        const ledger = tenant.ledger(target);
        return ledger === null ? all : [ledger];
      }
      case "GRANT":
        return [...all].filter(({ grantRef }) => equal(grantRef, target));
      case "MANIFEST":
        return [...all].filter(({ manifestHash }) => equal(manifestHash, target));
      default:
        return all;
    }
  }

  /** Some at a time: whoever beats meanwhile is not kept waiting. */
  #tellRest(): void {
    const { epoch } = this.#feed;
    const tell = (session: Session): void => {
      if (session.live) session.catchUp();
    };
    someAtATime(this.#live(), sessionsToldAtOnce, tell, {
      later: (rest) => {
        this.#later = this.#clock.after(sessionsToldEveryUs, rest);
      },
      done: () => {
        this.#later = null;
        if (this.#feed.epoch === epoch) this.#feed.rest();
        else this.#tellLater();
      },
    });
  }

  #tellLater(): void {
    this.#later ??= this.#clock.after(revocationsTogetherUs, () => this.#tellRest());
  }

  /** A lease whose authority is gone counts for nothing from now on. */
  #takeBack(ledgers: Iterable<LedgerRecord>): void {
    const nowUs = this.#tenant.nowUs();
    for (const ledger of ledgers) {
      const { lease, instanceId } = ledger;
      if (lease === null || this.#tenant.instance(instanceId) !== ledger) continue;
      const { leaseUntilUs } = this.#organisms.view(instanceId).facts;
      if (nowUs >= leaseUntilUs || !this.#issuer.isTakenBack(ledger, nowUs)) continue;
      this.#organisms.input(instanceId, { kind: "lease", ref: lease.artifact.ref, untilUs: nowUs });
    }
  }

  #live(): Session[] {
    return [...this.#current.values()].filter((s) => s.live);
  }
}

/** What a sidecar that was away must be told again: what it knows of would only fill both ledgers. */
function standingOrder(
  view: ReturnType<Organisms["view"]>,
  knows: Standing | null,
): "QUARANTINE" | "STOP" | "RELEASE" | null {
  const ends = view.desired === "STOP" || view.state === "STOPPED";
  if (ends) return knows?.stopped ? null : "STOP";
  if (view.state === "QUARANTINED") return knows?.quarantined ? null : "QUARANTINE";
  const free = knows !== null && !knows.quarantined && !knows.drifted;
  return view.releasedUs > 0 && !free ? "RELEASE" : null;
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import { concat, equal, utf8 } from "../../src/domain/bytes.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import type { DirectiveBody } from "../../src/domain/directive.ts";
import { HEARTBEAT, type HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { type Invalid, invalid, isInvalid } from "../../src/domain/invalid.ts";
import type { KeysetBody } from "../../src/domain/keyset.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import {
  attachBackoffMaxUs,
  attachBackoffMinUs,
  lastWordUs,
  syncEveryUs,
  tetherWaitingMax,
} from "../../src/domain/limits.ts";
import type { RevocationBody } from "../../src/domain/revocation.ts";
import type { SignedBytes, Verified } from "../../src/domain/signed.ts";
import { signBody } from "../../src/domain/signing.ts";
import type { SignedBytes as WireSigned } from "../../src/gen/dragons/v1/artifacts_pb.ts";
import type { SyncRequestSchema, SyncResponse } from "../../src/gen/dragons/v1/ledger_pb.ts";
import type {
  Attached,
  AttachRequestSchema,
  AttachResponse,
  Challenge,
  StandingSchema,
} from "../../src/gen/dragons/v1/tether_pb.ts";
import type { Timer } from "../../src/native/clock.ts";
import type { SteadyClock } from "../../src/native/steady-clock.ts";
import { fromWire, toWire } from "../../src/wire/artifacts.ts";
import { Queue } from "../../src/wire/queue.ts";
import { StatusError } from "../../src/wire/status.ts";
import type { Adopted, HeldAuthority } from "../identity/held-authority.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";
import { attachAgainUs, pace } from "./pace.ts";
import { HeaderSync, type Leaving } from "./sync.ts";

/** The two streams of a session. */
export interface TetherClient {
  attach(
    requests: AsyncIterable<MessageInitShape<typeof AttachRequestSchema>>,
    signal: AbortSignal,
  ): AsyncIterable<AttachResponse>;
  sync(
    requests: AsyncIterable<MessageInitShape<typeof SyncRequestSchema>>,
    sessionToken: Uint8Array,
    signal: AbortSignal,
  ): AsyncIterable<SyncResponse>;
}

/** What comes down a tether, verified. What cannot be verified never gets here. */
export interface TetherEvents {
  /** A session was granted, with this interval between beats. */
  attached(sessionEpoch: number): void;
  /**
   * No session was granted; it is tried again. Told once for each `why`, a sentence; `reason` is the
   * control plane's code, empty where it gave none or was not reached.
   */
  refused(why: string, reason: string): void;
  /** The session ended: authority lasts as long as the lease does. */
  detached(why: string): void;
  lease(lease: Verified<LeaseBody>): void;
  /** A newer keyset counts from now on, for what is held as well. */
  keyset(keyset: Verified<KeysetBody>): void;
  /** Adopted already; what it takes back must stop now. */
  revocation(revocation: Verified<RevocationBody>): void;
  directive(directive: Verified<DirectiveBody>): void;
  /** A heartbeat is on its way, as it was signed. */
  beaten(signed: SignedBytes): void;
  /** A note on one of our heads with the control plane's cosignature. */
  cosigned(note: string): void;
  withheld(reason: number, detail: string): void;
  /** Something came that was verified and cannot be kept. */
  failed(error: Error): void;
  /** Something came that does not verify; it was dropped. */
  rejected(what: string, detail: string): void;
}

export interface TetherParts {
  readonly client: TetherClient;
  readonly authority: HeldAuthority;
  readonly ledger: WorkLedger;
  readonly ledgerSigner: Signer;
  /** What leaves of each receipt. */
  readonly leaving: Leaving;
  /** The last lease that was adopted, restarts included; null: none was. */
  readonly lastLease: () => SignedBytes | null;
  /** Which part of the lease in hand is left, from 0 to 1; 0: none is. */
  readonly leaseLeft: () => number;
  /** What everything is denied for now, whatever lease is held. */
  readonly standing: () => MessageInitShape<typeof StandingSchema>;
  readonly clock: SteadyClock;
  /** Uniform in [0, 1). */
  readonly chance: () => number;
  readonly events: TetherEvents;
  /** A beat as of now; the tether signs it. */
  readonly beat: (session: BeatOf) => Promise<HeartbeatBody>;
}

/** Which beat of which session, and what the tether saw by itself. */
export interface BeatOf {
  readonly epoch: number;
  readonly counter: number;
  /** Until the next beat, unless something happens before. */
  readonly dueInUs: number;
  readonly loopLagUs: number;
}

export interface Tether {
  readonly attached: boolean;
  readonly sessionEpoch: number;
  /** Beats now, beside the interval: something happened that the control plane should hear. */
  beatNow(): void;
  /** Ends this session for another, for the reason told. */
  attachAnew(why: string): void;
  /** A last beat and sync if attached, bounded; then no more. */
  stop(): Promise<void>;
}

/**
 * Keeps one sidecar attached: attaches, beats, syncs, and starts over when the session ends, for as
 * long as it runs. It never touches what the gate may do by itself: authority comes as verified
 * leases and goes by verified revocations, or by time.
 */
export function startTether(parts: TetherParts): Tether {
  const tether = new RunningTether(parts);
  tether.run();
  return tether;
}

class RunningTether implements Tether {
  readonly #parts: TetherParts;
  readonly #stop = new AbortController();
  #session: Session | null = null;
  #done: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(parts: TetherParts) {
    this.#parts = parts;
  }

  get attached(): boolean {
    return (this.#session?.epoch ?? 0) > 0;
  }

  get sessionEpoch(): number {
    return this.#session?.epoch ?? 0;
  }

  beatNow(): void {
    this.#session?.beatNow();
  }

  attachAnew(why: string): void {
    this.#session?.end(why);
  }

  run(): void {
    this.#done = this.#loop();
  }

  async stop(): Promise<void> {
    // No further session, and for this one a bounded time to have heard the last of us.
    this.#stopping = true;
    await Promise.race([this.#session?.lastWord(), this.#after(lastWordUs)]);
    this.#stop.abort();
    await this.#done;
  }

  #after(us: number): Promise<void> {
    return new Promise((resolve) => void this.#parts.clock.after(us, resolve));
  }

  async #loop(): Promise<void> {
    let backoffUs = attachBackoffMinUs;
    let refused = "";
    const { chance, leaseLeft } = this.#parts;
    let leftThen = leaseLeft();
    while (!this.#stopping) {
      const session = new Session(this.#parts, this.#stop.signal);
      this.#session = session;
      const why = await session.run();
      this.#session = null;
      if (session.epoch === 0) {
        // Once for each reason: it is tried for as long as it takes.
        if (why !== refused && !this.#stopping) this.#parts.events.refused(why, session.reason);
        refused = why;
      } else {
        refused = "";
        leftThen = leaseLeft();
        // Whoever is superseded has a twin, and must not fight it for the tether as fast as it can.
        if (!session.superseded) backoffUs = attachBackoffMinUs;
        this.#parts.events.detached(why);
      }
      if (this.#stopping) return;
      await this.#pause(attachAgainUs(backoffUs, leftThen, leaseLeft(), chance()));
      backoffUs = Math.min(backoffUs * 2, attachBackoffMaxUs);
    }
  }

  #pause(us: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#stop;
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = this.#parts.clock.after(us, done);
      signal.addEventListener("abort", done);
    });
  }
}

/** One attachment, from Hello to its end. */
class Session {
  epoch = 0;
  /** Another session of this ledger took over. */
  superseded = false;
  /** The code of the refusal that ended it; empty: none did, or none was given. */
  reason = "";
  readonly #parts: TetherParts;
  readonly #out = new Queue<MessageInitShape<typeof AttachRequestSchema>>(tetherWaitingMax);
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  #counter = 0;
  /** A lease has come. */
  #leased = false;
  #intervalUs = 0;
  #timer: Timer | null = null;
  #syncTimer: Timer | null = null;
  #sync: HeaderSync | null = null;
  #beating: Promise<void> = Promise.resolve();
  /** When the last beat was handed over, by the monotonic clock; and how long the last answer took. */
  #sentUs = 0;
  #answeredUs = 0;
  #answerUs = 0;
  readonly #ended = Promise.withResolvers<void>();
  /** Empty: nobody has said yet. */
  #why = "";

  constructor(parts: TetherParts, stop: AbortSignal) {
    this.#parts = parts;
    this.#signal = AbortSignal.any([stop, this.#abort.signal]);
  }

  /** Resolves with why it ended; never rejects. */
  async run(): Promise<string> {
    const { client, authority, ledger } = this.#parts;
    this.#out.push({
      message: {
        case: "hello",
        value: {
          ledgerId: ledger.ledgerId,
          keysetVersion: BigInt(authority.keyset.body.keysetVersion),
          revocationEpoch: BigInt(authority.revocationEpoch),
        },
      },
    });
    try {
      for await (const { message } of client.attach(this.#out, this.#signal)) {
        await this.#receive(message);
      }
    } catch (error) {
      this.#why ||= (error as Error).message;
      if (error instanceof StatusError) this.reason = error.reason;
    } finally {
      this.#timer?.cancel();
      this.#syncTimer?.cancel();
      this.#out.end();
      this.#sync?.requests.end();
      this.#abort.abort();
      this.#ended.resolve();
    }
    return this.#why || "the stream ended";
  }

  end(why: string): void {
    this.#why ||= why;
    this.#abort.abort();
  }

  beatNow(): void {
    if (this.epoch === 0) return;
    this.#timer?.cancel();
    this.#beating = this.#beating.then(() => this.#beat());
  }

  /**
   * Syncs what is durable, beats once more, and ends when the control plane has heard both. In this
   * order: the last beat says that nothing is owed any more.
   */
  async lastWord(): Promise<void> {
    if (this.epoch === 0) return;
    await this.#sync?.caughtUp();
    this.beatNow();
    await this.#beating;
    this.#timer?.cancel();
    this.#out.end();
    await this.#ended.promise;
  }

  async #receive(message: AttachResponse["message"]): Promise<void> {
    const { authority, clock, events } = this.#parts;
    switch (message.case) {
      case "challenge":
        return this.#prove(message.value);
      case "attached":
        return this.#attached(message.value);
      case "lease": {
        const verify = (signed: SignedBytes) => this.#verifyLease(signed);
        const lease = await this.#checked("lease", message.value, verify);
        if (lease !== null) events.lease(lease);
        return;
      }
      case "revocation":
        return this.#revoked([message.value]);
      case "directive": {
        const verify = (signed: SignedBytes) =>
          authority.verifyDirective(signed, this.epoch, clock.nowUs());
        const directive = await this.#checked("directive", message.value, verify);
        if (directive !== null) events.directive(directive);
        return;
      }
      case "keyset":
        return this.#rekeyed(message.value);
      case "heartbeatAck":
        if (Number(message.value.counter) === this.#counter) {
          this.#answeredUs = clock.monotonicUs();
          this.#answerUs = this.#answeredUs - this.#sentUs;
        }
        return;
      case "cosigned":
        return events.cosigned(message.value.note);
      case "leaseWithheld":
        return events.withheld(message.value.reason, message.value.detail);
      case "superseded":
        this.superseded = true;
        return this.end(`superseded by session ${message.value.sessionEpoch}`);
      default:
        return;
    }
  }

  /**
   * A lease of this session. Its first one is a signed time, and a fresh one, since nobody had this
   * session before: if the machine's clock agrees with it, that clock is believed again, though it is
   * behind what it once said.
   */
  #verifyLease(signed: SignedBytes): Verified<LeaseBody> | Invalid {
    const { authority, clock } = this.#parts;
    const asOf = (us: number): Verified<LeaseBody> | Invalid => {
      const lease = authority.verifyLease(signed, us);
      if (isInvalid(lease) || lease.body.sessionEpoch === this.epoch) return lease;
      return invalid("E_ROLLBACK", `is for session ${lease.body.sessionEpoch}`);
    };
    const { wallUs } = clock;
    const believed = !this.#leased && wallUs < clock.nowUs() ? asOf(wallUs) : null;
    if (believed !== null && !isInvalid(believed)) clock.resume();
    const lease = asOf(clock.nowUs());
    this.#leased ||= !isInvalid(lease);
    return lease;
  }

  async #prove({ nonce, revocationEpoch }: Challenge): Promise<void> {
    const { authority, lastLease, ledger, ledgerSigner, standing } = this.#parts;
    const lease = lastLease();
    const lost = authority.revocations.filter(({ body }) => body.epoch > revocationEpoch);
    const signature = await ledgerSigner.sign(
      concat(utf8("dragons/v1/attach\n"), nonce, ledger.ledgerId),
    );
    const head = ledger.head();
    this.#out.push({
      message: {
        case: "proof",
        value: {
          signature,
          head: {
            size: BigInt(head.size),
            root: head.root,
            intentsOpened: BigInt(head.intentsOpened),
            intentsHead: head.intentsHead,
          },
          ...(lease === null ? {} : { lease: toWire(lease) }),
          revocations: lost.map(({ signed }) => toWire(signed)),
          standing: standing(),
        },
      },
    });
  }

  async #attached(attached: Attached): Promise<void> {
    const { client, events, ledger } = this.#parts;
    await this.#rekeyed(attached.keyset);
    await this.#revoked(attached.revocations);
    this.epoch = Number(attached.sessionEpoch);
    this.#intervalUs = Number(attached.heartbeatIntervalUs);
    this.#sync = new HeaderSync(ledger, Number(attached.heldSize), this.#parts.leaving);
    void this.#syncing(client.sync(this.#sync.requests, attached.sessionToken, this.#signal));
    this.#keepSyncing();
    events.attached(this.epoch);
    this.#beating = this.#beat();
    await this.#beating;
  }

  async #rekeyed(message: WireSigned | undefined): Promise<void> {
    const { authority, events } = this.#parts;
    const before = authority.keyset.body.controlCas;
    const adopt = (signed: SignedBytes) => authority.adoptKeyset(signed);
    await this.#adopted(await this.#checked("keyset", message, adopt), (k) => events.keyset(k));
    const { controlCas } = authority.keyset.body;
    const isNamed = (ca: Uint8Array): boolean => controlCas.some((named) => equal(named, ca));
    // The other end may have shown its certificate, and nobody vouches for that any more.
    if (!before.every(isNamed)) this.end("an authority of the control plane was given up");
  }

  /** In their order. Each takes effect before any is kept: of thousands that were missed the last may be ours. */
  async #revoked(messages: readonly WireSigned[]): Promise<void> {
    const { authority, events } = this.#parts;
    const adopt = (signed: SignedBytes) => authority.adoptRevocation(signed);
    const kept: Promise<void>[] = [];
    for (const message of messages) {
      const adopted = await this.#checked("revocation", message, adopt);
      const one = this.#adopted(adopted, (r) => events.revocation(r));
      // All are waited for below.
      one.catch(() => {});
      kept.push(one);
    }
    await Promise.all(kept);
  }

  /**
   * First it takes effect, then it is kept: a slow disk never holds up what takes authority away.
   * Nothing else is received, and no further session says that it is held, before it is durable.
   */
  async #adopted<T>(adopted: Adopted<T> | null, tell: (artifact: Verified<T>) => void) {
    if (adopted === null) return;
    // Heard of at once, so that a disk that fails early is no unhandled rejection.
    const kept = adopted.durable.then(
      () => null,
      (error: Error) => error,
    );
    tell(adopted.artifact);
    const failure = await kept;
    if (failure === null) return;
    // What takes authority away must not be lost to a disk.
    this.#parts.events.failed(failure);
    throw failure;
  }

  /** What came, verified; or null, and told: nothing unverified goes any further. */
  async #checked<T extends object>(
    what: string,
    message: WireSigned | undefined,
    verify: (signed: SignedBytes) => T | Invalid | Promise<T | Invalid>,
  ): Promise<T | null> {
    const signed = fromWire(message, what);
    const checked = isInvalid(signed) ? signed : await verify(signed);
    if (!isInvalid(checked)) return checked;
    this.#parts.events.rejected(what, checked.detail);
    return null;
  }

  async #syncing(responses: AsyncIterable<SyncResponse>): Promise<void> {
    try {
      for await (const response of responses) this.#sync?.answered(response);
      this.#why ||= "the sync stream ended";
    } catch (error) {
      this.#why ||= `sync: ${(error as Error).message}`;
    }
    // Without sync no head is cosigned and no lease earned: better to attach anew.
    this.#abort.abort();
  }

  #keepSyncing(): void {
    this.#sync?.pump();
    this.#syncTimer = this.#parts.clock.after(syncEveryUs, () => this.#keepSyncing());
  }

  async #beat(): Promise<void> {
    const { beat, clock, ledgerSigner, events } = this.#parts;
    if (this.#signal.aborted) return;
    const loopLagUs = await lagOfLoop();
    // An answer that is still owed is late by now, too.
    const owedUs = this.#answeredUs < this.#sentUs ? clock.monotonicUs() - this.#sentUs : 0;
    const lagUs = Math.max(loopLagUs, this.#answerUs, owedUs);
    const dueInUs = pace(this.#intervalUs, lagUs, this.#parts.chance());
    try {
      this.#sync?.pump();
      const session = { epoch: this.epoch, counter: ++this.#counter, dueInUs, loopLagUs };
      const signed = await signBody(HEARTBEAT, await beat(session), [ledgerSigner]);
      this.#sentUs = clock.monotonicUs();
      events.beaten(signed);
      this.#out.push({ message: { case: "heartbeat", value: signed } });
    } catch (error) {
      events.rejected("heartbeat", (error as Error).message);
    }
    this.#timer = clock.after(dueInUs, () => this.beatNow());
  }
}

/** How long the event loop takes to come round, microseconds. */
async function lagOfLoop(): Promise<number> {
  const asked = performance.now();
  await new Promise((resolve) => setImmediate(resolve));
  return Math.round((performance.now() - asked) * 1000);
}

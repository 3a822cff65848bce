import { attachAgainUs, pace } from "../sidecar/tether/pace.ts";
import { attachMessage } from "../src/control/sessions.ts";
import { LeaseBody } from "../src/domain/lease.ts";
import { refOf } from "../src/domain/signing.ts";
import type { SignedBytes } from "../src/gen/dragons/v1/artifacts_pb.ts";
import { LedgerService } from "../src/gen/dragons/v1/ledger_pb.ts";
import { TetherService } from "../src/gen/dragons/v1/tether_pb.ts";
import { native } from "../src/native/crypto.ts";
import type { SimSidecar } from "../test/control/sidecar.ts";
import { type FleetConnection, Refused } from "./fleet-connection.ts";
import type { Wheel } from "./fleet-wheel.ts";

/** What a fleet counts together. Times in milliseconds. */
export interface Tally {
  beats: number;
  /** From a beat to its acknowledgement. */
  ackMs: number[];
  /** Beats that were never answered: their session ended first, or a later one of it was answered. */
  lost: number;
  leases: number;
  /** Leases that came when the one before had run out: actions would have been denied meanwhile. */
  lapsed: number;
  attached: number;
  broken: number;
  /** Of those, by the control plane's word, by gRPC status: none but UNAVAILABLE while it stops. */
  refused: Map<string, number>;
}

/** The control plane stops, and said so. */
const UNAVAILABLE = "14";

const BEAT_MS = 10_000;
const RECEIPT_MS = 60_000;
/** A lost session is tried again after up to so long, as sidecars do. */
const AGAIN_US = 5_000_000;
/** Leases of this fleet last as long. */
const LEASE_US = 60_000_000;

/** One simulated sidecar: its own connection, beats at the pace of sidecars, leases, a receipt a minute. */
export class FleetOrganism {
  readonly sidecar: SimSidecar;
  /** Of its manifest. */
  readonly #hash: Uint8Array;
  readonly #open: () => Promise<FleetConnection>;
  readonly #tally: Tally;
  readonly #wheel: Wheel;
  #periods: (() => void)[] = [];
  #connection: FleetConnection | null = null;
  #lease: SignedBytes | null = null;
  #untilUs = 0;
  #ended = false;
  /** performance.now() when it had a session, and then a lease in it. */
  attachedAt = 0;
  renewedAt = 0;
  /** Receipts that the control plane says it holds. */
  held = 0;
  /** By counter, when each beat of this session was sent that is owed an answer. In order. */
  readonly #sent = new Map<number, number>();

  constructor(
    sidecar: SimSidecar,
    hash: Uint8Array,
    open: () => Promise<FleetConnection>,
    tally: Tally,
    wheel: Wheel,
  ) {
    this.#wheel = wheel;
    this.sidecar = sidecar;
    this.#hash = hash;
    this.#open = open;
    this.#tally = tally;
  }

  /** Lives until `end`; whatever breaks is begun anew. */
  async live(): Promise<void> {
    const leaseLeft = () => Math.max(0, this.#untilUs - Date.now() * 1000) / LEASE_US;
    let leftThen = leaseLeft();
    while (!this.#ended) {
      const before = this.attachedAt;
      try {
        await this.#session();
      } catch (error) {
        this.#tally.broken++;
        this.#refused(error);
      }
      this.#stop();
      if (this.#ended) return;
      if (this.attachedAt > before) leftThen = leaseLeft();
      const againMs = attachAgainUs(AGAIN_US, leftThen, leaseLeft(), Math.random()) / 1000;
      await new Promise((again) => setTimeout(again, againMs));
    }
  }

  /** Receipts that it has made. */
  get made(): number {
    return this.sidecar.receipts.length;
  }

  /** performance.now() when the oldest beat was sent that is owed an answer; infinite: none is. */
  get owedSince(): number {
    const [oldest = Number.POSITIVE_INFINITY] = this.#sent.values();
    return oldest;
  }

  /** Its connection is gone, as when a network breaks. */
  cut(): void {
    this.#connection?.cut();
  }

  end(): void {
    this.#ended = true;
    this.#stop();
  }

  #refused(error: unknown): void {
    if (!(error instanceof Refused) || error.status === UNAVAILABLE) return;
    const { refused } = this.#tally;
    refused.set(error.message, (refused.get(error.message) ?? 0) + 1);
  }

  #stop(): void {
    this.#tally.lost += this.#sent.size;
    this.#sent.clear();
    for (const stop of this.#periods.splice(0)) stop();
    this.#connection?.cut();
    this.#connection = null;
  }

  async #session(): Promise<void> {
    const { sidecar } = this;
    const connection = await this.#open();
    this.#connection = connection;
    const ended = Promise.withResolvers<void>();
    let epoch = 0;
    let counter = 0;
    /** What the last answer took; one that is owed is late by now, too. */
    let answerMs = 0;
    const beat = (): number => {
      const lagMs = Math.max(answerMs, performance.now() - this.owedSince);
      const dueInUs = pace(BEAT_MS * 1000, lagMs * 1000, Math.random());
      void told(dueInUs);
      return dueInUs / 1000;
    };
    const told = async (dueInUs: number): Promise<void> => {
      const nextDueUs = Date.now() * 1000 + dueInUs;
      const at = ++counter;
      const signed = await sidecar.beat(epoch, at, { manifestHash: this.#hash, nextDueUs });
      if (!send({ message: { case: "heartbeat", value: signed } })) return;
      this.#sent.set(at, performance.now());
      this.#tally.beats++;
    };
    const send = connection.stream(TetherService.method.attach, {
      message: ({ message }) => {
        switch (message.case) {
          case "challenge":
            void this.#proof(message.value.nonce).then((value) =>
              send({ message: { case: "proof", value } }),
            );
            break;
          case "attached":
            epoch = Number(message.value.sessionEpoch);
            this.#tally.attached++;
            this.attachedAt = performance.now();
            this.#periods.push(this.#wheel.again(beat(), beat));
            this.#sync(connection, message.value.sessionToken);
            break;
          case "heartbeatAck": {
            answerMs = this.#answered(Number(message.value.counter)) ?? answerMs;
            break;
          }
          case "lease":
            this.#adopt(message.value);
            break;
          default:
            break;
        }
      },
      over: (why) => (why === null ? ended.resolve() : ended.reject(why)),
    });
    send({ message: { case: "hello", value: { ledgerId: sidecar.ledgerId } } });
    await ended.promise;
  }

  /** Answers come in the order of the beats: whichever was sent before this one and has none gets none. */
  #answered(counter: number): number | null {
    const since = this.#sent.get(counter);
    if (since === undefined) return null;
    for (const earlier of this.#sent.keys()) {
      if (earlier >= counter) break;
      this.#sent.delete(earlier);
      this.#tally.lost++;
    }
    this.#sent.delete(counter);
    const ms = performance.now() - since;
    this.#tally.ackMs.push(ms);
    return ms;
  }

  #adopt(lease: SignedBytes): void {
    const { notAfterUs } = LeaseBody.view(lease.body);
    if (this.#untilUs > 0 && this.#untilUs < Date.now() * 1000) this.#tally.lapsed++;
    this.#untilUs = notAfterUs;
    this.#lease = lease;
    this.sidecar.leaseRef = refOf(native, "lease", lease.body);
    this.#tally.leases++;
    this.renewedAt = performance.now();
  }

  async #proof(nonce: Uint8Array) {
    const { chain, ledgerId, ledgerKey } = this.sidecar;
    const signature = await ledgerKey.sign(attachMessage(nonce, ledgerId));
    const head = { ...chain.head(), size: BigInt(chain.size), intentsOpened: 0n };
    const lease = this.#lease === null ? {} : { lease: this.#lease };
    return { signature, head, regressed: false, revocations: [], ...lease };
  }

  /** A receipt a minute, sent as soon as it is there. */
  #sync(connection: FleetConnection, token: Uint8Array): void {
    const { sidecar } = this;
    const metadata = ["dragons-session-bin", Buffer.from(token).toString("base64")];
    let held = -1;
    const give = (): void => {
      // Before the first answer nobody knows from where on.
      if (held < 0) return;
      const receipts = sidecar.receipts.slice(held, held + 64);
      if (receipts.length > 0) send({ fromSeq: BigInt(held + 1), receipts });
    };
    const send = connection.stream(
      LedgerService.method.sync,
      {
        message: ({ heldSize }) => {
          const first = held < 0;
          held = Number(heldSize);
          this.held = held;
          if (first) give();
        },
        // A session whose receipts do not arrive earns no lease: both are begun anew.
        over: (why) => {
          if (why === null) return;
          this.#refused(why);
          connection.cut();
        },
      },
      metadata,
    );
    const work = (): number => {
      void sidecar.work(1, { manifestHash: this.#hash }).then(give);
      return RECEIPT_MS;
    };
    this.#periods.push(this.#wheel.again(RECEIPT_MS, work));
  }
}

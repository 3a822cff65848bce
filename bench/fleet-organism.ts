import type { MessageInitShape } from "@bufbuild/protobuf";
import { attachMessage } from "../src/control/sessions.ts";
import { LeaseBody } from "../src/domain/lease.ts";
import { refOf } from "../src/domain/signing.ts";
import type { SignedBytes } from "../src/gen/dragons/v1/artifacts_pb.ts";
import { LedgerService, type SyncRequestSchema } from "../src/gen/dragons/v1/ledger_pb.ts";
import { type AttachRequestSchema, TetherService } from "../src/gen/dragons/v1/tether_pb.ts";
import { native } from "../src/native/crypto.ts";
import { Queue } from "../src/wire/queue.ts";
import type { SimSidecar } from "../test/control/sidecar.ts";
import { type FleetConnection, Refused } from "./fleet-connection.ts";

/** What a fleet counts together. Times in milliseconds. */
export interface Tally {
  beats: number;
  acks: number;
  /** From a beat to its acknowledgement. */
  ackMs: number[];
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
/** A lost session is tried again after up to so long: full jitter, as sidecars do. */
const AGAIN_MS = 5_000;

/** One simulated sidecar: its own connection, beats, leases, a receipt a minute. */
export class FleetOrganism {
  readonly sidecar: SimSidecar;
  /** Of its manifest. */
  readonly #hash: Uint8Array;
  readonly #open: () => Promise<FleetConnection>;
  readonly #tally: Tally;
  readonly #timers: NodeJS.Timeout[] = [];
  #connection: FleetConnection | null = null;
  #lease: SignedBytes | null = null;
  #untilUs = 0;
  #ended = false;
  /** performance.now() when it had a session, and then a lease in it. */
  attachedAt = 0;
  renewedAt = 0;

  constructor(
    sidecar: SimSidecar,
    hash: Uint8Array,
    open: () => Promise<FleetConnection>,
    tally: Tally,
  ) {
    this.sidecar = sidecar;
    this.#hash = hash;
    this.#open = open;
    this.#tally = tally;
  }

  /** Lives until `end`; whatever breaks is begun anew. */
  async live(): Promise<void> {
    while (!this.#ended) {
      try {
        await this.#session();
      } catch (error) {
        this.#tally.broken++;
        this.#refused(error);
      }
      this.#stop();
      if (this.#ended) return;
      await new Promise((again) => setTimeout(again, Math.random() * AGAIN_MS));
    }
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
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.#connection?.cut();
    this.#connection = null;
  }

  async #session(): Promise<void> {
    const { sidecar } = this;
    const connection = await this.#open();
    this.#connection = connection;
    const up = new Queue<MessageInitShape<typeof AttachRequestSchema>>(64);
    const down = connection.stream(TetherService.method.attach, up);
    up.push({ message: { case: "hello", value: { ledgerId: sidecar.ledgerId } } });
    let epoch = 0;
    let counter = 0;
    const sent = new Map<number, number>();
    const beat = async (): Promise<void> => {
      const signed = await sidecar.beat(epoch, ++counter, { manifestHash: this.#hash });
      sent.set(counter, performance.now());
      if (up.push({ message: { case: "heartbeat", value: signed } })) this.#tally.beats++;
    };
    for await (const { message } of down) {
      switch (message.case) {
        case "challenge":
          up.push({ message: { case: "proof", value: await this.#proof(message.value.nonce) } });
          break;
        case "attached":
          epoch = Number(message.value.sessionEpoch);
          this.#tally.attached++;
          this.attachedAt = performance.now();
          await beat();
          this.#every(BEAT_MS, () => void beat());
          this.#sync(connection, message.value.sessionToken);
          break;
        case "heartbeatAck": {
          const at = Number(message.value.counter);
          const since = sent.get(at);
          sent.delete(at);
          if (since === undefined) break;
          this.#tally.acks++;
          this.#tally.ackMs.push(performance.now() - since);
          break;
        }
        case "lease": {
          const body = LeaseBody.decode(message.value.body);
          if (this.#untilUs > 0 && this.#untilUs < Date.now() * 1000) this.#tally.lapsed++;
          this.#untilUs = body.notAfterUs;
          this.#lease = message.value;
          sidecar.leaseRef = refOf(native, "lease", message.value.body);
          this.#tally.leases++;
          this.renewedAt = performance.now();
          break;
        }
        default:
          break;
      }
    }
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
    const requests = new Queue<MessageInitShape<typeof SyncRequestSchema>>(64);
    const metadata = ["dragons-session-bin", Buffer.from(token).toString("base64")];
    const answers = connection.stream(LedgerService.method.sync, requests, metadata);
    let held = -1;
    const send = (): void => {
      // Before the first answer nobody knows from where on.
      if (held < 0) return;
      const receipts = sidecar.receipts.slice(held, held + 64);
      if (receipts.length > 0) requests.push({ fromSeq: BigInt(held + 1), receipts });
    };
    const read = async (): Promise<void> => {
      for await (const { heldSize } of answers) {
        const first = held < 0;
        held = Number(heldSize);
        if (first) send();
      }
    };
    // A session whose receipts do not arrive earns no lease: both are begun anew.
    read().catch((error) => {
      this.#refused(error);
      connection.cut();
    });
    this.#every(RECEIPT_MS, () => {
      void sidecar.work(1, { manifestHash: this.#hash }).then(send);
    });
  }

  /** From a random moment within the first period on. */
  #every(ms: number, what: () => void): void {
    const first = setTimeout(() => {
      what();
      this.#timers.push(setInterval(what, ms));
    }, Math.random() * ms);
    this.#timers.push(first);
  }
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import { leafHash } from "../../src/domain/chain.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { syncBatchMax, tetherWaitingMax } from "../../src/domain/limits.ts";
import { decodeSigned } from "../../src/domain/signing.ts";
import type { SyncRequestSchema, SyncResponse } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { Queue } from "../../src/wire/queue.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";

type SyncRequest = MessageInitShape<typeof SyncRequestSchema>;

/** What leaves of a receipt: its signed header, or the header's hash alone. */
export type Leaving = "headers" | "hashes";

/**
 * Sends receipt headers of one session, or their hashes, and nothing else of them: signed bytes as they
 * stand in the ledger, never a payload row. Only what is durable and signed is ever read, so that the centre can
 * hold nothing that a power cut takes back here. The centre's answers move the cursor: forward when
 * it holds more, back when it saw a gap.
 */
export class HeaderSync {
  readonly requests = new Queue<SyncRequest>(tetherWaitingMax);
  readonly #ledger: WorkLedger;
  readonly #leaving: Leaving;
  /** Sent up to here. */
  #sent: number;
  #credit = 1;
  #underWay = 0;
  #waiting: { readonly size: number; readonly resolve: () => void }[] = [];

  constructor(ledger: WorkLedger, heldSize: number, leaving: Leaving) {
    this.#ledger = ledger;
    this.#leaving = leaving;
    this.#sent = heldSize;
    ledger.acknowledged(heldSize);
  }

  /** Sends what is there and there is credit for. Call it when the ledger grew. */
  pump(): void {
    while (this.#credit > 0 && this.#sent < this.#ledger.head().size) {
      const batch = this.#ledger.headers(this.#sent + 1, syncBatchMax);
      const first = batch[0];
      if (first === undefined) return;
      const receipts = batch.map(({ seq, signed }) => {
        const decoded = decodeSigned(signed);
        if (isInvalid(decoded)) throw new Error(`stored receipt ${seq}: ${decoded.detail}`);
        return decoded;
      });
      const fromSeq = BigInt(first.seq);
      this.requests.push(
        this.#leaving === "headers"
          ? { fromSeq, receipts }
          : { fromSeq, hashes: receipts.map(({ body }) => leafHash(native, body)) },
      );
      this.#credit--;
      this.#underWay++;
      this.#sent += batch.length;
    }
  }

  /** Resolves once the centre holds all that is durable now. */
  caughtUp(): Promise<void> {
    const { size } = this.#ledger.head();
    if (this.#ledger.acknowledgedSeq >= size) return Promise.resolve();
    this.pump();
    return new Promise((resolve) => this.#waiting.push({ size, resolve }));
  }

  answered(response: SyncResponse): void {
    const held = Number(response.heldSize);
    this.#ledger.acknowledged(held);
    for (const { size, resolve } of this.#waiting) if (held >= size) resolve();
    this.#waiting = this.#waiting.filter(({ size }) => held < size);
    this.#underWay = Math.max(0, this.#underWay - 1);
    this.#credit = Math.max(1, response.credit) - this.#underWay;
    // Behind what was sent with nothing more under way: a gap. Go on from where the centre is.
    if (held < this.#sent && this.#underWay === 0) this.#sent = held;
    this.pump();
  }
}

import { type FileHandle, open } from "node:fs/promises";
import { isInvalid } from "../../domain/invalid.ts";
import { ReceiptHeader } from "../../domain/receipt.ts";
import { encodeSigned } from "../../domain/signing.ts";
import { fromWire } from "../../wire/artifacts.ts";
import { StatusError } from "../../wire/status.ts";
import { type Control, pages } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";

/** One receipt as a pack's exporter reads it; its payload never left its sidecar. */
export interface HeldReceipt {
  readonly seq: number;
  readonly signed: Uint8Array;
  readonly row: Uint8Array;
}

const NO_ROW = new Uint8Array(0);

/** What the control plane holds of one ledger's receipts, in a file: eight bytes a receipt are in memory. */
export class HeldReceipts {
  readonly #file: FileHandle;
  /** Where receipt n + 1 begins; one more than there are receipts. */
  readonly #at: number[] = [0];
  #intentsOpened = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /**
   * Takes them from the control plane into a file that there is not yet.
   * @returns null where there is none to show: nothing is held, or hashes instead of (some) receipts.
   */
  static async fetch(
    control: Control,
    ledgerId: Uint8Array,
    path: string,
  ): Promise<HeldReceipts | null> {
    const held = new HeldReceipts(await open(path, "wx+", 0o600));
    const whole = await held.#take(control, ledgerId).catch(async (error: unknown) => {
      await held.close();
      throw error;
    });
    if (whole && held.size > 0) return held;
    await held.close();
    return null;
  }

  get size(): number {
    return this.#at.length - 1;
  }

  /** As its last receipt says. */
  get intentsOpened(): number {
    return this.#intentsOpened;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** Receipts from one on, at most `limit`. */
  async read(fromSeq: number, limit: number): Promise<HeldReceipt[]> {
    const until = Math.min(fromSeq - 1 + limit, this.size);
    const start = this.#at[fromSeq - 1] ?? 0;
    const bytes = new Uint8Array((this.#at[until] ?? 0) - start);
    await this.#file.read(bytes, 0, bytes.length, start);
    return Array.from({ length: until - fromSeq + 1 }, (_, i) => {
      const [from, to] = [this.#at[fromSeq - 1 + i] ?? 0, this.#at[fromSeq + i] ?? 0];
      return { seq: fromSeq + i, signed: bytes.subarray(from - start, to - start), row: NO_ROW };
    });
  }

  /** false: of some only the hash is held. */
  async #take({ ledgers }: Control, ledgerId: Uint8Array): Promise<boolean> {
    try {
      for await (const page of pages((pageToken) =>
        ledgers.listReceipts({ ledgerId, pageToken }),
      )) {
        const receipts: Uint8Array[] = [];
        for (const wire of page.receipts) {
          const signed = fromWire(wire, "receipt");
          if (isInvalid(signed)) throw new Failure(EXIT.failed, signed.detail);
          const { seq, intentsOpened } = ReceiptHeader.decode(signed.body);
          if (seq !== this.#at.length) return false;
          this.#intentsOpened = intentsOpened;
          const bytes = encodeSigned(signed);
          receipts.push(bytes);
          this.#at.push((this.#at.at(-1) ?? 0) + bytes.length);
        }
        await this.#file.writeFile(Buffer.concat(receipts));
      }
      return true;
    } catch (error) {
      if (error instanceof StatusError && error.reason === "STATE_UNFIT") return false;
      throw error;
    }
  }
}

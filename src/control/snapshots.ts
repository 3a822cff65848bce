import { snapshotBytesPerRecord, snapshotRecordsMin } from "../domain/limits.ts";
import type { Tenant } from "./tenant.ts";

/** Has snapshots of one tenant written: each time that enough was recorded, and at the end. */
export class Snapshots {
  readonly #tenant: Tenant;
  readonly #say: (line: string) => void;
  readonly #unsubscribe: () => void;
  /** Records that the last one stands for. */
  #size: number;
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();

  /** `size`: records that the stored one stands for; 0: there is none that fits. */
  constructor(tenant: Tenant, size: number, say: (line: string) => void) {
    this.#tenant = tenant;
    this.#size = size;
    this.#say = say;
    this.#unsubscribe = tenant.subscribe(({ revision }) => this.#recorded(revision));
  }

  /** Resolves when the last one is written, of everything that is durable. */
  async close(): Promise<void> {
    this.#unsubscribe();
    await this.#writing;
    if (this.#tenant.durableSize > this.#size) await this.#write();
  }

  #recorded(revision: number): void {
    const after = Math.max(snapshotRecordsMin, this.#bytes / snapshotBytesPerRecord);
    if (revision - this.#size >= after) this.#writing = this.#write();
  }

  /** That it failed is said, and no more: a start will only take longer. */
  async #write(): Promise<void> {
    this.#size = this.#tenant.durableSize;
    try {
      this.#bytes = await this.#tenant.snapshot();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#say(`tenant ${this.#tenant.tenantId}: no snapshot was written: ${why}`);
    }
  }
}

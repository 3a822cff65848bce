import type { BlockTree } from "../domain/block-tree.ts";
import { toHex } from "../domain/bytes.ts";
import { message, str } from "../domain/canonical.ts";
import { parseCheckpoint } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { witnessAgainUs, witnessEveryUs } from "../domain/limits.ts";
import type { TreeHead } from "../domain/merkle.ts";
import { addCheckpoint, readCosignatures, type Witness } from "../domain/witness.ts";
import type { Clock, Timer } from "../native/clock.ts";
import type { Tenant } from "./tenant.ts";
import type { Post } from "./witness-post.ts";

/** What is stored: the newest note that a witness cosigned. */
const WitnessedRow = message("witnessedRow", { note: str(1) });
const WITNESSED_KEY = "witnessed";

export interface WitnessParts {
  readonly crypto: Crypto;
  readonly clock: Clock;
  /** Of the tenant's ledger. */
  readonly tree: BlockTree;
  readonly witnesses: readonly Witness[];
  readonly post: Post;
  /** Told what a person should know: that a witness saw another history, or does not answer. */
  readonly say: (line: string) => void;
}

/**
 * Has outside witnesses cosign the head of one tenant's ledger, over C2SP tlog-witness: soon after it
 * grows, and again when the last time lies far back. Nothing waits for them. A witness signs only what
 * extends all that it has seen of this origin; so whoever shows two histories of it, or an old one, must
 * bring each witness of an auditor's quorum to his side.
 */
export class TenantWitnesses {
  readonly #tenant: Tenant;
  readonly #parts: WitnessParts;
  /** By key: what each witness cosigned last, as far as we know; nobody knows more than it does. */
  readonly #seen = new Map<string, number>();
  /** By key: what was said of each last, so that it is said once. */
  readonly #said = new Map<string, string>();
  #note: string;
  #roundUs = 0;
  #timer: Timer | null = null;
  #round: Promise<void> = Promise.resolve();

  private constructor(tenant: Tenant, parts: WitnessParts, note: string) {
    this.#tenant = tenant;
    this.#parts = parts;
    this.#note = note;
  }

  static async open(tenant: Tenant, parts: WitnessParts): Promise<TenantWitnesses> {
    const row = await tenant.get(WITNESSED_KEY);
    return new TenantWitnesses(tenant, parts, row ? WitnessedRow.decode(row.value).note : "");
  }

  /** The newest head that a witness cosigned, as a note; empty: none ever was. */
  get note(): string {
    return this.#note;
  }

  /** Looks whether a round is due, from now on and until `close`. */
  start(): void {
    this.#timer = this.#parts.clock.after(witnessEveryUs, () => this.start());
    this.#round = this.#round
      .then(() => this.round())
      .catch((error: unknown) => {
        this.#parts.say(`witnesses of ${this.#tenant.tenantId}: ${String(error)}`);
      });
  }

  close(): void {
    this.#timer?.cancel();
  }

  /** Asks every witness about the head as it is now, unless they were asked about it lately. */
  async round(): Promise<void> {
    const { clock, witnesses } = this.#parts;
    const own = await this.#tenant.controlNote();
    if (own === null || witnesses.length === 0) return;
    const nowUs = clock.nowUs();
    const known = sizeOf(this.#note);
    const stillYoung = nowUs - this.#roundUs < witnessAgainUs;
    if (own.head.size === 0 || (own.head.size === known && stillYoung)) return;
    const lines = await Promise.all(witnesses.map((w) => this.#ask(w, own.head, own.note)));
    const note = own.note + lines.join("");
    if (note === own.note) return;
    this.#roundUs = nowUs;
    this.#note = note;
    const writes = [{ key: WITNESSED_KEY, value: WitnessedRow.encode({ note }) }];
    await this.#tenant.record({ entries: [], writes });
  }

  /** The lines of one witness; empty: it gave none, and whoever looks after this is told why. */
  async #ask(witness: Witness, head: TreeHead, note: string): Promise<string> {
    const { crypto, post, tree } = this.#parts;
    const key = toHex(witness.key);
    // It may know more than we remember, or less than it told us: each is told once and asked again.
    for (let attempt = 0; attempt < 2; attempt++) {
      const old = this.#seen.get(key) ?? 0;
      const proof = await tree.consistency(old, head.size);
      let status: number;
      let text: string;
      try {
        const url = `${witness.url.replace(/\/$/, "")}/add-checkpoint`;
        ({ status, text } = await post(url, addCheckpoint(old, proof, note)));
      } catch (error) {
        return this.#tell(witness, `it does not answer: ${reasonOf(error)}`);
      }
      if (status === 200) {
        const cosigned = readCosignatures(crypto, note, text, witness);
        if (isInvalid(cosigned)) return this.#tell(witness, cosigned.detail);
        this.#seen.set(key, head.size);
        this.#said.delete(key);
        return cosigned.lines;
      }
      const size = status === 409 ? readSize(text) : null;
      if (size === null) return this.#tell(witness, REFUSALS[status] ?? `it answers ${status}`);
      if (size > head.size) {
        const what = `it has cosigned ${size} records of this ledger, and there are ${head.size}: it was restored from a backup, or is another ledger under the same key`;
        return this.#tell(witness, what);
      }
      this.#seen.set(key, size);
    }
    return this.#tell(witness, "it does not settle on a size");
  }

  #tell({ name, key }: Witness, what: string): "" {
    const at = toHex(key);
    if (this.#said.get(at) !== what) {
      this.#parts.say(`tenant ${this.#tenant.tenantId}, witness ${name}: ${what}`);
    }
    this.#said.set(at, what);
    return "";
  }
}

/** What a witness means by its status, as tlog-witness has it. */
const REFUSALS: Readonly<Record<number, string>> = {
  400: "it finds the request malformed",
  403: "it does not know the key that signs this ledger: give it the new one",
  404: "it does not know this ledger's origin: have it configured there",
  422: "it has cosigned ANOTHER HISTORY of this ledger than the one that is here",
};

/** The size in an answer of 409: decimal, and a newline. */
function readSize(text: string): number | null {
  const size = /^(?:0|[1-9][0-9]{0,15})\n$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(size) ? size : null;
}

function sizeOf(note: string): number {
  const checkpoint = parseCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
  return isInvalid(checkpoint) ? 0 : checkpoint.size;
}

const reasonOf = (error: unknown): string => {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message} (${cause.message})` : message;
};

import { type FileHandle, open } from "node:fs/promises";
import { toHex } from "../../domain/bytes.ts";
import { DockBody } from "../../domain/dock.ts";
import { GENESIS, type GenesisBody } from "../../domain/genesis.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { ManifestBody, manifestHash } from "../../domain/manifest.ts";
import { PAYLOAD_FIELDS, PayloadRow } from "../../domain/payload.ts";
import { RecordBody } from "../../domain/record.ts";
import { SignedBytes } from "../../domain/signed.ts";
import { refOf } from "../../domain/signing.ts";
import { native } from "../../native/crypto.ts";
import type { LedgerEvidence } from "../../verifier/export.ts";

const ACTION = PAYLOAD_FIELDS.indexOf("action") + 1;
const OUTCOME = PAYLOAD_FIELDS.indexOf("outcome") + 1;

/** One work ledger of which the tenant's records tell. */
export interface Born {
  /** ref(genesis): 32 bytes, and in hex. */
  readonly ledgerId: Uint8Array;
  readonly id: string;
  /** seq of the record of its genesis. */
  readonly seq: number;
  /** SignedBytes. */
  readonly genesis: Uint8Array;
  readonly body: GenesisBody;
  /** The name in its manifest. */
  readonly name: string;
}

/** What a ledger's authority rests on, encoded: as in a pack's frames. */
export type HeldAuthority = Pick<
  LedgerEvidence,
  "keysets" | "manifests" | "grants" | "docks" | "leases" | "revocations"
>;

/**
 * What the tenant's records say of its ledgers and of what their authority rests on. Leases, of which there are
 * many, lie in a file; where each stands there is known.
 */
export class HeldRecords {
  readonly ledgers: Born[] = [];
  readonly #revocations: Uint8Array[] = [];
  /** By reference or hash, in hex. */
  readonly #cited = new Map<string, Uint8Array>();
  readonly #names = new Map<string, string>();
  readonly #leases = new Map<string, { readonly at: number; readonly length: number }[]>();
  readonly #file: FileHandle;
  #keyset: Uint8Array = new Uint8Array(0);
  #last = 0;
  #end = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** @param path a file that there is not yet */
  static async create(path: string): Promise<HeldRecords> {
    return new HeldRecords(await open(path, "wx+", 0o600));
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** seq of the last record that was taken; 0: none. */
  get last(): number {
    return this.#last;
  }

  /** The next record, by its PayloadRow with all fields open; one that was taken before is passed over. */
  async take(seq: number, row: Uint8Array): Promise<void> {
    if (seq <= this.#last) return;
    this.#last = seq;
    const { openings } = PayloadRow.decode(row);
    const data = (field: number) =>
      openings.find((o) => o.field === field)?.data ?? new Uint8Array(0);
    const { what } = RecordBody.decode(data(ACTION));
    const artifact = data(OUTCOME);
    if (what === "keyset") this.#keyset = artifact;
    if (what === "revocation") this.#revocations.push(artifact);
    if (what === "grant" || what === "dock") this.#cited.set(ref(what, artifact), artifact);
    if (what === "manifest") {
      const hash = toHex(manifestHash(native, artifact));
      this.#cited.set(hash, artifact);
      this.#names.set(hash, ManifestBody.decode(artifact).name);
    }
    if (what === "genesis") this.#born(seq, artifact);
    if (what === "lease") await this.#lease(artifact);
  }

  #born(seq: number, genesis: Uint8Array): void {
    const body = GENESIS.body.decode(SignedBytes.decode(genesis).body);
    const ledgerId = refOf(native, "genesis", SignedBytes.decode(genesis).body);
    const name = this.#names.get(toHex(body.manifestHash)) ?? "";
    this.ledgers.push({ ledgerId, id: toHex(ledgerId), seq, genesis, body, name });
  }

  async #lease(artifact: Uint8Array): Promise<void> {
    const id = toHex(LeaseBody.decode(SignedBytes.decode(artifact).body).ledgerId);
    const places = this.#leases.get(id) ?? [];
    this.#leases.set(id, places);
    places.push({ at: this.#end, length: artifact.length });
    await this.#file.writeFile(artifact);
    this.#end += artifact.length;
  }

  /** Of one ledger, and no more than it. */
  async authorityOf({ id, body }: Born): Promise<HeldAuthority> {
    const dock = this.#cited.get(toHex(body.dockRef));
    const grantRef = dock && toHex(DockBody.decode(SignedBytes.decode(dock).body).grantRef);
    const found = (key: string | undefined) => {
      const bytes = key === undefined ? undefined : this.#cited.get(key);
      return bytes === undefined ? [] : [bytes];
    };
    const leases: Uint8Array[] = [];
    for (const { at, length } of this.#leases.get(id) ?? []) {
      const lease = new Uint8Array(length);
      await this.#file.read(lease, 0, length, at);
      leases.push(lease);
    }
    return {
      keysets: [this.#keyset],
      manifests: found(toHex(body.manifestHash)),
      grants: found(grantRef),
      docks: dock === undefined ? [] : [dock],
      leases,
      revocations: this.#revocations,
    };
  }
}

const ref = (name: "grant" | "dock", artifact: Uint8Array): string =>
  toHex(refOf(native, name, SignedBytes.decode(artifact).body));

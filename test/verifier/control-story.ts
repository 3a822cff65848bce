import type { Recordable } from "../../src/control/projection.ts";
import { controlGenesis, TenantLedger } from "../../src/control/tenant-ledger.ts";
import { cosignCheckpoint, signCheckpoint } from "../../src/domain/checkpoint.ts";
import { DIRECTIVE } from "../../src/domain/directive.ts";
import { DOCK } from "../../src/domain/dock.ts";
import { GENESIS, type GenesisBody } from "../../src/domain/genesis.ts";
import { GRANT } from "../../src/domain/grant.ts";
import { HEARTBEAT } from "../../src/domain/heartbeat.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { LEASE } from "../../src/domain/lease.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import { Frontier, type TreeHead } from "../../src/domain/merkle.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import { RecordRow } from "../../src/domain/record.ts";
import type { SignedBytes, SignedKind, Verified } from "../../src/domain/signed.ts";
import { encodeSigned, refOf } from "../../src/domain/signing.ts";
import { TRANSITION } from "../../src/domain/transition.ts";
import { exportPack, type LedgerEvidence } from "../../src/verifier/export.ts";
import { collect, crypto, SECOND, type Story } from "./build.ts";

export const verified = <T>(kind: SignedKind<T>, signed: SignedBytes): Verified<T> => ({
  signed,
  body: kind.body.decode(signed.body),
  ref: refOf(crypto, kind.name, signed.body),
});

/** The control plane's own ledger beside a story, kept by the control plane's own code. */
export class ControlStory {
  readonly story: Story;
  readonly genesis: Verified<GenesisBody>;
  readonly ledger: TenantLedger;
  readonly checkpoints: string[] = [];
  readonly rows: { seq: number; signed: Uint8Array; row: Uint8Array }[] = [];
  #ids = 0;

  private constructor(story: Story, genesis: Verified<GenesisBody>) {
    this.story = story;
    this.genesis = genesis;
    let salts = 0;
    const salt = () => crypto.sha256(new TextEncoder().encode(`control salt ${salts++}`));
    this.ledger = new TenantLedger(crypto, genesis, [story.control], salt);
  }

  static async begin(story: Story): Promise<ControlStory> {
    const genesis = await controlGenesis(crypto, {
      tenantId: story.tenantId,
      signer: story.control,
      nonce: new Uint8Array(32).fill(3),
      nowUs: story.nowUs - 35 * SECOND,
    });
    const control = new ControlStory(story, genesis);
    await control.record({ what: "keyset", artifact: verified(KEYSET, story.keyset) });
    const bytes = story.manifestBytes;
    const manifest = { body: ManifestBody.decode(bytes), bytes, hash: story.manifestHash };
    await control.record({ what: "manifest", artifact: manifest });
    await control.record({ what: "grant", artifact: verified(GRANT, story.grant) });
    await control.record({ what: "dock", artifact: verified(DOCK, story.dock) });
    await control.record({ what: "genesis", artifact: verified(GENESIS, story.genesis) });
    return control;
  }

  async record(entry: Recordable): Promise<void> {
    const digits = (++this.#ids).toString(16).padStart(8, "0");
    const next = () => `0194${digits}70008${"0".repeat(15)}`;
    const chained = this.ledger.append(entry, {}, { next }, this.story.nowUs);
    const { receipt, payload } = RecordRow.decode(await this.ledger.seal(chained));
    const row = PayloadRow.encode(payload);
    this.rows.push({ seq: chained.seq, signed: encodeSigned(receipt), row });
  }

  /** A lease that pins this ledger as it stands, and its record; `recorded`: whether it has one. */
  async lease(recorded = true): Promise<void> {
    const { size, root } = this.#head();
    await this.story.lease((b) => ({ ...b, controlSize: size, controlRoot: root }));
    const { signed } = this.story.leases.at(-1) as { signed: SignedBytes };
    if (recorded) await this.recordLease(signed);
  }

  recordLease = (signed: SignedBytes): Promise<void> =>
    this.record({ what: "lease", artifact: verified(LEASE, signed) });

  recordBeat = (signed: SignedBytes): Promise<void> =>
    this.record({ what: "heartbeat", artifact: verified(HEARTBEAT, signed) });

  recordTransition = (signed: SignedBytes): Promise<void> =>
    this.record({ what: "transition", artifact: verified(TRANSITION, signed) });

  recordDirective = (signed: SignedBytes): Promise<void> =>
    this.record({ what: "directive", artifact: verified(DIRECTIVE, signed) });

  #head(): TreeHead {
    const { size, frontier } = this.ledger.end().chain;
    return { size, root: new Frontier(crypto, size, frontier).root() };
  }

  async checkpoint(): Promise<void> {
    const { size, root } = this.#head();
    const head = { ledgerId: this.ledger.ledgerId, size, root };
    const note = await signCheckpoint(crypto, head, this.story.control);
    const cosigner = { name: "control", signer: this.story.cosigner };
    const seconds = Math.floor(this.story.nowUs / SECOND);
    this.checkpoints.push(await cosignCheckpoint(crypto, note, cosigner, seconds));
  }

  evidence(over: Partial<LedgerEvidence> = {}): LedgerEvidence {
    return {
      genesis: encodeSigned(this.genesis.signed),
      keysets: [encodeSigned(this.story.keyset)],
      manifests: [],
      grants: [],
      docks: [],
      leases: [],
      revocations: [],
      heartbeats: [],
      transitions: [],
      checkpoints: this.checkpoints,
      head: { size: this.ledger.size, intentsOpened: 0 },
      read: (from, limit) => this.rows.slice(from - 1, from - 1 + limit),
      openIntents: [],
      ...over,
    };
  }

  pack(of: Partial<LedgerEvidence> = {}, own: Partial<LedgerEvidence> = {}): Promise<Uint8Array> {
    const ledgers = [this.story.evidence(of), this.evidence(own)];
    return collect(exportPack(crypto, this.story.tenantId, ledgers));
  }
}

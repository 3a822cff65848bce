import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Verified } from "../domain/signed.ts";
import type { State, TransitionBody } from "../domain/transition.ts";
import { type OrganismSchema, WatchResponseSchema } from "../gen/dragons/v1/organism_pb.ts";
import { toWire } from "../wire/artifacts.ts";
import { conditionToWire, desireToWire, stateToWire } from "../wire/enums.ts";
import { encode } from "../wire/messages.ts";
import type { LedgerRecord, Recordable } from "./projection.ts";
import type { Tenant } from "./tenant.ts";

/**
 * A change of one organism, as its tenant ledger has it. What all who are told of it have in common is
 * made once, when the first of them takes it.
 */
export class OrganismChange {
  readonly seq: number;
  readonly ledger: LedgerRecord;
  /** null: docked. */
  readonly transition: Verified<TransitionBody> | null;
  /** Its state before the change; null: nothing changes, it is told as it is. */
  readonly before: State | null;
  readonly #tenant: Tenant;
  #organism: Uint8Array | null = null;

  private constructor(
    tenant: Tenant,
    { seq, ledger, transition }: Pick<OrganismChange, "seq" | "ledger" | "transition">,
    before: State | null,
  ) {
    this.#tenant = tenant;
    this.seq = seq;
    this.ledger = ledger;
    this.transition = transition;
    this.before = before;
  }

  /** The last change of an organism: how it is now. */
  static last(tenant: Tenant, ledger: LedgerRecord): OrganismChange {
    const { transition, changedSeq: seq } = ledger;
    return new OrganismChange(tenant, { seq, ledger, transition }, null);
  }

  /** The change that a record made; null: it made none. */
  static by(tenant: Tenant, entry: Recordable, seq: number): OrganismChange | null {
    if (entry.what === "transition") {
      const { ledgerId, from } = entry.artifact.body;
      const ledger = tenant.ledger(ledgerId);
      if (ledger === null) return null;
      return new OrganismChange(tenant, { seq, ledger, transition: entry.artifact }, from);
    }
    if (entry.what !== "genesis") return null;
    const ledger = tenant.ledger(entry.artifact.ref);
    if (ledger === null) return null;
    // A successor begins in the state of the ledger before it, which does not change any more.
    const before = tenant.ledger(entry.artifact.body.predecessor);
    return new OrganismChange(
      tenant,
      { seq, ledger, transition: before?.transition ?? null },
      null,
    );
  }

  /** Of its manifest. */
  get name(): string {
    return this.#tenant.manifest(this.ledger.manifestHash)?.artifact.body.name ?? "";
  }

  /** The organism after it: the same message whenever it is told. */
  get organism(): MessageInitShape<typeof OrganismSchema> {
    const { ledger, transition, seq } = this;
    const manifest = this.#tenant.manifest(ledger.manifestHash)?.artifact.body;
    const body = transition?.body;
    return {
      instanceId: ledger.instanceId,
      ledgerId: ledger.ledgerId,
      name: manifest?.name ?? "",
      agentVersion: manifest?.agentVersion ?? "",
      manifestHash: ledger.manifestHash,
      grantRef: ledger.grantRef,
      state: stateToWire(body?.to ?? "DOCKED"),
      desired: desireToWire(body?.desired ?? "RUN"),
      conditions: (body?.conditions ?? []).map((c) => ({
        type: conditionToWire(c.type),
        sinceUs: BigInt(c.sinceUs),
        artifact: c.artifact,
      })),
      revision: BigInt(seq),
      dockedAtUs: BigInt(ledger.openedAtUs),
      sinceUs: BigInt(body?.atUs ?? ledger.openedAtUs),
      ...(transition === null ? {} : { transition: toWire(transition.signed) }),
      observeUntilUs: BigInt(
        this.#tenant.grant(ledger.grantRef)?.artifact.body.observeUntilUs ?? 0,
      ),
    };
  }

  /** What a watcher is told of it, in parts. @param beside an encoding of all that it is told besides */
  event(beside: Uint8Array): readonly Uint8Array[] {
    this.#organism ??= encode(WatchResponseSchema, { organism: this.organism });
    return [beside, this.#organism];
  }
}

/** An organism as it is now. */
export const organismNow = (tenant: Tenant, ledger: LedgerRecord) =>
  OrganismChange.last(tenant, ledger).organism;

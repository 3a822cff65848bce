import type { MessageInitShape } from "@bufbuild/protobuf";
import { fromBase64Url, toBase64Url } from "../domain/bytes.ts";
import { message, str, u64 } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { bookmarkUs, watchBacklogMax, watchersMax, watchReplayMax } from "../domain/limits.ts";
import type { Verified } from "../domain/signed.ts";
import type { TransitionBody } from "../domain/transition.ts";
import {
  type OrganismSchema,
  WatchEvent,
  type WatchResponseSchema,
} from "../gen/dragons/v1/organism_pb.ts";
import type { Clock } from "../native/clock.ts";
import { toWire } from "../wire/artifacts.ts";
import { alarmToWire, conditionToWire, desireToWire, stateToWire } from "../wire/enums.ts";
import { Queue } from "../wire/queue.ts";
import { StatusError, shuttingDown } from "../wire/status.ts";
import type { LedgerRecord, Recordable } from "./projection.ts";
import { reopen } from "./reopen.ts";
import type { RecordedEvent, Tenant } from "./tenant.ts";
import { type OrganismFilter, wantsOrganism } from "./watch-filter.ts";

type WatchResponse = MessageInitShape<typeof WatchResponseSchema>;

/** Tells listeners, in order. */
export class Signal<T> {
  readonly #listeners = new Set<(value: T) => void>();

  tell(value: T): void {
    for (const listener of this.#listeners) listener(value);
  }

  /** Returns the way to stop. */
  listen(listener: (value: T) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** How far a watcher has been told: everything up to `after`, and of what follows the first `within`. */
export interface Place {
  readonly after: number;
  readonly within: number;
}

/** Where a watch goes on; good for its tenant and its kind alone. */
const ResumeToken = message("resumeToken", {
  tenantId: str(1),
  kind: str(2),
  after: u64(3),
  within: u64(4),
});

export const resumeToken = (tenantId: string, kind: string, after: number, within = 0): string =>
  toBase64Url(ResumeToken.encode({ tenantId, kind, after, within }));

/** @throws INVALID_ARGUMENT for a token that was not given for this. */
export function readResumeToken(tenantId: string, kind: string, token: string): Place {
  try {
    const read = ResumeToken.decode(fromBase64Url(token));
    if (read.tenantId === tenantId && read.kind === kind) return read;
  } catch {
    // Said below: what is wrong with it is nobody's business.
  }
  throw new StatusError(
    "INVALID_ARGUMENT",
    "ARGUMENT_INVALID",
    "resume_token: must be one that this very method gave",
    { field: "resume_token" },
  );
}

export const tokenTooOld = (): StatusError =>
  new StatusError("OUT_OF_RANGE", "TOKEN_EXPIRED", "resume_token: too old; list again");

/** A change of one organism, as its tenant ledger has it. */
interface Change {
  readonly seq: number;
  readonly ledger: LedgerRecord;
  readonly transition: Verified<TransitionBody> | null;
}

/** An organism as the tenant ledger tells it: the same message whenever it is told. */
function organismAt(
  tenant: Tenant,
  { ledger, transition, seq }: Change,
): MessageInitShape<typeof OrganismSchema> {
  const manifest = tenant.manifest(ledger.manifestHash)?.artifact.body;
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
    observeUntilUs: BigInt(tenant.grant(ledger.grantRef)?.artifact.body.observeUntilUs ?? 0),
  };
}

/** An organism as it is now. */
export const organismNow = (tenant: Tenant, ledger: LedgerRecord) =>
  organismAt(tenant, { ledger, transition: ledger.transition, seq: ledger.changedSeq });

const ORGANISMS = "organisms";

/**
 * Watches over the organisms of one tenant. A revision is a seq of the tenant ledger, so that a watch
 * resumes from the ledger itself: no gap, no duplicate, no step back, across any restart.
 */
export class WatchHub {
  readonly #tenant: Tenant;
  readonly #crypto: Crypto;
  readonly #clock: Clock;
  /** Changes that may wait for one watcher. */
  readonly #backlogMax: number;
  readonly #watchers = new Set<Queue<RecordedEvent>>();
  /** Revision up to which everybody was told. */
  #told: number;

  constructor(tenant: Tenant, crypto: Crypto, clock: Clock, backlogMax = watchBacklogMax) {
    this.#backlogMax = backlogMax;
    this.#tenant = tenant;
    this.#crypto = crypto;
    this.#clock = clock;
    this.#told = tenant.controlHead().size;
    tenant.subscribe((event) => this.#recorded(event));
  }

  /** Where a watch goes on that follows a list made now. */
  tokenAt(revision: number): string {
    return resumeToken(this.#tenant.tenantId, ORGANISMS, revision);
  }

  /** The control plane ends: watchers are told to come back. */
  close(): void {
    for (const queue of this.#watchers) queue.fail(shuttingDown());
  }

  /** A snapshot or, with a token, what changed since; SYNCED; and then changes as they are made. */
  async *watch(
    token: string,
    filter: OrganismFilter,
    signal: AbortSignal,
  ): AsyncGenerator<WatchResponse> {
    const tenant = this.#tenant;
    const after = token === "" ? null : readResumeToken(tenant.tenantId, ORGANISMS, token).after;
    if (this.#watchers.size >= watchersMax) {
      throw new StatusError("RESOURCE_EXHAUSTED", "OVERLOADED", `${watchersMax} watch already`);
    }
    const events = new Queue<RecordedEvent>(this.#backlogMax);
    const leave = () => events.end();
    signal.addEventListener("abort", leave, { once: true });
    this.#watchers.add(events);
    try {
      const synced = after === null ? this.#snapshot(filter) : this.#missed(after, filter);
      // Not `yield*` alone: its return value says up to where the watcher has been told.
      const revision = yield* synced;
      yield this.#mark(WatchEvent.SYNCED, revision);
      yield* this.#changes(events, revision, filter);
    } finally {
      this.#watchers.delete(events);
      signal.removeEventListener("abort", leave);
    }
  }

  async *#snapshot(filter: OrganismFilter): AsyncGenerator<WatchResponse, number> {
    const tenant = this.#tenant;
    const organisms = [...tenant.instances()]
      .filter((ledger) =>
        wantsOrganism(filter, tenant, { ledger, transition: ledger.transition }, null),
      )
      .map((ledger) => organismNow(tenant, ledger));
    const newest = Math.max(0, ...[...tenant.instances()].map((l) => l.changedSeq));
    const revision = Math.max(newest, tenant.controlHead().size);
    // What is decided is in memory before it is durable; it is told only after.
    await tenant.settled();
    for (const organism of organisms) {
      const event = WatchEvent.ORGANISM;
      yield { event, revision: BigInt(revision), organism };
    }
    return revision;
  }

  async *#missed(after: number, filter: OrganismFilter): AsyncGenerator<WatchResponse, number> {
    const durable = this.#tenant.controlHead().size;
    // Above what is durable: a token of a store that was set back. Far below: a list is quicker.
    if (after > durable || durable - after > watchReplayMax) throw tokenTooOld();
    for (let from = after + 1; from <= durable; ) {
      const records = await this.#tenant.records(from, Math.min(REPLAY_PAGE, durable - from + 1));
      for (const record of records) {
        const entry = reopen(this.#crypto, record);
        if (isInvalid(entry)) throw new Error(entry.detail);
        yield* this.#said(entry, record.seq, filter);
      }
      from += records.length;
    }
    return durable;
  }

  async *#changes(
    events: Queue<RecordedEvent>,
    from: number,
    filter: OrganismFilter,
  ): AsyncGenerator<WatchResponse> {
    let quiet = this.#bookmark(events);
    try {
      for await (const event of events) {
        quiet.cancel();
        for (const entry of event.entries) {
          if (entry.seq <= from) continue;
          yield* this.#said(entry, entry.seq, filter);
        }
        if (event.entries.length === 0) {
          yield this.#mark(WatchEvent.BOOKMARK, Math.max(from, event.revision));
        }
        quiet = this.#bookmark(events);
      }
    } finally {
      quiet.cancel();
    }
  }

  /** After a while without changes the watcher learns how far the ledger has moved on. */
  #bookmark(events: Queue<RecordedEvent>) {
    return this.#clock.after(bookmarkUs, () => {
      events.push({ revision: this.#told, atUs: this.#clock.nowUs(), entries: [], asked: {} });
    });
  }

  #recorded(event: RecordedEvent): void {
    this.#told = Math.max(this.#told, event.revision);
    // Leases and heads change no organism; to watchers they are quiet.
    if (!event.entries.some((e) => TOLD.includes(e.what))) return;
    for (const queue of this.#watchers) {
      if (queue.push(event) || queue.ended) continue;
      // What it was given is still read; the token is that of the change before this one.
      const token = this.tokenAt(event.revision - event.entries.length);
      queue.fail(
        new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this watch is not read", {
          resume_token: token,
        }),
      );
    }
  }

  /** What a watcher is told of an entry: a change that it wants, an alarm in any case, or nothing. */
  *#said(entry: Recordable, seq: number, filter: OrganismFilter): Generator<WatchResponse> {
    if (entry.what === "alarm") {
      const { kind, genesis, transition, ...alarm } = entry.artifact;
      const carried =
        kind === "REMEDIES_SPENT"
          ? { transition: toWire(transition) }
          : { genesis: toWire(genesis) };
      yield {
        event: WatchEvent.ALARM,
        revision: BigInt(seq),
        resumeToken: this.tokenAt(seq),
        alarm: { ...alarm, kind: alarmToWire(kind), ...carried },
      };
      return;
    }
    const change = this.#change(entry, seq);
    if (change === null) return;
    const before = entry.what === "transition" ? entry.artifact.body.from : null;
    if (wantsOrganism(filter, this.#tenant, change, before)) yield this.#shown(change);
  }

  #change(entry: Recordable, seq: number): Change | null {
    if (entry.what === "transition") {
      const ledger = this.#tenant.ledger(entry.artifact.body.ledgerId);
      return ledger === null ? null : { seq, ledger, transition: entry.artifact };
    }
    if (entry.what !== "genesis") return null;
    const ledger = this.#tenant.ledger(entry.artifact.ref);
    if (ledger === null) return null;
    // A successor begins in the state of the ledger before it, which does not change any more.
    const before = this.#tenant.ledger(entry.artifact.body.predecessor);
    return { seq, ledger, transition: before?.transition ?? null };
  }

  #shown(change: Change): WatchResponse {
    return {
      event: WatchEvent.ORGANISM,
      revision: BigInt(change.seq),
      resumeToken: this.tokenAt(change.seq),
      organism: organismAt(this.#tenant, change),
    };
  }

  #mark(event: WatchEvent, revision: number): WatchResponse {
    return { event, revision: BigInt(revision), resumeToken: this.tokenAt(revision) };
  }
}

/** Entries that watchers hear of. */
const TOLD: readonly Recordable["what"][] = ["transition", "genesis", "alarm"];
/** Records of the tenant ledger read at once. */
const REPLAY_PAGE = 256;

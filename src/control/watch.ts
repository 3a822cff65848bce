import type { Alarm } from "../domain/alarm.ts";
import { equal, fromBase64Url, toBase64Url } from "../domain/bytes.ts";
import { bytes, message, str, u64 } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { bookmarkUs, watchBacklogMax, watchersMax, watchReplayMax } from "../domain/limits.ts";
import { WatchEvent, WatchResponseSchema } from "../gen/dragons/v1/organism_pb.ts";
import type { Clock, Timer } from "../native/clock.ts";
import { toWire } from "../wire/artifacts.ts";
import { Encoded } from "../wire/encoded.ts";
import { alarmToWire } from "../wire/enums.ts";
import { encode } from "../wire/messages.ts";
import { StatusError, shuttingDown } from "../wire/status.ts";
import { Tail } from "../wire/tail.ts";
import { OrganismChange } from "./organism-change.ts";
import { isTold, type LedgerRecord, type Recordable } from "./projection.ts";
import { reopen } from "./reopen.ts";
import type { RecordedEvent, Tenant } from "./tenant.ts";
import { type OrganismFilter, organismValues, wantsOrganism } from "./watch-filter.ts";
import { type WatchAnswer, Watcher, Watchers } from "./watchers.ts";

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

/**
 * Where a watch goes on; good for its tenant and its kind alone, and for the history that it was given of:
 * the same place in another holds something else.
 */
const ResumeToken = message("resumeToken", {
  tenantId: str(1),
  kind: str(2),
  after: u64(3),
  within: u64(4),
  history: bytes(5),
});

type Watched = Pick<Tenant, "tenantId" | "history">;

export const resumeToken = (
  { tenantId, history }: Watched,
  kind: string,
  after: number,
  within = 0,
): string => toBase64Url(ResumeToken.encode({ tenantId, kind, after, within, history }));

/** @throws INVALID_ARGUMENT for a token that was not given for this, OUT_OF_RANGE for one of another history. */
export function readResumeToken(tenant: Watched, kind: string, token: string): Place {
  const read = decoded(token);
  if (read?.tenantId !== tenant.tenantId || read.kind !== kind) {
    throw new StatusError(
      "INVALID_ARGUMENT",
      "ARGUMENT_INVALID",
      "resume_token: must be one that this very method gave",
      { field: "resume_token" },
    );
  }
  if (!equal(read.history, tenant.history)) throw tokenExpired();
  return read;
}

/** null: it is none. What is wrong with it is nobody's business. */
function decoded(token: string) {
  try {
    return ResumeToken.decode(fromBase64Url(token));
  } catch {
    return null;
  }
}

export const tokenExpired = (): StatusError =>
  new StatusError(
    "OUT_OF_RANGE",
    "TOKEN_EXPIRED",
    "resume_token: too old, or of another store; list again",
  );

interface WatchBounds {
  /** Changes that may wait for one watcher. */
  readonly backlogMax: number;
  /** Records that it may have missed. */
  readonly replayMax: number;
}
const BOUNDS: WatchBounds = { backlogMax: watchBacklogMax, replayMax: watchReplayMax };

const ORGANISMS = "organisms";
const { ALARM, BOOKMARK, ORGANISM, SYNCED } = WatchEvent;

/**
 * Watches over the organisms of one tenant. A revision is a seq of the tenant ledger, so that a watch
 * resumes from the ledger itself: no gap, no duplicate, no step back, across any restart.
 *
 * What is told is made when its reader takes it, and once for all who are told the same.
 */
export class WatchHub {
  readonly #tenant: Tenant;
  readonly #crypto: Crypto;
  readonly #clock: Clock;
  readonly #bounds: WatchBounds;
  readonly #watchers = new Watchers();
  /** Revision up to which everybody was told. */
  #told: number;
  /** Watchers that are being told a snapshot. */
  #syncing = 0;
  /** What these have in common; let go of when the last of them has been told all of it. */
  readonly #shared = new Map<LedgerRecord, OrganismChange>();

  constructor(tenant: Tenant, crypto: Crypto, clock: Clock, bounds: WatchBounds = BOUNDS) {
    this.#bounds = bounds;
    this.#tenant = tenant;
    this.#crypto = crypto;
    this.#clock = clock;
    this.#told = tenant.durableSize;
    tenant.subscribe((event) => this.#recorded(event));
  }

  /** Where a watch goes on that follows a list made now. */
  tokenAt(revision: number): string {
    return resumeToken(this.#tenant, ORGANISMS, revision);
  }

  /** The control plane ends: watchers are told to come back. */
  close(): void {
    for (const { waiting } of this.#watchers.all()) waiting.fail(shuttingDown());
  }

  /** A snapshot or, with a token, what changed since; SYNCED; and then changes as they are made. */
  async *watch(
    token: string,
    filter: OrganismFilter,
  ): AsyncGenerator<WatchAnswer, Tail<typeof WatchResponseSchema>> {
    const tenant = this.#tenant;
    const after = token === "" ? null : readResumeToken(tenant, ORGANISMS, token).after;
    if (this.#watchers.size >= watchersMax) {
      throw new StatusError("RESOURCE_EXHAUSTED", "OVERLOADED", `${watchersMax} watch already`);
    }
    const durable = tenant.durableSize;
    // A snapshot has what was decided and is not durable yet: it is told only after.
    const from = after === null ? Math.max(durable, tenant.changedSeq) : durable;
    const synced =
      after === null ? this.#snapshot(filter, from) : this.#missed(after, durable, filter);
    const { backlogMax } = this.#bounds;
    const watcher = new Watcher({ filter, from, backlogMax });
    this.#watchers.add(watcher);
    const quiet = this.#whenQuiet(watcher);
    const leave = (): void => {
      quiet.cancel();
      this.#watchers.remove(watcher);
    };
    let changes: Tail<typeof WatchResponseSchema> | null = null;
    try {
      yield* synced;
      yield this.#mark(SYNCED, from);
      changes = new Tail(watcher.waiting, leave);
      return changes;
    } finally {
      if (changes === null) leave();
    }
  }

  /** The organisms as they are at the moment of the call; each message is made when it is asked for. */
  #snapshot(filter: OrganismFilter, revision: number): AsyncIterable<WatchAnswer> {
    const tenant = this.#tenant;
    const all = filter.name === "" ? tenant.instances() : tenant.instancesNamed(filter.name);
    const organisms: OrganismChange[] = [];
    for (const ledger of all) {
      const change = this.#last(ledger);
      if (wantsOrganism(filter, tenant, change)) organisms.push(change);
    }
    return this.#shown(organisms.reverse(), revision);
  }

  /** @param organisms the last is told first, and none is held longer than it must */
  async *#shown(organisms: OrganismChange[], revision: number): AsyncGenerator<WatchAnswer> {
    this.#syncing++;
    try {
      await this.#tenant.settled();
      const beside = encode(WatchResponseSchema, { event: ORGANISM, revision: BigInt(revision) });
      while (organisms.length > 0) {
        const few = organisms.splice(-SNAPSHOT_PAGE).reverse();
        yield Encoded.inARow(
          WatchResponseSchema,
          few.map((change) => change.event(beside)),
        );
      }
    } finally {
      this.#syncing--;
      if (this.#syncing === 0) this.#shared.clear();
    }
  }

  /** An organism's last change, which several who are synced at once have in common. */
  #last(ledger: LedgerRecord): OrganismChange {
    const shared = this.#shared.get(ledger);
    if (shared?.seq === ledger.changedSeq) return shared;
    const change = OrganismChange.last(this.#tenant, ledger);
    // Nothing is kept for one who is alone.
    if (this.#syncing > 0) this.#shared.set(ledger, change);
    return change;
  }

  async *#missed(
    after: number,
    durable: number,
    filter: OrganismFilter,
  ): AsyncGenerator<WatchAnswer> {
    // Above what is durable: the store was set back, by no restore of ours. Far below: a list is quicker.
    const { replayMax } = this.#bounds;
    if (after > durable || durable - after > replayMax) throw tokenExpired();
    for (let at = after; ; ) {
      const records = await this.#tenant.told(at, REPLAY_PAGE);
      for (const record of records) {
        // What became durable meanwhile waits behind this.
        if (record.seq > durable) return;
        at = record.seq;
        const entry = reopen(this.#crypto, record);
        if (isInvalid(entry)) throw new Error(entry.detail);
        if (entry.what === "alarm") yield this.#alarmed(entry.artifact, at);
        const change = OrganismChange.by(this.#tenant, entry, at);
        if (change !== null && wantsOrganism(filter, this.#tenant, change)) {
          yield this.#changed(change);
        }
      }
      if (records.length < REPLAY_PAGE) return;
    }
  }

  #recorded(event: RecordedEvent): void {
    this.#told = Math.max(this.#told, event.revision);
    for (const entry of event.entries) {
      if (entry.what === "alarm") {
        const answer = this.#alarmed(entry.artifact, entry.seq);
        for (const watcher of this.#watchers.all()) this.#tell(watcher, answer, entry.seq);
      } else if (isTold(entry)) {
        this.#spread(entry, entry.seq);
      }
    }
  }

  /** Tells a change to those who want it; made once, if anybody does. */
  #spread(entry: Recordable, seq: number): void {
    const tenant = this.#tenant;
    const change = OrganismChange.by(tenant, entry, seq);
    if (change === null) return;
    let answer: WatchAnswer | null = null;
    let values: ReturnType<typeof organismValues> | null = null;
    const valuesOf = () => {
      values ??= organismValues(tenant, change);
      return values;
    };
    for (const watcher of this.#watchers.of(change.name)) {
      if (!wantsOrganism(watcher.filter, tenant, change, valuesOf)) continue;
      answer ??= this.#changed(change);
      this.#tell(watcher, answer, seq);
    }
  }

  #tell(watcher: Watcher, answer: WatchAnswer, seq: number): void {
    if (seq <= watcher.from || watcher.tell(answer, this.#clock.monotonicUs())) return;
    // What it was given is still read; the token is that of the record before this one.
    watcher.waiting.fail(
      new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this watch is not read", {
        resume_token: this.tokenAt(seq - 1),
      }),
    );
  }

  /** After a while without changes a watcher learns how far the ledger has moved on. */
  #whenQuiet(watcher: Watcher): Timer {
    const look = (): void => {
      const nowUs = this.#clock.monotonicUs();
      const leftUs = watcher.heardUs + bookmarkUs - nowUs;
      // Whoever does not read needs no bookmark, and must not be cut for it.
      if (leftUs <= 0 && watcher.waiting.length === 0) {
        watcher.tell(this.#mark(BOOKMARK, Math.max(watcher.from, this.#told)), nowUs);
      }
      timer = this.#clock.after(leftUs > 0 ? leftUs : bookmarkUs, look);
    };
    watcher.heardUs = this.#clock.monotonicUs();
    let timer = this.#clock.after(bookmarkUs, look);
    return { cancel: () => timer.cancel() };
  }

  #alarmed(alarm: Alarm, seq: number): WatchAnswer {
    const { kind, genesis, transition, ...rest } = alarm;
    const carried =
      kind === "REMEDIES_SPENT" ? { transition: toWire(transition) } : { genesis: toWire(genesis) };
    return Encoded.of(WatchResponseSchema, {
      event: ALARM,
      revision: BigInt(seq),
      resumeToken: this.tokenAt(seq),
      alarm: { ...rest, kind: alarmToWire(kind), ...carried },
    });
  }

  #changed(change: OrganismChange): WatchAnswer {
    const { seq } = change;
    const beside = { event: ORGANISM, revision: BigInt(seq), resumeToken: this.tokenAt(seq) };
    const event = change.event(encode(WatchResponseSchema, beside));
    return Encoded.inARow(WatchResponseSchema, [event]);
  }

  #mark(event: WatchEvent, revision: number): WatchAnswer {
    const resumeToken = this.tokenAt(revision);
    return Encoded.of(WatchResponseSchema, { event, revision: BigInt(revision), resumeToken });
  }
}

/** Organisms of a snapshot that are told at once: some 8 KiB. */
const SNAPSHOT_PAGE = 5;
/** Records of the tenant ledger read at once. */
const REPLAY_PAGE = 256;

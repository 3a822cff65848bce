import { equal } from "../domain/bytes.ts";
import { bookmarkUs, watchBacklogMax, watchersMax } from "../domain/limits.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes } from "../domain/signed.ts";
import { WatchReceiptsEvent, WatchReceiptsResponseSchema } from "../gen/dragons/v1/ledger_pb.ts";
import type { Clock } from "../native/clock.ts";
import { toWire } from "../wire/artifacts.ts";
import { Encoded } from "../wire/encoded.ts";
import { Queue } from "../wire/queue.ts";
import { StatusError, shuttingDown } from "../wire/status.ts";
import { ARRIVALS, type Arrival, ArrivalRow, receiptLog } from "./heads.ts";
import type { LedgerRecord } from "./projection.ts";
import type { Tenant } from "./tenant.ts";
import { readResumeToken, resumeToken, type Signal, tokenExpired } from "./watch.ts";
import { type ReceiptFilter, wantsReceipt } from "./watch-filter.ts";

type Response = Encoded<typeof WatchReceiptsResponseSchema>;

/** Where receipts of one tenant come from. */
export interface ReceiptSource {
  readonly tenant: Tenant;
  /** Batches as they are held. */
  readonly arrived: Signal<Arrival>;
  readonly clock: Clock;
  /** Aborts when the control plane ends. */
  readonly closing: AbortSignal;
}

const RECEIPTS = "receipts";
/** Batches read at once. */
const READ_PAGE = 256;
const { BOOKMARK, RECEIPT, SYNCED } = WatchReceiptsEvent;

/**
 * Receipt headers as they come to be held: those missed since the token, SYNCED, then each as it comes.
 * They are kept in batches; a place is a batch and how many of its receipts were told, so that a watch
 * cut anywhere goes on with the next.
 */
export async function* watchReceipts(
  source: ReceiptSource,
  token: string,
  filter: ReceiptFilter,
  signal: AbortSignal,
  backlogMax = watchBacklogMax,
): AsyncGenerator<Response> {
  const { tenant } = source;
  const mark = (event: WatchReceiptsEvent, after: number, within = 0): Response =>
    Encoded.of(WatchReceiptsResponseSchema, { event, resumeToken: tokenAt(tenant, after, within) });
  const coming = arriving(source, filter, signal, backlogMax);
  try {
    const held = await tenant.size(ARRIVALS);
    const begun =
      token === "" ? { after: held, within: 0 } : readResumeToken(tenant, RECEIPTS, token);
    if (begun.after + Math.sign(begun.within) > held) throw tokenExpired();
    yield mark(BOOKMARK, begun.after, begun.within);
    let { after, within } = begun;
    for await (const batch of missed(tenant, after, held)) {
      const told = new Told(tenant, batch);
      for (const i of told.wantedBy(filter)) if (i >= within) yield told.answer(i);
      after = batch.arrival;
      within = 0;
    }
    yield mark(SYNCED, after);
    for await (const next of coming.wanted) {
      if ("quietAfter" in next) yield mark(BOOKMARK, Math.max(after, next.quietAfter));
      else if (next.told.arrival > after) {
        for (const i of next.wanted) yield next.told.answer(i);
      }
    }
  } finally {
    coming.leave();
  }
}

const tokenAt = (tenant: Tenant, after: number, within = 0): string =>
  resumeToken(tenant, RECEIPTS, after, within);

/** A batch as it is told: headers are read, and messages made, once for all who watch. */
class Told {
  readonly arrival: number;
  readonly #tenant: Tenant;
  readonly #receipts: readonly SignedBytes[];
  readonly #ledger: LedgerRecord;
  readonly #answers: Response[] = [];
  #headers: readonly ReceiptHeader[] | null = null;

  constructor(tenant: Tenant, { arrival, ledgerId, receipts }: Arrival) {
    const ledger = tenant.ledger(ledgerId);
    if (ledger === null) throw new Error("receipts are held of a ledger that is not recorded");
    this.arrival = arrival;
    this.#tenant = tenant;
    this.#receipts = receipts;
    this.#ledger = ledger;
  }

  /** Places of those receipts that a watcher is told of, in order. */
  wantedBy(filter: ReceiptFilter): number[] {
    if (filter.ledgerId !== null && !equal(filter.ledgerId, this.#ledger.ledgerId)) return [];
    this.#headers ??= this.#receipts.map(({ body }) => ReceiptHeader.decode(body));
    return this.#headers.flatMap((header, i) =>
      wantsReceipt(filter, this.#tenant, this.#ledger, header) ? [i] : [],
    );
  }

  answer(i: number): Response {
    this.#answers[i] ??= Encoded.of(WatchReceiptsResponseSchema, {
      event: RECEIPT,
      receipt: toWire(this.#receipts[i] as SignedBytes),
      resumeToken:
        i === this.#receipts.length - 1
          ? tokenAt(this.#tenant, this.arrival)
          : tokenAt(this.#tenant, this.arrival - 1, i + 1),
    });
    return this.#answers[i];
  }
}

/** Those that come now: everybody who watches is told of the same. */
const shared = new WeakMap<Arrival, Told>();
function sharedOf(tenant: Tenant, arrival: Arrival): Told {
  const told = shared.get(arrival) ?? new Told(tenant, arrival);
  shared.set(arrival, told);
  return told;
}

/** Receipts that a watcher wants, by their places in a batch; or that up to a batch there were none. */
type Coming =
  | { readonly told: Told; readonly wanted: readonly number[] }
  | { readonly quietAfter: number };

const watching = new WeakMap<Tenant, number>();

/** What comes from now on and is wanted and, now and then while nothing waits to be told, a word that it is quiet. */
function arriving(
  { tenant, arrived, clock, closing }: ReceiptSource,
  filter: ReceiptFilter,
  signal: AbortSignal,
  backlogMax: number,
) {
  const watchers = watching.get(tenant) ?? 0;
  if (watchers >= watchersMax) {
    throw new StatusError("RESOURCE_EXHAUSTED", "OVERLOADED", `${watchersMax} watch already`);
  }
  watching.set(tenant, watchers + 1);
  const waiting = new Queue<Coming>(backlogMax);
  const end = () => waiting.end();
  const close = () => waiting.fail(shuttingDown());
  signal.addEventListener("abort", end, { once: true });
  closing.addEventListener("abort", close, { once: true });
  /** The last batch that came, wanted or not. */
  let seen = 0;
  const tell = () => {
    // Whoever does not read needs no bookmark, and must not be cut for it.
    if (waiting.length === 0) waiting.push({ quietAfter: seen });
    quiet = clock.after(bookmarkUs, tell);
  };
  let quiet = clock.after(bookmarkUs, tell);
  const stop = arrived.listen((arrival) => {
    const told = sharedOf(tenant, arrival);
    const wanted = told.wantedBy(filter);
    seen = arrival.arrival;
    if (wanted.length === 0 || waiting.push({ told, wanted }) || waiting.ended) return;
    waiting.fail(
      new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this watch is not read", {
        resume_token: tokenAt(tenant, arrival.arrival - 1),
      }),
    );
  });
  return {
    wanted: waiting,
    leave() {
      stop();
      quiet.cancel();
      watching.set(tenant, (watching.get(tenant) ?? 1) - 1);
      signal.removeEventListener("abort", end);
      closing.removeEventListener("abort", close);
    },
  };
}

async function* missed(tenant: Tenant, after: number, held: number): AsyncGenerator<Arrival> {
  for (let seq = after; seq < held; ) {
    const rows = await tenant.read(ARRIVALS, seq + 1, Math.min(READ_PAGE, held - seq));
    for (const row of rows) yield await stored(tenant, row.seq, row.value);
    seq += rows.length;
  }
}

async function stored(tenant: Tenant, arrival: number, row: Uint8Array): Promise<Arrival> {
  const { ledgerId, fromSeq, toSeq } = ArrivalRow.decode(row);
  const rows = await tenant.read(receiptLog(ledgerId), fromSeq, toSeq - fromSeq + 1);
  return { arrival, ledgerId, fromSeq, receipts: rows.map((r) => SignedBytes.decode(r.value)) };
}

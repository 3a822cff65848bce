import type { MessageInitShape } from "@bufbuild/protobuf";
import { bookmarkUs, watchBacklogMax, watchersMax } from "../domain/limits.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes } from "../domain/signed.ts";
import {
  WatchReceiptsEvent,
  type WatchReceiptsResponseSchema,
} from "../gen/dragons/v1/ledger_pb.ts";
import type { Clock } from "../native/clock.ts";
import { toWire } from "../wire/artifacts.ts";
import { Queue } from "../wire/queue.ts";
import { StatusError, shuttingDown } from "../wire/status.ts";
import { ARRIVALS, type Arrival, ArrivalRow, receiptLog } from "./heads.ts";
import type { Tenant } from "./tenant.ts";
import { readResumeToken, resumeToken, type Signal, tokenTooOld } from "./watch.ts";
import { type ReceiptFilter, wantsReceipt } from "./watch-filter.ts";

type Response = MessageInitShape<typeof WatchReceiptsResponseSchema>;

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
  const at = (after: number, within = 0) => resumeToken(tenant.tenantId, RECEIPTS, after, within);
  const told = function* (batch: Arrival, from: number): Generator<Response> {
    const ledger = tenant.ledger(batch.ledgerId);
    if (ledger === null) throw new Error("receipts are held of a ledger that is not recorded");
    for (const [i, receipt] of batch.receipts.entries()) {
      if (i < from) continue;
      if (!wantsReceipt(filter, tenant, ledger, ReceiptHeader.decode(receipt.body))) continue;
      const whole = i === batch.receipts.length - 1;
      yield {
        event: RECEIPT,
        receipt: toWire(receipt),
        resumeToken: whole ? at(batch.arrival) : at(batch.arrival - 1, i + 1),
      };
    }
  };
  const coming = arriving(source, at, signal, backlogMax);
  try {
    const held = await tenant.size(ARRIVALS);
    const begun =
      token === "" ? { after: held, within: 0 } : readResumeToken(tenant.tenantId, RECEIPTS, token);
    if (begun.after + Math.sign(begun.within) > held) throw tokenTooOld();
    yield { event: BOOKMARK, resumeToken: at(begun.after, begun.within) };
    let { after, within } = begun;
    for await (const batch of missed(tenant, after, held)) {
      yield* told(batch, within);
      after = batch.arrival;
      within = 0;
    }
    yield { event: SYNCED, resumeToken: at(after) };
    for await (const batch of coming.batches) {
      if (batch === "QUIET") {
        yield { event: BOOKMARK, resumeToken: at(after) };
      } else if (batch.arrival > after) {
        yield* told(batch, 0);
        after = batch.arrival;
      }
    }
  } finally {
    coming.leave();
  }
}

const watching = new WeakMap<Tenant, number>();

/** What comes from now on and, now and then while nothing waits to be told, a word that it is quiet. */
function arriving(
  { tenant, arrived, clock, closing }: ReceiptSource,
  at: (after: number) => string,
  signal: AbortSignal,
  backlogMax: number,
) {
  const watchers = watching.get(tenant) ?? 0;
  if (watchers >= watchersMax) {
    throw new StatusError("RESOURCE_EXHAUSTED", "OVERLOADED", `${watchersMax} watch already`);
  }
  watching.set(tenant, watchers + 1);
  const batches = new Queue<Arrival | "QUIET">(backlogMax);
  const end = () => batches.end();
  const close = () => batches.fail(shuttingDown());
  signal.addEventListener("abort", end, { once: true });
  closing.addEventListener("abort", close, { once: true });
  const tell = () => {
    // Whoever does not read needs no bookmark, and must not be cut for it.
    if (batches.length === 0) batches.push("QUIET");
    quiet = clock.after(bookmarkUs, tell);
  };
  let quiet = clock.after(bookmarkUs, tell);
  const stop = arrived.listen((arrival) => {
    if (batches.push(arrival) || batches.ended) return;
    batches.fail(
      new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this watch is not read", {
        resume_token: at(arrival.arrival - 1),
      }),
    );
  });
  return {
    batches,
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

import { equal } from "../../domain/bytes.ts";
import { syncCreditMax, watchBacklogMax } from "../../domain/limits.ts";
import { ReceiptHeader, type Verdict } from "../../domain/receipt.ts";
import { SignedBytes } from "../../domain/signed.ts";
import { LedgerService } from "../../gen/dragons/v1/ledger_pb.ts";
import { fromWire, storedToWire, toWire } from "../../wire/artifacts.ts";
import { verdictFromWire } from "../../wire/enums.ts";
import { Queue } from "../../wire/queue.ts";
import type { CallContext, Handlers } from "../../wire/rpc.ts";
import { StatusError, shuttingDown } from "../../wire/status.ts";
import { operatorOf, sidecarOf } from "../auth.ts";
import type { Fleet } from "../fleet.ts";
import {
  ARRIVALS,
  type Arrival,
  ArrivalRow,
  RECEIPT_PREFIX,
  ReceiptRow,
  receiptLog,
} from "../heads.ts";
import type { Session, Sessions } from "../sessions.ts";
import type { Tenant } from "../tenant.ts";
import { readResumeToken, resumeToken, tokenTooOld } from "../watch.ts";
import { badArgument, believed, exactBytes, notFound, pageOf, pageToken } from "./requests.ts";

const RECEIPTS = "receipts";

/** Receipt headers: in from sidecars, out to whoever may see the tenant. */
export function ledgerService(fleet: Fleet): Handlers<typeof LedgerService> {
  const { method } = LedgerService;
  return {
    async *sync(requests, context) {
      const { session, sessions } = await sessionOf(fleet, context);
      const { held, ledger } = session;
      const answer = () => ({ heldSize: BigInt(held.size), credit: syncCreditMax });
      yield answer();
      for await (const { fromSeq, receipts } of requests) {
        if (!session.live) {
          throw new StatusError("ABORTED", "SESSION_SUPERSEDED", "this session is over");
        }
        const signed = receipts.map((r, i) => believed(fromWire(r, `receipts[${i}]`)));
        const fork = await held.accept(Number(fromSeq), signed);
        if (fork !== null) {
          await sessions.forked(ledger, fork);
          throw new StatusError("ABORTED", "FORK", "this ledger has two histories; both are kept");
        }
        sessions.advance(session);
        yield answer();
      }
    },

    async listReceipts(request, context) {
      const { tenant } = operatorOf(context);
      const ledger = tenant.ledger(exactBytes(request.ledgerId, "ledger_id"));
      if (ledger === null) throw notFound("ledger");
      const { size, afterSeq } = pageOf(method.listReceipts, request);
      const wanted = verdictOf(request.verdict);
      const receipts: SignedBytes[] = [];
      let seq = afterSeq;
      for (;;) {
        const rows = await tenant.read(receiptLog(ledger.ledgerId), seq + 1, READ_PAGE);
        for (const row of rows) {
          if (receipts.length === size) {
            return {
              receipts: receipts.map(toWire),
              nextPageToken: pageToken(method.listReceipts, { afterSeq: seq }),
            };
          }
          const signed = SignedBytes.decode(row.value);
          if (wants(signed, wanted)) receipts.push(signed);
          ({ seq } = row);
        }
        if (rows.length < READ_PAGE) return { receipts: receipts.map(toWire), nextPageToken: "" };
      }
    },

    async getReceipt({ receiptId }, context) {
      const { tenant } = operatorOf(context);
      // An id that no row could have is the id of nothing.
      const row = RECEIPT_ID.test(receiptId) ? await tenant.get(RECEIPT_PREFIX + receiptId) : null;
      if (row === null) throw notFound("receipt");
      const { ledgerId, seq } = ReceiptRow.decode(row.value);
      const [entry] = await tenant.read(receiptLog(ledgerId), seq, 1);
      if (entry === undefined) throw new Error(`receipt ${receiptId} is indexed, and not stored`);
      return { receipt: storedToWire(entry.value) };
    },

    async *watchReceipts(request, context) {
      const { tenant } = operatorOf(context);
      const only = request.ledgerId.length === 0 ? null : exactBytes(request.ledgerId, "ledger_id");
      if (only !== null && tenant.ledger(only) === null) throw notFound("ledger");
      const wanted = verdictOf(request.verdict);
      for await (const arrival of arrivals(fleet, tenant, request.resumeToken, context.signal)) {
        if (typeof arrival === "number") {
          yield { resumeToken: resumeToken(tenant.tenantId, RECEIPTS, arrival) };
          continue;
        }
        if (only !== null && !equal(only, arrival.ledgerId)) continue;
        const told = arrival.receipts.filter((r) => wants(r, wanted));
        for (const [i, receipt] of told.entries()) {
          // A batch is resumed as a whole: only its last receipt moves the token past it.
          const after = i === told.length - 1 ? arrival.arrival : arrival.arrival - 1;
          yield {
            receipt: toWire(receipt),
            resumeToken: resumeToken(tenant.tenantId, RECEIPTS, after),
          };
        }
      }
    },
  };
}

const RECEIPT_ID = /^rcp_[0-9a-f]{32}$/;
/** Rows read at once. */
const READ_PAGE = 256;

async function sessionOf(
  fleet: Fleet,
  context: CallContext,
): Promise<{ session: Session; sessions: Sessions }> {
  const { tenant, ledger } = sidecarOf(context);
  const token = context.metadata.binary("dragons-session-bin");
  const { sessions } = await fleet.of(tenant);
  const session = token === undefined ? null : sessions.byToken(token);
  if (session !== null && equal(session.ledger.ledgerId, ledger.ledgerId)) {
    return { session, sessions };
  }
  throw new StatusError(
    "UNAUTHENTICATED",
    "SESSION_UNKNOWN",
    "dragons-session-bin: no session of this ledger that lives has this token; attach first",
  );
}

/**
 * Batches in the order in which they were held: those missed since the token, then as they come.
 * Before them the place where the watch begins.
 */
async function* arrivals(
  fleet: Fleet,
  tenant: Tenant,
  token: string,
  signal: AbortSignal,
): AsyncGenerator<Arrival | number> {
  const { arrived } = await fleet.of(tenant);
  const coming = new Queue<Arrival>(watchBacklogMax);
  const end = () => coming.end();
  const close = () => coming.fail(shuttingDown());
  signal.addEventListener("abort", end, { once: true });
  fleet.closing.addEventListener("abort", close, { once: true });
  const stop = arrived.listen((arrival) => {
    if (coming.push(arrival) || coming.ended) return;
    coming.fail(
      new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this watch is not read", {
        resume_token: resumeToken(tenant.tenantId, RECEIPTS, arrival.arrival - 1),
      }),
    );
  });
  try {
    let after = await tenant.size(ARRIVALS);
    if (token !== "") {
      const since = readResumeToken(tenant.tenantId, RECEIPTS, token);
      if (since > after) throw tokenTooOld();
      yield since;
      for (let seq = since; seq < after; ) {
        const rows = await tenant.read(ARRIVALS, seq + 1, Math.min(READ_PAGE, after - seq));
        for (const row of rows) yield await stored(tenant, row.seq, row.value);
        seq += rows.length;
      }
    } else {
      yield after;
    }
    for await (const arrival of coming) {
      if (arrival.arrival <= after) continue;
      after = arrival.arrival;
      yield arrival;
    }
  } finally {
    stop();
    signal.removeEventListener("abort", end);
    fleet.closing.removeEventListener("abort", close);
  }
}

async function stored(tenant: Tenant, arrival: number, row: Uint8Array): Promise<Arrival> {
  const { ledgerId, fromSeq, toSeq } = ArrivalRow.decode(row);
  const rows = await tenant.read(receiptLog(ledgerId), fromSeq, toSeq - fromSeq + 1);
  return { arrival, ledgerId, fromSeq, receipts: rows.map((r) => SignedBytes.decode(r.value)) };
}

/** null: all of them. */
function verdictOf(wire: Parameters<typeof verdictFromWire>[0]): Verdict | null {
  const verdict = verdictFromWire(wire);
  if (verdict === null) throw badArgument("verdict", "is none of the list");
  return verdict === "UNSPECIFIED" ? null : verdict;
}

const wants = (signed: SignedBytes, verdict: Verdict | null): boolean =>
  verdict === null || ReceiptHeader.decode(signed.body).verdict === verdict;

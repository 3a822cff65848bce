import { equal } from "../../domain/bytes.ts";
import { syncCreditMax } from "../../domain/limits.ts";
import { ReceiptHeader, type Verdict } from "../../domain/receipt.ts";
import { SignedBytes } from "../../domain/signed.ts";
import { LedgerService, type SyncRequest } from "../../gen/dragons/v1/ledger_pb.ts";
import { fromWire, storedToWire, toWire } from "../../wire/artifacts.ts";
import { verdictFromWire } from "../../wire/enums.ts";
import { Queue } from "../../wire/queue.ts";
import type { CallContext, Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { Tail } from "../../wire/tail.ts";
import { operatorOf, sidecarOf } from "../auth.ts";
import type { Fleet } from "../fleet.ts";
import { isHash, RECEIPT_PREFIX, ReceiptRow, receiptLog } from "../heads.ts";
import type { Session, Sessions } from "../sessions.ts";
import { filterOf, RECEIPT_FIELDS, stateOf } from "../watch-filter.ts";
import { watchReceipts } from "../watch-receipts.ts";
import { badArgument, believed, exactBytes, notFound, pageOf, pageToken } from "./requests.ts";

/** Receipt headers: in from sidecars, out to whoever may see the tenant. */
export function ledgerService(fleet: Fleet): Handlers<typeof LedgerService> {
  const { method } = LedgerService;
  return {
    async *sync(requests, context) {
      const { session, sessions } = await sessionOf(fleet, context);
      const answer = () => ({ heldSize: BigInt(session.held.size), credit: syncCreditMax });
      yield answer();
      // Whoever has more answers waiting than this has sent more than it had credit for.
      const answers = new Queue<ReturnType<typeof answer>>(syncCreditMax);
      requests.each(
        async (request) => {
          await receive(session, sessions, request);
          if (!answers.push(answer()) && !answers.ended) throw unread();
        },
        (error) => (error === null ? answers.end() : answers.fail(error)),
      );
      return new Tail(answers, () => {});
    },

    async listReceipts(request, context) {
      const { tenant } = operatorOf(context);
      const ledger = tenant.ledger(exactBytes(request.ledgerId, "ledger_id"));
      if (ledger === null) throw notFound("ledger");
      const { size, afterSeq } = pageOf(method.listReceipts, request);
      const wanted = verdictOf(request.verdict);
      const receipts: SignedBytes[] = [];
      let hashesAlone = false;
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
          const signed = isHash(row.value) ? null : SignedBytes.decode(row.value);
          if (signed === null) hashesAlone = true;
          else if (wants(signed, wanted)) receipts.push(signed);
          ({ seq } = row);
        }
        if (rows.length === READ_PAGE) continue;
        // An empty list would read as if nothing had been done.
        if (hashesAlone && receipts.length === 0) throw onlyHashes();
        return { receipts: receipts.map(toWire), nextPageToken: "" };
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
      const ledgerId =
        request.ledgerId.length === 0 ? null : exactBytes(request.ledgerId, "ledger_id");
      if (ledgerId !== null && tenant.ledger(ledgerId) === null) throw notFound("ledger");
      const filter = {
        ledgerId,
        verdict: verdictOf(request.verdict),
        scope: request.scope,
        name: request.name,
        version: request.agentVersion,
        state: stateOf(request.state),
        when: filterOf(request.when, RECEIPT_FIELDS),
      };
      const { arrived } = await fleet.of(tenant);
      const { closing, parts } = fleet;
      const source = { tenant, arrived, clock: parts.clock, closing };
      yield* watchReceipts(source, request.resumeToken, filter, context.signal);
    },
  };
}

const unread = (): StatusError =>
  new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "what sync answers is not read");

const onlyHashes = (): StatusError =>
  new StatusError(
    "FAILED_PRECONDITION",
    "STATE_UNFIT",
    "this ledger's sidecar sends hashes alone; its receipts are with it: dragons receipt list --sidecar DIR",
  );

const RECEIPT_ID = /^rcp_[0-9a-f]{32}$/;
/** Rows read at once. */
const READ_PAGE = 256;

/** Holds what a sidecar sent, if it goes on with what is held. */
async function receive(
  session: Session,
  sessions: Sessions,
  { fromSeq, receipts, hashes }: SyncRequest,
): Promise<void> {
  if (!session.live) {
    throw new StatusError("ABORTED", "SESSION_SUPERSEDED", "this session is over");
  }
  if (receipts.length > 0 && hashes.length > 0) {
    throw badArgument("hashes", "stand in place of receipts, not beside them");
  }
  const { held, ledger } = session;
  const signed = receipts.map((r, i) => believed(fromWire(r, `receipts[${i}]`)));
  const fork =
    hashes.length > 0
      ? await held.acceptHashes(Number(fromSeq), hashes)
      : await held.accept(Number(fromSeq), signed);
  if (fork !== null) {
    await sessions.forked(ledger, fork);
    throw new StatusError(
      "ABORTED",
      "FORK",
      "this ledger has two histories; what proves it is kept",
    );
  }
  sessions.advance(session);
}

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

/** null: all of them. */
function verdictOf(wire: Parameters<typeof verdictFromWire>[0]): Verdict | null {
  const verdict = verdictFromWire(wire);
  if (verdict === null) throw badArgument("verdict", "is none of the list");
  return verdict === "UNSPECIFIED" ? null : verdict;
}

const wants = (signed: SignedBytes, verdict: Verdict | null): boolean =>
  verdict === null || ReceiptHeader.decode(signed.body).verdict === verdict;

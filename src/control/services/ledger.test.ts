import { expect, test } from "vitest";
import { syncCreditMax } from "../../domain/limits.ts";
import type { SyncRequest, SyncResponse } from "../../gen/dragons/v1/ledger_pb.ts";
import type { CallContext, Requests } from "../../wire/rpc.ts";
import { Tail } from "../../wire/tail.ts";
import type { Fleet } from "../fleet.ts";
import { ledgerService } from "./ledger.ts";

test("who goes on syncing and reads no answer is ended once it is beyond its credit", async () => {
  const ledger = { ledgerId: new Uint8Array(32) };
  const held = { size: 7, accept: () => Promise.resolve(null) };
  const session = { ledger, held, live: true };
  const sessions = { byToken: () => session, advance: () => {} };
  const fleet = { of: () => Promise.resolve({ sessions }) } as unknown as Fleet;
  const context = {
    caller: { tenant: {}, ledger },
    metadata: { binary: () => new Uint8Array(32) },
  } as unknown as CallContext;
  let take: Parameters<Requests<SyncRequest>["each"]>[0] = () => {};
  const requests = {
    each: (to: typeof take) => {
      take = to;
    },
  } as unknown as Requests<SyncRequest>;
  const answers = ledgerService(fleet).sync(requests, context)[Symbol.asyncIterator]();
  expect(await answers.next()).toMatchObject({ value: { heldSize: 7n, credit: syncCreditMax } });
  const { value: tail } = await answers.next();
  if (!(tail instanceof Tail)) throw new Error("it goes on by itself");
  const read: unknown[] = [];
  tail.queue.flow({
    take: (answer) => read.push(answer) < 3,
    over: () => {},
  });
  const batch = { fromSeq: 8n, receipts: [], hashes: [] } as unknown as SyncRequest;
  for (let i = 0; i < 3 + syncCreditMax; i++) await take(batch);
  await expect(take(batch)).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    reason: "READER_TOO_SLOW",
  });
  expect((read as SyncResponse[]).map((answer) => answer.heldSize)).toEqual([7n, 7n, 7n]);
});

import { beforeEach, expect, test } from "vitest";
import type { Signer } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { lookBackAfterUs, lookBackRecords, lookBackShare } from "../domain/limits.ts";
import { ManualClock } from "../native/clock.ts";
import { native } from "../native/crypto.ts";
import { idGenerator } from "../native/ids.ts";
import { generateSeed, seedSigner } from "../native/keys.ts";
import { LookBack } from "./look-back.ts";
import { controlGenesis, TenantLedger } from "./tenant-ledger.ts";

/** Microseconds that reading one slice takes here. */
const SLICE_US = 1000;
const RECORDS = 3 * lookBackRecords + 7;

const random = (n: number): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(n));

let clock: ManualClock;
let rows: { seq: number; value: Uint8Array }[];
let ledgerId: Uint8Array;
let leafHash: Uint8Array;
/** First seq of each slice that was read. */
let read: number[];

beforeEach(async () => {
  clock = new ManualClock(0);
  rows = [];
  read = [];
  const signer: Signer = seedSigner(generateSeed());
  const nonce = random(32);
  const genesis = await controlGenesis(native, { tenantId: "acme", signer, nonce, nowUs: 1 });
  ledgerId = genesis.ref;
  const ledger = new TenantLedger(native, genesis, [signer], random);
  const ids = idGenerator();
  for (let seq = 1; seq <= RECORDS; seq++) {
    const chained = ledger.append({ what: "head", artifact: `${seq}` }, {}, ids, seq);
    rows.push({ seq, value: await ledger.seal(chained) });
    leafHash = chained.leafHash;
  }
});

const behind = (from = { seq: RECORDS, leafHash }): LookBack =>
  new LookBack(
    {
      crypto: native,
      clock,
      ledgerId,
      read: async (from, limit) => {
        read.push(from);
        clock.advance(SLICE_US);
        return rows.filter(({ seq }) => seq >= from && seq < from + limit);
      },
    },
    from,
  );

/** Everything that can be done without more time passing is done. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

async function passed(us: number): Promise<void> {
  clock.advance(us);
  await settled();
}

test("begins when the start is over, and takes its part of the time and no more", async () => {
  const looking = behind();
  const done = looking.run();
  await passed(lookBackAfterUs - 1);
  expect(read).toEqual([]);
  await passed(1);
  for (let slice = 1; looking.left > 0; slice++) {
    expect(read.length).toBe(slice);
    await passed(SLICE_US * (lookBackShare - 1) - 1);
    expect(read.length).toBe(slice);
    await passed(1);
  }
  expect(await done).toBeNull();
  expect(read).toEqual([RECORDS - 63, RECORDS - 127, RECORDS - 191, 1]);
});

async function outcome(looking: LookBack): Promise<unknown> {
  let over = false;
  const done = looking.run().finally(() => {
    over = true;
  });
  while (!over) await passed(lookBackAfterUs);
  const problem = await done;
  return problem !== null && isInvalid(problem) ? problem.detail : problem;
}

test("finds the record that is not what the one after it says", async () => {
  const other = rows[99]?.value.slice() as Uint8Array;
  other[60] = (other[60] as number) ^ 1;
  rows[99] = { seq: 100, value: other };
  expect(await outcome(behind())).toMatch(/seq 100: /);
});

test.each([1, 100, 136, RECORDS])("finds that record %i is missing", async (seq) => {
  rows.splice(seq - 1, 1);
  expect(await outcome(behind())).toMatch(new RegExp(`seq ${seq}: is missing`));
});

test("finds another end than the one that was vouched for", async () => {
  expect(await outcome(behind({ seq: RECORDS, leafHash: random(32) }))).toMatch(
    new RegExp(`seq ${RECORDS}: is not what the record after it follows`),
  );
});

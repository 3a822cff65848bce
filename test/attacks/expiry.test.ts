import { expect, test } from "vitest";
import { ManualClock } from "../../src/native/clock.ts";
import { MINUTE_US, openRig, RawClient, rawUpstream } from "../datapath/harness.ts";

const NOW_US = 1_800_000_000_000_000;

test.each([
  ["the lease runs out", (clock: ManualClock) => clock.advance(MINUTE_US)],
  // The holder looks for that once a second; nothing may leave in between.
  ["the wall clock is set past its end", (clock: ManualClock) => clock.setWall(NOW_US + MINUTE_US)],
])("nothing is forwarded when %s while the upstream is being reached", async (_, happen) => {
  const clock = new ManualClock(NOW_US);
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<string[]>();
  const rig = await openRig({}, clock, () => {
    asked.resolve();
    return answer.promise;
  });
  let reached = 0;
  const upstream = await rawUpstream((stream) => {
    reached++;
    stream.close();
  });
  const target = `localhost:${upstream.port}`;
  const client = await RawClient.open(rig, target);
  // Without a body everything is asked at once: what is left of such a call may finish, had it begun.
  const { closed: call } = client.start("/test.Echo/Unary", [], { endStream: true });
  await asked.promise;
  happen(clock);
  answer.resolve(["127.0.0.1"]);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([
    { verdict: "CUT", reason: "LEASE_EXPIRED", egressLastUs: 0 },
  ]);
  await call;
  expect(reached).toBe(0);
  client.close();
  await rig.close();
  upstream.close();
});

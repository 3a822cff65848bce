import { once } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import { expect, test } from "vitest";
import { ManualClock } from "../../src/native/clock.ts";
import { framed, MINUTE_US, openRig, RawClient, rawUpstream } from "../datapath/harness.ts";

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

test("no message leaves in the moment between a lease's end and the news of it", async () => {
  const clock = new ManualClock(NOW_US);
  const rig = await openRig({}, clock);
  const got: Buffer[] = [];
  const upstream = await rawUpstream((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    stream.on("data", (chunk: Buffer) => {
      got.push(chunk);
      stream.write(chunk);
    });
  });
  const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const { stream, closed } = client.start("/test.Echo/Chat");
  const message = framed(Buffer.from("hi"));
  stream.write(message);
  await once(stream, "data");
  // No timer has fired: what is here is a busy process, or a clock that was set.
  clock.setWall(NOW_US + MINUTE_US);
  stream.write(message);
  await closed;
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([
    { verdict: "CUT", reason: "LEASE_EXPIRED", egressLastUs: NOW_US },
  ]);
  expect(Buffer.concat(got)).toEqual(message);
  client.close();
  await rig.close();
  upstream.close();
});

test("no message of the upstream's arrives in that moment either", async () => {
  const clock = new ManualClock(NOW_US);
  const rig = await openRig({}, clock);
  const reached = Promise.withResolvers<ServerHttp2Stream>();
  const upstream = await rawUpstream((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    reached.resolve(stream);
  });
  const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const { stream, closed } = client.start("/test.Echo/Chat");
  const message = framed(Buffer.from("hi"));
  stream.write(message);
  const up = await reached.promise;
  up.write(message);
  await once(stream, "data");
  clock.setWall(NOW_US + MINUTE_US);
  up.write(message);
  expect((await closed).body).toEqual(message);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_EXPIRED" }]);
  client.close();
  await rig.close();
  upstream.close();
});

test("a request is not ended in that moment, as if it were whole", async () => {
  const clock = new ManualClock(NOW_US);
  const rig = await openRig({}, clock);
  const reached = Promise.withResolvers<ServerHttp2Stream>();
  const upstream = await rawUpstream((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    stream.once("data", () => reached.resolve(stream));
  });
  const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const { stream, closed } = client.start("/test.Echo/Chat");
  stream.write(framed(Buffer.from("the first of two")));
  const up = await reached.promise;
  let whole = false;
  up.on("end", () => {
    whole = !up.aborted;
  });
  clock.setWall(NOW_US + MINUTE_US);
  stream.end();
  await once(up, "close");
  await closed;
  expect(whole).toBe(false);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_EXPIRED" }]);
  client.close();
  await rig.close();
  upstream.close();
});

/** An upstream that takes no more than its first window of what it is asked, until it is told to. */
async function reluctant(answer: Buffer) {
  const clock = new ManualClock(NOW_US);
  const rig = await openRig({}, clock);
  const reached = Promise.withResolvers<ServerHttp2Stream>();
  const upstream = await rawUpstream((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    if (answer.length > 0) stream.write(answer);
    reached.resolve(stream);
  });
  const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const { stream, closed } = client.start("/test.Echo/Chat");
  const message = framed(Buffer.alloc(200_000));
  const finished = once(stream, "finish");
  stream.end(message);
  const up = await reached.promise;
  if (answer.length > 0) await once(stream, "data");
  // All of it is with the sidecar once that answers, and waits there for the upstream's window.
  await finished;
  await new Promise<void>((done) => client.session.ping(() => done()));
  const close = async () => {
    client.close();
    await rig.close();
    upstream.close();
  };
  return { clock, rig, up, closed, message, close };
}

test.each([
  ["before the answer, which may be waited for when all was asked", Buffer.alloc(0)],
  ["within a message of the answer, which may end", framed(Buffer.from("hi")).subarray(0, 6)],
])("what waits for an upstream's window does not leave after the lease: %s", async (_, answer) => {
  const { clock, rig, up, closed, message, close } = await reluctant(answer);
  clock.advance(MINUTE_US);
  let bytes = 0;
  let whole = false;
  up.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  up.on("end", () => {
    whole = !up.aborted;
  });
  // What it takes now makes room, and nothing comes into it.
  await expect.poll(() => bytes).toBeGreaterThan(0);
  clock.advance(5_000_000);
  await closed;
  expect(whole).toBe(false);
  expect(bytes).toBeLessThan(message.length);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_EXPIRED" }]);
  await close();
});

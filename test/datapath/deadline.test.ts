import { once } from "node:events";
import { constants, type ServerHttp2Stream } from "node:http2";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ManualClock } from "../../src/native/clock.ts";
import { field, framed, openRig, RawClient, type Rig, rawUpstream } from "./harness.ts";

/** A call's own deadline, counted down by whoever carries it, to the microsecond. */

const HI = framed(Buffer.from("hi"));
const TIMEOUT_US = 300_000;
/** By which the ends of a call may see its deadline apart. */
const SLACK_US = 20_000;

let clock: ManualClock;
let rig: Rig;
let client: RawClient;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let reached: PromiseWithResolvers<{ stream: ServerHttp2Stream; raw: string[] }>;

beforeEach(async () => {
  clock = new ManualClock(1_800_000_000_000_000);
  rig = await openRig({}, clock);
  reached = Promise.withResolvers();
  upstream = await rawUpstream((stream, raw) => reached.resolve({ stream, raw }));
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

async function asked() {
  const call = client.start("/test.Echo/Unary", ["grpc-timeout", "300m"]);
  call.stream.end(HI);
  const { stream, raw } = await reached.promise;
  stream.resume();
  await once(stream, "end");
  return { ...call, up: stream, raw };
}

test("it is passed on, and ends the call at both ends, not a microsecond before", async () => {
  const { closed, up, raw } = await asked();
  expect(field(raw, "grpc-timeout")).toBe("300000u");
  const gone = once(up, "close");
  clock.advance(TIMEOUT_US - 1);
  expect(rig.gate.inFlight()).toBe(1);
  clock.advance(1);
  const { head } = await closed;
  expect(field(head, "grpc-status")).toBe("4");
  await gone;
  expect(up.rstCode).toBe(constants.NGHTTP2_CANCEL);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "DEADLINE_EXCEEDED" }]);
});

test.each([
  ["DEADLINE_EXCEEDED", "just before it, by the client's clock", TIMEOUT_US - SLACK_US],
  ["CLIENT_CANCELLED", "well before it", TIMEOUT_US - SLACK_US - 1],
])("a client's reset is %s when it comes %s", async (reason, _, afterUs) => {
  const { stream } = await asked();
  clock.advance(afterUs);
  stream.close(constants.NGHTTP2_CANCEL);
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason }]);
});

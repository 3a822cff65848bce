import { afterEach, beforeEach, expect, test } from "vitest";
import { ActionBody, GoalBody } from "../../src/domain/payload.ts";
import { framed, openRig, RawClient, type Rig, rawUpstream } from "./harness.ts";

/** What a receipt tells of a request is what went on, and what a trace is. */

const HI = framed(Buffer.from("hi"));
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let client: RawClient;
let reached: string[];

beforeEach(async () => {
  rig = await openRig();
  reached = [];
  upstream = await rawUpstream((s, raw) => {
    reached = raw.filter((n, i) => i % 2 === 0 && !n.startsWith(":"));
    s.respond(
      { ":status": 200, "content-type": "application/grpc", "grpc-status": "0" },
      { endStream: true },
    );
  });
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

test("names of the fields that reached the upstream, and of no others", async () => {
  const secret = ["proxy-authorization", "Basic x", "x-dragons-lease", "y", "grpc-timeout", "9S"];
  await client.call("/test.Echo/Say", HI, ["x-mine", "1", ...secret]);
  await rig.ledger.receipts(1);
  const { headerNames } = ActionBody.decode(rig.ledger.closed[0]?.action ?? new Uint8Array(0));
  expect(headerNames).toEqual([...new Set(reached)].sort());
  expect(headerNames).toContain("x-mine");
  expect(headerNames).not.toContain("proxy-authorization");
  expect(headerNames).not.toContain("x-dragons-lease");
});

test.each([
  [TRACE, TRACE],
  ["whatever an agent likes to write", ""],
])("a traceparent %j is told as %j", async (sent, told) => {
  await client.call("/test.Echo/Say", HI, ["traceparent", sent]);
  await rig.ledger.receipts(1);
  expect(rig.ledger.opened.map((d) => GoalBody.decode(d.goal).traceparent)).toEqual([told]);
});

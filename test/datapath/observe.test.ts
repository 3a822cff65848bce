import type { ServerHttp2Stream } from "node:http2";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ManualClock } from "../../src/native/clock.ts";
import {
  field,
  framed,
  GUARDED,
  leaseFrom,
  openRig,
  RawClient,
  type Rig,
  rawUpstream,
} from "./harness.ts";

/** Under a grant that merely observes: what passes says WOULD_DENY, and nothing else passes. */

const NOW_US = 1_800_000_000_000_000;
const GRPC = { ":status": 200, "content-type": "application/grpc" };
const HI = framed(Buffer.from("hi"));

let clock: ManualClock;
let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let client: RawClient;
let onStream: (stream: ServerHttp2Stream) => void;

beforeEach(async () => {
  clock = new ManualClock(NOW_US);
  rig = await openRig({}, clock);
  onStream = (s) => {
    s.respond(GRPC, { waitForTrailers: true });
    s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
    s.on("data", (c) => s.write(c));
    s.on("end", () => s.end());
  };
  upstream = await rawUpstream((stream) => onStream(stream));
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const scopes = leaseFrom(NOW_US).body.scopes.filter((s) => s.name !== "use:echo");
  observe({ scopes });
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

/** A lease that observes for half a minute of its minute. */
function observe(over: Parameters<typeof leaseFrom>[1] = {}): void {
  rig.authority.adopt(leaseFrom(NOW_US, { observeUntilUs: NOW_US + 30_000_000, ...over }));
}
/** No scope at all is granted, so whatever passes is merely observed. */
const nothingGranted = () => observe({ scopes: [], leaseSeq: 2 });

describe("an action that no scope allows", () => {
  test("passes, and its intent and receipt say what it would have been refused for", async () => {
    nothingGranted();
    const seen = await client.call("/test.Echo/Say", HI);
    expect(field(seen.trailers, "grpc-status")).toBe("0");
    await rig.ledger.receipts(1);
    expect(rig.ledger.opened.map((d) => d.wouldDeny)).toEqual(["SCOPE_NOT_GRANTED"]);
    expect(rig.ledger.closed[0]).toMatchObject({ verdict: "COMPLETED" });
  });

  test("says nothing of the kind when a scope allows it", async () => {
    observe({ leaseSeq: 2 });
    await client.call("/test.Echo/Say", HI);
    await rig.ledger.receipts(1);
    expect(rig.ledger.opened.map((d) => d.wouldDeny)).toEqual(["UNSPECIFIED"]);
  });

  test("is refused once observing is over, though the lease goes on", async () => {
    nothingGranted();
    await client.call("/test.Echo/Say", HI);
    clock.advance(30_000_000);
    const seen = await client.call("/test.Echo/Say", HI);
    expect(field(seen.head, "grpc-status") ?? field(seen.trailers, "grpc-status")).toBe("7");
    expect(rig.ledger.recorded[0]).toMatchObject({ kind: "DENIAL", reason: "SCOPE_NOT_GRANTED" });
  });

  test("is cut in mid-stream when observing is over", async () => {
    nothingGranted();
    const arrived = new Promise<void>((resolve) => {
      onStream = (s) => {
        s.respond(GRPC);
        s.once("data", () => resolve());
      };
    });
    const { stream, closed } = client.start("/test.Echo/Say");
    stream.write(HI);
    await arrived;
    clock.advance(31_000_000);
    await closed;
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed[0]).toMatchObject({
      verdict: "CUT",
      reason: "SCOPE_NOT_GRANTED",
    });
  });

  test.each([
    ["QUARANTINED", () => rig.authority.set({ quarantined: true })],
    ["MANIFEST_DRIFT", () => rig.authority.set({ drifted: true })],
    ["MANIFEST_RETIRED", () => rig.authority.set({ retired: true })],
    ["LEASE_REVOKED", () => rig.authority.revoke()],
    ["LEASE_EXPIRED", () => clock.advance(61_000_000)],
  ])("is refused with %s as ever", async (reason, spoil) => {
    nothingGranted();
    await client.call("/test.Echo/Say", HI);
    spoil();
    await client.call("/test.Echo/Say", HI);
    expect(rig.ledger.recorded[0]).toMatchObject({ kind: "DENIAL", reason });
    expect(rig.ledger.opened).toHaveLength(1);
  });

  test.each([
    [["x-account", "7"], "UNSPECIFIED"],
    [["x-account", "8"], "CONDITION_FALSE"],
    [[], "CONDITION_UNEVALUABLE"],
  ])("whose condition reads %j passes, and says %s", async (fields, wouldDeny) => {
    rig.authority.adopt(leaseFrom(NOW_US, { observeUntilUs: NOW_US + 30_000_000, leaseSeq: 2 }));
    const seen = await client.call(GUARDED, HI, fields);
    expect(field(seen.trailers, "grpc-status")).toBe("0");
    expect(rig.ledger.opened.map((o) => o.wouldDeny)).toEqual([wouldDeny]);
  });

  test("is refused to a caller who is not the agent", async () => {
    nothingGranted();
    const target = `127.0.0.1:${upstream.port}`;
    await expect(RawClient.open(rig, target, null)).rejects.toThrow("407 CALLER_UNIDENTIFIED");
    expect(rig.ledger.recorded[0]).toMatchObject({ reason: "CALLER_UNIDENTIFIED" });
  });
});

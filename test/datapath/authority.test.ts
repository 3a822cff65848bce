import { once } from "node:events";
import { constants, type ServerHttp2Stream } from "node:http2";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LedgerUnavailable } from "../../sidecar/ledger/work-ledger.ts";
import type { Limits } from "../../src/domain/grant.ts";
import { UNLIMITED } from "../../src/domain/grant.ts";
import { EvidenceBody } from "../../src/domain/payload.ts";
import { ManualClock } from "../../src/native/clock.ts";
import {
  field,
  framed,
  leaseFrom,
  MINUTE_US,
  openRig,
  RawClient,
  type Rig,
  rawUpstream,
} from "./harness.ts";

const NOW_US = 1_800_000_000_000_000;
const GRPC = { ":status": 200, "content-type": "application/grpc" };
const HI = framed(Buffer.from("hi"));

let clock: ManualClock;
let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let client: RawClient;
let arrived: ServerHttp2Stream[];
let onStream: (stream: ServerHttp2Stream) => void;

/** Answers each message, and ends when asked everything. */
function echo(s: ServerHttp2Stream): void {
  s.respond(GRPC, { waitForTrailers: true });
  s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
  s.on("data", (c) => s.write(c));
  s.on("end", () => s.end());
}

beforeEach(async () => {
  clock = new ManualClock(NOW_US);
  rig = await openRig({}, clock);
  arrived = [];
  onStream = echo;
  upstream = await rawUpstream((stream) => {
    arrived.push(stream);
    onStream(stream);
  });
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

/** The upstream listens and says nothing. Resolves when it was asked everything. */
const silence = (): Promise<void> =>
  new Promise((asked) => {
    onStream = (s) => s.resume().once("end", asked);
  });

/** A bidirectional call whose first answer has come. */
async function chat() {
  const { stream, closed } = client.start("/test.Echo/Chat");
  stream.write(HI);
  await once(stream, "data");
  return { stream, closed };
}

describe("in mid-stream", () => {
  test.each([
    ["the lease is revoked", () => rig.authority.revoke(), "LEASE_REVOKED"],
    ["it is quarantined", () => rig.authority.set({ quarantined: true }), "QUARANTINED"],
    ["the lease expires", () => clock.advance(MINUTE_US), "LEASE_EXPIRED"],
    [
      "the wall clock is set past the lease's end",
      () => {
        clock.setWall(NOW_US + MINUTE_US);
        clock.advance(1_000_000);
      },
      "LEASE_EXPIRED",
    ],
  ])("when %s the stream is cut, with its reason and receipt", async (_, happen, reason) => {
    const { closed } = await chat();
    const [reached] = arrived as [ServerHttp2Stream];
    const left = once(reached, "close");
    happen();
    const seen = await closed;
    expect(field(seen.trailers, "grpc-status")).toBe("7");
    expect(field(seen.trailers, "grpc-message")).toContain(reason);
    expect(field(seen.trailers, "dragons-receipt")).toBe("rcp_1");
    expect(seen.body).toEqual(HI);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason }]);
    await left;
    expect(reached.rstCode).toBe(constants.NGHTTP2_CANCEL);
  });

  test("a cut waits for the end of a message that is half delivered", async () => {
    onStream = (s) => {
      s.respond(GRPC, { waitForTrailers: true });
      s.write(HI.subarray(0, 6));
    };
    const { stream, closed } = client.start("/test.Echo/Chat");
    stream.write(HI);
    await once(stream, "data");
    rig.authority.revoke();
    arrived[0]?.write(Buffer.concat([HI.subarray(6), HI]));
    const seen = await closed;
    expect(field(seen.trailers, "grpc-message")).toContain("LEASE_REVOKED");
    expect(seen.body).toEqual(HI);
  });

  test("a cut does not wait for that for ever", async () => {
    onStream = (s) => {
      s.respond(GRPC, { waitForTrailers: true });
      s.write(HI.subarray(0, 6));
    };
    const { stream, closed } = client.start("/test.Echo/Chat");
    stream.write(HI);
    await once(stream, "data");
    rig.authority.revoke();
    clock.advance(1_000_000);
    expect(field((await closed).trailers, "grpc-message")).toContain("LEASE_REVOKED");
  });

  test("a new lease carries the call over, and its receipt names both", async () => {
    const { stream, closed } = await chat();
    clock.advance(MINUTE_US / 3);
    rig.authority.adopt(leaseFrom(clock.nowUs(), { leaseSeq: 2 }));
    clock.advance(MINUTE_US - 1_000_000);
    stream.end();
    expect(field((await closed).trailers, "grpc-status")).toBe("0");
    const [receipt] = rig.ledger.closed;
    expect(receipt?.verdict).toBe("COMPLETED");
    const { leases } = EvidenceBody.decode(receipt?.evidence ?? new Uint8Array());
    expect(leases.map((l) => l[0])).toEqual([11, 12]);
  });
});

test("a new lease that allows the call by another scope, whose limits nobody asked, cuts it", async () => {
  const { closed } = await chat();
  clock.advance(MINUTE_US / 3);
  const [held] = leaseFrom(clock.nowUs()).body.scopes;
  const scopes = [{ name: "use:other", limits: held?.limits as Limits }];
  rig.authority.adopt(leaseFrom(clock.nowUs(), { leaseSeq: 2, scopes }));
  expect(field((await closed).trailers, "grpc-message")).toContain("SCOPE_NOT_GRANTED");
  expect(rig.ledger.closed[0]).toMatchObject({ verdict: "CUT", reason: "SCOPE_NOT_GRANTED" });
});

test("a call in a scope that its manifest merely listens to is not waited for; any other is", async () => {
  const unlisted = await chat();
  const [held] = leaseFrom(clock.nowUs()).body.scopes;
  const scopes = [{ name: "use:other", limits: held?.limits as Limits }];
  unlisted.stream.end();
  await unlisted.closed;
  rig.authority.adopt(leaseFrom(clock.nowUs(), { leaseSeq: 2, scopes }));
  const listed = await chat();
  listed.stream.end();
  await listed.closed;
  await rig.ledger.receipts(2);
  expect(rig.ledger.closed.map(({ draft: { scope, listens } }) => [scope, listens])).toEqual([
    ["use:echo", false],
    ["use:other", true],
  ]);
});

describe("an admitted unary call", () => {
  test("may finish after its lease expired", async () => {
    const asked = silence();
    const call = client.call("/test.Echo/Unary", HI);
    await asked;
    clock.advance(MINUTE_US + 1_000_000);
    const [s] = arrived as [ServerHttp2Stream];
    s.respond(GRPC, { waitForTrailers: true });
    s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
    s.end(HI);
    expect(field((await call).trailers, "grpc-status")).toBe("0");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
  });

  test("is cut after the grace", async () => {
    const asked = silence();
    const call = client.call("/test.Echo/Unary", HI);
    await asked;
    clock.advance(MINUTE_US + 10_000_000);
    expect(field((await call).head, "grpc-message")).toContain("LEASE_EXPIRED");
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_EXPIRED" }]);
  });

  test("is cut at once by revocation", async () => {
    const asked = silence();
    const call = client.call("/test.Echo/Unary", HI);
    await asked;
    rig.authority.revoke();
    expect(field((await call).head, "grpc-message")).toContain("LEASE_REVOKED");
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });
});

describe("the clock", () => {
  test("set back never lengthens a lease", async () => {
    await client.call("/test.Echo/Unary", HI);
    clock.advance(MINUTE_US - 1);
    clock.setWall(NOW_US);
    expect(field((await client.call("/test.Echo/Unary", HI)).trailers, "grpc-status")).toBe("0");
    clock.advance(1);
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "grpc-message")).toContain("LEASE_EXPIRED");
  });

  test("is looked at once more when the intent is durable", async () => {
    const open = rig.ledger.open.bind(rig.ledger);
    rig.ledger.open = async (draft) => {
      const intent = await open(draft);
      clock.advance(MINUTE_US);
      return intent;
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "dragons-receipt")).toBe("rcp_1");
    expect(rig.ledger.closed).toMatchObject([
      { verdict: "DENIED", reason: "LEASE_EXPIRED", egressLastUs: 0 },
    ]);
    expect(arrived).toEqual([]);
  });

  test("that is behind when a lease is adopted gains no more than the lease's length", () => {
    const requested = clock.monotonicUs();
    clock.advance(10_000_000);
    clock.setWall(NOW_US - MINUTE_US);
    rig.authority.adopt(leaseFrom(NOW_US), requested);
    expect(rig.authority.autonomyLeftUs).toBe(MINUTE_US - 10_000_000);
  });
});

describe("limits", () => {
  const limited = (limits: Partial<ReturnType<typeof all>>) =>
    leaseFrom(clock.nowUs(), {
      leaseSeq: 2,
      grantRef: new Uint8Array(32).fill(4),
      scopes: [
        {
          name: "use:echo",
          limits: {
            ...all(),
            ...limits,
          },
        },
      ],
    });
  const all = () => ({
    maxActions: UNLIMITED,
    maxBytes: UNLIMITED,
    ratePerMinute: UNLIMITED,
    maxConcurrent: UNLIMITED,
  });
  const status = async () => {
    const seen = await client.call("/test.Echo/Unary", HI);
    return field(seen.trailers, "grpc-status") ?? field(seen.head, "grpc-status");
  };

  test("max_actions counts calls side by side, and each claim says what was left", async () => {
    rig.authority.adopt(limited({ maxActions: 3 }));
    const codes = await Promise.all([status(), status(), status(), status(), status()]);
    expect(codes.sort()).toEqual(["0", "0", "0", "8", "8"]);
    expect(rig.ledger.opened.map((o) => o.claim.limitState[0]?.actionsLeft)).toEqual([3, 2, 1]);
  });

  test("of 1,000 calls at once max_actions of 100 reach the upstream, exactly", async () => {
    rig.authority.adopt(limited({ maxActions: 100 }));
    const codes = await Promise.all(Array.from({ length: 1000 }, status));
    expect(codes.filter((c) => c === "0")).toHaveLength(100);
    expect(codes.filter((c) => c === "8")).toHaveLength(900);
    expect(arrived).toHaveLength(100);
  });

  test("max_concurrent is free again once a call ended", async () => {
    rig.authority.adopt(limited({ maxConcurrent: 1 }));
    const { stream, closed } = await chat();
    expect(await status()).toBe("8");
    stream.end();
    await closed;
    expect(await status()).toBe("0");
  });

  test("rate_per_minute is free again a minute later", async () => {
    rig.authority.adopt(limited({ ratePerMinute: 2 }));
    expect([await status(), await status(), await status()]).toEqual(["0", "0", "8"]);
    clock.advance(MINUTE_US + 1_000_000);
    const lease = limited({ ratePerMinute: 2 });
    rig.authority.adopt(lease);
    expect(await status()).toBe("0");
  });

  test("max_bytes counts both ways", async () => {
    rig.authority.adopt(limited({ maxBytes: 14 }));
    expect([await status(), await status()]).toEqual(["0", "8"]);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED", spentBytes: 14 }]);
  });

  test("max_bytes cuts a stream where they are spent, and not one byte passes beyond", async () => {
    rig.authority.adopt(limited({ maxBytes: 15 }));
    const { stream, closed } = await chat();
    stream.write(HI);
    const seen = await closed;
    expect(field(seen.trailers, "grpc-status")).toBe("8");
    const [receipt] = rig.ledger.closed;
    expect(receipt).toMatchObject({ verdict: "CUT", reason: "LIMIT_SPENT" });
    expect(receipt?.spentBytes).toBeLessThanOrEqual(15);
  });

  test("max_bytes that were reserved and did not pass are there for the next", async () => {
    rig.authority.adopt(limited({ maxBytes: 28 }));
    expect([await status(), await status(), await status()]).toEqual(["0", "0", "8"]);
    expect(rig.ledger.opened.map((o) => o.claim.limitState[0]?.bytesLeft)).toEqual([28, 14]);
  });

  test("0 is none", async () => {
    rig.authority.adopt(limited({ maxActions: 0 }));
    expect(await status()).toBe("8");
  });
});

describe("a ledger that cannot take the promise", () => {
  test("refuses the call, forwards nothing, and gives the reservation back", async () => {
    rig.ledger.refusal = new LedgerUnavailable("LEDGER_UNAVAILABLE", "the disk is full");
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "grpc-status")).toBe("14");
    expect(field(seen.head, "grpc-retry-pushback-ms")).toBe("-1");
    expect(field(seen.head, "dragons-receipt")).toBeUndefined();
    expect(arrived).toEqual([]);
    rig.ledger.refusal = null;
    const again = await client.call("/test.Echo/Unary", HI);
    expect(field(again.trailers, "grpc-status")).toBe("0");
  });
});

test("closing cuts what is still open as HANDOFF, and tells the ledger", async () => {
  const { closed } = await chat();
  const closing = rig.stack.close(1000);
  clock.advance(1_000_000);
  await closing;
  await closed;
  expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "HANDOFF" }]);
});

test("closing waits for an intent that is being written, and its call is told", async () => {
  const open = rig.ledger.open.bind(rig.ledger);
  let written = () => {};
  const began = new Promise<void>((opening) => {
    rig.ledger.open = async (draft) => {
      opening();
      await new Promise<void>((done) => {
        written = done;
      });
      return open(draft);
    };
  });
  void client.call("/test.Echo/Unary", HI);
  await began;
  const closing = rig.stack.close(0);
  clock.advance(1);
  written();
  await closing;
  expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", egressLastUs: 0 }]);
});

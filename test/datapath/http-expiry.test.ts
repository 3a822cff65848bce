import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UNLIMITED } from "../../src/domain/grant.ts";
import { unaryGraceUs } from "../../src/domain/limits.ts";
import { OutcomeBody } from "../../src/domain/payload.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { type Flow, WALKS, type Way } from "../attacks/cut-flows.ts";
import { leaseFrom, MINUTE_US, openRig, RawClient, type Rig } from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** What a lease's end means to connections on which nothing moves, and to what is half said on them. */

const NOW_US = 1_800_000_000_000_000;
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

let clock: ManualClock;
let rig: Rig;

beforeEach(async () => {
  clock = new ManualClock(NOW_US);
  rig = await openRig({}, clock);
});
afterEach(() => rig.close());

/** Each look at it is a microsecond after the one before. */
class TickingClock extends ManualClock {
  #looks = 0;
  override nowUs(): number {
    return super.nowUs() + this.#looks++;
  }
}

test.each([
  ["HTTP", "GET", "/ok", ""],
  [
    "MCP",
    "POST",
    "/mcp",
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}',
  ],
])(
  "%s states no time of leaving that its lease had ended by, wherever between two looks it ends",
  async (_, method, path, body) => {
    const upstream = await socketUpstream((socket) => void socket.write(OK));
    const host = `127.0.0.1:${upstream.port}`;
    const type = body === "" ? "" : "Content-Type: application/json\r\n";
    const ask = `${method} http://${host}${path} HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}${type}Content-Length: ${body.length}\r\n\r\n${body}`;
    await rig.close();
    const ticking = new TickingClock(NOW_US);
    const servers = [{ name: "tracker", scheme: "HTTP" as const, target: host, path: "/mcp" }];
    rig = await openRig({ servers }, ticking);
    const ends: number[] = [];
    for (let us = 1; us <= 40; us++) {
      const notAfterUs = ticking.nowUs() + us;
      rig.authority.adopt(leaseFrom(NOW_US, { leaseSeq: us + 1, notAfterUs }));
      const wire = await Wire.open(rig);
      wire.say(ask);
      await wire.hears(/hi$|}$/);
      wire.close();
      await rig.ledger.receipts(us);
      const left = rig.ledger.closed.at(-1)?.egressLastUs ?? 0;
      ends.push(left === 0 ? -1 : left - notAfterUs);
    }
    expect(Math.max(...ends)).toBeLessThan(0);
    // Some left in time.
    expect(Math.min(...ends)).toBeLessThan(-1);
    upstream.close();
  },
);

describe("a connection that is kept", () => {
  let upstream: SocketUpstream;

  beforeEach(async () => {
    upstream = await socketUpstream((socket, heard) => {
      if (heard.endsWith("\r\n\r\n")) socket.write(OK);
    });
  });
  afterEach(() => upstream.close());

  const said = () => upstream.heard.join("");

  test("outlives the lease over HTTP/1.1, and its next request is denied", async () => {
    const host = `127.0.0.1:${upstream.port}`;
    const get = `GET http://${host}/ok HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}\r\n`;
    const wire = await Wire.open(rig);
    wire.say(get);
    await wire.hears(/hi$/);
    const before = said();
    clock.advance(MINUTE_US);
    wire.say(get);
    expect(await wire.hears(/}$/)).toContain("hiHTTP/1.1 403 LEASE_EXPIRED\r\n");
    expect(said()).toBe(before);
    expect(rig.ledger.recorded).toMatchObject([{ kind: "DENIAL", reason: "LEASE_EXPIRED" }]);
    // It heals with the next lease, on the same connection.
    rig.authority.adopt(leaseFrom(clock.nowUs(), { leaseSeq: 2 }));
    wire.say(get);
    expect(await wire.hears(/}HTTP\/1.1 200 [\s\S]*hi$/)).toMatch(/hi$/);
    wire.close();
  });

  test("outlives the lease over HTTP/2, and its next request is denied", async () => {
    const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
    const plain = [":method", "GET", "content-type", "text/plain"];
    const get = () => {
      const { stream, closed } = client.start("/ok", plain);
      stream.end();
      return closed;
    };
    expect((await get()).body.toString()).toBe("hi");
    const before = said();
    clock.advance(MINUTE_US);
    expect(JSON.parse((await get()).body.toString())).toMatchObject({ title: "LEASE_EXPIRED" });
    expect(said()).toBe(before);
    expect(rig.ledger.recorded).toMatchObject([{ kind: "DENIAL", reason: "LEASE_EXPIRED" }]);
    client.close();
  });
});

/** Ends of leave that nobody's message brings to light. */
const ENDS: [string, () => void, string][] = [
  ["the lease runs out", () => clock.advance(MINUTE_US), "LEASE_EXPIRED"],
  [
    "the clock is set past its end, a second later",
    () => {
      clock.setWall(NOW_US + MINUTE_US);
      clock.advance(1_000_000);
    },
    "LEASE_EXPIRED",
  ],
  ["the lease is revoked", () => rig.authority.revoke(), "LEASE_REVOKED"],
  ["it is quarantined", () => rig.authority.set({ quarantined: true }), "QUARANTINED"],
];

describe.each(WALKS.map((walk) => [`${walk.carrier} over ${walk.wire}`, walk] as const))(
  "%s",
  (_, walk) => {
    let way: Way;
    beforeEach(async () => {
      way = await walk.open(rig);
    });
    afterEach(() => way.close());

    const HELD: [string, () => Promise<Flow>][] = [
      ["that is half asked", () => way.asking()],
      ["on which nothing moves", () => way.unended()],
    ];

    test.each(HELD.flatMap(([what, begin]) => ENDS.map((end) => [what, begin, ...end] as const)))(
      "%s is cut when, without a word of either side, %3$s",
      async (_, begin, __, happen, reason) => {
        const flow = await begin();
        const given = flow.given();
        happen();
        // What was asked whole may be answered for so long.
        clock.advance(unaryGraceUs);
        const [told] = await Promise.all([flow.told, flow.gone]);
        // There are no words for it in what nobody reads.
        if (walk.carrier !== "OPAQUE") expect(told.text).toContain(reason);
        expect(flow.given()).toBe(given);
        await rig.ledger.receipts(1);
        expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason, egressLastUs: NOW_US }]);
      },
    );
  },
);

test("bytes that are spent let no part of a WebSocket's message pass, and its receipt counts none", async () => {
  const limits = { maxActions: UNLIMITED, ratePerMinute: UNLIMITED, maxConcurrent: UNLIMITED };
  // What the agent says in this walk, and half of what it is answered.
  const scopes = [{ name: "use:echo", limits: { ...limits, maxBytes: 8 } }];
  rig.authority.adopt(leaseFrom(NOW_US, { leaseSeq: 2, scopes }));
  const walk = WALKS.find(({ carrier }) => carrier === "WEB_SOCKET");
  const way = (await walk?.open(rig)) as Way;
  const flow = await way.half();
  flow.goOn();
  const told = await flow.told;
  expect(told.body).toBe(walk?.pieces.half);
  await rig.ledger.receipts(1);
  const [closing] = rig.ledger.closed;
  expect(closing).toMatchObject({ verdict: "CUT", reason: "LIMIT_SPENT", spentBytes: 8 });
  expect(OutcomeBody.decode(closing?.outcome as Uint8Array)).toMatchObject({
    bodyBytes: 4,
    messages: 0,
  });
  way.close();
});

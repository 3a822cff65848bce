import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  headerListBytesMax,
  http1HeadUs,
  http1IdleUs,
  http1UpstreamIdleUs,
  lingerUs,
} from "../../src/domain/limits.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { MINUTE_US, openRig, type Rig } from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** What holds a connection, and for how long. */
let rig: Rig;
let clock: ManualClock;
let upstream: SocketUpstream;
let wire: Wire;

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

beforeEach(async () => {
  clock = new ManualClock(Date.now() * 1000);
  upstream = await socketUpstream((socket, heard) => {
    if (heard.endsWith("\r\n\r\n")) socket.write(OK);
  });
  rig = await openRig({}, clock);
  wire = await Wire.open(rig);
});
afterEach(async () => {
  wire.close();
  await rig.close();
  upstream.close();
});

const get = (path = "/ok") =>
  `GET http://127.0.0.1:${upstream.port}${path} HTTP/1.1\r\nHost: 127.0.0.1:${upstream.port}\r\n${AUTHORIZATION}\r\n`;
/** Once what was said has been read: the sidecar lives in this process, so its turns are ours. */
const heardBySidecar = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
};
/** Moves time until the connection has ended; it must not before. */
const endsAfter = async (us: number): Promise<void> => {
  await heardBySidecar();
  clock.advance(us - 1000);
  await heardBySidecar();
  expect(wire.ended).toBe("open");
  clock.advance(2000);
  await wire.all();
};

describe("a connection is closed", () => {
  test("whose head does not end in time, however steadily it comes", async () => {
    wire.say(get().slice(0, -2));
    await heardBySidecar();
    for (let i = 0; i < 9; i++) {
      clock.advance(http1HeadUs / 10);
      wire.say(`X-${i}: 1\r\n`);
      await heardBySidecar();
    }
    expect(wire.ended).toBe("open");
    clock.advance(http1HeadUs / 10);
    await wire.all();
    expect(upstream.heard).toEqual([]);
  });

  test("on which nothing more is asked", async () => {
    wire.say(get());
    await wire.hears(/hi$/);
    await endsAfter(http1IdleUs);
  });

  test("on which the next head is slow", async () => {
    wire.say(get());
    await wire.hears(/hi$/);
    wire.say("GET ");
    await endsAfter(http1HeadUs);
  });

  test("whose refused body goes on", async () => {
    wire.say(
      get("/secret").replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 99\r\n\r\n"),
    );
    await wire.hears(/}$/);
    let gone = false;
    wire.socket.once("close", () => {
      gone = true;
    });
    await heardBySidecar();
    clock.advance(lingerUs + 1000);
    await expect
      .poll(() => {
        wire.say("x");
        return gone || wire.socket.destroyed;
      })
      .toBe(true);
  });
});

test("an upstream connection that nobody uses is closed before its server would", async () => {
  wire.say(get());
  await wire.hears(/hi$/);
  await rig.ledger.receipts(1);
  clock.advance(http1UpstreamIdleUs * 2);
  wire.say(get("/ok/2"));
  await wire.hears(/hi[\s\S]*hi$/);
  expect(upstream.heard).toHaveLength(2);
});

test("a head may be as long as the limit, and no longer", async () => {
  const padded = (bytes: number) => {
    const text = get().slice(0, -2);
    return `${text}X: ${"a".repeat(bytes - text.length - 7)}\r\n\r\n`;
  };
  expect(padded(headerListBytesMax)).toHaveLength(headerListBytesMax);
  wire.say(padded(headerListBytesMax));
  expect(await wire.hears(/hi$/)).toBe(OK);
  wire.say(padded(headerListBytesMax + 1));
  expect(await wire.all()).toContain("HTTP/1.1 431 REQUEST_NOT_NORMAL\r\n");
});

test("a lease that merely runs out lets what was asked be answered, and no more be asked", async () => {
  let answer = (): void => {};
  upstream.close();
  upstream = await socketUpstream((socket, heard) => {
    if (heard.endsWith("\r\n\r\n")) answer = () => socket.write(OK);
  });
  wire.say(get());
  await expect.poll(() => upstream.heard.length).toBe(1);
  clock.advance(MINUTE_US + 1000);
  expect(rig.authority.autonomyLeftUs).toBe(0);
  answer();
  expect(await wire.hears(/hi$/)).toBe(OK);
  wire.say(get());
  expect(await wire.hears(/}$/)).toContain("HTTP/1.1 403 LEASE_EXPIRED\r\n");
  await rig.ledger.receipts(2);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
});

describe("when the sidecar stops", () => {
  test("an idle connection is closed at once", async () => {
    wire.say(get());
    await wire.hears(/hi$/);
    await rig.ledger.receipts(1);
    const closing = rig.stack.close(1000);
    await wire.all();
    await closing;
  });

  test("a request under way is answered first, and its connection closed", async () => {
    let answer = (): void => {};
    upstream.close();
    upstream = await socketUpstream((socket, heard) => {
      if (heard.endsWith("\r\n\r\n")) answer = () => socket.write(OK);
    });
    wire.say(get());
    await expect.poll(() => upstream.heard.length).toBe(1);
    const closing = rig.stack.close(1000);
    answer();
    expect(await wire.all()).toBe(OK);
    await closing;
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
  });

  test("one that does not end is cut, and told so", async () => {
    upstream.close();
    upstream = await socketUpstream(() => {});
    wire.say(get());
    await expect.poll(() => upstream.heard.length).toBe(1);
    const closing = rig.stack.close(1000);
    await heardBySidecar();
    clock.advance(1_001_000);
    await closing;
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "HANDOFF" }]);
  });
});

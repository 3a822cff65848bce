import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UNLIMITED } from "../../src/domain/grant.ts";
import { ActionBody, OutcomeBody } from "../../src/domain/payload.ts";
import { leaseFrom, MINUTE_US, openRig, type Rig, tunnel } from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

let rig: Rig;
let upstream: SocketUpstream;
let wire: Wire;
let answer: (socket: Socket, heard: string) => void;

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/** Once a head is whole, and only then. */
const onHead = (say: (socket: Socket, heard: string) => void) => {
  const seen = new WeakSet<Socket>();
  return (socket: Socket, heard: string) => {
    if (seen.has(socket) || !heard.includes("\r\n\r\n")) return;
    seen.add(socket);
    say(socket, heard);
  };
};

beforeEach(async () => {
  answer = onHead((socket) => socket.write(OK));
  upstream = await socketUpstream((socket, heard) => answer(socket, heard));
  rig = await openRig();
  wire = await Wire.open(rig);
});
afterEach(async () => {
  wire.close();
  await rig.close();
  upstream.close();
});

const host = () => `127.0.0.1:${upstream.port}`;
const get = (path = "/ok", more = "") =>
  `GET http://${host()}${path} HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}${more}\r\n`;
const sha256 = (text: string) => new Uint8Array(createHash("sha256").update(text).digest());
/** What receipts tell of what passed. */
const passed = () =>
  rig.ledger.closed.map(({ action, outcome }) => ({
    asked: ActionBody.decode(action),
    told: OutcomeBody.decode(outcome),
  }));

describe("a request through the forward proxy", () => {
  test("reaches its upstream as it was judged, and has one receipt", async () => {
    wire.say(get("//ok/./x/../y?b=/../c", "X-Mixed: 1\r\nx-mixed: 2\r\nCookie: a=b\r\n"));
    expect(await wire.hears(/hi$/)).toBe(OK);
    expect(upstream.heard).toEqual([
      `GET /ok/y?b=/../c HTTP/1.1\r\nHost: ${host()}\r\nX-Mixed: 1\r\nx-mixed: 2\r\nCookie: a=b\r\n\r\n`,
    ]);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([
      { verdict: "COMPLETED", draft: { claim: { protocol: "HTTP", verb: "GET", path: "/ok/y" } } },
    ]);
    expect(passed()).toMatchObject([
      { asked: { bodyBytes: 0, querySha256: sha256("?b=/../c") }, told: { bodyBytes: 2 } },
    ]);
  });

  test.each<[string, string, string]>([
    [
      "as JSON",
      "application/json",
      '{"model":"m-1","content":[{"text":"a secret"}],"usage":{"input_tokens":12,"output_tokens":3}}',
    ],
    [
      "as events",
      "text/event-stream",
      'data: {"message":{"model":"m-1","usage":{"input_tokens":12}}}\n\ndata: {"delta":"a secret"}\n\ndata: {"usage":{"output_tokens":3}}\n\n',
    ],
  ])(
    "to a language model tells, %s, which it was and what it counted, and no word",
    async (_, type, body) => {
      const head = `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`;
      answer = onHead((socket) => socket.write(`${head}${body}`));
      wire.say(get("/ok/v1/messages", "Content-Length: 0\r\n").replace("GET", "POST"));
      expect(await wire.hears({ test: (t) => t.endsWith(body) })).toContain("a secret");
      await rig.ledger.receipts(1);
      expect(passed()[0]?.told.status).toBe(
        "http 200; gen_ai model=m-1 input_tokens=12 output_tokens=3",
      );
      expect(Buffer.from(rig.ledger.closed[0]?.outcome as Uint8Array).toString()).not.toContain(
        "secret",
      );
    },
  );

  test("goes nowhere without a scope, and says what would allow it", async () => {
    wire.say(get("/secret"));
    const text = await wire.hears(/}$/);
    expect(text).toMatch(/^HTTP\/1.1 403 SCOPE_NOT_GRANTED\r\n/);
    expect(text).toContain("content-type: application/problem+json\r\n");
    expect(text).toContain("dragons-receipt: rcp_denial_1\r\n");
    expect(JSON.parse(text.split("\r\n\r\n")[1] as string)).toMatchObject({
      status: 403,
      title: "SCOPE_NOT_GRANTED",
      remedy: expect.stringContaining(`http: GET http://${host()}/secret`),
    });
    expect(upstream.heard).toEqual([]);
    // The connection is as good as before.
    wire.say(get());
    expect(await wire.hears(/hi$/)).toContain(OK);
  });

  test("without the credential is asked for it", async () => {
    wire.say(get().replace(AUTHORIZATION, ""));
    const text = await wire.all();
    expect(text).toMatch(/^HTTP\/1.1 407 CALLER_UNIDENTIFIED\r\n/);
    expect(text).toContain('proxy-authenticate: Basic realm="dragons"\r\n');
    expect(rig.ledger.recorded).toMatchObject([{ reason: "CALLER_UNIDENTIFIED" }]);
  });

  test("to a port where nobody listens is UPSTREAM_UNREACHABLE", async () => {
    wire.say(get().replaceAll(host(), "127.0.0.1:1"));
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 502 UPSTREAM_UNREACHABLE\r\n/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([
      { verdict: "FAILED", reason: "UPSTREAM_UNREACHABLE" },
    ]);
  });

  test("to a name that leads to this machine is TARGET_FORBIDDEN", async () => {
    wire.say(get().replaceAll(host(), `metadata.example:${upstream.port}`));
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 403 TARGET_FORBIDDEN\r\n/);
    expect(upstream.heard).toEqual([]);
  });

  test("that the ledger cannot take is not forwarded", async () => {
    const { LedgerUnavailable } = await import("../../sidecar/ledger/work-ledger.ts");
    rig.ledger.refusal = new LedgerUnavailable("LEDGER_UNAVAILABLE", "the disk is full");
    wire.say(get());
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 503 LEDGER_UNAVAILABLE\r\n/);
    expect(upstream.heard).toEqual([]);
  });
});

describe("connections are kept", () => {
  test("on both sides, one receipt for each request", async () => {
    let answered = 0;
    answer = (socket, heard) => {
      const whole = heard.split("\r\n\r\n").length - 1;
      while (answered < whole) {
        answered++;
        socket.write(OK);
      }
    };
    for (let i = 1; i <= 3; i++) {
      wire.say(get(`/ok/${i}`));
      await wire.hears(new RegExp(`(?:${OK.replaceAll(/[.]/g, "\\.")}){${i}}$`));
    }
    expect(upstream.heard).toHaveLength(1);
    await rig.ledger.receipts(3);
    expect(rig.ledger.closed.map((c) => c.draft.claim.path)).toEqual(["/ok/1", "/ok/2", "/ok/3"]);
  });

  test("and requests that came in one piece are answered in order", async () => {
    answer = onHead((socket, heard) => {
      const path = /GET (\S+)/.exec(heard)?.[1] ?? "";
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
    });
    wire.say(get("/ok/1") + get("/ok/2"));
    const text = await wire.hears(/\/ok\/2$/);
    expect(text.indexOf("/ok/1")).toBeLessThan(text.indexOf("/ok/2"));
  });

  test("but what an upstream closed meanwhile is not used again", async () => {
    answer = onHead((socket) => socket.end(OK));
    wire.say(get());
    await wire.hears(/hi$/);
    wire.say(get("/ok/2"));
    await wire.hears(/hi[\s\S]*hi$/);
    expect(upstream.heard).toHaveLength(2);
  });

  test("a request that can be repeated is, when the kept connection breaks under it", async () => {
    let heads = 0;
    answer = (socket, heard) => {
      if (!heard.endsWith("\r\n\r\n")) return;
      heads++;
      if (heads === 2) socket.destroy();
      else socket.write(OK);
    };
    wire.say(get());
    await wire.hears(/hi$/);
    wire.say(get("/ok/2"));
    await wire.hears(/hi[\s\S]*hi$/);
    expect(upstream.heard).toHaveLength(2);
    await rig.ledger.receipts(2);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }, { verdict: "COMPLETED" }]);
  });

  test("one that cannot is not", async () => {
    let heads = 0;
    answer = (socket, heard) => {
      if (!heard.endsWith("\r\n\r\n")) return;
      heads++;
      if (heads === 2) socket.destroy();
      else socket.write(OK);
    };
    wire.say(get());
    await wire.hears(/hi$/);
    wire.say(get("/ok/2").replace("GET", "POST"));
    expect(await wire.hears(/}$/)).toContain("HTTP/1.1 502 UPSTREAM_FAILED\r\n");
    expect(heads).toBe(2);
  });
});

describe("bodies", () => {
  test("with a length pass both ways, digested", async () => {
    answer = (socket, heard) => {
      if (heard.endsWith("hello"))
        socket.write("HTTP/1.1 201 Made\r\ncontent-length: 5\r\n\r\nworld");
    };
    wire.say(get("/ok", "Content-Length: 5\r\n").replace("GET", "POST"));
    wire.say("hello");
    expect(await wire.hears(/world$/)).toBe("HTTP/1.1 201 Made\r\ncontent-length: 5\r\n\r\nworld");
    await rig.ledger.receipts(1);
    expect(passed()).toMatchObject([
      {
        asked: { bodyBytes: 5, bodySha256: sha256("hello") },
        told: { bodyBytes: 5, bodySha256: sha256("world") },
      },
    ]);
  });

  test("in chunks pass with their trailers, and without their extensions", async () => {
    answer = (socket, heard) => {
      if (!heard.includes("\r\n0\r\n")) return;
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
      socket.write("2;why\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 5\r\nX-Sum: 6\r\n\r\n");
    };
    wire.say(get("/ok", "Transfer-Encoding: chunked\r\nTE: trailers\r\n").replace("GET", "PUT"));
    wire.say("3;x=y\r\nabc\r\n0\r\nX-In: 1\r\n\r\n");
    const text = await wire.hears(/\r\n0\r\n[\s\S]*\r\n\r\n$/);
    expect(text).toMatch(/^HTTP\/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n/);
    expect(text.split("\r\n\r\n")[1]).toMatch(
      /^(?:5\r\nhello|2\r\nhe\r\n3\r\nllo)\r\n0\r\nX-Sum: 5\r\nX-Sum: 6$/,
    );
    expect(upstream.heard[0]).toContain("\r\n\r\n3\r\nabc\r\n0\r\nX-In: 1\r\n\r\n");
    expect(upstream.heard[0]).toContain("Connection: TE\r\nTE: trailers\r\n");
  });

  test("to the end of the connection arrive in chunks, or to its end by HTTP/1.0", async () => {
    answer = onHead((socket) => socket.end("HTTP/1.1 200 OK\r\n\r\nall of it"));
    wire.say(get());
    const text = await wire.hears(/\r\n0\r\n\r\n$/);
    expect(text).toBe(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n",
    );
    const old = await Wire.open(rig);
    old.say(get().replace("HTTP/1.1", "HTTP/1.0"));
    expect(await old.all()).toBe("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
  });

  test("that an upstream breaks off are seen broken", async () => {
    answer = onHead((socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"));
    wire.say(get());
    expect(await wire.all()).toMatch(/hal$/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test.each([
    ["two lengths", "Content-Length: 2\r\nContent-Length: 2\r\n"],
    ["a length and chunks", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"],
    ["a length that is the connection's", "Connection: content-length\r\nContent-Length: 2\r\n"],
    ["an encoding that is not known", "Transfer-Encoding: gzip, chunked\r\n"],
    ["a folded field", "X: 1\r\n 2\r\nContent-Length: 2\r\n"],
    ["a line ended by LF", "X: 1\nContent-Length: 2\r\n"],
  ])("framed by an upstream with %s do not reach the client", async (_, lines) => {
    answer = onHead((socket) => socket.write(`HTTP/1.1 200 OK\r\n${lines}\r\nhi`));
    wire.say(get());
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 502 UPSTREAM_FAILED\r\n/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test.each([
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"],
    ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nEtag: x\r\n\r\n"],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
  ])("are none after %s and %j", async (method, said) => {
    answer = onHead((socket) => socket.write(said));
    wire.say(get().replace("GET", method));
    expect(await wire.hears(/\r\n\r\n$/)).toBe(said);
    wire.say(get("/secret"));
    expect(await wire.hears(/}$/)).toContain("403 SCOPE_NOT_GRANTED");
  });

  test("wait for 100 Continue, which comes from the upstream alone", async () => {
    answer = (socket, heard) => {
      if (heard.endsWith("\r\n\r\n")) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
      if (heard.endsWith("hello")) socket.write(OK);
    };
    const more = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    wire.say(get("/ok", more).replace("GET", "PUT"));
    expect(await wire.hears(/Continue\r\n\r\n$/)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    wire.say("hello");
    expect(await wire.hears(/hi$/)).toContain(OK);
  });

  test("that nobody may send are not asked for", async () => {
    const more = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    wire.say(get("/secret", more).replace("GET", "PUT"));
    const text = await wire.all();
    expect(text).toMatch(/^HTTP\/1.1 403 /);
    expect(text).toContain("connection: close\r\n");
  });

  test("of which the client leaves in the middle end the call upstream too", async () => {
    let closed: (() => void) | null = null;
    const gone = new Promise<void>((resolve) => {
      closed = resolve;
    });
    answer = onHead((socket) => socket.on("close", () => closed?.()));
    wire.say(get("/ok", "Content-Length: 500\r\n").replace("GET", "POST"));
    await expect.poll(() => upstream.heard.length).toBe(1);
    wire.close();
    await gone;
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "CLIENT_CANCELLED" }]);
  });
});

describe("events", () => {
  const HEAD =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  const event = (n: number) => {
    const text = `data: ${n}\n\n`;
    return `${text.length.toString(16)}\r\n${text}\r\n`;
  };

  test("pass one by one as they come, and are counted", async () => {
    let up: Socket | null = null;
    answer = onHead((socket) => {
      up = socket;
      socket.write(HEAD);
    });
    wire.say(get());
    for (const n of [1, 2, 3]) {
      await expect.poll(() => up).not.toBeNull();
      (up as unknown as Socket).write(event(n));
      await wire.hears(new RegExp(`data: ${n}\n\n`));
    }
    (up as unknown as Socket).write("0\r\n\r\n");
    await wire.hears(/\r\n0\r\n\r\n$/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
    expect(passed()).toMatchObject([{ told: { messages: 3 } }]);
  });

  test("end between two of them when leave is taken back", async () => {
    let up: Socket | null = null;
    answer = onHead((socket) => {
      up = socket;
      socket.write(`${HEAD}${event(1)}9\r\ndata: hal\r\n`);
    });
    wire.say(get());
    await wire.hears(/hal\r\n$/);
    rig.authority.revoke();
    (up as unknown as Socket).write("3\r\nf\n\n\r\n");
    expect(await wire.all()).toMatch(/3\r\nf\n\n\r\n$/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });
});

describe("a lease that ends", () => {
  test("takes the leave of a request that is not answered yet", async () => {
    answer = () => {};
    wire.say(get("/ok", "Content-Length: 5\r\n").replace("GET", "POST"));
    await expect.poll(() => upstream.heard.length).toBe(1);
    rig.authority.revoke();
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 403 LEASE_REVOKED\r\n/);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LEASE_REVOKED" }]);
  });

  test("lets nothing more of a body pass", async () => {
    answer = () => {};
    wire.say(get("/ok", "Content-Length: 10\r\n").replace("GET", "POST"));
    wire.say("first");
    await expect.poll(() => upstream.heard.join("").endsWith("first")).toBe(true);
    rig.authority.revoke();
    wire.say("later");
    await wire.all();
    expect(upstream.heard.join("")).not.toContain("later");
  });

  test("does not end what another lease goes on to allow", async () => {
    let up: Socket | null = null;
    answer = onHead((socket) => {
      up = socket;
    });
    wire.say(get());
    await expect.poll(() => up).not.toBeNull();
    rig.authority.adopt(
      leaseFrom(Date.now() * 1000, { leaseSeq: 2, notAfterUs: Date.now() * 1000 + MINUTE_US }),
    );
    (up as unknown as Socket).write(OK);
    expect(await wire.hears(/hi$/)).toBe(OK);
  });
});

describe("max_bytes", () => {
  const limited = (maxBytes: number) => {
    const limits = { maxActions: UNLIMITED, ratePerMinute: UNLIMITED, maxConcurrent: UNLIMITED };
    const scopes = [{ name: "use:echo", limits: { ...limits, maxBytes } }];
    return leaseFrom(Date.now() * 1000, { leaseSeq: 2, scopes });
  };

  test("counts both ways, and lets not one byte pass beyond", async () => {
    rig.authority.adopt(limited(12));
    let body = "";
    answer = (socket, heard) => {
      body = heard.split("\r\n\r\n")[1] ?? "";
      if (body.length === 10) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it");
    };
    wire.say(get("/ok", "Content-Length: 10\r\n").replace("GET", "POST"));
    wire.say("0123456789");
    expect(await wire.all()).not.toContain("all");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason: "LIMIT_SPENT" }]);
    expect(rig.ledger.closed[0]?.spentBytes).toBe(10);
  });

  test("that are spent refuse a body before it leaves", async () => {
    rig.authority.adopt(limited(4));
    wire.say(get("/ok", "Content-Length: 10\r\n").replace("GET", "POST"));
    wire.say("0123456789");
    expect(await wire.hears(/}$/)).toMatch(/^HTTP\/1.1 429 LIMIT_SPENT\r\n/);
    expect(upstream.heard.join("")).not.toContain("0123456789");
  });
});

test("inside of a plaintext tunnel requests are for its target alone", async () => {
  const socket = await tunnel(rig.stack.proxyAddress.port, host());
  const inside = new Wire(socket);
  inside.say(`GET /ok HTTP/1.1\r\nHost: ${host()}\r\n\r\n`);
  expect(await inside.hears(/hi$/)).toBe(OK);
  inside.say(`GET /ok HTTP/1.1\r\nHost: other.example\r\n\r\n`);
  expect(await inside.hears(/}$/)).toContain("HTTP/1.1 403 AUTHORITY_MISMATCH\r\n");
  inside.close();
});

test("a reverse route carries HTTP to its upstream, whatever host it names", async () => {
  await rig.close();
  const listen = { host: "127.0.0.1", port: 0 };
  rig = await openRig({ routes: [{ listen, scheme: "http", target: host() }] });
  const inside = await Wire.to(rig.stack.routeAddresses[0]?.port ?? 0);
  inside.say("GET /ok HTTP/1.1\r\nHost: whatever.example:1\r\n\r\n");
  expect(await inside.hears(/hi$/)).toBe(OK);
  expect(upstream.heard[0]).toContain(`\r\nHost: ${host()}\r\n`);
  inside.close();
});

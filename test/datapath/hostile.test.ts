import { once } from "node:events";
import http2, { type ServerHttp2Stream } from "node:http2";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ActionBody } from "../../src/domain/payload.ts";
import { field, framed, openRig, RawClient, type Rig, rawUpstream } from "./harness.ts";

let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let client: RawClient;
let onStream: (stream: ServerHttp2Stream, raw: string[]) => void;

const GRPC = { ":status": 200, "content-type": "application/grpc" };
const HI = framed(Buffer.from("hi"));

function echo(stream: ServerHttp2Stream): void {
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.on("data", (c) => stream.write(c));
  stream.on("end", () => stream.end());
}

beforeEach(async () => {
  onStream = echo;
  rig = await openRig();
  upstream = await rawUpstream((stream, raw) => onStream(stream, raw));
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

const settled = async (count = 1) => {
  await rig.ledger.receipts(count);
  return rig.ledger.closed;
};

describe("an upstream", () => {
  test("that ends without trailers is a reset, never a clean end", async () => {
    onStream = (s) => {
      s.respond(GRPC);
      s.end(HI);
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(seen.rstCode).toBe(http2.constants.NGHTTP2_INTERNAL_ERROR);
    expect(field(seen.trailers, "grpc-status")).toBeUndefined();
    expect(await settled()).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("that resets is seen to reset, with its own code", async () => {
    onStream = (s) => {
      s.respond(GRPC, { waitForTrailers: true });
      // Without a listener node:http2 would send empty trailers first.
      s.on("wantTrailers", () => {});
      s.write(HI, () => s.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM));
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(seen.rstCode).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    expect(await settled()).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("that refuses a stream unprocessed gets the call again, whole", async () => {
    let refusals = 0;
    onStream = (s) => {
      if (refusals++ === 0) s.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      else echo(s);
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.trailers, "grpc-status")).toBe("0");
    expect(seen.body).toEqual(HI);
    const [receipt] = await settled();
    expect(receipt).toMatchObject({ verdict: "COMPLETED" });
    expect(ActionBody.decode(receipt?.action as Uint8Array).bodyBytes).toBe(7);
  });

  test("that refuses for ever is given up", async () => {
    let tries = 0;
    onStream = (s) => {
      tries++;
      s.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "grpc-status")).toBe("14");
    expect(field(seen.head, "grpc-retry-pushback-ms")).toBe("-1");
    expect(tries).toBe(3);
    expect(await settled()).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("that vanishes in mid-stream ends the call with a status", async () => {
    onStream = (s) => {
      s.respond(GRPC);
      s.write(HI, () => s.session?.socket.destroy());
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(seen.rstCode === 0 ? field(seen.trailers, "grpc-status") : "reset").toMatch(/14|reset/);
    expect(await settled()).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("that nobody listens at is UPSTREAM_UNREACHABLE, told in trailers-only", async () => {
    const other = await RawClient.open(rig, "127.0.0.1:1");
    const seen = await other.call("/test.Echo/Unary", HI);
    expect(seen.head).toContain("200");
    expect(field(seen.head, "grpc-status")).toBe("14");
    expect(await settled()).toMatchObject([
      { verdict: "FAILED", reason: "UPSTREAM_UNREACHABLE", egressLastUs: 0 },
    ]);
    other.close();
  });

  test("that answers before it was asked everything ends the call early", async () => {
    onStream = (s) => s.respond({ ...GRPC, "grpc-status": "8" }, { endStream: true });
    const { stream, closed } = client.start("/test.Echo/Chat");
    stream.write(HI);
    const seen = await closed;
    expect(field(seen.head, "grpc-status")).toBe("8");
    expect(seen.rstCode).toBe(http2.constants.NGHTTP2_NO_ERROR);
    expect(await settled()).toMatchObject([{ verdict: "FAILED" }]);
  });

  test("that says HTTP 503 is told as it is", async () => {
    onStream = (s) => {
      s.respond({ ":status": 503, "content-type": "text/plain" });
      s.end("busy");
    };
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.head, ":status")).toBe("503");
    expect(seen.body.toString()).toBe("busy");
    expect(seen.rstCode).toBe(0);
    await settled();
  });

  test("a name that resolves to a private address is TARGET_FORBIDDEN", async () => {
    await rig.close();
    rig = await openRig({}, undefined, async () => ["::ffff:10.0.0.7"]);
    const inside = await RawClient.open(rig, "payments.example:443");
    const seen = await inside.call("/test.Echo/Unary", HI);
    expect(field(seen.head, "grpc-status")).toBe("7");
    expect(field(seen.head, "grpc-message")).toContain("TARGET_FORBIDDEN");
    expect(await settled()).toMatchObject([{ verdict: "FAILED", reason: "TARGET_FORBIDDEN" }]);
    inside.close();
  });
});

describe("a client", () => {
  test("that resets while its upstream is in flight crashes nothing, and each call is settled once", async () => {
    const CALLS = 300;
    onStream = (s) => {
      // Answers come just when resets do.
      setImmediate(() => {
        if (!s.destroyed && !s.closed) echo(s);
      });
    };
    for (let i = 0; i < CALLS; i++) {
      const { stream } = client.start("/test.Echo/Chat");
      stream.write(HI);
      if (i % 3 === 0) stream.close(http2.constants.NGHTTP2_CANCEL);
      else if (i % 3 === 1) setImmediate(() => stream.close(http2.constants.NGHTTP2_CANCEL));
      else stream.once("response", () => stream.close(http2.constants.NGHTTP2_CANCEL));
      if (i % 50 === 49) await new Promise(setImmediate);
    }
    // A call after the storm has its answer on the same connection.
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.trailers, "grpc-status")).toBe("0");
    await expect.poll(() => rig.gate.inFlight()).toBe(0);
    expect(rig.ledger.closed.length).toBe(rig.ledger.opened.length);
    expect(rig.ledger.opened.length).toBeGreaterThan(CALLS / 3);
  });

  test("that vanishes with all its streams settles each", async () => {
    onStream = (s) => s.respond(GRPC);
    const calls = Array.from({ length: 20 }, () => client.start("/test.Echo/Chat"));
    await Promise.all(calls.map(({ stream }) => once(stream, "response")));
    client.session.socket.destroy();
    expect((await settled(20)).every((c) => c.reason === "CLIENT_CANCELLED")).toBe(true);
  });

  test.each([
    ["an unknown flag", framed(Buffer.from("x"), 2), "13", "FRAMING_INVALID"],
    ["compression that was not announced", framed(Buffer.from("x"), 1), "13", "FRAMING_INVALID"],
    ["half a message", HI.subarray(0, 6), "13", "FRAMING_INVALID"],
    ["a message that declares 5 MiB", Buffer.from([0, 0, 0x50, 0, 0]), "8", "MESSAGE_TOO_LARGE"],
  ])(
    "that sends %s is refused, and the upstream sees no end of it",
    async (_, body, code, reason) => {
      let reached: string | null = null;
      const begun = Promise.withResolvers<void>();
      onStream = (s) => {
        s.on("data", () => begun.resolve());
        s.on("end", () => {
          reached = s.rstCode === 0 && !s.aborted ? "whole" : "cut";
        });
        s.on("aborted", () => {
          reached = "cut";
        });
      };
      const { stream, closed } = client.start("/test.Echo/Unary");
      stream.write(HI);
      await begun.promise;
      stream.end(body);
      const seen = await closed;
      expect(field(seen.head, "grpc-status")).toBe(code);
      expect(await settled()).toMatchObject([{ verdict: "FAILED", reason }]);
      await expect.poll(() => reached).toBe("cut");
    },
  );

  test("whose call is refused with its first bytes forwards nothing of it", async () => {
    let reached = 0;
    onStream = () => {
      reached++;
    };
    const seen = await client.call("/test.Echo/Unary", framed(Buffer.from("x"), 2));
    expect(field(seen.head, "grpc-status")).toBe("13");
    expect(await settled()).toMatchObject([{ verdict: "FAILED", egressLastUs: 0 }]);
    expect(reached).toBe(0);
  });

  test("that announced compression has its bytes passed as they are", async () => {
    const body = framed(Buffer.from("not really gzip"), 1);
    const seen = await client.call("/test.Echo/Unary", body, ["grpc-encoding", "gzip"]);
    // The echo does not announce it, so its answer is the upstream's fault.
    expect(field(seen.trailers, "grpc-message")).toContain("UPSTREAM_FAILED");
    expect(await settled()).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
  });

  test("cannot smuggle the sidecar's or the proxy's fields through, and loses none of its own", async () => {
    let seen: string[] = [];
    onStream = (s, raw) => {
      seen = raw;
      echo(s);
    };
    await client.call("/test.Echo/Unary", HI, [
      "x-dragons-lease",
      "forged",
      "proxy-authorization",
      "Basic x",
      "x-b-bin",
      "AQ",
      "x-b-bin",
      "Ag",
      "grpc-timeout",
      "10S",
    ]);
    expect(seen.filter((_, i) => i % 2 === 0)).toEqual([
      ":method",
      ":scheme",
      ":path",
      ":authority",
      "content-type",
      "te",
      "x-b-bin",
      "x-b-bin",
      "grpc-timeout",
    ]);
    expect(field(seen, "grpc-timeout")).toMatch(/^9[0-9]{6}u$|^10000000u$/);
  });

  test.each([
    ["content-type", "application/json"],
    ["content-type", "application/grpc-web"],
  ])("that sends %s: %s speaks HTTP, and is judged as such", async (name, value) => {
    const seen = await client.call("/test.Echo/Unary", HI, [name, value]);
    expect(field(seen.head, ":status")).toBe("403");
    expect(JSON.parse(seen.body.toString())).toMatchObject({ title: "SCOPE_NOT_GRANTED" });
    expect(rig.ledger.recorded).toMatchObject([{ reason: "SCOPE_NOT_GRANTED" }]);
  });

  test.each([
    [[":authority", "evil.example:443"], "AUTHORITY_MISMATCH"],
    [["host", "evil.example:443"], "AUTHORITY_MISMATCH"],
    [["grpc-timeout", "soon"], "REQUEST_NOT_NORMAL"],
    [[":path", "/test.Echo/../Other/Do"], "REQUEST_NOT_NORMAL"],
    [[":path", "/test.Echo/Unary?x=1"], "REQUEST_NOT_NORMAL"],
    [[":method", "PUT"], "REQUEST_NOT_NORMAL"],
  ])("that says %j is refused with %s", async (fields, reason) => {
    const path = fields[0] === ":path" ? (fields[1] as string) : "/test.Echo/Unary";
    const seen = await client.call(path, HI, fields);
    expect(field(seen.head, "grpc-message")).toContain(reason);
    expect(rig.ledger.recorded).toMatchObject([{ kind: "DENIAL", reason }]);
    expect(rig.ledger.opened).toEqual([]);
  });
});

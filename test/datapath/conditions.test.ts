import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Ending } from "../../sidecar/adapters/exchange.ts";
import type { Claim } from "../../src/domain/claim.ts";
import type { Input } from "../../src/domain/input.ts";
import { conditionBodyBytesMax, conditionBodyUs } from "../../src/domain/limits.ts";
import type { Needs } from "../../src/domain/read-inputs.ts";
import { ManualClock, type Timer } from "../../src/native/clock.ts";
import {
  framed,
  GUARDED,
  leaseFrom,
  openRig,
  RawClient,
  type Rig,
  rawUpstream,
} from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** Inputs of conditions, on their way from the wire into the claim: of HTTP and of gRPC. */

let rig: Rig;
let upstream: SocketUpstream;
let wire: Wire;
let clock: WaitedClock;
let answer: string;

const NOW_US = 1_800_000_000_000_000;

/** Tells when somebody begins to wait for a body. */
class WaitedClock extends ManualClock {
  #begun = (): void => {};
  readonly waits = new Promise<void>((resolve) => {
    this.#begun = resolve;
  });
  override after(us: number, fn: () => void): Timer {
    const timer = super.after(us, fn);
    if (us === conditionBodyUs) this.#begun();
    return timer;
  }
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const GOOD = '{"amount": 5, "currency": "EUR"}';

beforeEach(async () => {
  clock = new WaitedClock(NOW_US);
  answer = OK;
  upstream = await socketUpstream((socket, heard) => {
    if (/\r\n\r\n.*(?:\}|0\r\n\r\n|!)$/s.test(heard)) socket.write(answer);
  });
  rig = await openRig({}, clock);
  wire = await Wire.open(rig);
});
afterEach(async () => {
  wire.close();
  await rig.close();
  upstream.close();
});

const host = () => `127.0.0.1:${upstream.port}`;
const JSON_TYPE = "Content-Type: application/json\r\n";
const post = (body: string, more = JSON_TYPE, query = "") =>
  `POST http://${host()}/entries${query} HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}${more}` +
  `Content-Length: ${body.length}\r\n\r\n${body}`;
const opened = (): readonly Input[][] => rig.ledger.opened.map((o) => o.claim.inputs);
const denied = () => rig.ledger.recorded.map((r) => r.reason);

describe("an HTTP request with a condition on its body", () => {
  test("passes byte for byte when it holds, and its claim says what was read", async () => {
    wire.say(post(GOOD));
    expect(await wire.hears(/hi$/)).toBe(OK);
    expect(upstream.heard[0]).toMatch(/^POST \/entries HTTP\/1.1\r\n/);
    expect(upstream.heard[0]?.split("\r\n\r\n")[1]).toBe(GOOD);
    expect(opened()).toEqual([
      [
        { name: "json.amount", type: "INT", value: "5" },
        { name: "json.currency", type: "STRING", value: "EUR" },
      ],
    ]);
  });

  test("passes in pieces, too, chunked", async () => {
    const head = post("", `${JSON_TYPE}Transfer-Encoding: chunked\r\n`).replace(
      "Content-Length: 0\r\n",
      "",
    );
    wire.say(head);
    for (const part of [GOOD.slice(0, 7), GOOD.slice(7)]) {
      wire.say(`${part.length.toString(16)}\r\n${part}\r\n`);
    }
    wire.say("0\r\n\r\n");
    expect(await wire.hears(/hi$/)).toBe(OK);
    expect(upstream.heard[0]?.replace(/[0-9a-f]+\r\n|\r\n/g, "")).toContain(GOOD.slice(7));
  });

  test.each([
    ["false", GOOD.replace("5", "6"), JSON_TYPE, "CONDITION_FALSE", /only when json\.amount <= 5"/],
    [
      "of another type",
      GOOD.replace("5", '"5"'),
      JSON_TYPE,
      "CONDITION_UNEVALUABLE",
      /json\.amount is not a 64-bit/,
    ],
    ["no integer", GOOD.replace("5", "5.0"), JSON_TYPE, "CONDITION_UNEVALUABLE", /NOT_INT64/],
    [
      "there twice",
      `{"amount": 9, ${GOOD.slice(1)}`,
      JSON_TYPE,
      "CONDITION_UNEVALUABLE",
      /BAD_JSON/,
    ],
    [
      "there for Go, too",
      `{"Amount": 9, ${GOOD.slice(1)}`,
      JSON_TYPE,
      "CONDITION_UNEVALUABLE",
      /TWICE/,
    ],
    ["absent", '{"amount": 5}', JSON_TYPE, "CONDITION_UNEVALUABLE", /json\.currency is not there/],
    [
      "no JSON",
      "amount=5",
      "Content-Type: application/x-www-form-urlencoded\r\n",
      "CONDITION_UNEVALUABLE",
      /NOT_JSON/,
    ],
    [
      "compressed",
      GOOD,
      `${JSON_TYPE}Content-Encoding: gzip\r\n`,
      "CONDITION_UNEVALUABLE",
      /NOT_JSON/,
    ],
  ])(
    "whose value is %s is refused, and nothing of it is forwarded",
    async (_, body, more, reason, why) => {
      wire.say(post(body, more));
      const text = await wire.hears(/}$/);
      expect(text).toContain(`HTTP/1.1 403 ${reason}\r\n`);
      expect(text).toMatch(why);
      expect(denied()).toEqual([reason]);
      expect(upstream.heard).toEqual([]);
    },
  );

  test("too long to hold back is refused by its length, and by its bytes", async () => {
    const long = `{"x": "${"x".repeat(conditionBodyBytesMax)}"}`;
    wire.say(post(long).slice(0, 400));
    expect(await wire.hears(/}$/)).toMatch(/BODY_TOO_LONG/);
    const other = await Wire.open(rig);
    other.say(
      post("", `${JSON_TYPE}Transfer-Encoding: chunked\r\n`).replace("Content-Length: 0\r\n", "") +
        `${long.length.toString(16)}\r\n${long}\r\n`,
    );
    expect(await other.hears(/}$/)).toMatch(/BODY_TOO_LONG/);
    other.close();
    expect(upstream.heard).toEqual([]);
  });

  test("that does not come in time is refused, and one broken off is recorded", async () => {
    wire.say(post(GOOD).slice(0, -3));
    await clock.waits;
    clock.advance(conditionBodyUs);
    expect(await wire.hears(/}$/)).toMatch(/BODY_TOO_LATE/);
    const other = await Wire.open(rig);
    other.say(post(GOOD).slice(0, -3));
    other.socket.end();
    await expect.poll(denied).toContain("CONDITION_UNEVALUABLE");
    expect(upstream.heard).toEqual([]);
  });

  test("whose client waits to be told to go on is told so by us, and once", async () => {
    answer = `HTTP/1.1 100 Continue\r\n\r\n${OK}`;
    const [head, body] = post(GOOD, `${JSON_TYPE}Expect: 100-continue\r\n`).split("\r\n\r\n");
    wire.say(`${head}\r\n\r\n`);
    expect(await wire.hears(/Continue\r\n\r\n$/)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    wire.say(body as string);
    expect(await wire.hears(/hi$/)).toBe(answer);
  });

  test("may pass by another rule that asks for no body, whatever its body is", async () => {
    const form = "Content-Type: text/plain\r\n";
    wire.say(post("hello!", form, "?dry_run=true"));
    expect(await wire.hears(/hi$/)).toBe(OK);
    expect(upstream.heard[0]).toContain("POST /entries?dry_run=true HTTP/1.1\r\n");
    expect(upstream.heard[0]?.split("\r\n\r\n")[1]).toBe("hello!");
    wire.say(post("hello!", form, "?dry_run=true&Dry_Run=false"));
    expect(await wire.hears(/}$/)).toContain("CONDITION_UNEVALUABLE");
  });

  test("is not read where authority lacks anyway", async () => {
    rig.authority.adopt(leaseFrom(NOW_US, { leaseSeq: 2, scopes: [] }));
    wire.say(post(GOOD).slice(0, -3));
    expect(await wire.hears(/}$/)).toContain("SCOPE_NOT_GRANTED");
    expect(rig.ledger.recorded.map((r) => r.reason)).toEqual(["SCOPE_NOT_GRANTED"]);
  });
});

test("a lease that is lost while a body is held back gives no leave", async () => {
  wire.say(post(GOOD).slice(0, -3));
  await clock.waits;
  rig.authority.revoke();
  wire.say(GOOD.slice(-3));
  expect(await wire.hears(/}$/)).toContain("LEASE_REVOKED");
  expect(upstream.heard).toEqual([]);
});

describe("a gRPC call with a condition on its metadata", () => {
  test.each([
    [["x-account", "7"], "0", [{ name: 'header["x-account"]', type: "STRING", value: "7" }]],
    [["x-account", "8"], "7", []],
    [["x-account", "7", "x-account", "7"], "7", []],
    [["x-account", "7", "x_account", "8"], "7", []],
    [[], "7", []],
  ])("%j: status %s", async (fields, status, inputs) => {
    const grpc = await rawUpstream((stream) => {
      stream.respond(
        { ":status": 200, "content-type": "application/grpc" },
        { waitForTrailers: true },
      );
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.resume().end();
    });
    const client = await RawClient.open(rig, `127.0.0.1:${grpc.port}`);
    const seen = await client.call(GUARDED, framed(Buffer.from("hi")), fields);
    const raw = [...seen.head, ...seen.trailers];
    expect(raw[raw.indexOf("grpc-status") + 1]).toBe(status);
    expect(opened().flat()).toEqual(inputs);
    client.close();
    grpc.close();
  });
});

describe("the gate", () => {
  /** What an adapter is asked for, for one action. */
  async function asked(path: string, verb = "", protocol: "GRPC" | "HTTP" = "GRPC") {
    const names: string[][] = [];
    const claim = { ...CLAIM, protocol, path, verb };
    const inputs = (needs: Needs) => {
      names.push(needs.inputs.map((i) => i.name));
      return [];
    };
    const answer = await rig.gate.admit({ claim, traceparent: "", deadlineUs: 0, inputs });
    if ("denied" in answer) return { names, denied: answer.reason };
    rig.gate.settle(answer, GONE_AT_ONCE);
    return { names, denied: null };
  }
  const NOTHING = {
    headerNames: [],
    trailerNames: [],
    bodySha256: new Uint8Array(32),
    bodyBytes: 0,
    messages: 0,
  };
  const GONE_AT_ONCE: Ending = {
    verdict: "FAILED",
    reason: "CLIENT_CANCELLED",
    status: "",
    querySha256: new Uint8Array(),
    request: NOTHING,
    response: NOTHING,
    dialled: "",
    peerCertificate: new Uint8Array(),
    firstByteUs: 0,
    egressLastUs: 0,
  };
  const CLAIM: Claim = {
    version: 1,
    protocol: "GRPC",
    target: "127.0.0.1:443",
    verb: "",
    path: "",
    inputs: [],
    limitState: [],
    scheme: "HTTPS",
  };

  test("asks for inputs where a condition stands in the way, once, and for all of them together", async () => {
    expect(await asked(GUARDED)).toEqual({
      names: [['header["x-account"]']],
      denied: "CONDITION_UNEVALUABLE",
    });
    expect(await asked("/entries", "POST", "HTTP")).toEqual({
      names: [["json.amount", "json.currency", "query.dry_run"]],
      denied: "CONDITION_UNEVALUABLE",
    });
  });

  test("asks for none where a rule without a condition allows it, or nothing would", async () => {
    expect(await asked("/test.Echo/Say")).toEqual({ names: [], denied: null });
    expect(await asked("/test.Other/Say")).toEqual({ names: [], denied: "SCOPE_NOT_GRANTED" });
    rig.authority.set({ quarantined: true });
    expect(await asked(GUARDED)).toEqual({ names: [], denied: "QUARANTINED" });
  });
});

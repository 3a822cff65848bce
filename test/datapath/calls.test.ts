import grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ActionBody, OutcomeBody } from "../../src/domain/payload.ts";
import { createCa, issueServer } from "../../src/native/pki.ts";
import { type Client, call, echoClient, echoServer } from "./echo.ts";
import { CREDENTIAL, MINUTE_US, openRig, type Rig } from "./harness.ts";

/** Everything that a client sees through the sidecar must be what it sees without it. */
describe.each(["plaintext", "TLS"])("an unmodified grpc-js client over %s", (kind) => {
  let rig: Rig;
  let upstream: Awaited<ReturnType<typeof echoServer>>;
  let direct: Client;
  let proxied: Client;

  beforeAll(async () => {
    const options = { nowUs: Date.now() * 1000, ttlUs: 60 * MINUTE_US };
    const ca = await createCa("Upstream CA", options);
    const leaf = await issueServer(ca, ["localhost"], options);
    rig = await openRig({ upstreamCa: ca.certPem });
    const proxy = `http://dragons:${CREDENTIAL}@127.0.0.1:${rig.stack.proxyAddress.port}`;
    if (kind === "TLS") {
      upstream = await echoServer(
        grpc.ServerCredentials.createSsl(null, [
          { cert_chain: Buffer.from(leaf.certPem), private_key: Buffer.from(leaf.keyPem) },
        ]),
      );
      const trusting = (pem: string) => grpc.credentials.createSsl(Buffer.from(pem));
      direct = echoClient(`localhost:${upstream.port}`, trusting(ca.certPem), "");
      proxied = echoClient(`localhost:${upstream.port}`, trusting(rig.ca.certPem), proxy);
    } else {
      const insecure = grpc.credentials.createInsecure();
      upstream = await echoServer(grpc.ServerCredentials.createInsecure());
      direct = echoClient(`localhost:${upstream.port}`, insecure, "");
      proxied = echoClient(`localhost:${upstream.port}`, insecure, proxy);
    }
  });
  afterAll(async () => {
    direct.close();
    proxied.close();
    await rig.close();
    upstream.close();
  });

  const same = async (
    ...args: Parameters<typeof call> extends [unknown, ...infer R] ? R : never
  ) => {
    const before = rig.ledger.closed.length + rig.ledger.recorded.length;
    const through = await call(proxied, ...args);
    expect(through).toEqual(await call(direct, ...args));
    await rig.ledger.receipts(before + 1);
    return { through, receipt: rig.ledger.closed.at(-1) };
  };

  test("makes unary, client-streaming, server-streaming and bidirectional calls alike", async () => {
    const unary = await same("unary", ["hello"]);
    expect(unary.through.messages).toEqual(["hello"]);
    expect(unary.receipt).toMatchObject({ verdict: "COMPLETED", reason: "UNSPECIFIED" });
    expect((await same("collect", ["a", "b", "c"])).through.messages).toEqual(["abc"]);
    expect((await same("count", ["200"])).through.messages).toHaveLength(200);
    expect((await same("chat", ["x", "", "y"])).through.messages).toEqual(["x", "", "y"]);
    expect((await same("unary", [""])).through.messages).toEqual([""]);
    expect((await same("chat", [])).through).toMatchObject({ code: 0, messages: [] });
  });

  test("sees metadata alike: repeated, binary, in headers and in trailers", async () => {
    const metadata = new grpc.Metadata();
    for (const v of ["1", "2", "a, b"]) metadata.add("x-many", v);
    for (const v of [[0, 255], [1], []]) metadata.add("x-raw-bin", Buffer.from(v));
    const { through } = await same("unary", ["m"], metadata);
    expect(Object.fromEntries(through.trailers)).toMatchObject({
      "x-raw-bin": ["00ff", "01", ""],
    });
  });

  test("sees the upstream's own failure alike, trailers-only", async () => {
    const { through, receipt } = await same("unary", ["fail"]);
    expect(through).toMatchObject({ code: 9, details: "naïve %" });
    expect(receipt).toMatchObject({ verdict: "FAILED", reason: "UPSTREAM_FAILED" });
  });

  test("moves 3 MB messages both ways", async () => {
    const big = Buffer.alloc(3_000_000, "abc");
    const { through, receipt } = await same("unary", [big]);
    expect(through.messages[0]?.length).toBe(3_000_000);
    expect(ActionBody.decode(receipt?.action as Uint8Array).bodyBytes).toBe(3_000_005);
    expect(OutcomeBody.decode(receipt?.outcome as Uint8Array).bodyBytes).toBe(3_000_005);
    // Nobody limits bytes here, so nobody is told of them.
    expect(receipt?.spentBytes).toBe(0);
    await same("chat", [big, big]);
  });

  test("passes its deadline on, and ends by it", async () => {
    const before = rig.ledger.closed.length;
    const deadline = Date.now() + 1000;
    const told = await call(proxied, "unary", ["never"], new grpc.Metadata(), { deadline });
    expect(told.code).toBe(grpc.status.DEADLINE_EXCEEDED);
    await rig.ledger.receipts(before + 1 + rig.ledger.recorded.length);
    // Which of the three clocks that count it down comes first is of no account here: deadline.test.ts.
    const [receipt] = rig.ledger.closed.slice(before);
    expect(receipt?.verdict).toBe("FAILED");
    expect(["DEADLINE_EXCEEDED", "CLIENT_CANCELLED"]).toContain(receipt?.reason);
    expect(upstream.seen.deadlines.at(-1)).toBeLessThan(Date.now() + 1000);
  });

  test("cancels, and the upstream hears of it", async () => {
    const before = rig.ledger.closed.length;
    const cancelled = upstream.seen.cancelled;
    const chat = proxied.makeBidiStreamRequest(
      "/test.Echo/Chat",
      (b: Buffer) => b,
      (b) => b,
    );
    chat.on("error", () => {});
    await new Promise((answered) => {
      chat.once("data", answered);
      chat.write(Buffer.from("hi"));
    });
    chat.cancel();
    await rig.ledger.receipts(before + 1 + rig.ledger.recorded.length);
    expect(rig.ledger.closed.at(-1)).toMatchObject({
      verdict: "FAILED",
      reason: "CLIENT_CANCELLED",
    });
    await expect.poll(() => upstream.seen.cancelled).toBe(cancelled + 1);
  });

  test("is refused what its scopes do not hold, with a receipt, and nothing is forwarded", async () => {
    const before = rig.ledger.opened.length;
    const told = await call(proxied, "forbidden", ["x"]);
    expect(told.code).toBe(grpc.status.PERMISSION_DENIED);
    expect(told.details).toContain("SCOPE_NOT_GRANTED");
    expect(Object.fromEntries(told.trailers)["dragons-receipt"]).toEqual([
      `rcp_denial_${rig.ledger.recorded.length}`,
    ]);
    expect(rig.ledger.opened.length).toBe(before);
  });
});

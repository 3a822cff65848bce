import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SPECIAL } from "./cases.ts";
import { countVerdicts, openSidecar, type Sidecar } from "./rig.ts";
import { run } from "./run.ts";
import { openService, type Service } from "./service.ts";

/**
 * A third gRPC stack, Go's, by `buf curl`. It reads no proxy from its environment for plaintext HTTP/2
 * and cannot cancel, so it comes by a reverse route and makes the cases that it can.
 */
const BUF = join(import.meta.dirname, "../../node_modules/.bin/buf");
const SCHEMA = join(import.meta.dirname, "interop.proto");
const ask = (...messages: object[]): string => messages.map((m) => JSON.stringify(m)).join(" ");
const body = (n: number): { body: string } => ({ body: Buffer.alloc(n).toString("base64") });
const [UPWARD, DOWNWARD] = [
  [27182, 8, 1828, 45904],
  [31415, 9, 2653, 58979],
];
const sizes = DOWNWARD.map((size) => ({ size }));
const failure = { responseStatus: { code: 2, message: "test status message" } };
const METADATA = ["x-grpc-test-echo-initial: 1", "x-many: a", "x-many: b", "x-raw-bin: q6ur"];

// Exit 8 × code is how buf tells a status.
const CASES: readonly [string, string, string, number, (readonly string[])?][] = [
  ["empty_unary", "EmptyCall", ask({}), 0],
  ["large_unary", "UnaryCall", ask({ responseSize: 314159, payload: body(271828) }), 0],
  ["client_streaming", "StreamingInputCall", ask(...UPWARD.map((n) => ({ payload: body(n) }))), 0],
  ["server_streaming", "StreamingOutputCall", ask({ responseParameters: sizes }), 0],
  ["ping_pong", "FullDuplexCall", ask(...sizes.map((s) => ({ responseParameters: [s] }))), 0],
  ["empty_stream", "FullDuplexCall", "", 0],
  ["custom_metadata, unary", "UnaryCall", ask({ responseSize: 3 }), 0, METADATA],
  ["custom_metadata, stream", "FullDuplexCall", ask({ payload: body(3) }), 0, METADATA],
  ["status_code_and_message, unary", "UnaryCall", ask(failure), 16],
  ["status_code_and_message, stream", "FullDuplexCall", ask(failure), 16],
  [
    "special_status_message",
    "UnaryCall",
    ask({ responseStatus: { code: 2, message: SPECIAL } }),
    16,
  ],
  ["unimplemented_method", "UnimplementedCall", ask({}), 96],
  ["3 MB both ways", "UnaryCall", ask({ responseSize: 3_000_000, payload: body(3_000_000) }), 0],
];

let service: Service;
let sidecar: Sidecar;

beforeAll(async () => {
  service = await openService(null);
  const target = `localhost:${service.port}`;
  sidecar = await openSidecar({
    granted: { [target]: ["/grpc.testing.TestService/*"] },
    routes: [{ scheme: "http", target, listen: { host: "127.0.0.1", port: 0 } }],
  });
});
afterAll(async () => {
  await sidecar.close();
  service.close();
});

/** All that it prints of the answer: messages, status, and header and trailer fields but for `date`. */
async function curl(port: number, method: string, input: string, fields: readonly string[]) {
  const url = `http://localhost:${port}/grpc.testing.TestService/${method}`;
  const options = ["--protocol", "grpc", "--http2-prior-knowledge", "--schema", SCHEMA];
  const headers = fields.flatMap((f) => ["-H", f]);
  const argv = [BUF, "curl", "-v", ...options, ...headers, "-d", "@-", url] as const;
  const { exit, stdout, stderr } = await run([...argv], {}, input);
  const answered = stderr.split("\n").filter((l) => l.startsWith("buf: <") && !/ Date: /.test(l));
  const [, told = ""] = stderr.split("Call complete\n");
  // Its own talk of what it sends comes before or after that line, as it happens.
  const status = told.split("\n").filter((l) => !l.startsWith("buf: "));
  return { exit, stdout, status, answered };
}

test.each(CASES)("%s by buf curl", async (_, method, input, exit, fields = []) => {
  const before = sidecar.receipts().length;
  const direct = await curl(service.port, method, input, fields);
  expect(direct.exit).toBe(exit);
  expect(direct.answered.length).toBeGreaterThan(1);
  const [route] = sidecar.stack.routeAddresses;
  expect(await curl(route?.port as number, method, input, fields)).toEqual(direct);
  await expect.poll(() => sidecar.gate.inFlight()).toBe(0);
  await sidecar.ledger.flushed();
  expect(countVerdicts(sidecar.receipts().slice(before))).toEqual({
    [exit === 0 ? "COMPLETED" : "FAILED"]: 1,
  });
  expect(await sidecar.ledger.check()).toBeNull();
});

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { field, framed, openRig, RawClient, type Rig } from "../datapath/harness.ts";
import { END_HEADERS, END_STREAM, FRAME, frame, frameUpstream, headers } from "./h2-frames.ts";

const HI = framed(Buffer.from("hi"));
const HEAD = [":status", "200", "content-type", "application/grpc"];
const LAST = END_HEADERS | END_STREAM;

let rig: Rig;
beforeEach(async () => {
  rig = await openRig();
});
afterEach(() => rig.close());

const SHAPES = {
  "the head": (n: number, fields: string[]) => [
    headers(n, [...HEAD, ...fields]),
    frame(FRAME.DATA, 0, n, HI),
    headers(n, ["grpc-status", "0"], LAST),
  ],
  "trailers-only": (n: number, fields: string[]) => [
    headers(n, [...HEAD, "grpc-status", "0", ...fields], LAST),
  ],
  "the trailers": (n: number, fields: string[]) => [
    headers(n, HEAD),
    frame(FRAME.DATA, 0, n, HI),
    headers(n, ["grpc-status", "0", ...fields], LAST),
  ],
};

/**
 * Odd or forbidden: what an upstream says must never end the process that holds every other call. What
 * HTTP/2 allows is told as it was said, every repeat of it.
 */
describe.each(Object.entries(SHAPES))("an upstream that says in %s", (_, shape) => {
  test.each([[["etag", "a", "etag", "b"]], [["date", "a", "date", "b"]]])(
    "%j is told as it was said",
    async (fields) => {
      const upstream = await frameUpstream((n) => Buffer.concat(shape(n, fields)));
      const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
      const seen = await client.call("/test.Echo/Unary", HI);
      expect([...seen.head, ...seen.trailers].join("\n")).toContain(fields.join("\n"));
      await rig.ledger.receipts(1);
      expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
      client.close();
      upstream.close();
    },
  );

  test.each([
    [["http2-settings", "x"]],
    [["connection", "close"]],
    [["transfer-encoding", "chunked"]],
    [["X-Upper", "x"]],
    [["x-value", "a\nb"]],
    [["x-value", " a"]],
    [["", "x"]],
    [["x-a", "b", ":status", "200"]],
    [[":path", "/"]],
  ])("%j fails its own call alone", async (fields) => {
    const upstream = await frameUpstream((n) => Buffer.concat(shape(n, fields)));
    const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(field(seen.trailers, "grpc-status")).toBeUndefined();
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
    expect(client.session.destroyed).toBe(false);
    client.close();
    upstream.close();
  });
});

test.each(["600", "999"])(
  "an upstream that answers with status %s fails its own call",
  async (status) => {
    const upstream = await frameUpstream((n) =>
      headers(n, [":status", status, "content-type", "application/grpc"], LAST),
    );
    const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
    await client.call("/test.Echo/Unary", HI);
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "UPSTREAM_FAILED" }]);
    client.close();
    upstream.close();
  },
);

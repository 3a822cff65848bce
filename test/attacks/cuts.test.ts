import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import type { ServerHttp2Stream } from "node:http2";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CUTS, type Cut } from "../../sidecar/gate/cuts.ts";
import { cutBoundaryUs, unaryGraceUs } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { field, framed, openRig, RawClient, type Rig, rawUpstream } from "../datapath/harness.ts";

/** Taking leave back, walked row by row: what each cause lets pass in each direction, on the wire. */

const GRPC = { ":status": 200, "content-type": "application/grpc" };
const HI = framed(Buffer.from("hi"));

let clock: ManualClock;
let rig: Rig;
let client: RawClient;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let reached: PromiseWithResolvers<ServerHttp2Stream>;

beforeEach(async () => {
  clock = new ManualClock(1_800_000_000_000_000);
  rig = await openRig({}, clock);
  reached = Promise.withResolvers();
  upstream = await rawUpstream((stream) => reached.resolve(stream));
  client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
});
afterEach(async () => {
  client.close();
  await rig.close();
  upstream.close();
});

const rows = CUTS.flatMap((row) => row.reasons.map((reason): [Reason, Cut] => [reason, row]));

/** A call that was asked everything, and is yet to be answered. */
async function asked() {
  const call = client.start("/test.Echo/Unary");
  call.stream.end(HI);
  const stream = await reached.promise;
  stream.resume();
  await once(stream, "end");
  return { ...call, stream };
}

/** A stream whose answer has come as far as the first byte of a message. */
async function half() {
  const { stream: agent, closed } = client.start("/test.Echo/Chat");
  agent.write(HI);
  const stream = await reached.promise;
  const got: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => got.push(chunk));
  stream.respond(GRPC, { waitForTrailers: true });
  stream.write(HI.subarray(0, 6));
  await once(agent, "data");
  return { agent, closed, stream, got };
}

describe("each cause", () => {
  test.each(rows)("%s, of what was asked and is to be answered", async (reason, row) => {
    const { closed, stream } = await asked();
    rig.gate.cutAll(reason, "taken back");
    if (row.response.answering !== "finish") {
      const seen = await closed;
      expect(field(seen.head, "grpc-message")).toContain(reason);
      expect(seen.body).toHaveLength(0);
      await rig.ledger.receipts(1);
      expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason }]);
      return;
    }
    stream.respond(GRPC, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(HI);
    expect(field((await closed).trailers, "grpc-status")).toBe("0");
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
  });

  test.each(rows)("%s, of a message that has begun to arrive", async (reason, row) => {
    const { closed, stream } = await half();
    rig.gate.cutAll(reason, "taken back");
    const whole = row.response.streaming !== "nothing";
    if (whole) stream.write(HI.subarray(6));
    const seen = await closed;
    expect(seen.body).toEqual(whole ? HI : HI.subarray(0, 6));
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason }]);
  });

  test.each(rows)("%s, of what the agent still says", async (reason, row) => {
    expect(row.request).toBe("nothing");
    const { agent, closed, stream, got } = await half();
    rig.gate.cutAll(reason, "taken back");
    agent.write(HI);
    clock.advance(cutBoundaryUs);
    await Promise.all([closed, stream.closed || once(stream, "close")]);
    expect(Buffer.concat(got)).toEqual(HI);
  });
});

test("what may finish is cut when its grace is over", async () => {
  const { closed } = await asked();
  rig.gate.cutAll("LEASE_EXPIRED", "taken back");
  clock.advance(unaryGraceUs);
  expect(field((await closed).head, "grpc-message")).toContain("LEASE_EXPIRED");
});

test("no cause is in two rows", () => {
  const reasons = rows.map(([reason]) => reason);
  expect(new Set(reasons).size).toBe(reasons.length);
});

/** Where a message ends, by protocol: what `boundary` means there. */
const BOUNDARIES = [
  ["gRPC", "the end of a length-prefixed message"],
  ["HTTP/1.1 and HTTP/2 bodies, tunnels", "none: nothing more passes"],
] as const;

function render(): string {
  const cells = (...c: string[]): string => `| ${c.join(" | ")} |`;
  const codes = (reasons: readonly Reason[]): string => reasons.map((r) => `\`${r}\``).join(" ");
  return [
    "# What is cut how",
    "",
    "Leave for an action in flight can be taken back. The receipt then says CUT, with the reason.",
    "Written from `sidecar/gate/cuts.ts`: `UPDATE_DOCS=1 npx vitest run test/attacks/cuts.test.ts`.",
    "",
    cells("cause", "reasons", "to the upstream", "one answer still owed", "streams, to the agent"),
    cells("---", "---", "---", "---", "---"),
    ...CUTS.map(({ cause, reasons, request, response }) =>
      cells(cause, codes(reasons), request, response.answering, response.streaming),
    ),
    "",
    `- finish: it may go on to its end, for at most ${unaryGraceUs / 1e6} s; what is left then is cut.`,
    `- boundary: a message that has begun to arrive may arrive whole, within ${cutBoundaryUs / 1e3} ms.`,
    "- nothing: not a byte more. To the upstream it is always so, since the receipt's last egress must lie",
    "  inside a lease: a stream cut in mid-message is reset, so that half a message is never acted on.",
    "",
    cells("protocol", "a boundary is"),
    cells("---", "---"),
    ...BOUNDARIES.map((row) => cells(...row)),
    "",
  ].join("\n");
}

test("docs/cuts.md holds the table that the code cuts by", () => {
  const file = join(import.meta.dirname, "../../docs/cuts.md");
  if (process.env.UPDATE_DOCS === "1") writeFileSync(file, render());
  expect(readFileSync(file, "utf8")).toBe(render());
});

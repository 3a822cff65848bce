import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EnrolCall, enrol } from "../../sidecar/identity/certificate.ts";
import { revokeLease } from "../../src/cli/actions/lease.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { SyncRequestSchema } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { AttachRequestSchema } from "../../src/gen/dragons/v1/tether_pb.ts";
import { systemClock } from "../../src/native/clock.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { ask, openChat } from "./calls.ts";
import { canary, found, type Trace, tracesOf, wordCanary } from "./canary.ts";
import { messagesIn, Recorder } from "./recorder.ts";
import { type RunningSidecar, SCOPE, World } from "./rig.ts";

let world: World;
let recorder: Recorder;
let sidecar: RunningSidecar;

const GOAL = canary();

beforeAll(async () => {
  world = await World.open({ leaseTtlUs: 4_000_000 });
  const { control, controlCa } = world.control.ready;
  const ca = await readFile(controlCa, "utf8");
  const certificate = async (ledgerId: Uint8Array) => {
    const ledgerSigner = await fileSigner(join(world.folder, "one.keys", "ledger.key"));
    const call: EnrolCall = (request) => world.operator.docks.enrol(request);
    return enrol(call, { ledgerId, ledgerSigner }, systemClock);
  };
  recorder = await Recorder.open({ address: control, ca, certificate });
  sidecar = await world.sidecar(await world.flags("one", recorder.door, "--goal", GOAL));
  await sidecar.log.until("lease");
});
afterAll(async () => {
  recorder.close();
  await world.close();
});

test("a trace is found in whatever it is wrapped", () => {
  const planted = Buffer.from(canary());
  const traces = tracesOf("planted", planted);
  const sha = createHash("sha256").update(planted).digest();
  for (const bytes of [planted, sha]) {
    for (const [before, after] of [
      [0, 0],
      [1, 2],
      [2, 1],
      [3, 5],
      [7, 4],
    ] as const) {
      const around = Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(after, 2)]);
      for (const form of ["hex", "base64", "base64url", "latin1"] as const) {
        expect(found(traces, [Buffer.from(around.toString(form), "latin1")])).not.toEqual([]);
      }
    }
  }
  expect(found(traces, [Buffer.from(encodeURIComponent(planted.toString()))])).not.toEqual([]);
  expect(found(traces, [Buffer.from(canary())])).toEqual([]);
});

test("only hashes, scopes and states leave the tenant", async () => {
  const traces: Trace[] = tracesOf("goal", Buffer.from(GOAL));
  const plant = (name: string, text = canary()): string => {
    traces.push(...tracesOf(name, Buffer.from(text)));
    return text;
  };
  const metadata = (call: string): grpc.Metadata => {
    const carried = new grpc.Metadata();
    // The upstream sends x- fields back, in headers and in trailers.
    carried.set("x-note", plant(`${call}, metadata`));
    carried.set("x-note-bin", Buffer.from(plant(`${call}, binary metadata`)));
    carried.set("authorization", `Bearer ${plant(`${call}, credential`, wordCanary())}`);
    const traceId = createHash("md5")
      .update(plant(`${call}, trace`))
      .digest("hex");
    plant(`${call}, trace id`, traceId);
    carried.set("traceparent", `00-${traceId}-00f067aa0ba902b7-01`);
    carried.set("tracestate", plant(`${call}, trace state`, `dragons=${wordCanary()}`));
    carried.set(plant(`${call}, metadata name`, wordCanary()), "1");
    return carried;
  };
  const body = (call: string): string => {
    const text = `${call} ${plant(`${call}, part of a body`)} and so on`;
    const head = Buffer.alloc(5);
    head.writeUInt32BE(Buffer.byteLength(text), 1);
    // The whole body as well, and as gRPC frames it: their plain digests would be a lookup away.
    traces.push(...tracesOf(`${call}, body`, Buffer.from(text)));
    traces.push(...tracesOf(`${call}, framed body`, Buffer.concat([head, Buffer.from(text)])));
    return text;
  };

  const allowed = body("allowed");
  expect((await ask(sidecar.agent, allowed, { metadata: metadata("allowed") })).code).toBe(0);
  // The upstream fails: what it says of that, and its trailers, are the tenant's too.
  plant("error text", "naïve %");
  const failing = { metadata: metadata("failed") };
  expect(await ask(sidecar.agent, "fail", failing)).toMatchObject({ code: 9, reason: "" });
  const denied = {
    path: `/test.Other/${plant("path", wordCanary())}`,
    metadata: metadata("denied"),
  };
  expect(await ask(sidecar.agent, body("denied"), denied)).toMatchObject({
    reason: "SCOPE_NOT_GRANTED",
  });
  const unknown = { path: `/test.Echo/${plant("path of the scope", wordCanary())}` };
  expect((await ask(sidecar.agent, body("unknown"), unknown)).code).toBe(12);
  const chat = await openChat(sidecar.agent, metadata("cut"));
  const said = body("cut");
  expect(await chat.say(said)).toBe(said);
  await revokeLease(world.operator, { which: sidecar.ready.instanceId, reason: "end of the test" });
  expect(await chat.ended).toMatchObject({ reason: "LEASE_REVOKED" });
  plant("target", world.upstream);

  // What a last beat and a last sync carry is heard before the sidecar ends.
  await sidecar.stop();

  expect(found(traces, recorder.sent)).toEqual([]);

  // And it was there to be found: what may leave, did, through this very recorder.
  expect(found(tracesOf("scope", Buffer.from(SCOPE)), recorder.sent)).toContain("scope: raw");
  const { receipts, beats } = sent();
  expect(receipts.map((r) => `${r.kind} ${r.verdict} ${r.reason}`)).toEqual(
    expect.arrayContaining([
      "ACTION COMPLETED UNSPECIFIED",
      "ACTION FAILED UPSTREAM_FAILED",
      "DENIAL DENIED SCOPE_NOT_GRANTED",
      "ACTION CUT LEASE_REVOKED",
    ]),
  );
  expect(beats.length).toBeGreaterThan(1);
  const hello = Buffer.from(sidecar.ready.ledgerId, "hex");
  expect(recorder.bytes.includes(hello)).toBe(true);
});

/** Receipt headers and beats, as they went by. */
function sent() {
  const of = (path: string) =>
    recorder.calls.filter((c) => c.path === path).flatMap((c) => messagesIn(c.up));
  const receipts = of("/dragons.v1.LedgerService/Sync")
    .flatMap((m) => fromBinary(SyncRequestSchema, m).receipts)
    .map((signed) => ReceiptHeader.decode(signed.body));
  const beats = of("/dragons.v1.TetherService/Attach").flatMap((m) => {
    const { message } = fromBinary(AttachRequestSchema, m);
    return message.case === "heartbeat" ? [HeartbeatBody.decode(message.value.body)] : [];
  });
  return { receipts, beats };
}

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { RevocationFeed } from "../../src/control/revocation-feed.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { revocationsAtOnceMax, revocationsTogetherUs } from "../../src/domain/limits.ts";
import { REVOCATION, RevocationBody } from "../../src/domain/revocation.ts";
import type { Verified } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { GrantService, LeaseService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { AttachResponseSchema } from "../../src/gen/dragons/v1/tether_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { MessageReader } from "../../src/wire/grpc-frames.ts";
import { decode } from "../../src/wire/messages.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import { type House, makeHouse, newSigner, requestId, startWorld, type World } from "./world.ts";

/** Whom a revocation concerns is told at once; all others a moment later, in order, and before all else. */

let world: World;
let house: House;
let berth: Berth;
/** Three under one grant: their leases are revoked, or others' are. */
let a: Attachment;
let b: Attachment;
let c: Attachment;
let houses = 0;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `broadcast-${++houses}`);
  berth = await makeBerth(world, house, { instancesMax: 3 });
  [a, b, c] = [await aboard(berth), await aboard(berth), await aboard(berth)];
});

async function aboard(where: Berth): Promise<Attachment> {
  const attached = await (await SimSidecar.dock(world, house, where)).attach();
  await attached.syncAll();
  await attached.earn();
  return attached;
}

async function takeBack({ sidecar: { instanceId } }: Attachment): Promise<void> {
  const request = { requestId: requestId(), instanceId, reason: "a drill" };
  await world.client(LeaseService).revokeLease(request, await house.as("OPERATOR"));
}

/** Epochs in the order in which they were told. */
const epochs = ({ heard }: Attachment): number[] =>
  heard.flatMap((m) =>
    m.case === "revocation" ? [RevocationBody.decode(m.value.body).epoch] : [],
  );

const moment = () => world.clock.advance(revocationsTogetherUs);

/** Whatever was sent to it by now would have come: as much goes to and fro beside it. */
async function settled(attached: Attachment): Promise<void> {
  for (let i = 0; i < 3; i++) await attached.syncAll();
}

test("a holder hears at once that its lease is taken back; others a moment later, together and in order", async () => {
  const [later, last] = [c.next("revocation"), b.next("revocation")];
  await takeBack(a);
  await a.next("revocation");
  expect(epochs(a)).toEqual([1]);
  await settled(c);
  expect([epochs(b), epochs(c)]).toEqual([[], []]);
  // It is told the one before its own first.
  await takeBack(b);
  await last;
  await b.next("revocation");
  expect(epochs(b)).toEqual([1, 2]);
  await settled(c);
  expect(epochs(c)).toEqual([]);
  moment();
  await later;
  await Promise.all([a.next("revocation"), c.next("revocation")]);
  expect([epochs(a), epochs(c)]).toEqual([
    [1, 2],
    [1, 2],
  ]);
});

test("every moment tells of what came since the one before", async () => {
  for (const [epoch, holder] of [a, b].entries()) {
    const next = c.next("revocation");
    await takeBack(holder);
    await settled(c);
    expect(epochs(c)).toHaveLength(epoch);
    moment();
    await next;
  }
  expect(epochs(c)).toEqual([1, 2]);
});

test("no word overtakes a revocation: neither an acknowledgement, nor a lease that pins it", async () => {
  world.clock.advance(21_000_000);
  await takeBack(a);
  const lease = await c.earn();
  expect(lease.revocationEpoch).toBe(1);
  const order = c.heard.map((m) => m.case);
  const at = order.indexOf("revocation");
  expect(at).toBeGreaterThan(0);
  expect(order.slice(at + 1)).toContain("heartbeatAck");
  expect(order.slice(at + 1)).toContain("lease");
  let told = 0;
  for (const m of c.heard) {
    if (m.case === "revocation") told = RevocationBody.decode(m.value.body).epoch;
    if (m.case !== "lease") continue;
    expect(LeaseBody.decode(m.value.body).revocationEpoch).toBeLessThanOrEqual(told);
  }
});

test("of a grant hear at once all who are under it, of a key all there are", async () => {
  const d = await aboard(await makeBerth(world, house));
  const later = d.next("revocation");
  let previous: Uint8Array = new Uint8Array(0);
  const revoke = async (epoch: number, kind: "GRANT" | "KEY", target: Uint8Array) => {
    const body: RevocationBody = {
      ...{ version: 1, tenantId: house.tenantId, epoch, previous, kind, target },
      ...{ effectiveUs: world.clock.nowUs(), reason: "a drill" },
    };
    const revocation = await signBody(REVOCATION, body, [house.grantKey]);
    previous = refOf(native, "revocation", revocation.body);
    const request = { requestId: requestId(), revocation };
    await world.client(GrantService).recordRevocation(request, await house.as("OPERATOR"));
    return revocation.body;
  };
  const signed = await revoke(1, "GRANT", berth.grantRef);
  const heard = await Promise.all([a, b, c].map((one) => one.next("revocation")));
  expect(heard.map(({ body }) => body)).toEqual([signed, signed, signed]);
  await settled(d);
  expect(epochs(d)).toEqual([]);
  await revoke(2, "KEY", newSigner().publicKey);
  await later;
  await d.next("revocation");
  expect(epochs(d)).toEqual([1, 2]);
});

test("who missed the same is told it in the same bytes, of one run only so many at once", async () => {
  const all: Verified<RevocationBody>[] = [];
  const count = revocationsAtOnceMax + 3;
  for (let epoch = 1; epoch <= count; epoch++) {
    const body = { ...RevocationBody.empty(), version: 1, epoch, kind: "LEASE" } as const;
    const signed = await signBody(REVOCATION, body, [newSigner()]);
    all.push({ body, signed, ref: refOf(native, "revocation", signed.body) });
  }
  const feed = new RevocationFeed(all.slice(0, 1));
  expect([feed.after(0)?.epoch, feed.after(1)]).toEqual([1, null]);
  const whole = new RevocationFeed(all);
  expect(whole.after(0)?.answer).toBe(whole.after(0)?.answer);
  const told: number[] = [];
  for (let run = whole.after(0); run !== null; run = whole.after(run.epoch)) {
    const before = told.length;
    new MessageReader(1024 * 1024, {
      message(bytes) {
        const { message } = decode(AttachResponseSchema, bytes);
        if (message.case !== "revocation") throw new Error("no revocation");
        told.push(RevocationBody.decode(message.value.body).epoch);
      },
    }).push(run.answer.frames);
    expect(told.length - before).toBeLessThanOrEqual(revocationsAtOnceMax);
  }
  expect(told).toEqual(Array.from({ length: count }, (_, i) => i + 1));
  // One that is decided and not durable is nobody's to hear.
  const young = [...all.slice(0, 2)];
  const behind = new RevocationFeed(young);
  young.push(all[2] as Verified<RevocationBody>);
  expect(behind.after(2)).toBe(null);
  behind.recorded(3);
  expect(behind.after(2)?.epoch).toBe(3);
});

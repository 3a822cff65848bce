import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Tenant } from "../../src/control/tenant.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { REASONS } from "../../src/domain/reason.ts";
import { REVOCATION, RevocationBody } from "../../src/domain/revocation.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { GrantService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { OrganismService, WatchEvent } from "../../src/gen/dragons/v1/organism_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { type Attachment, type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  dockBody,
  grantBody,
  type House,
  makeHouse,
  newSigner,
  refusalOf,
  requestId,
  restored,
  signDock,
  signGrant,
  startWorld,
  type World,
} from "./world.ts";

/** Every kind of revocation that operators sign: pushed, lasting, and no way round it. */

let world: World;
let house: House;
let berth: Berth;
let sidecar: SimSidecar;
let attached: Attachment;
let houses = 0;
let previous: Uint8Array;
let epoch: number;
const NONE = new Uint8Array(0);

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `revoke-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  await sidecar.work(1);
  attached = await sidecar.attach();
  await attached.syncAll();
  await attached.earn();
  previous = NONE;
  epoch = 0;
});

async function revoke(kind: RevocationBody["kind"], target: Uint8Array, signer = house.grantKey) {
  const body: RevocationBody = {
    version: 1,
    tenantId: house.tenantId,
    epoch: epoch + 1,
    previous,
    kind,
    target,
    effectiveUs: world.clock.nowUs(),
    reason: "a drill",
  };
  const revocation = await signBody(REVOCATION, body, [signer]);
  const request = { requestId: requestId(), revocation };
  await world.client(GrantService).recordRevocation(request, await house.as("OPERATOR"));
  epoch = body.epoch;
  previous = refOf(native, "revocation", revocation.body);
}

const reasonOf = (name: (typeof REASONS)[number]) => REASONS.indexOf(name);

/** What this sidecar's next beat earns. */
async function withheld(a: Attachment): Promise<number> {
  await a.beat();
  return (await a.next("leaseWithheld")).reason;
}

describe("a revocation by operators", () => {
  const kinds: [RevocationBody["kind"], () => Uint8Array][] = [
    ["GRANT", () => berth.grantRef],
    ["KEY", () => house.grantKey.publicKey],
    ["INSTANCE", () => sidecar.ledgerId],
    ["TENANT", () => NONE],
  ];
  test.each(kinds)("of a %s is pushed, ends the lease and earns no other", async (kind, target) => {
    await revoke(kind, target());
    const told = RevocationBody.decode((await attached.next("revocation")).body);
    expect(told).toMatchObject({ kind, epoch: 1, reason: "a drill" });
    expect(await withheld(attached)).toBe(reasonOf("LEASE_REVOKED"));
  });

  test.each(kinds)(
    "of a %s holds after the control plane has started again",
    async (kind, target) => {
      await revoke(kind, target());
      await world.restart();
      attached = await sidecar.attach();
      expect(attached.attached.revocations).toHaveLength(1);
      await attached.syncAll();
      expect(await withheld(attached)).toBe(reasonOf("LEASE_REVOKED"));
    },
  );

  test("of a key: nothing new that it signed is recorded, and its docks are closed", async () => {
    await revoke("KEY", house.grantKey.publicKey);
    const operator = await house.as("OPERATOR");
    const grant = await signGrant(house, grantBody(world, house));
    const keys = [{ key: newSigner().publicKey, ledgersMax: 1 }];
    const dock = await signDock(house, dockBody(world, house, berth.grantRef, keys));
    const refused = [
      world.client(GrantService).recordGrant({ requestId: requestId(), grant }, operator),
      world.client(DockService).recordDock({ requestId: requestId(), dock }, operator),
      revoke("TENANT", NONE),
    ];
    for (const call of refused) {
      expect(await refusalOf(call)).toMatchObject({
        code: "PERMISSION_DENIED",
        reason: "E_REVOKED",
      });
    }
    expect(await refusalOf(SimSidecar.dock(world, house, berth))).toMatchObject({
      reason: "E_REVOKED",
    });
  });
});

test("a join key that was taken back opens nothing more; what it opened lives on", async () => {
  await revoke("KEY", berth.join.publicKey);
  expect(await refusalOf(SimSidecar.dock(world, house, berth))).toMatchObject({
    reason: "E_REVOKED",
  });
  world.clock.advance(21_000_000);
  expect((await attached.earn()).leaseSeq).toBe(2);
});

test("no lease comes before a revocation that it takes into account, however close they are", async () => {
  const order: number[] = [];
  for (let round = 1; round <= 4; round++) {
    world.clock.advance(21_000_000);
    // The beat is judged while the revocation is on its way to the disk.
    const recorded = revoke("KEY", newSigner().publicKey);
    for (let beats = 0; beats < 3; beats++) {
      await attached.beat();
      await attached.next("heartbeatAck");
    }
    await recorded;
    await attached.take("lease");
    await attached.take("revocation");
  }
  for (const { case: kind, value } of attached.heard) {
    if (kind === "revocation") order.push(RevocationBody.decode(value.body).epoch);
    if (kind !== "lease") continue;
    const lease = LeaseBody.decode(value.body);
    expect(lease.revocationEpoch).toBeLessThanOrEqual(order.at(-1) ?? 0);
  }
  expect(order).toEqual([1, 2, 3, 4]);
});

test("of a login key: what it watches ends, and others' watches go on", async () => {
  const watching = async (role: "VIEWER" | "OPERATOR") => {
    const stream = world.client(OrganismService).watch({}, await house.as(role));
    const changes = stream[Symbol.asyncIterator]();
    while ((await changes.next()).value?.event !== WatchEvent.SYNCED);
    return changes;
  };
  const [insider, other] = [await watching("VIEWER"), await watching("OPERATOR")];
  await revoke("KEY", house.logins.VIEWER.publicKey);
  const told = async () => {
    while (!(await insider.next()).done);
  };
  expect(await refusalOf(told())).toMatchObject({ code: "UNAUTHENTICATED" });
  await world
    .client(OrganismService)
    .quarantine(
      { requestId: requestId(), instanceId: sidecar.instanceId, reason: "a drill" },
      await house.as("OPERATOR"),
    );
  expect((await other.next()).value?.organism?.instanceId).toBe(sidecar.instanceId);
  await other.return?.(undefined);
});

describe("a tenant that was stopped", () => {
  test("docks nobody, and lives again by leases that are cut after a resume", async () => {
    await revoke("TENANT", NONE);
    expect(await refusalOf(SimSidecar.dock(world, house, berth))).toMatchObject({
      reason: "E_REVOKED",
    });
    await revoke("RESUME", NONE);
    const lease = await attached.earn();
    expect(lease).toMatchObject({ revocationEpoch: 2, leaseSeq: 2 });
    await SimSidecar.dock(world, house, berth);
  });

  test("is resumed by those who may grant alone", async () => {
    await revoke("TENANT", NONE);
    for (const signer of [house.root, newSigner(), house.logins.ADMIN]) {
      const refused = await refusalOf(revoke("RESUME", NONE, signer));
      expect(refused.code).toBe("PERMISSION_DENIED");
    }
    expect(await withheld(attached)).toBe(reasonOf("LEASE_REVOKED"));
  });

  test("stays resumed, and its old lease dead, when the control plane starts again", async () => {
    await revoke("TENANT", NONE);
    await revoke("RESUME", NONE);
    await world.restart();
    const tenant = world.running.tenants.get(house.tenantId);
    expect(tenant?.stoppedEpoch()).toBe(0);
    expect(tenant?.ledger(sidecar.ledgerId)?.lease?.revokedEpoch).toBe(1);
  });
});

describe("a sidecar that hands over a revocation unknown here", () => {
  const signed = (
    kind: RevocationBody["kind"],
    signer: Signer,
    more: Partial<RevocationBody> = {},
  ): Promise<SignedBytes> => {
    const { tenantId } = house;
    const effectiveUs = world.clock.nowUs();
    const reason = "handed over";
    const body = { ...RevocationBody.empty(), version: 1, tenantId, kind, effectiveUs, reason };
    return signBody(REVOCATION, { ...body, epoch: epoch + 1, previous, ...more }, [signer]);
  };
  const tenant = () => world.running.tenants.get(house.tenantId) as Tenant;
  const handOver = async (revocation: SignedBytes) => {
    await attached.leave();
    return sidecar.attach({ revocations: [revocation] });
  };
  async function cameBack(): Promise<void> {
    await restored(world, house.tenantId, { atUs: world.clock.nowUs(), times: 1 });
    world.clock.advance(1_000_000);
    attached = await sidecar.attach();
    await attached.syncAll();
  }

  test("gives no voice to a key that operators gave up", async () => {
    await revoke("KEY", house.grantKey.publicKey);
    const stop = await signed("TENANT", house.grantKey);
    expect(await refusalOf(handOver(stop))).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "E_REVOKED",
    });
    expect(tenant().stoppedEpoch()).toBe(0);
  });

  test("is not believed about what a restore may have lost, when it was signed after that", async () => {
    await revoke("KEY", house.grantKey.publicKey);
    await cameBack();
    const resume = await signed("RESUME", house.grantKey);
    expect(await refusalOf(handOver(resume))).toMatchObject({ reason: "E_REVOKED" });
    expect(tenant().unconfirmed).toBe(true);
  });

  test("gives back what a restore lost, whatever has become of the key since", async () => {
    const lost = await signed("GRANT", house.grantKey, { target: berth.grantRef });
    world.clock.advance(1_000_000);
    await cameBack();
    const again = await handOver(lost);
    expect(tenant().revocationEpoch()).toBe(1);
    expect(tenant().grant(berth.grantRef)?.revokedEpoch).toBe(1);
    await again.leave();
    // Told twice, it is known.
    await sidecar.attach({ revocations: [lost] });
    expect(tenant().revocationEpoch()).toBe(1);
  });
});

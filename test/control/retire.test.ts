import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { REASONS } from "../../src/domain/reason.ts";
import { REVOCATION, RevocationBody } from "../../src/domain/revocation.ts";
import { signBody } from "../../src/domain/signing.ts";
import { GrantService, ManifestService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { type Berth, makeBerth, SimSidecar } from "./sidecar.ts";
import {
  dockBody,
  grantBody,
  type House,
  hashOf,
  makeHouse,
  manifest,
  manifestBytes,
  newSigner,
  refusalOf,
  requestId,
  signDock,
  signGrant,
  startWorld,
  type World,
} from "./world.ts";

/** A manifest that operators retired: nothing new stands on it, and what stood on it ends. */

let world: World;
let house: House;
let berth: Berth;
let sidecar: SimSidecar;
let houses = 0;
const hash = hashOf(manifest());

beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.end());
beforeEach(async () => {
  house = await makeHouse(world, `retire-${++houses}`);
  berth = await makeBerth(world, house);
  sidecar = await SimSidecar.dock(world, house, berth);
  await sidecar.work(1);
});

async function retire(signer = house.grantKey, epoch = 1) {
  const body = {
    version: 1,
    tenantId: house.tenantId,
    epoch,
    previous: new Uint8Array(0),
    kind: "MANIFEST",
    target: hash,
    effectiveUs: world.clock.nowUs(),
    reason: "v7 leaks",
  } as const;
  const revocation = await signBody(REVOCATION, body, [signer]);
  const request = { requestId: requestId(), revocation };
  return world.client(GrantService).recordRevocation(request, await house.as("OPERATOR"));
}

describe("a retired manifest", () => {
  test("ends leases: the sidecar is told, and earns no other", async () => {
    const a = await sidecar.attach();
    await a.syncAll();
    await a.earn();
    await retire();
    const told = RevocationBody.decode((await a.next("revocation")).body);
    expect(told).toMatchObject({ kind: "MANIFEST", target: hash, reason: "v7 leaks" });
    await a.beat();
    expect((await a.next("leaseWithheld")).reason).toBe(REASONS.indexOf("MANIFEST_RETIRED"));
  });

  test("tells a sidecar that was away when it comes back", async () => {
    await retire();
    const a = await sidecar.attach();
    expect(a.attached.revocations).toHaveLength(1);
    await a.syncAll();
    await a.beat();
    expect((await a.next("leaseWithheld")).reason).toBe(REASONS.indexOf("MANIFEST_RETIRED"));
  });

  test("docks nobody, and neither grants nor docks are recorded for it", async () => {
    await retire();
    const reason = { code: "FAILED_PRECONDITION", reason: "MANIFEST_RETIRED" };
    expect(await refusalOf(SimSidecar.dock(world, house, berth))).toMatchObject(reason);
    const operator = await house.as("OPERATOR");
    const grant = await signGrant(house, grantBody(world, house));
    const granted = world
      .client(GrantService)
      .recordGrant({ requestId: requestId(), grant }, operator);
    expect(await refusalOf(granted)).toMatchObject(reason);
    const keys = [{ key: newSigner().publicKey, ledgersMax: 1 }];
    const dock = await signDock(house, dockBody(world, house, berth.grantRef, keys));
    const docked = world.client(DockService).recordDock({ requestId: requestId(), dock }, operator);
    expect(await refusalOf(docked)).toMatchObject(reason);
  });

  test("says so wherever it is shown, and recording it again brings nothing back", async () => {
    await retire();
    const manifests = world.client(ManifestService);
    const operator = await house.as("OPERATOR");
    const request = { requestId: requestId(), manifest: manifestBytes(manifest()) };
    await manifests.recordManifest(request, operator);
    const found = await manifests.getManifest({ manifestHash: hash }, operator);
    expect(found.retiredEpoch).toBe(1n);
    const listed = await manifests.listManifests({}, operator);
    expect(listed.manifests.map((m) => m.retiredEpoch)).toEqual([1n]);
    expect(await refusalOf(SimSidecar.dock(world, house, berth))).toMatchObject({
      reason: "MANIFEST_RETIRED",
    });
  });

  test("is retired by those who may grant, and by nobody else", async () => {
    for (const signer of [newSigner(), house.root]) {
      expect((await refusalOf(retire(signer))).code).toBe("PERMISSION_DENIED");
    }
    await SimSidecar.dock(world, house, berth);
  });
});

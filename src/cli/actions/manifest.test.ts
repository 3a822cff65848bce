import { expect, test } from "vitest";
import { hashOf, manifestBody } from "../../../test/fixtures/authority.ts";
import type { Manifest } from "../../domain/manifest.ts";
import { ManifestBody } from "../../domain/manifest.ts";
import type { Control } from "../client.ts";
import { dockingOrder, type RecordedManifest } from "./manifest.ts";

const recorded = (manifest: Manifest, recordedAtUs: number): RecordedManifest => ({
  manifest,
  bytes: ManifestBody.encode(manifest),
  hash: hashOf(manifest),
  recordedAtUs,
  retiredEpoch: 0,
});
const versions = ["v7", "v8", "v9"].map((agentVersion, i) =>
  recorded(manifestBody({ agentVersion }), i + 1),
);
const other = recorded(manifestBody({ name: "other", agentVersion: "v1" }), 4);

/** A control plane that knows these dockings, in no order: instance, which manifest, when. */
const controlWith = (...docked: [string, RecordedManifest, number][]): Control =>
  ({
    organisms: {
      listOrganisms: async () => ({
        nextPageToken: "",
        organisms: docked.map(([instanceId, { hash }, dockedAtUs]) => ({
          instanceId,
          ledgerId: new Uint8Array(32),
          manifestHash: hash,
          grantRef: new Uint8Array(32),
          conditions: [],
          dockedAtUs: BigInt(dockedAtUs),
          observeUntilUs: 0n,
        })),
      }),
    },
  }) as unknown as Control;

test("dockings are told in their order, and an older version that comes back is a rollback", async () => {
  const [v7, v8, v9] = versions as [RecordedManifest, RecordedManifest, RecordedManifest];
  const control = controlWith(
    ["d", v7, 40],
    ["a", v7, 10],
    ["b", v8, 20],
    ["c", v8, 30],
    ["e", v9, 50],
  );
  const told = await dockingOrder(control, versions);
  expect(told.map((d) => d.instanceId)).toEqual(["a", "b", "c", "d", "e"]);
  expect(told.map((d) => d.rollbackFrom?.manifest.agentVersion ?? null)).toEqual([
    null,
    null,
    null,
    "v8",
    null,
  ]);
});

test("another agent's versions are another story", async () => {
  const [v7] = versions as [RecordedManifest];
  const told = await dockingOrder(controlWith(["a", other, 10], ["b", v7, 20]), [
    ...versions,
    other,
  ]);
  expect(told.map((d) => d.rollbackFrom)).toEqual([null, null]);
});

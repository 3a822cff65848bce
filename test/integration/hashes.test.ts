import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type EnrolCall, enrol } from "../../sidecar/identity/certificate.ts";
import { exportHeld } from "../../src/cli/actions/export-held.ts";
import { verifyPack } from "../../src/cli/actions/verify.ts";
import { SyncRequestSchema } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { systemClock } from "../../src/native/clock.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { ask } from "./calls.ts";
import { messagesIn, Recorder } from "./recorder.ts";
import { World } from "./rig.ts";

test("with --sync hashes no receipt's header leaves, and the pack is anchored all the same", async () => {
  const world = await World.open({ leaseTtlUs: 4_000_000 });
  const { control, controlCa } = world.control.ready;
  const recorder = await Recorder.open({
    address: control,
    ca: await readFile(controlCa, "utf8"),
    certificate: async (ledgerId) => {
      const ledgerSigner = await fileSigner(join(world.folder, "one.keys", "ledger.key"));
      const call: EnrolCall = (request) => world.operator.docks.enrol(request);
      return enrol(call, { ledgerId, ledgerSigner }, systemClock);
    },
  });
  try {
    const sidecar = await world.sidecar(
      await world.flags("one", recorder.door, "--sync", "hashes"),
    );
    await sidecar.log.until("lease");
    for (const word of ["one", "two", "three"]) {
      expect(await ask(sidecar.agent, word)).toMatchObject({ code: 0 });
    }
    expect(await world.anchored(sidecar)).toMatchObject({ verdict: "ANCHORED", broken: null });
    // What the control plane holds of it is no receipt: its own ledger is all that it can show.
    const out = join(world.folder, "tenant.dragons");
    const { ledgerId } = sidecar.ready;
    const held = await exportHeld(world.operator, { out, organism: null });
    expect(held).toMatchObject({ ledgers: 0, unheld: [ledgerId] });
    const shown = await verifyPack(out, world.trust, systemClock.nowUs());
    expect(shown).toMatchObject({ verdict: "ANCHORED", ledgers: [{ role: "CONTROL", from: 1 }] });
    await sidecar.stop();
    const batches = recorder.calls
      .filter((c) => c.path === "/dragons.v1.LedgerService/Sync")
      .flatMap((c) => messagesIn(c.up))
      .map((m) => fromBinary(SyncRequestSchema, m));
    expect(batches.flatMap((b) => b.receipts)).toEqual([]);
    expect(batches.flatMap((b) => b.hashes).length).toBeGreaterThanOrEqual(4);
    // Nor does an id of one, in whatever else was said.
    expect(recorder.bytes.includes(Buffer.from("rcp_"))).toBe(false);
    expect(recorder.bytes.includes(Buffer.from("hbt_"))).toBe(true);
  } finally {
    recorder.close();
    await world.close();
  }
});

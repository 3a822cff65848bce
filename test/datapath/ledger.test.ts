import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openWorkLedger } from "../../sidecar/ledger/open-ledger.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { generateSeed } from "../../src/native/keys.ts";
import { framed, leaseFrom, openRig, RawClient, rawUpstream } from "./harness.ts";

const folder = await mkdtemp(join(tmpdir(), "dragons-datapath-"));
afterAll(() => rm(folder, { recursive: true }));

test("an allowed and a refused call are each one signed receipt in the real ledger", async () => {
  const { ledgerId, tenantId, manifestHash } = leaseFrom(0).body;
  const ledger = await openWorkLedger({
    folder: join(folder, "ledger"),
    seed: generateSeed(),
    ledgerId,
    tenantId,
    manifestHash,
  });
  const rig = await openRig({}, undefined, undefined, ledger);
  const upstream = await rawUpstream((s) => {
    s.respond({ ":status": 200, "grpc-status": "0" }, { endStream: true });
  });
  const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const before = ledger.head().size;
  await client.call("/test.Echo/Unary", framed(Buffer.from("hi")));
  await client.call("/test.Other/Do", framed(Buffer.from("hi")));
  await ledger.flushed();
  const headers = ledger
    .read(before + 1, 10)
    .map((r) => ReceiptHeader.decode(SignedBytes.decode(r.signed).body));
  expect(headers).toMatchObject([
    { kind: "ACTION", verdict: "COMPLETED", reason: "UNSPECIFIED", scope: "use:echo" },
    { kind: "DENIAL", verdict: "DENIED", reason: "SCOPE_NOT_GRANTED", egressLastUs: 0 },
  ]);
  client.close();
  await rig.close();
  upstream.close();
  await ledger.shutdown();
});

import { expect, test } from "vitest";
import { GENESIS, GenesisBody } from "../domain/genesis.ts";
import { refOf, signBody } from "../domain/signing.ts";
import { native } from "../native/crypto.ts";
import { generateSeed, seedSigner } from "../native/keys.ts";
import { Packed } from "./packed.ts";

async function made(nonce: number) {
  const signer = seedSigner(generateSeed());
  const body = {
    ...GenesisBody.empty(),
    version: 1,
    role: "CONTROL" as const,
    tenantId: "acme",
    ledgerKey: signer.publicKey,
    nonce: new Uint8Array(32).fill(nonce),
    createdAtUs: 1,
  };
  const signed = await signBody(GENESIS, body, [signer]);
  return { body, signed, ref: refOf(native, "genesis", signed.body) };
}

test("what is packed reads as it was signed, whatever becomes of the memory that it came in", async () => {
  const artifact = await made(7);
  const { signed, body } = artifact;
  const asItWas = structuredClone(signed);
  const packed = new Packed(GENESIS, artifact);
  signed.body.fill(0);
  expect(packed.signed).toEqual(asItWas);
  expect(packed.body).toEqual(body);
  expect(packed.ref).toEqual(artifact.ref);
  expect(refOf(native, "genesis", packed.signed.body)).toEqual(packed.ref);
});

test("two that differ are not equal to a test, which compares what others may see", async () => {
  expect(new Packed(GENESIS, await made(1))).not.toEqual(new Packed(GENESIS, await made(2)));
});

import { expect, test } from "vitest";
import { GENESIS, GenesisBody } from "../domain/genesis.ts";
import { refOf, signBody } from "../domain/signing.ts";
import { native } from "../native/crypto.ts";
import { generateSeed, seedSigner } from "../native/keys.ts";
import { Packed } from "./packed.ts";

test("what is packed reads as it was signed, whatever becomes of the memory that it came in", async () => {
  const signer = seedSigner(generateSeed());
  const body = {
    ...GenesisBody.empty(),
    version: 1,
    role: "CONTROL" as const,
    tenantId: "acme",
    ledgerKey: signer.publicKey,
    nonce: new Uint8Array(32).fill(7),
    createdAtUs: 1,
  };
  const signed = await signBody(GENESIS, body, [signer]);
  const artifact = { body, signed, ref: refOf(native, "genesis", signed.body) };
  const asItWas = structuredClone(signed);
  const packed = new Packed(GENESIS, artifact);
  signed.body.fill(0);
  expect(packed.signed).toEqual(asItWas);
  expect(packed.body).toEqual(body);
  expect(packed.ref).toEqual(artifact.ref);
  expect(refOf(native, "genesis", packed.signed.body)).toEqual(packed.ref);
});

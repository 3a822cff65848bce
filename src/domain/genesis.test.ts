import { describe, expect, test } from "vitest";
import {
  DAY,
  dockBody,
  genesisBody,
  keyNamed,
  keys,
  makeChain,
  NOW,
  ok,
  sha,
} from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import type { Signer } from "./crypto.ts";
import { DOCK, type DockBody, verifyDock } from "./dock.ts";
import { GENESIS, type GenesisBody, verifyControlGenesis, verifyGenesis } from "./genesis.ts";
import { dockJoinKeysMax } from "./limits.ts";
import { signBody } from "./signing.ts";

const { keyset, grant, dock } = await makeChain();

const joinKeys = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    key: keyNamed(`j${i}`).publicKey,
    ledgersMax: 1,
  })).sort((a, b) => Buffer.compare(a.key, b.key));

describe("a dock", () => {
  const verify = async (more: Partial<DockBody>, by: Signer[] = [keys.bob]) =>
    verifyDock(native, await signBody(DOCK, dockBody(grant.ref, more), by), keyset, grant, NOW);

  test("is an operator's, of one grant", async () => {
    ok(await verify({}));
    expect(await verify({}, [keys.issuer])).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify({ grantRef: sha("another") })).toMatchObject({ code: "E_REF" });
    expect(await verify({ grantRef: new Uint8Array() })).toMatchObject({ code: "E_REF" });
  });

  const wrong: [string, Partial<DockBody>, string][] = [
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["no id", { dockId: "" }, "E_FIELD"],
    ["no join key", { joinKeys: [] }, "E_FIELD"],
    ["join keys out of order", { joinKeys: joinKeys(3).reverse() }, "E_FIELD"],
    ["a join key twice", { joinKeys: [...joinKeys(1), ...joinKeys(1)] }, "E_FIELD"],
    [
      "a join key that opens nothing",
      { joinKeys: [{ key: keys.join.publicKey, ledgersMax: 0 }] },
      "E_FIELD",
    ],
    [
      "a join key with another role",
      { joinKeys: [{ key: keys.issuer.publicKey, ledgersMax: 1 }] },
      "E_FIELD",
    ],
    ["more join keys than may be", { joinKeys: joinKeys(dockJoinKeysMax + 1) }, "E_FIELD"],
    ["an empty interval", { notAfterUs: NOW - DAY }, "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });

  test("names as many join keys as may be", async () => {
    ok(await verify({ joinKeys: joinKeys(dockJoinKeysMax) }));
  });
});

describe("a genesis", () => {
  const verify = async (more: Partial<GenesisBody>, by: Signer[] = [keys.join, keys.ledger]) =>
    verifyGenesis(native, await signBody(GENESIS, genesisBody(dock.ref, more), by), dock);

  test("is signed by a join key of the dock and by the ledger key, exactly these two", async () => {
    ok(await verify({}));
    for (const by of [[keys.join], [keys.ledger], [keys.join, keys.ledger, keys.alice]]) {
      expect(await verify({}, by)).toMatchObject({ code: "E_SIGNATURE" });
    }
    // Not even the control plane can invent an instance.
    expect(await verify({}, [keys.issuer, keys.ledger])).toMatchObject({ code: "E_SIGNATURE" });
    const stranger = keyNamed("stranger");
    expect(await verify({ joinKey: stranger.publicKey }, [stranger, keys.ledger])).toMatchObject({
      code: "E_KEY_UNKNOWN",
    });
  });

  test("happens while its dock is open", async () => {
    ok(await verify({ createdAtUs: NOW - DAY }));
    expect(await verify({ createdAtUs: NOW - DAY - 1 })).toMatchObject({ code: "E_NOT_YET_VALID" });
    ok(await verify({ createdAtUs: NOW + DAY - 1 }));
    expect(await verify({ createdAtUs: NOW + DAY })).toMatchObject({ code: "E_EXPIRED" });
  });

  const wrong: [string, Partial<GenesisBody>, string][] = [
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["another dock", { dockRef: sha("dock") }, "E_REF"],
    ["the control plane's role", { role: "CONTROL" }, "E_FIELD"],
    ["no instance", { instanceId: "" }, "E_FIELD"],
    ["no manifest", { manifestHash: new Uint8Array() }, "E_FIELD"],
    ["no nonce", { nonce: new Uint8Array() }, "E_FIELD"],
    ["no ledger key", { ledgerKey: new Uint8Array() }, "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });

  test("does not let a join key keep a ledger: one key, one role", async () => {
    expect(await verify({ ledgerKey: keys.join.publicKey }, [keys.join])).toMatchObject({
      code: "E_FIELD",
    });
  });
});

describe("a genesis of the control plane's ledger", () => {
  const control: Partial<GenesisBody> = {
    role: "CONTROL",
    instanceId: "",
    ledgerKey: keys.controlLedger.publicKey,
    manifestHash: new Uint8Array(),
    dockRef: new Uint8Array(),
    joinKey: new Uint8Array(),
  };
  const verify = async (more: Partial<GenesisBody>, by: Signer[] = [keys.controlLedger]) => {
    const body = genesisBody(dock.ref, { ...control, ...more });
    return verifyControlGenesis(native, await signBody(GENESIS, body, by), keyset, NOW);
  };

  test("is signed by its CONTROL_LEDGER key alone", async () => {
    ok(await verify({}));
    expect(await verify({}, [keys.issuer])).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify({}, [keys.join, keys.controlLedger])).toMatchObject({
      code: "E_KEY_UNKNOWN",
    });
    expect(await verify({ ledgerKey: keys.ledger.publicKey })).toMatchObject({
      code: "E_SIGNATURE",
    });
  });

  test("is no instance's", async () => {
    expect(await verify({ role: "WORK" })).toMatchObject({ code: "E_FIELD" });
    expect(await verify({ instanceId: genesisBody(dock.ref).instanceId })).toMatchObject({
      code: "E_FIELD",
    });
    expect(await verify({ dockRef: dock.ref })).toMatchObject({ code: "E_FIELD" });
    expect(await verify({ tenantId: "globex" })).toMatchObject({ code: "E_TENANT" });
  });
});

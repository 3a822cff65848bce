import { describe, expect, test } from "vitest";
import {
  INSTANCE,
  idNamed,
  keys,
  makeChain,
  NOW,
  ok,
  SECOND,
  sha,
} from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import type { Signer } from "./crypto.ts";
import { DIRECTIVE, type DirectiveBody, verifyDirective } from "./directive.ts";
import { signBody } from "./signing.ts";
import { TRANSITION, TransitionBody, verifyTransition } from "./transition.ts";

const { keyset, genesis } = await makeChain();

describe("a directive", () => {
  const verify = async (more: Partial<DirectiveBody>, by: Signer = keys.issuer) => {
    const body: DirectiveBody = {
      version: 1,
      directiveId: idNamed("dir"),
      tenantId: "acme",
      instanceId: INSTANCE,
      ledgerId: genesis.ref,
      sessionEpoch: 4,
      kind: "QUARANTINE",
      issuedAtUs: NOW,
      expiresAtUs: NOW + 60 * SECOND,
      reason: "held by alice",
      ...more,
    };
    const context = { keyset, genesis, sessionEpoch: 4, nowUs: NOW };
    return verifyDirective(native, await signBody(DIRECTIVE, body, [by]), context);
  };

  test("is the issuer's, to this ledger, in this session, now", async () => {
    ok(await verify({}));
    ok(await verify({ expiresAtUs: NOW + 1 }));
    for (const by of [keys.alice, keys.ledger, keys.root]) {
      expect(await verify({}, by)).toMatchObject({ code: "E_KEY_UNKNOWN" });
    }
  });

  const wrong: [string, Partial<DirectiveBody>, string][] = [
    ["another format", { version: 2 }, "E_VERSION"],
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["another ledger", { ledgerId: sha("x") }, "E_REF"],
    ["another instance", { instanceId: idNamed("dir").slice(4) }, "E_LEDGER"],
    ["an earlier session", { sessionEpoch: 3 }, "E_ROLLBACK"],
    ["a later session", { sessionEpoch: 5 }, "E_ROLLBACK"],
    ["no id", { directiveId: "" }, "E_FIELD"],
    ["nothing to do", { kind: "UNSPECIFIED" }, "E_FIELD"],
    ["an end that has come", { expiresAtUs: NOW }, "E_EXPIRED"],
    ["an issue to come", { issuedAtUs: NOW + 3600 * SECOND }, "E_NOT_YET_VALID"],
    ["a reason that writes over the terminal", { reason: "\x07" }, "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });
});

describe("a transition", () => {
  const verify = async (more: Partial<TransitionBody>, by: Signer = keys.issuer) => {
    const body: TransitionBody = {
      ...TransitionBody.empty(),
      version: 1,
      transitionId: idNamed("trn"),
      tenantId: "acme",
      instanceId: INSTANCE,
      ledgerId: genesis.ref,
      from: "RUNNING",
      to: "DEGRADED",
      cause: "CONDITION",
      condition: "SILENT",
      atUs: NOW,
      desired: "RUN",
      ...more,
    };
    return verifyTransition(native, await signBody(TRANSITION, body, [by]), keyset, NOW);
  };

  test("is the issuer's to tell", async () => {
    ok(await verify({}));
    const order = { to: "QUARANTINED", cause: "OPERATOR", reason: "drill" } as const;
    ok(await verify({ ...order, actor: keys.login.publicKey }));
    expect(await verify({}, keys.ledger)).toMatchObject({ code: "E_KEY_UNKNOWN" });
  });

  const wrong: [string, Partial<TransitionBody>, string][] = [
    ["another format", { version: 2 }, "E_VERSION"],
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["no id", { transitionId: "" }, "E_FIELD"],
    ["no instance", { instanceId: "" }, "E_FIELD"],
    ["no ledger", { ledgerId: new Uint8Array() }, "E_FIELD"],
    ["no change", { to: "RUNNING" }, "E_FIELD"],
    ["no state before", { from: "UNSPECIFIED" }, "E_FIELD"],
    ["a life after the end", { from: "STOPPED" }, "E_FIELD"],
    ["no cause", { cause: "UNSPECIFIED" }, "E_FIELD"],
    ["no condition", { condition: "UNSPECIFIED" }, "E_FIELD"],
    ["an operator unnamed", { to: "QUARANTINED", cause: "OPERATOR", reason: "drill" }, "E_FIELD"],
    ["an operator where none acted", { actor: keys.login.publicKey }, "E_FIELD"],
    ["a time to come", { atUs: NOW + 3600 * SECOND }, "E_NOT_YET_VALID"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });
});

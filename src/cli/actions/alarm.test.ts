import { expect, test } from "vitest";
import { AlarmBody } from "../../domain/alarm.ts";
import { RECEIPT } from "../../domain/receipt.ts";
import { TransitionBody } from "../../domain/transition.ts";
import { WatchEvent } from "../../gen/dragons/v1/organism_pb.ts";
import type { Control } from "../client.ts";
import { alarmText } from "./alarm.ts";
import { listRecords } from "./audit.ts";
import { watchOrganisms } from "./organism.ts";

const NONE = new Uint8Array(0);
const alarm = AlarmBody.encode({
  version: 1,
  kind: "JOIN_KEY_SPENT",
  dockRef: new Uint8Array(32).fill(1),
  joinKey: new Uint8Array(32).fill(0xab),
  genesis: { body: NONE, signatures: [] },
  transition: { body: NONE, signatures: [] },
});
const SENTENCE = /^join key abababababababab was used again after it was spent: .*revoke/;

test("the audit tells an alarm in a sentence, with the call that it came by", async () => {
  const record = {
    receipt: { body: RECEIPT.body.encode(RECEIPT.body.decode(NONE)), signatures: [] },
    what: "alarm",
    artifact: alarm,
    actor: NONE,
    method: "dragons.v1.DockService/Dock",
    requestId: "",
  };
  const audit = { listRecords: async () => ({ records: [record], nextPageToken: "" }) };
  for await (const view of listRecords({ audit } as unknown as Control)) {
    expect(view).toMatchObject({ what: "alarm", method: "dragons.v1.DockService/Dock", actor: "" });
    expect(view.summary).toMatch(SENTENCE);
    return;
  }
  throw new Error("no record");
});

test("a watch tells an alarm as it comes, among the organisms", async () => {
  async function* watch() {
    const { joinKey } = AlarmBody.decode(alarm);
    yield { event: WatchEvent.ALARM, revision: 7n, resumeToken: "after 7", alarm: { joinKey } };
  }
  for await (const seen of watchOrganisms({ organisms: { watch } } as unknown as Control)) {
    expect(seen).toEqual({
      event: "ALARM",
      revision: 7,
      alarm: expect.stringMatching(SENTENCE),
    });
    return;
  }
  throw new Error("nothing was told");
});

test("an organism that no remedy helps is named, with what is wrong and what to type", () => {
  const transition = (to: "DEGRADED" | "QUARANTINED") => ({
    body: TransitionBody.encode({
      ...TransitionBody.empty(),
      instanceId: "0189dcd553117d408db09496a2eef37b",
      to,
      condition: "LEDGER_FAULT",
    }),
  });
  const told = (to: "DEGRADED" | "QUARANTINED") =>
    alarmText({ joinKey: NONE, transition: transition(to) });
  expect(told("QUARANTINED")).toMatch(
    /^no remedy helped 0189dc.* against LEDGER_FAULT: it is quarantined; .*dragons organism show 0189dc.*release or stop it$/,
  );
  expect(told("DEGRADED")).toMatch(/it is degraded; .*mend or stop it$/);
});

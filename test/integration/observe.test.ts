import { afterEach, beforeEach, expect, test } from "vitest";
import { sidecarStatus } from "../../src/cli/actions/evidence.ts";
import { listOrganisms } from "../../src/cli/actions/organism.ts";
import { explainReceipt } from "../../src/cli/actions/why.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { ECHO } from "../datapath/echo.ts";
import { ask } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

/** A safe first week, all of it: what no scope allows passes, everybody is told, and it is evidence. */

const HOUR_US = 3_600_000_000;

let world: World;
let sidecar: RunningSidecar;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 4_000_000, observeForUs: HOUR_US });
  sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterEach(() => world.close());

const LOUD = "OBSERVES ONLY: what no scope allows passes, and its receipts say WOULD_DENY";
const other = { path: ECHO.forbidden.path };

test("what no scope allows passes and says so, in its receipt and in evidence", async () => {
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  // The upstream has no such method: it was asked, and that is the point.
  expect(await ask(sidecar.agent, "hello", other)).toMatchObject({ code: 12, reason: "" });
  const { facts } = await sidecar.log.until("WOULD_DENY");
  expect(facts).toMatchObject({ reason: "SCOPE_NOT_GRANTED" });
  const report = await world.anchored(sidecar);
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(report.ledgers[0]?.heartbeats).toBeGreaterThan(0);
  expect(report.flags.find((f) => f.flag === "OBSERVED")).toMatchObject({ count: 1 });

  const why = await explainReceipt(sidecar.admin, String(facts.receipt));
  expect(why.clause).toMatch(/^WOULD_DENY SCOPE_NOT_GRANTED: /);
  expect(why.remedy).toContain("dragons grant create");
});

test("is loud: at the start, at each renewal, in beats, lists and status", async () => {
  const said = () => sidecar.log.said.filter((s) => s.event === LOUD).length;
  const before = said();
  expect(before).toBeGreaterThanOrEqual(2);
  await sidecar.log.until("lease", { from: sidecar.log.now });
  expect(said()).toBeGreaterThan(before);

  const [organism] = await listOrganisms(world.operator);
  const { observeUntilUs } = await sidecarStatus(sidecar.admin);
  expect(organism?.observeUntilUs).toBe(observeUntilUs);
  expect(observeUntilUs).toBeGreaterThan(Date.now() * 1000);
  for await (const { pulse } of world.operator.organisms.watchPulse({})) {
    const beat = HeartbeatBody.decode(pulse?.heartbeat?.body ?? new Uint8Array(0));
    if (beat.leaseRef.length === 0) continue;
    expect(beat.observeUntilUs).toBe(observeUntilUs);
    break;
  }
});

test("opens no door that scopes do not guard: an address on this machine that no rule names", async () => {
  const elsewhere = world.agent(sidecar.ready, "127.0.0.1:1");
  expect(await ask(elsewhere, "hello")).toMatchObject({ code: 7, reason: "TARGET_FORBIDDEN" });
});

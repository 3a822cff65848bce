import { readdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Export, exportEvidence } from "../../src/cli/actions/export.ts";
import { exportHeld } from "../../src/cli/actions/export-held.ts";
import { quarantine, release } from "../../src/cli/actions/organism.ts";
import { verifyPack } from "../../src/cli/actions/verify.ts";
import type { Control } from "../../src/cli/client.ts";
import { Unreachable } from "../../src/cli/failure.ts";
import { cosignCheckpoint } from "../../src/domain/checkpoint.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { formatWitnessKey } from "../../src/domain/witness.ts";
import { systemClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import type { Report } from "../../src/verifier/report.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";
import { StatusError } from "../../src/wire/status.ts";
import { lacks } from "../skips.ts";
import { owed } from "../vectors/corpus.ts";
import { keyOf } from "../verifier/build.ts";
import { python } from "../verifier/second.ts";
import { trustJson } from "../verifier/trust-json.ts";
import { ask, openChat } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

/** From an auditor's chair: what two agents did, and what their control plane recorded of one of them. */

let world: World;
let sidecar: RunningSidecar;
/** By what was asked for: the last of each. */
const packs = new Map<string, { out: string; trust: TrustFile; report: Report }>();
let files = 0;
let witness: Server | null = null;

beforeAll(async () => {
  world = await World.open({ leaseTtlUs: 4_000_000 });
  sidecar = await world.sidecar(await world.flags("one"));
  // Another's records lie between this one's, and stay closed.
  const other = await world.sidecar(await world.flags("other"));
  await other.log.until("lease");
  await other.stop();
  const organism = world.watch(sidecar.ready);
  await organism.until("a first beat under a lease", (o) => o.state === "RUNNING");
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  const { instanceId } = sidecar.ready;
  await quarantine(world.operator, { instanceId, reason: "it does odd things" });
  await organism.until("quarantine", (o) => o.state === "QUARANTINED");
  await release(world.operator, { instanceId, conditions: ["HELD"], reason: "it was looked at" });
  await organism.until("the way back", (o) => o.state === "RUNNING");
  expect(await ask(sidecar.agent, "again")).toMatchObject({ code: 0 });
  await world.anchored(sidecar);
});
afterAll(async () => {
  await world.close();
  witness?.close();
});

async function exported(asked: Partial<Export> = {}, trust: TrustFile = world.trust) {
  const out = join(world.folder, `${++files}.dragons`);
  const written = await exportEvidence(sidecar.admin, { out, ...asked }, world.operator);
  const report = await verifyPack(out, trust, systemClock.nowUs());
  packs.set(JSON.stringify([asked, trust.quorum]), { out, trust, report });
  return { written, report };
}

const recorded = (report: Report) => report.checks.find((c) => c.name === "RECORDED");
const history = (report: Report) => report.checks.find((c) => c.name === "HISTORY");
const names = (report: Report) => report.flags.map((f) => f.flag);

test("a whole ledger comes with what the control plane recorded of it, and each agrees with the other", async () => {
  const { written, report } = await exported();
  const [work, control] = report.ledgers;
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(work?.states.map((s) => s.to)).toEqual(
    expect.arrayContaining(["RUNNING", "QUARANTINED", "DEGRADED"]),
  );
  expect(work?.history).toMatchObject({ agreement: "AGREES", whole: true });
  expect(history(report)?.status).toBe("PASS");
  expect(recorded(report)).toMatchObject({
    status: "PASS",
    held: (work?.leases.length ?? 0) + (work?.states.length ?? 0),
  });
  expect([control?.role, control?.from, control?.to]).toEqual([
    "CONTROL",
    written.records?.from,
    written.records?.to,
  ]);
  // Born after the tenant's keyset, manifest, grant and dock; the other's records are closed.
  expect(written.records?.from).toBeGreaterThan(4);
  const withheld = report.flags.find((f) => f.flag === "WITHHELD");
  expect(withheld).toMatchObject({ ledger: control?.ledger });
  expect(withheld?.count).toBeLessThan(control?.counts.records ?? 0);
  expect((await readdir(world.folder)).filter((name) => name.startsWith("."))).toEqual([]);
});

test("a part of a ledger comes with the records from its first lease on, and single receipts too", async () => {
  const whole = await exported();
  const [ledger] = whole.report.ledgers;
  const to = ledger?.to ?? 0;
  const part = await exported({ fromSeq: to, toSeq: to });
  expect(part.report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(names(part.report)).toEqual(expect.arrayContaining(["RANGE"]));
  expect(recorded(part.report)?.status).toBe("PASS");
  expect(part.written.records?.from).toBeGreaterThan(whole.written.records?.from ?? 0);
  const { report } = await exported({ sinceUs: 1, disclose: ["outcome"] });
  expect(recorded(report)?.status).toBe("PASS");
  const page = await sidecar.admin.evidence.listEntries({});
  const ids = page.entries.map(
    (e) => ReceiptHeader.decode(e.receipt?.body as Uint8Array).receiptId,
  );
  const single = await exported({ receiptIds: [ids[1] as string] });
  expect(single.report).toMatchObject({ verdict: "PROVEN", broken: null });
  expect(recorded(single.report)?.status).toBe("PASS");
});

/** The operator's control plane, whose stream of records is another's affair. */
const answering = (exportRecords: Control["audit"]["exportRecords"]): Control => ({
  ...world.operator,
  audit: { ...world.operator.audit, exportRecords },
});

const failing = (error: Error): Control => {
  const next = () => Promise.reject(error);
  return answering(() => ({ [Symbol.asyncIterator]: () => ({ next }) }));
};

test("a control plane that does not answer is left out, and that is told; one that knows no such ledger is not", async () => {
  const out = join(world.folder, "alone.dragons");
  const deaf = failing(new Unreachable("control plane 192.0.2.1:7443 cannot be reached"));
  const written = await exportEvidence(sidecar.admin, { out }, deaf);
  expect(written).toMatchObject({ records: null, leftOut: expect.stringMatching(/be reached/) });
  const report = await verifyPack(out, world.trust, systemClock.nowUs());
  expect(report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(recorded(report)?.status).toBe("NOT CHECKABLE OFFLINE");
  const strange = failing(new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", "no such ledger"));
  await expect(exportEvidence(sidecar.admin, { out }, strange)).rejects.toThrow(
    /knows no ledger [0-9a-f]{16} in this tenant/,
  );
  const restored = failing(new StatusError("OUT_OF_RANGE", "ARGUMENT_INVALID", "900 of 7"));
  await expect(exportEvidence(sidecar.admin, { out }, restored)).rejects.toThrow(
    /fewer records than leases of ledger [0-9a-f]{16} pin: it was restored from a backup/,
  );
});

test("a stream of records that breaks off is gone on with, to the same section", async () => {
  const whole = await exported();
  let calls = 0;
  const broken = answering(async function* (request) {
    const first = ++calls === 1;
    for await (const answer of world.operator.audit.exportRecords(request)) {
      const { records } = answer;
      if (!first || records.length === 0) yield answer;
      else {
        yield { ...answer, records: records.slice(0, 3) };
        throw new Unreachable("the way there is gone");
      }
    }
  });
  const out = join(world.folder, "resumed.dragons");
  const written = await exportEvidence(sidecar.admin, { out }, broken);
  expect(calls).toBe(2);
  const report = await verifyPack(out, world.trust, systemClock.nowUs());
  expect(recorded(report)?.status).toBe("PASS");
  expect(written.records?.from).toBe(whole.written.records?.from);
});

test("who witnesses the tenant's ledger has seen the agent's, by its heads that are recorded there", async () => {
  const signer = keyOf("witness");
  const named = { name: "witness.example/w1", key: signer.publicKey };
  // It takes whatever extends nothing: what a real one refuses is tested elsewhere.
  const cosigned = async (asked: string): Promise<string> => {
    const note = asked.slice(asked.indexOf("\n\n") + 2);
    const seconds = Math.floor(systemClock.nowUs() / 1e6);
    const lines = await cosignCheckpoint(native, note, { name: named.name, signer }, seconds);
    return lines.slice(note.length);
  };
  witness = createServer((request, response) => {
    void text(request)
      .then(cosigned)
      .then((lines) => response.end(lines));
  });
  await new Promise<void>((resolve) => witness?.listen(0, "127.0.0.1", resolve));
  const { port } = witness.address() as AddressInfo;
  const policy = join(world.folder, "witnesses");
  await writeFile(
    policy,
    `witness w1 ${formatWitnessKey(native, named)} http://127.0.0.1:${port}\n`,
  );
  const from = sidecar.log.now;
  await world.stopControl();
  // Asked as soon as it is up, over all that was recorded until then.
  await world.startControl("--witnesses", policy);
  await sidecar.log.until("lease", { from });
  while ((await world.operator.audit.getCheckpoint({})).witnessedNote === "");
  const trust = { ...world.trust, witnesses: [named], quorum: 1 };
  const { report } = await exported({}, trust);
  expect(report).toMatchObject({ verdict: "WITNESSED", broken: null });
  const [work] = report.ledgers;
  expect(work?.witnessedSize).toBeGreaterThan(0);
  expect(report.findings.join("\n")).toContain(
    `Your witnesses stand behind its receipts up to ${work?.witnessedSize}.`,
  );
});

async function held(organism: string | null) {
  const out = join(world.folder, `${++files}.dragons`);
  const written = await exportHeld(world.operator, { out, organism });
  const report = await verifyPack(out, world.trust, systemClock.nowUs());
  packs.set(`held ${organism}`, { out, trust: world.trust, report });
  return { written, report };
}

test("what the control plane holds is evidence too: of one organism, of all of a name, and of the tenant", async () => {
  const chat = await openChat(sidecar.agent);
  expect(await ask(sidecar.agent, "held")).toMatchObject({ code: 0 });
  const { size } = await sidecar.admin.evidence.getStatus({});
  await world.anchored(sidecar);
  const { instanceId, ledgerId } = sidecar.ready;
  const one = await held(instanceId);
  expect(one.report).toMatchObject({ verdict: "ANCHORED", broken: null });
  const [work, control] = one.report.ledgers;
  expect(work).toMatchObject({
    ledger: ledgerId,
    role: "WORK",
    history: { agreement: "AGREES", whole: true },
  });
  expect(work?.counts.completed).toBeGreaterThan(2);
  expect(recorded(one.report)?.status).toBe("PASS");
  // What was done until then is under a head that the control plane recorded since.
  expect(work?.anchor?.size).toBeGreaterThanOrEqual(Number(size));
  expect(names(one.report)).toEqual(expect.arrayContaining(["WITHHELD", "SCOPE_UNSHOWN"]));
  // What is under way is told by its number: only its sidecar has its row.
  expect(names(one.report)).toContain("OPEN_INTENT");
  expect(control?.from).toBe(one.written.records?.from);
  chat.close();
  await chat.ended;

  const all = await held(null);
  expect(all.report).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(all.report.ledgers.map((l) => l.role)).toEqual(["WORK", "WORK", "CONTROL"]);
  const own = all.report.ledgers.at(-1);
  expect(own).toMatchObject({ from: 1, to: all.written.records?.to });
  // Every record is open; of receipts, no payload is.
  const withheld = all.report.flags.filter((f) => f.flag === "WITHHELD").map((f) => f.ledger);
  expect(withheld).not.toContain(own?.ledger);
  expect(recorded(all.report)?.status).toBe("PASS");

  // The ledger of this machine's sidecar comes from there, with its payloads.
  const out = join(world.folder, `${++files}.dragons`);
  const ours = { out, organism: null, sidecar: sidecar.admin };
  const mixed = await exportHeld(world.operator, ours);
  expect(mixed).toMatchObject({ ledgers: 2, unheld: [], own: ledgerId });
  const both = await verifyPack(out, world.trust, systemClock.nowUs());
  expect(both).toMatchObject({ verdict: "ANCHORED", broken: null });
  expect(both.ledgers.find((l) => l.ledger === ledgerId)?.counts.decisionsSame).toBeGreaterThan(2);
  expect(both.flags.filter((f) => f.ledger === ledgerId && f.flag === "WITHHELD")).toEqual([]);
  expect(recorded(both)?.status).toBe("PASS");

  const named = await held(work?.manifest.split("@")[0] ?? "");
  expect(named.written).toMatchObject({ ledgers: 2, unheld: [] });
  await expect(held("nobody")).rejects.toThrow(/--organism: control plane .* has none nobody/);
});

test.skipIf(lacks("python3"))(
  "the Python verifier says the same of each of these packs",
  async () => {
    const asked = ["[{},0]", "[{},1]", "held null"].map((name) => packs.get(name));
    for (const pack of asked) {
      const { out, trust, report } = pack as { out: string; trust: TrustFile; report: Report };
      const file = `${out}.trust.json`;
      await writeFile(file, JSON.stringify(trustJson(trust)));
      const said = python(["-m", "dragons_verify", out, "--trust", file, "-o", "json"]);
      expect(said.stderr).toBe("");
      expect(owed(JSON.parse(said.stdout) as Report)).toEqual(owed(report));
    }
  },
  120_000,
);

import { join } from "node:path";
import { toHex } from "../../domain/bytes.ts";
import { storyLeaseMsMax, storyLookMs, storyReceiptMsMax } from "../../domain/limits.ts";
import { systemClock } from "../../native/clock.ts";
import { exitCodeOf } from "../../verifier/report.ts";
import { sidecarStatus } from "../actions/evidence.ts";
import { exportEvidence } from "../actions/export.ts";
import { revokeLease } from "../actions/lease.ts";
import { type OrganismView, release } from "../actions/organism.ts";
import { listEntries } from "../actions/receipt.ts";
import { readTrust } from "../actions/trust.ts";
import { tamperPack, verifyPack } from "../actions/verify.ts";
import { explainReceipt } from "../actions/why.ts";
import { EXIT, Failure } from "../failure.ts";
import { AgentLine, type Did } from "./agent-line.ts";
import type { Narrator } from "./narrator.ts";
import { OrganismWatch } from "./organism-watch.ts";
import { describe, LEASE_TTL_US, PURPOSE, type Rig } from "./rig.ts";

const PERMISSION_DENIED = 7;

/**
 * Every beat checks what it tells. A story that does not come true throws, naming the beat; so does
 * one that is broken off, at once, so that nothing of it goes on while everything is ended.
 */
export async function tellStory(
  rig: Rig,
  data: string,
  tell: Narrator,
  brokenOff: AbortSignal,
): Promise<void> {
  const agent = new AgentLine(rig.children.agent);
  const watch = new OrganismWatch(rig.control, rig.ready.instanceId);
  const close = (): void => {
    agent.close();
    watch.close();
  };
  brokenOff.addEventListener("abort", close);
  try {
    await identity(rig, tell);
    const leaseId = await lease(rig, watch, tell);
    await allowed(rig, agent, tell);
    await forbidden(rig, agent, tell);
    await revocation(rig, agent, watch, leaseId, tell);
    await silence(rig, watch, agent, tell);
    await evidence(rig, data, tell);
  } finally {
    brokenOff.removeEventListener("abort", close);
    close();
  }
}

/** A claim of the story, or the reason why it failed. */
function must(ok: boolean, what: string): asserts ok {
  if (!ok) throw new Failure(EXIT.failed, `the story did not come true: ${what}`);
}

async function identity({ measured, ready, control }: Rig, tell: Narrator): Promise<void> {
  tell.beat("Who is it?");
  tell.does("an operator records what the agent is: its code, its configuration, what it needs");
  const { manifest } = await control.manifests.getManifest({ manifestHash: measured.hash });
  must(toHex(manifest) === toHex(measured.bytes), "the manifest is recorded as measured");
  tell.shows(`identity recorded: ${describe(measured)}`);
  tell.shows(`instance ${ready.instanceId}, ledger ${ready.ledgerId.slice(0, 16)}…`);
}

async function lease({ sidecar }: Rig, watch: OrganismWatch, tell: Narrator): Promise<string> {
  tell.beat("What may it do?");
  tell.does(
    `an operator's key signs a grant (read:payments, “${PURPOSE}”); the issuer cuts leases from it`,
  );
  const late = Date.now() + storyLeaseMsMax;
  for (;;) {
    const { leaseId, standing } = await sidecarStatus(sidecar);
    if (standing === null && leaseId !== "") {
      tell.shows(
        `lease issued: ${leaseId}, for ${LEASE_TTL_US / 1e6} s, renewed when a third has passed`,
      );
      const { state } = await watch.until("its first heartbeat", (o) => o.state === "RUNNING");
      tell.shows(`its first heartbeat under the lease: the organism is ${state}`);
      return leaseId;
    }
    must(Date.now() < late, `a lease is held within ${storyLeaseMsMax / 1000} s (${standing})`);
    await new Promise((resolve) => setTimeout(resolve, storyLookMs));
  }
}

async function allowed(rig: Rig, agent: AgentLine, tell: Narrator): Promise<void> {
  tell.beat("What did it do?");
  for (const command of ["list", "get pay_1"]) {
    tell.does(`the agent, which knows nothing of Dragons: ${command}`);
    const did = await agent.ask(command);
    must(did.status === 0, `\`${command}\` is allowed: ${did.message ?? ""}`);
  }
  const receipts = await latest(rig, (r) => r.verdict === "COMPLETED", 2);
  for (const { receiptId, seq, scope } of receipts) {
    tell.shows(`receipt ${receiptId}, number ${seq} of the chain: COMPLETED in ${scope}`);
  }
}

async function forbidden(rig: Rig, agent: AgentLine, tell: Narrator): Promise<void> {
  tell.beat("And what it may not?");
  tell.does("the agent: refund pay_2");
  const did = await agent.ask("refund pay_2");
  must(did.status === PERMISSION_DENIED, `the refund is refused (status ${did.status})`);
  tell.shows(`refused before a byte left: ${did.message}`);
  const [receipt] = await latest(rig, (r) => r.verdict === "DENIED", 1);
  must(receipt !== undefined && receipt.receiptId === did.receipt, "the denial has a receipt");
  const why = await explainReceipt(rig.sidecar, receipt.receiptId);
  tell.shows(`receipt ${receipt.receiptId}: ${receipt.reason}. What would allow it:`);
  tell.note(why.remedy);
}

async function revocation(
  { control, ready }: Rig,
  agent: AgentLine,
  watch: OrganismWatch,
  leaseId: string,
  tell: Narrator,
): Promise<void> {
  tell.beat("Can it be stopped?");
  tell.does("the agent watches payments: a stream, open as long as it may");
  agent.tell("watch");
  const first = await agent.hear("watch");
  must(first.status === 0, `the stream opens: ${first.message ?? ""}`);
  tell.does("an operator takes the lease back");
  const asked = performance.now();
  const { epoch } = await revokeLease(control, {
    which: ready.instanceId,
    reason: "the story wants to see it",
  });
  const cut: Did = await agent.hear("watch", (d) => d.status !== 0);
  must(cut.status === PERMISSION_DENIED, `the stream is cut (status ${cut.status})`);
  const ms = Math.round(performance.now() - asked);
  tell.shows(
    `lease ${leaseId.slice(0, 12)}… and its successors revoked, epoch ${epoch}; stream cut after ${ms} ms`,
  );
  const refused = await agent.ask("get pay_1");
  must(refused.status === PERMISSION_DENIED, "nothing more is allowed");
  tell.shows(`and nothing more is allowed: ${refused.message}`);
  const held = await watch.until("degradation", (o) => o.state === "DEGRADED");
  tell.shows(`the organism is ${held.state}: without a lease it has no authority`);
  tell.does("the operator lets it go on");
  await release(control, {
    instanceId: ready.instanceId,
    reason: "seen",
    conditions: ["LEASE_ZERO"],
  });
  await watch.until("recovery", (o) => o.state === "RUNNING");
  const again = await untilAllowed(agent, "get pay_1");
  must(again.status === 0, "a new lease is earned");
  tell.shows("RUNNING again, under a new lease");
}

async function silence(
  { children }: Rig,
  watch: OrganismWatch,
  agent: AgentLine,
  tell: Narrator,
): Promise<void> {
  tell.beat("Is it still alive?");
  tell.does("the sidecar is held still (SIGSTOP): no heartbeat leaves it");
  const asked = performance.now();
  children.sidecar.signal("SIGSTOP");
  let silent: OrganismView;
  try {
    silent = await watch.until("silence noticed", (o) => o.state === "DEGRADED");
  } finally {
    children.sidecar.signal("SIGCONT");
  }
  const seconds = ((performance.now() - asked) / 1000).toFixed(1);
  tell.shows(`silence is a signal: ${silent.state} after ${seconds} s, and nobody had to be paged`);
  tell.does("it goes on (SIGCONT)");
  await watch.until("recovery", (o) => o.state === "RUNNING");
  must((await untilAllowed(agent, "list")).status === 0, "the agent works again");
  tell.shows("RUNNING again: a heartbeat, and the conditions are gone");
}

async function evidence(rig: Rig, data: string, tell: Narrator): Promise<void> {
  tell.beat("Who believes all this?");
  const pack = join(data, "evidence.dragons");
  tell.does("anyone: with the evidence pack and a trust file of their own, offline");
  const { bytes } = await exportEvidence(rig.sidecar, { out: pack }, rig.control);
  const trust = await readTrust(rig.trustFile);
  const report = await verifyPack(pack, trust, systemClock.nowUs());
  must(
    exitCodeOf(report) === EXIT.ok,
    `the pack verifies: ${report.findings[0] ?? report.verdict}`,
  );
  tell.shows(report.findings[0] ?? report.verdict);
  tell.note(`${pack}, ${bytes} bytes`);
  const [third] = await latest(rig, (r) => r.verdict === "COMPLETED", 1);
  must(third !== undefined, "there is a receipt to tamper with");
  const broken = join(data, "evidence.tampered.dragons");
  const at = await tamperPack(pack, { receipt: third.seq }, broken);
  tell.does(`somebody changes one byte of the copy, byte ${at}, inside receipt ${third.seq}`);
  const found = await verifyPack(broken, trust, systemClock.nowUs());
  must(found.broken !== null, "one changed byte breaks the pack");
  must(found.broken.index === third.seq, `the break is located at ${third.seq}`);
  tell.shows(
    `BROKEN, ${found.broken.code} at receipt ${found.broken.index}; everything from there is untrusted`,
  );
}

/** The last receipts of a kind. One is stored, signed, within some 20 ms of its action's end. */
async function latest(
  { sidecar }: Rig,
  wanted: (receipt: { verdict: string }) => boolean,
  count: number,
) {
  const late = Date.now() + storyReceiptMsMax;
  for (;;) {
    const found = [];
    for await (const receipt of listEntries(sidecar)) if (wanted(receipt)) found.push(receipt);
    if (found.length >= count) return found.slice(-count);
    must(Date.now() < late, `there are ${count} such receipts`);
    await new Promise((resolve) => setTimeout(resolve, storyLookMs));
  }
}

/** A lease that was just earned takes a moment to arrive. */
async function untilAllowed(agent: AgentLine, command: string): Promise<Did> {
  const late = Date.now() + storyLeaseMsMax;
  for (;;) {
    const did = await agent.ask(command);
    if (did.status === 0 || Date.now() > late) return did;
    await new Promise((resolve) => setTimeout(resolve, storyLookMs));
  }
}

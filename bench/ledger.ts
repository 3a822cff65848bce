/**
 * What remembering costs: open and close of the work ledger, on a real disk.
 *
 *     node bench/ledger.ts [calls] [folder]
 *
 * For 1, 16 and 128 actions in flight: actions a second, how long an action waits for its durable
 * intent, and processor time an action: of the main thread, and of the whole process with the
 * signing worker, the database's writer and garbage collection.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openWorkLedger } from "../sidecar/ledger/open-ledger.ts";
import type { Claim } from "../src/domain/claim.ts";
import { GoalBody } from "../src/domain/payload.ts";
import { generateSeed } from "../src/native/keys.ts";

const calls = Number(process.argv[2] ?? 20_000);
const folder = mkdtempSync(join(process.argv[3] ?? ".", ".bench-ledger-"));

const claim: Claim = {
  version: 1,
  protocol: "GRPC",
  target: "payments.internal:443",
  verb: "",
  path: "/payments.v1.Payments/Authorise",
  inputs: [],
  limitState: [
    { scope: "payments", actionsLeft: 1e9, bytesLeft: 1e12, concurrentLeft: 100, rateLeft: 100 },
  ],
  scheme: "HTTPS",
};
const goal = GoalBody.encode({ version: 1, purpose: "settle invoices", goal: "", traceparent: "" });
const bytes = (n: number): Uint8Array => new Uint8Array(randomBytes(n));
const draft = {
  claim,
  goal,
  grantRef: bytes(32),
  leaseRef: bytes(32),
  manifestHash: bytes(32),
  scope: "payments",
  reservedBytes: 0,
  recent: 0,
  listens: false,
  wouldDeny: "UNSPECIFIED",
} as const;
const [action, evidence, outcome] = [bytes(180), bytes(140), bytes(110)];

try {
  const ledger = await openWorkLedger({
    folder: join(folder, "ledger"),
    ledgerId: bytes(32),
    tenantId: "bench",
    manifestHash: draft.manifestHash,
    seed: generateSeed(),
  });
  await run(128, 5000);
  for (const inFlight of [1, 16, 128]) {
    const row = await run(inFlight, inFlight === 1 ? calls / 4 : calls);
    console.log(
      `${inFlight} in flight: ${row.perSecond.toFixed(0)} actions/s, intent p50 ${row.p50.toFixed(0)} µs ` +
        `p99 ${row.p99.toFixed(0)} µs, CPU ${row.mainUs.toFixed(1)} µs main thread, ${row.allUs.toFixed(1)} µs in all`,
    );
  }
  await ledger.shutdown();

  async function run(inFlight: number, count: number) {
    const waited: number[] = [];
    let left = count;
    async function caller(): Promise<void> {
      while (left-- > 0) {
        const begun = performance.now();
        const intent = await ledger.open({ ...draft, openedAtUs: Date.now() * 1000 });
        waited.push(performance.now() - begun);
        ledger.close(intent, {
          verdict: "COMPLETED",
          reason: "UNSPECIFIED",
          closedAtUs: Date.now() * 1000,
          egressLastUs: Date.now() * 1000,
          spentBytes: 0,
          action,
          evidence,
          outcome,
        });
      }
    }
    const begun = performance.now();
    const all = process.cpuUsage();
    const main = process.threadCpuUsage();
    await Promise.all(Array.from({ length: inFlight }, caller));
    await ledger.flushed();
    const seconds = (performance.now() - begun) / 1000;
    const spent = (u: { user: number; system: number }): number => (u.user + u.system) / count;
    waited.sort((a, b) => a - b);
    const at = (q: number): number => (waited[Math.floor(waited.length * q)] ?? 0) * 1000;
    return {
      perSecond: count / seconds,
      p50: at(0.5),
      p99: at(0.99),
      mainUs: spent(process.threadCpuUsage(main)),
      allUs: spent(process.cpuUsage(all)),
    };
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

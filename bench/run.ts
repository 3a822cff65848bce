/**
 * What a sidecar costs, side by side in one run: calls made directly, through nginx's grpc_pass (which
 * enforces nothing), and through the sidecar with everything on.
 *
 *     npm run bench -- [--rounds 5] [--seconds 2] [--unpinned] [-o results.json]
 *
 * Needs h2load (nghttp2-client); nginx is left out when it is not installed. Each round measures every
 * subject in every shape; the median round is told. Rates depend on the machine and on who else uses
 * it, so what may be compared between runs is the ratios. Docs: docs/performance.md.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Loader } from "./load.ts";
import { startNginx } from "./nginx.ts";
import { find, node, PINNED, Process } from "./process.ts";

const SHAPES = [
  { connections: 1, streams: 1 },
  { connections: 8, streams: 16 },
  { connections: 64, streams: 1 },
] as const;
/** Calls of one measurement at most: at 400,000 a second a bench measures its own log. */
const CALLS_MAX = 200_000;

interface Subject {
  readonly name: string;
  readonly port: number;
  readonly process: Process;
}

interface Measured {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly cpuUsPerCall: number;
  readonly rssMb: number;
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    output: { type: "string", short: "o" },
    // Read where processes are started.
    unpinned: { type: "boolean" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);

const h2load = find("h2load");
if (h2load === null) {
  console.error("h2load is not installed: apt-get install nghttp2-client");
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "dragons-bench-"));
const loader = new Loader(h2load, folder);
const started: Process[] = [];
try {
  await main();
} finally {
  await Promise.all(started.map((p) => p.stop()));
  rmSync(folder, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const upstream = await start("load", "upstream.ts");
  const direct = await start("measured", "upstream.ts");
  const sidecar = await start("measured", "sidecar.ts", `${upstream.port}`);
  const subjects: Subject[] = [{ name: "direct", ...direct }];
  const nginx = await startNginx(folder, upstream.port);
  if (nginx === null) console.error("nginx is not installed: no ratios to it");
  else {
    started.push(nginx.process);
    subjects.push({ name: "nginx grpc_pass", ...nginx });
  }
  subjects.push({ name: "sidecar", ...sidecar });

  const results: Record<string, Record<string, Measured[]>> = {};
  let calls = 0;
  for (let round = 0; round < rounds; round++) {
    for (const { connections, streams } of SHAPES) {
      for (const subject of subjects) {
        const shape = `${connections}×${streams}`;
        const { measured, made } = await measure(subject, connections, streams);
        if (subject.name === "sidecar") calls += made;
        const ofShape = results[shape] ?? {};
        results[shape] = ofShape;
        ofShape[subject.name] = [...(ofShape[subject.name] ?? []), measured];
      }
    }
    console.error(`round ${round + 1} of ${rounds}`);
  }

  const report = medians(results);
  print(report);
  await sidecar.process.stop();
  started.splice(started.indexOf(sidecar.process), 1);
  // h2load takes any 200 for success, and a refusal is one.
  const counts = await sidecar.process.told<Record<string, number>>();
  console.log(`\nthe sidecar's ledger: ${calls} calls, ${JSON.stringify(counts)}`);
  if (counts.completed !== calls) throw new Error("not every call was completed");
  if (values.output !== undefined) {
    const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
    const told = { machine, pinned: PINNED, rounds, medians: report, all: results, counts };
    writeFileSync(values.output, `${JSON.stringify(told, null, 2)}\n`);
  }
}

async function start(core: "load" | "measured", script: string, ...args: string[]) {
  const process = new Process(core, node(script, ...args));
  started.push(process);
  return { process, ...(await process.told<{ port: number }>()) };
}

async function measure(subject: Subject, connections: number, streams: number) {
  const { port, process } = subject;
  const atLeast = connections * streams * 20;
  const warm = await loader.run(port, connections, streams, Math.max(atLeast, 1000));
  const calls = Math.min(CALLS_MAX, Math.max(atLeast, Math.round(warm.perSecond * seconds)));
  const before = process.cpuUs();
  const { perSecond } = await loader.run(port, connections, streams, calls);
  const cpuUsPerCall = (process.cpuUs() - before) / calls;
  const timed = Math.max(atLeast, Math.round(calls / 2));
  const took = await loader.latencies(port, connections, streams, timed);
  const at = (q: number): number => took[Math.floor(took.length * q)] ?? Number.NaN;
  const measured: Measured = {
    perSecond,
    cpuUsPerCall,
    p50Us: at(0.5),
    p99Us: at(0.99),
    rssMb: process.memoryMb().resident,
  };
  return { measured, made: warm.calls + calls + timed };
}

type Report = Record<string, Record<string, Measured>>;

function medians(results: Record<string, Record<string, Measured[]>>): Report {
  const median = (all: number[]): number =>
    all.sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN;
  const of = (runs: Measured[]): Measured => ({
    perSecond: median(runs.map((r) => r.perSecond)),
    p50Us: median(runs.map((r) => r.p50Us)),
    p99Us: median(runs.map((r) => r.p99Us)),
    cpuUsPerCall: median(runs.map((r) => r.cpuUsPerCall)),
    rssMb: median(runs.map((r) => r.rssMb)),
  });
  return Object.fromEntries(
    Object.entries(results).map(([shape, bySubject]) => [
      shape,
      Object.fromEntries(Object.entries(bySubject).map(([name, runs]) => [name, of(runs)])),
    ]),
  );
}

function print(report: Report): void {
  console.log(`${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, ${rounds} rounds`);
  console.log(PINNED ? "load and upstream on core 0, what is measured on core 1" : "not pinned");
  const columns = ["calls/s", "×nginx", "p50 µs", "×nginx", "p50 +", "p99 +", "CPU µs", "RSS MB"];
  for (const [shape, bySubject] of Object.entries(report)) {
    console.log(`\n${shape.padEnd(16)} ${columns.map((c) => c.padStart(8)).join(" ")}`);
    const { direct, "nginx grpc_pass": nginx } = bySubject;
    for (const [name, m] of Object.entries(bySubject)) {
      const ratio = (of: number, to = Number.NaN): string =>
        Number.isNaN(to) ? "" : (of / to).toFixed(2);
      const cells = [
        m.perSecond.toFixed(0),
        ratio(m.perSecond, nginx?.perSecond),
        m.p50Us.toFixed(0),
        ratio(m.p50Us, nginx?.p50Us),
        (m.p50Us - (direct?.p50Us ?? 0)).toFixed(0),
        (m.p99Us - (direct?.p99Us ?? 0)).toFixed(0),
        m.cpuUsPerCall.toFixed(1),
        m.rssMb.toFixed(0),
      ];
      console.log(`${name.padEnd(16)} ${cells.map((c) => c.padStart(8)).join(" ")}`);
    }
  }
}

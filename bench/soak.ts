/**
 * Whether a sidecar's memory stays where it is: many calls with everything on, at 8 connections × 16
 * streams, and its resident memory after every twentieth of them.
 *
 *     node bench/soak.ts [calls, default 1,000,000]
 *
 * Told apart: what is the process's own, and pages of files, most of them the ledger's database, which
 * grows with the ledger and which the kernel takes back when memory is wanted. Ends with exit code 1
 * unless resident memory stayed below 200 MB, and its own memory did not grow in the last half.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Loader } from "./load.ts";
import { find, node, Process } from "./process.ts";

const STEPS = 20;
const RESIDENT_MB_MAX = 200;
/** Of a process that is steady, from a quarter of the run to the next: the collector's mood. */
const GROWTH_MAX = 0.05;
const calls = Number(process.argv[2] ?? 1_000_000);
const h2load = find("h2load");
if (h2load === null) {
  console.error("h2load is not installed: apt-get install nghttp2-client");
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "dragons-soak-"));
const upstream = new Process("load", node("upstream.ts"));
const { port: upstreamPort } = await upstream.told<{ port: number }>();
const sidecar = new Process("measured", node("sidecar.ts", `${upstreamPort}`));
try {
  const { port } = await sidecar.told<{ port: number }>();
  const loader = new Loader(h2load, folder);
  const perStep = Math.ceil(calls / STEPS);
  const own: number[] = [];
  let most = 0;
  console.log("     calls  calls/s  resident MB  own MB");
  for (let step = 1; step <= STEPS; step++) {
    const { perSecond } = await loader.run(port, 8, 16, perStep);
    const memory = sidecar.memoryMb();
    own.push(memory.own);
    most = Math.max(most, memory.resident);
    const cells = [perStep * step, perSecond.toFixed(0), memory.resident.toFixed(0)];
    const [made, rate, resident] = cells.map(String);
    console.log(
      `${made?.padStart(10)} ${rate?.padStart(8)} ${resident?.padStart(12)} ${memory.own.toFixed(0).padStart(7)}`,
    );
  }
  const mean = (part: number[]): number => part.reduce((a, b) => a + b, 0) / part.length;
  // The first half warms up: code is compiled and the heap finds its size.
  const [third, last] = [own.slice(STEPS / 2, STEPS * 0.75), own.slice(STEPS * 0.75)];
  const growth = mean(last) / mean(third) - 1;
  console.log(`own memory, last quarter over the one before: ${(growth * 100).toFixed(1)} %`);
  console.log(`resident memory at most: ${most.toFixed(0)} MB`);
  if (growth > GROWTH_MAX || most >= RESIDENT_MB_MAX) process.exitCode = 1;
} finally {
  await sidecar.stop();
  await upstream.stop();
  rmSync(folder, { recursive: true, force: true });
}

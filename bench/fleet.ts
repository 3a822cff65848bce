/**
 * A fleet on one machine: so many identities, each over a TLS connection of its own, renewing leases of a
 * minute, beating every ten seconds at the pace of sidecars, a receipt a minute. The control plane is a process
 * of its own with everything on and its limits as they are shipped; the simulator is this one, and has the other core.
 * With `--unpinned` the kernel deals them out: V8 marks garbage on threads of its own, which on one core
 * take turns with the one that answers.
 *
 *     node bench/fleet.ts [--instances 1000] [--seconds 60] [--watchers 1000] [--unpinned]
 *
 * Ten thousand (`npm run bench:fleet`) take two cores for a quarter of an hour, and 20,000 file descriptors in each
 * process (`ulimit -n`). There the simulator's heap has room for all of it, and for what its connections own: what it
 * collects itself would be in what it measures. Each phase ends after some minutes, whatever it has seen.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { parseArgs } from "node:util";
import { enrolMessage } from "../src/domain/enrolment.ts";
import { OrganismState } from "../src/gen/dragons/v1/artifacts_pb.ts";
import { GrantService, ManifestService } from "../src/gen/dragons/v1/authority_pb.ts";
import { DockService } from "../src/gen/dragons/v1/dock_pb.ts";
import { OrganismService, WatchEvent } from "../src/gen/dragons/v1/organism_pb.ts";
import { generateTlsKey } from "../src/native/pki.ts";
import { createClient } from "../src/wire/grpc.ts";
import { type Berth, SimSidecar } from "../test/control/sidecar.ts";
import {
  dockBody,
  grantBody,
  hashOf,
  makeHouse,
  manifest,
  manifestBytes,
  newSigner,
  requestId,
  signDock,
  signGrant,
} from "../test/control/world.ts";
import { FleetOrganism, type Tally } from "./fleet-organism.ts";
import { Wheel } from "./fleet-wheel.ts";
import { ControlProcess } from "./fleet-world.ts";

const { values } = parseArgs({
  options: {
    instances: { type: "string", default: "1000" },
    seconds: { type: "string", default: "60" },
    watchers: { type: "string", default: "1000" },
    unpinned: { type: "boolean", default: false },
  },
});
const INSTANCES = Number(values.instances);
const SECONDS = Number(values.seconds);
const WATCHERS = Number(values.watchers);
/** Organisms of one name: what one watcher watches. */
const PER_NAME = 100;
/** Room for those whose docking was answered after the connection was lost. */
const SPARE = 20;
const DOCKING_AT_ONCE = 32;
/** Organisms after which memory is told while they dock: whether it grows with them. */
const TOLD_EACH = 1000;
const WATCHERS_PER_CONNECTION = 100;
const SETTLE_MS_MAX = 180_000;
/** Who has not docked by then is left out, and that is told. */
const DOCK_MS_MAX = 420_000;
/** Within which everybody is to be back after the network broke; after a restart, within one lease. */
const RECONNECT_S_MAX = 30;
const LEASE_S = 60;
const P99_MS_MAX = 250;
const RESIDENT_MB_MAX = 1024;
/** Of the beats that are due, at least: each sidecar beats every ten seconds, but while it is answered late. */
const BEATS_MIN = 0.95 * (INSTANCES / 10);

const folder = mkdtempSync(join(tmpdir(), "dragons-fleet-"));
const control = new ControlProcess(folder);
await control.start();
const world = control.world();
const house = await makeHouse(world, "fleet");
const tally: Tally = {
  beats: 0,
  ackMs: [],
  lost: 0,
  leases: 0,
  lapsed: 0,
  attached: 0,
  broken: 0,
  refused: new Map(),
};
const wheel = new Wheel();
const fleet: FleetOrganism[] = [];
const lives: Promise<void>[] = [];
const wrong: string[] = [];
/** Those that this bench quarantines itself, and of those whoever watched for quarantines was told of. */
const drilled = new Set<string>();
const told = new Set<string>();
const say = (text: string): void => console.log(text);
const at = (sorted: readonly number[], share: number): number =>
  Math.round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN);

say(`${INSTANCES} organisms, leases of 60 s, a beat in 10 s, a receipt in 60 s`);
await dockAll();
await until("everybody has a lease", () => fleet.every((o) => o.renewedAt > 0));
const quarantined = await watchForQuarantine();
let memoryMb = 0;
setInterval(() => {
  if (control.running) memoryMb = Math.max(memoryMb, control.memoryMb().resident);
}, 1000);
await steady();
await settles("every connection cut at once", RECONNECT_S_MAX, async () => {
  for (const organism of fleet) organism.cut();
});
await settles("the control plane stopped and started", LEASE_S, async () => {
  const began = performance.now();
  await control.stop();
  const stopped = performance.now();
  await control.start();
  const [stopping, starting] = [stopped - began, performance.now() - stopped];
  say(
    `  it stopped within ${Math.round(stopping)} ms, and was ready ${Math.round(starting)} ms later`,
  );
});
const withoutWatchersMb = Math.round(memoryMb);
if (withoutWatchersMb > RESIDENT_MB_MAX) {
  wrong.push(`the control plane took ${withoutWatchersMb} MB, ${RESIDENT_MB_MAX} at most`);
}
await watchers();
// Had it seen nothing, it would say the same.
await until("the watch for quarantines has seen the drill", () => told.size === drilled.size);
say(
  `in all: ${withoutWatchersMb} MB resident, with watchers ${Math.round(memoryMb)} MB; ` +
    `${tally.lapsed} leases had run out; quarantined without cause: ${quarantined.size}`,
);
if (tally.lapsed > 0) wrong.push(`${tally.lapsed} leases had run out in all`);
for (const [why, times] of tally.refused) wrong.push(`${times} times refused: ${why}`);
if (quarantined.size > 0) wrong.push("healthy organisms were quarantined");
for (const organism of fleet) organism.end();
await control.stop();
rmSync(folder, { recursive: true });
for (const what of wrong) say(`NOT AS IT MUST BE: ${what}`);
process.exit(wrong.length === 0 ? 0 : 1);

async function dockAll(): Promise<void> {
  const began = performance.now();
  const left: { berth: Berth; hash: Uint8Array }[] = [];
  for (let i = 0; i * PER_NAME < INSTANCES; i++) {
    const berth = await berthOf(i);
    for (let n = 0; n < PER_NAME && left.length < INSTANCES; n++) left.push(berth);
  }
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      if (performance.now() - began > DOCK_MS_MAX) return;
      const { berth, hash } = next;
      const sidecar = await patiently(() =>
        SimSidecar.dock(world, house, berth, { manifestHash: hash }),
      );
      const certificate = await patiently(() => enrol(sidecar));
      const dial = control.dialer(certificate, addressOf(fleet.length));
      const organism = new FleetOrganism(sidecar, hash, dial, tally, wheel);
      fleet.push(organism);
      lives.push(organism.live());
      if (fleet.length % TOLD_EACH === 0) {
        say(`  with ${fleet.length}: control plane ${Math.round(control.memoryMb().resident)} MB`);
      }
    }
  };
  await Promise.all(Array.from({ length: DOCKING_AT_ONCE }, worker));
  const seconds = (performance.now() - began) / 1000;
  say(
    `${fleet.length} docked and enrolled in ${seconds.toFixed(1)} s, ${Math.round(fleet.length / seconds)} a second`,
  );
  if (fleet.length < INSTANCES) wrong.push(`${fleet.length} of ${INSTANCES} docked in time`);
}

async function berthOf(i: number): Promise<{ berth: Berth; hash: Uint8Array }> {
  const operator = await house.as("OPERATOR");
  const mine = manifest({ name: nameOf(i) });
  const hash = hashOf(mine);
  await world
    .client(ManifestService)
    .recordManifest({ requestId: requestId(), manifest: manifestBytes(mine) }, operator);
  const body = grantBody(world, house, { manifestHash: hash, instancesMax: PER_NAME + SPARE });
  const { grantRef, grantId } = await world
    .client(GrantService)
    .recordGrant({ requestId: requestId(), grant: await signGrant(house, body) }, operator);
  const join = newSigner();
  const dock = dockBody(world, house, grantRef, [
    { key: join.publicKey, ledgersMax: PER_NAME + SPARE },
  ]);
  const { dockRef } = await world
    .client(DockService)
    .recordDock({ requestId: requestId(), dock: await signDock(house, dock) }, operator);
  return { berth: { dockRef, grantRef, grantId, join }, hash };
}

/** Loopback has many: strangers are counted by address, until they have shown who they are. */
function addressOf(i: number): string {
  return `127.1.${(i >> 8) & 255}.${1 + (i % 254)}`;
}

function nameOf(i: number): string {
  return `agent-${i}`;
}

async function enrol({ ledgerId, ledgerKey }: SimSidecar) {
  const { publicKey: tlsKey, keyPem } = generateTlsKey();
  const askedAtUs = world.clock.nowUs();
  const signature = await ledgerKey.sign(enrolMessage({ ledgerId, tlsKey, askedAtUs }));
  const { certificate: certPem } = await world
    .client(DockService)
    .enrol({ ledgerId, tlsKey, askedAtUs: BigInt(askedAtUs), signature });
  return { certPem, keyPem };
}

/** Strangers are admitted at a rate, and are told when they come too fast; a connection may be lost. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const { code = "" } = error as { code?: string };
      if (!["RESOURCE_EXHAUSTED", "UNAVAILABLE"].includes(code)) throw error;
      await after(200 + Math.random() * 300);
    }
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const late = performance.now() + SETTLE_MS_MAX;
  while (!holds()) {
    if (performance.now() > late) {
      wrong.push(`${what}: not within ${SETTLE_MS_MAX / 1000} s`);
      return;
    }
    await after(100);
  }
}

async function watchForQuarantine(): Promise<Set<string>> {
  const found = new Set<string>();
  const read = async (): Promise<void> => {
    for (let resumeToken = ""; ; ) {
      try {
        const channel = control.open();
        const request = { resumeToken, state: OrganismState.QUARANTINED };
        const answers = createClient(OrganismService, channel).watch(
          request,
          await house.as("VIEWER"),
        );
        for await (const { organism, resumeToken: token } of answers) {
          resumeToken = token || resumeToken;
          if (organism?.state !== OrganismState.QUARANTINED) continue;
          (drilled.has(organism.instanceId) ? told : found).add(organism.instanceId);
        }
      } catch {
        await after(500);
      }
    }
  };
  void read();
  return found;
}

async function steady(): Promise<void> {
  tally.ackMs = [];
  const before = { ...tally };
  const [cpu, ours, began] = [control.cpuUs(), process.cpuUsage(), performance.now()];
  memoryMb = 0;
  await after(SECONDS * 1000);
  const ended = performance.now();
  const seconds = (ended - began) / 1000;
  const used = (control.cpuUs() - cpu) / 1e6 / seconds;
  const simulating = process.cpuUsage(ours);
  const busy = (simulating.user + simulating.system) / 1e6 / seconds;
  const [beats, leases] = [tally.beats - before.beats, tally.leases - before.leases];
  const made = fleet.map((o) => o.made);
  // What is under way when the clock stops is not lost.
  await until("every beat is acknowledged", () => fleet.every((o) => o.owedSince > ended));
  await until("every receipt is held", () => fleet.every((o, i) => o.held >= (made[i] ?? 0)));
  const ms = tally.ackMs.sort((a, b) => a - b);
  const [lost, broken] = [tally.lost - before.lost, tally.broken - before.broken];
  const lapsed = tally.lapsed - before.lapsed;
  const receipts = made.reduce((sum, n) => sum + n, 0);
  say(
    `steady, ${Math.round(seconds)} s: ${Math.round(beats / seconds)} beats a second, ${lost} of ${beats} lost; acknowledged after ` +
      `${at(ms, 0.5)} ms (half), ${at(ms, 0.99)} ms (99 of 100), ${at(ms, 1)} ms (all)`,
  );
  say(
    `  control plane: ${Math.round(memoryMb)} MB resident, ${(used * 100).toFixed(0)} % of a core ` +
      `(the simulator ${(busy * 100).toFixed(0)} %); ` +
      `${leases} leases, ${lapsed} came too late; ${receipts} receipts held; ${broken} sessions broke`,
  );
  if (lost > 0) wrong.push(`${lost} beats were never acknowledged`);
  if (broken > 0) wrong.push(`${broken} sessions broke in the steady state`);
  if (beats / seconds < BEATS_MIN) {
    wrong.push(`${Math.round(beats / seconds)} beats a second, ${BEATS_MIN} at least`);
  }
  const p99 = at(ms, 0.99);
  if (p99 > P99_MS_MAX) {
    wrong.push(`p99 of acknowledgement is ${p99} ms, ${P99_MS_MAX} at most`);
  }
}

async function settles(
  what: string,
  secondsMax: number,
  disturb: () => Promise<void>,
): Promise<void> {
  const before = tally.lapsed;
  const began = performance.now();
  await disturb();
  await until(`${what}: everybody renewed`, () => fleet.every((o) => o.renewedAt > began));
  const seconds = (times: readonly number[], share: number): string =>
    (
      at(
        times.map((t) => t - began).sort((a, b) => a - b),
        share,
      ) / 1000
    ).toFixed(1);
  const attached = fleet.map((o) => o.attachedAt);
  const renewed = fleet.map((o) => o.renewedAt);
  const lapsed = tally.lapsed - before;
  say(
    `${what}: attached after ${seconds(attached, 0.5)} s (half), ${seconds(attached, 1)} s (all); ` +
      `next lease after ${seconds(renewed, 0.5)} s, ${seconds(renewed, 1)} s; ${lapsed} leases had run out`,
  );
  const took = seconds(renewed, 1);
  if (Number(took) > secondsMax) wrong.push(`${what}: took ${took} s, ${secondsMax} at most`);
}

async function watchers(): Promise<void> {
  const groups = Math.max(1, Math.floor(INSTANCES / PER_NAME));
  const named = Math.min(PER_NAME, INSTANCES);
  const seen: number[] = [];
  let synced = 0;
  let began = 0;
  const channels = Array.from({ length: Math.ceil(WATCHERS / WATCHERS_PER_CONNECTION) }, () =>
    control.open(),
  );
  const viewer = await house.as("VIEWER");
  const watch = async (i: number): Promise<void> => {
    let known = 0;
    const channel = channels[Math.floor(i / WATCHERS_PER_CONNECTION)];
    if (channel === undefined) return;
    const client = createClient(OrganismService, channel);
    for await (const told of client.watch({ name: nameOf(i % groups) }, viewer)) {
      if (told.event === WatchEvent.SYNCED) {
        synced++;
        if (known < named) wrong.push(`a watcher was shown ${known} of ${named} organisms`);
      } else if (began === 0) known += told.organism === undefined ? 0 : 1;
      else if (told.organism?.state === OrganismState.QUARANTINED) {
        seen.push(performance.now() - began);
      }
    }
  };
  const opened = performance.now();
  for (let i = 0; i < WATCHERS; i++) watch(i).catch(() => {});
  await until("every watcher is synced", () => synced >= WATCHERS);
  say(
    `${WATCHERS} watchers of ${PER_NAME} organisms each: synced after ${((performance.now() - opened) / 1000).toFixed(1)} s, ` +
      `control plane ${Math.round(control.memoryMb().resident)} MB`,
  );
  if (WATCHERS === 0) return;
  const operator = await house.as("OPERATOR");
  const drill = fleet.filter((_, i) => i % PER_NAME === 0).slice(0, groups);
  for (const { sidecar } of drill) drilled.add(sidecar.instanceId);
  began = performance.now();
  await Promise.all(
    drill.map(({ sidecar: { instanceId } }) =>
      world
        .client(OrganismService)
        .quarantine({ requestId: requestId(), instanceId, reason: "a drill" }, operator),
    ),
  );
  const owed = Math.floor(WATCHERS / groups) * drill.length;
  await until("every watcher hears of the quarantines", () => seen.length >= owed);
  const ms = seen.sort((a, b) => a - b);
  say(
    `  ${drill.length} quarantines at once: told ${seen.length} times, after ${at(ms, 0.5)} ms (half), ` +
      `${at(ms, 0.99)} ms (99 of 100)`,
  );
  for (const channel of channels) channel.close();
}

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { openCage } from "../../sidecar/cage/cage.ts";
import { findMeans } from "../../sidecar/cage/means.ts";
import type { Decide } from "../../sidecar/gate/authority.ts";
import { NameServer } from "../../sidecar/listeners/dns.ts";
import { Names } from "../../sidecar/listeners/names.ts";
import { authorize } from "../../src/domain/authorize.ts";
import type { Rule } from "../../src/domain/rule.ts";
import { compileScopes } from "../../src/domain/scope.ts";
import { systemClock } from "../../src/native/clock.ts";
import { leaseFrom, openRig } from "../datapath/harness.ts";

/** What `escape-host.ts` is told. */
export interface EscapeOptions {
  readonly program: string;
  readonly cwd: string;
  /** For what the host keeps. */
  readonly scratch: string;
  /** To be written when it is over. */
  readonly report: string;
  readonly canary: number;
}

/** What came of it. */
export interface EscapeReport {
  /** Listeners of this machine that somebody came to. */
  readonly contacts: readonly string[];
  readonly receipts: readonly {
    readonly reason: string;
    readonly verdict: string;
    readonly target: string;
  }[];
}

/**
 * The hostile program in a cage, the whole data path outside of it with a lease for one path at one name,
 * and listeners on this machine that nobody is to come to. Ends as the program does.
 */
const options = JSON.parse(process.argv[2] as string) as EscapeOptions;
const { cwd, scratch, canary } = options;

const rule = (target: string): Rule => ({
  protocol: "HTTP",
  target,
  verb: "GET",
  path: "/ok",
  when: "",
  scheme: "HTTP",
});
const { tenantId, instanceId, ledgerId, manifestHash } = leaseFrom(0).body;
const subject = {
  ...{ tenantId, instanceId, ledgerId, manifestHash, granted: [] },
  scopes: compileScopes({
    version: 1,
    name: "test",
    agentVersion: "v1",
    code: [],
    config: [],
    runtime: "",
    capabilities: [
      { name: "use:echo", rules: [rule("world.example:8080"), rule("rebind.example:8080")] },
    ],
    servers: [],
    listens: [],
  }),
};
const decide: Decide = (held, claim, nowUs) => authorize({ subject, ...held }, claim, nowUs);

const contacts: string[] = [];
const tcp = createServer((socket) => {
  contacts.push("tcp");
  socket.destroy();
}).listen(canary, "::");
const udp = createSocket("udp6")
  .on("message", () => contacts.push("udp"))
  .bind(canary, "::");
const planted = join(cwd, "planted.sock");
const unix = createServer(() => contacts.push("unix")).listen(planted);
const abstract = createServer(() => contacts.push("abstract")).listen("\0dragons-canary");
await Promise.all([tcp, udp, unix, abstract].map((server) => once(server, "listening")));
chmodSync(planted, 0o777);

const means = findMeans(process.env);
if ("lacking" in means) throw new Error(means.why);
const cage = await openCage({
  means,
  view: { cwd, writable: [], hidden: [scratch], shown: [options.program], snapshot: null },
  outside: [],
  allowUnix: false,
  stdio: ["inherit", "inherit", "inherit"],
});
if ("lacking" in cage) throw new Error(cage.why);

const names = new Names(join(scratch, "names"));
const lookups = new NameServer(names, systemClock, (reason, detail) => {
  rig.gate.refuse({ claim: null, traceparent: "" }, reason, detail);
});
const rig = await openRig(
  {
    proxy: null,
    transparent: {
      nameOf: (address) => names.nameOf(address),
      onLookup: (socket) => lookups.accept(socket),
    },
  },
  systemClock,
  async (host) => (host === "rebind.example" ? ["10.97.0.2"] : ["203.0.113.7"]),
  null,
  leaseFrom(systemClock.nowUs()),
  decide,
);
await rig.stack.takeOver(cage.transparent);
lookups.listen(cage.dns);
const told = { canary, planted, keys: scratch, sidecar: process.pid };
const started = await cage.start(
  { files: {}, snapshot: [] },
  {
    command: ["/usr/bin/python3", options.program, JSON.stringify(told)],
    env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8" },
  },
);
if ("why" in started) process.stderr.write(`${started.why}\n`);
const code = await cage.exited;
await rig.close();
const { closed, recorded } = rig.ledger;
const report: EscapeReport = {
  contacts,
  receipts: [
    ...closed.map(({ reason, verdict, draft }) => {
      return { reason, verdict, target: draft.claim.target };
    }),
    ...recorded.map(({ reason, kind }) => ({ reason, verdict: kind, target: "" })),
  ],
};
writeFileSync(options.report, JSON.stringify(report));
process.exit(code);

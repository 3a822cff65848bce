import { spawnSync } from "node:child_process";
import { relative } from "node:path";
import { writeAtomic } from "../../native/atomic-file.ts";
import { DEV_USAGE, type DevConfig, parseDevArgs } from "../dev/config.ts";
import { Narrator } from "../dev/narrator.ts";
import { type Rig, startRig, TENANT } from "../dev/rig.ts";
import { tellStory } from "../dev/story.ts";
import { EXIT, Failure } from "../failure.ts";

/** An unmodified agent in Python; needs grpcio. */
const AGENT = "examples/payments/my_agent.py";
/** Where grpcio may be: in whichever Python comes first, or in the system's own. */
const PYTHONS = ["python3", "/usr/bin/python3"];

/** Everything on this machine, with a story. Resolves with the exit code. */
export async function dev(args: readonly string[]): Promise<number> {
  const config = parseDevArgs(args);
  const tell = new Narrator();
  if (config === null) {
    tell.plain(DEV_USAGE);
    return EXIT.ok;
  }
  const asked = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      // Asked twice: the others end by themselves, since their standard input does.
      if (asked.signal.aborted) process.exit(EXIT.failed);
      asked.abort();
    });
  }
  tell.title("Dragons: leases, receipts and signs of life for an agent that knows nothing of them");
  tell.plain("For trying out, not for production: all keys lie in one folder.");
  const began = performance.now();
  const rig = await startRig(config);
  try {
    if (config.readyFile !== null) await writeReady(config.readyFile, config, rig);
    tell.plain(
      `Four processes up after ${((performance.now() - began) / 1000).toFixed(1)} s: ` +
        `control plane ${rig.control.address}, sidecar ${rig.ready.proxy}, payments ${rig.upstream}, agent.`,
    );
    const whole = await story(rig, config, tell, asked.signal);
    if (config.once && !whole) throw new Failure(EXIT.failed, "broken off; the story is not told");
    if (!config.once && whole) {
      next(config, rig, tell);
      await untilAsked(rig, tell, asked.signal);
    }
  } finally {
    await rig.close();
  }
  return EXIT.ok;
}

/**
 * Tells the story. false: somebody broke it off, which is no failure of its own.
 * @throws Failure when a beat did not come true, or a process of it ended
 */
async function story(
  rig: Rig,
  { data }: DevConfig,
  tell: Narrator,
  asked: AbortSignal,
): Promise<boolean> {
  const gone = new AbortController();
  for (const child of Object.values(rig.children)) {
    void child.exited.then((code) =>
      gone.abort(new Failure(EXIT.failed, `${child.name} ended with code ${code}`)),
    );
  }
  try {
    asked.throwIfAborted();
    await tellStory(rig, data, tell, AbortSignal.any([asked, gone.signal]));
    return true;
  } catch (error) {
    if (asked.aborted) return false;
    throw gone.signal.aborted ? gone.signal.reason : error;
  }
}

/** Stays up, and says which process ended meanwhile: what becomes of the others is worth seeing. */
async function untilAsked(rig: Rig, tell: Narrator, asked: AbortSignal): Promise<void> {
  for (const child of Object.values(rig.children)) {
    void child.exited.then((code) => {
      if (!asked.aborted) tell.plain(`${child.name} ended with code ${code}; the others go on.`);
    });
  }
  if (asked.aborted) return;
  await new Promise<void>((resolve) => {
    asked.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function writeReady(path: string, { data }: DevConfig, rig: Rig): Promise<void> {
  const { control, ready, trustFile, children } = rig;
  const facts = {
    control: control.address,
    controlCa: rig.controlCa,
    audience: rig.audience,
    operator: rig.operator,
    proxy: ready.proxy,
    admin: ready.admin,
    agentCa: ready.agentCa,
    credential: ready.credential,
    upstream: rig.upstream,
    operatorKey: rig.loginKey,
    tenant: TENANT,
    instanceId: ready.instanceId,
    trust: trustFile,
    profile: rig.profileFile,
    data,
    pids: Object.fromEntries(Object.entries(children).map(([name, child]) => [name, child.pid])),
  };
  await writeAtomic(path, `${JSON.stringify(facts, null, 2)}\n`, 0o600);
}

function next({ data }: DevConfig, rig: Rig, tell: Narrator): void {
  const dragons = "./bin/dragons";
  const profile = short(rig.profileFile);
  const at = profile === ".dragons/profile.json" ? "" : ` --profile ${profile}`;
  const folder = short(data);
  const python = PYTHONS.find((p) => spawnSync(p, ["-c", "import grpc"]).status === 0);
  const agent = `${python ?? "python3"} ${AGENT} ${rig.upstream}`;
  tell.title("It stays up. Try next, in another terminal:");
  for (const command of [
    `${dragons} organism list${at}`,
    `${dragons} receipt list${at}`,
    `${dragons} verify ${folder}/evidence.dragons --trust ${folder}/trust.json`,
    `${dragons} run${at} --contain off -- ${agent}`,
    `${dragons} run${at} --contain off --allow 'grpc payments.v1.Payments/List* at ${rig.upstream}' -- ${agent}`,
    `${dragons} organism watch${at}`,
  ]) {
    tell.plain(`  ${command}`);
  }
  if (python === undefined) tell.plain(`  (${AGENT} needs grpcio; on Debian: python3-grpcio)`);
  tell.plain("\nCtrl-C ends everything, in order.");
}

/** A path as one would type it from here. */
function short(path: string): string {
  const here = relative(process.cwd(), path);
  return here === "" ? "." : here.startsWith("..") ? path : here;
}

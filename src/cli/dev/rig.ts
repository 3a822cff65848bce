import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../../domain/bytes.ts";
import { NO_LIMITS } from "../../domain/grant.ts";
import { heartbeatIntervalDevUs } from "../../domain/limits.ts";
import { manifestLabel } from "../../domain/manifest.ts";
import { writeAtomic } from "../../native/atomic-file.ts";
import { fileSigner } from "../../native/keys.ts";
import { type Measured, measure } from "../../native/manifest-file.ts";
import { bringAboard } from "../actions/aboard.ts";
import { createGrant } from "../actions/grant.ts";
import { keptKey } from "../actions/keys.ts";
import { recordManifest } from "../actions/manifest.ts";
import { createTenant, listTenants } from "../actions/tenant.ts";
import { writeTrust } from "../actions/trust.ts";
import { type Control, openControl, openSidecar, type SidecarClient } from "../client.ts";
import { Child, LAUNCHER } from "./child.ts";
import type { DevConfig } from "./config.ts";

const SECOND_US = 1_000_000;
const DAY_US = 24 * 3600 * SECOND_US;
export const TENANT = "dev";
const OPERATOR = "you";
export const PURPOSE = "reconcile yesterday's payments";
/** Short, so that a story need not wait: five seconds to a renewal. */
export const LEASE_TTL_US = 15 * SECOND_US;

const EXAMPLES = join(import.meta.dirname, "../../../examples/payments");

interface ControlReady {
  readonly control: string;
  readonly controlCa: string;
  readonly audience: string;
  readonly bootstrapTokenFile: string;
}

export interface SidecarReady {
  readonly proxy: string;
  readonly admin: string;
  readonly agentCa: string;
  readonly credential: string;
  readonly instanceId: string;
  readonly ledgerId: string;
}

/** Everything of `dragons dev` that runs, and what one needs to talk to it. */
export interface Rig {
  readonly control: Control;
  readonly sidecar: SidecarClient;
  readonly ready: SidecarReady;
  readonly measured: Measured;
  readonly upstream: string;
  readonly trustFile: string;
  readonly profileFile: string;
  readonly controlCa: string;
  /** Id of the control plane. */
  readonly audience: string;
  /** Holder of the login key. */
  readonly operator: string;
  readonly loginKey: string;
  readonly children: Readonly<Record<"control" | "sidecar" | "payments" | "agent", Child>>;
  /** Ends agent, sidecar, payments and control plane, in this order. */
  close(): Promise<void>;
}

/** Starts all of it. What was started ends again if anything fails. */
export async function startRig(config: DevConfig): Promise<Rig> {
  const started: Child[] = [];
  const start = (name: string, command: string[], env?: NodeJS.ProcessEnv): Child => {
    const child = new Child(name, command, join(config.data, "logs", `${name}.log`), env);
    started.unshift(child);
    return child;
  };
  try {
    return await compose(config, start, started);
  } catch (error) {
    for (const child of started) await child.end();
    throw error;
  }
}

async function compose(
  config: DevConfig,
  start: (name: string, command: string[], env?: NodeJS.ProcessEnv) => Child,
  started: readonly Child[],
): Promise<Rig> {
  const { data, ports } = config;
  const keys = join(data, "keys");
  await mkdir(join(data, "logs"), { recursive: true, mode: 0o700 });
  const node = process.execPath;

  const controlFile = join(data, "control-ready.json");
  const controlFlags = {
    "--data": join(data, "control"),
    "--listen": `127.0.0.1:${ports.control}`,
    "--ready-file": controlFile,
  };
  const controlArgs = [...Object.entries(controlFlags).flat(), "--stdin-eof"];
  const controlChild = start("control", [node, LAUNCHER, "control", ...controlArgs]);
  const upstreamChild = start("payments", [
    node,
    join(EXAMPLES, "upstream.ts"),
    `${ports.upstream}`,
  ]);
  const upstream = (JSON.parse(await upstreamChild.line()) as { address: string }).address;
  const where = await controlChild.ready<ControlReady>(controlFile);

  const ca = await readFile(where.controlCa, "utf8");
  await foundTenant(where, ca, keys);
  const login = await fileSigner(join(keys, "login.key"));
  const control = openControl({
    address: where.control,
    ca,
    tenant: TENANT,
    bootstrap: null,
    login: {
      operator: OPERATOR,
      audience: where.audience,
      signer: login,
    },
  });
  const root = await fileSigner(join(keys, "root.key"));
  const trustFile = join(data, "trust.json");
  await writeTrust(trustFile, { tenant: TENANT, rootKey: root.publicKey });

  const manifestFile = join(data, "agent", "dragon.yaml");
  const text = manifestText(upstream);
  await mkdir(join(data, "agent"), { recursive: true });
  await writeFile(manifestFile, text);
  const measured = await measure(EXAMPLES, text);
  const aboard = await admit({ control, data, keys }, measured, root.publicKey);

  const profileFile = join(data, "profile.json");
  const profile = {
    control: where.control,
    controlCa: where.controlCa,
    audience: where.audience,
    tenant: TENANT,
    operator: OPERATOR,
    trust: trustFile,
    sidecar: aboard.data,
    loginKey: join(keys, "login.key"),
    grantKey: join(keys, "grant.key"),
    rootKey: join(keys, "root.key"),
    bootstrap: where.bootstrapTokenFile,
  };
  await writeAtomic(profileFile, `${JSON.stringify(profile, null, 2)}\n`, 0o600);

  const sidecarFile = join(data, "sidecar-ready.json");
  const sidecarFlags = {
    "--data": aboard.data,
    "--keys": aboard.keys,
    "--token": aboard.token,
    "--manifest": manifestFile,
    "--folder": EXAMPLES,
    "--proxy": `127.0.0.1:${ports.proxy}`,
    "--goal": "close the books",
    "--ready-file": sidecarFile,
  };
  const sidecarArgs = [...Object.entries(sidecarFlags).flat(), "--stdin-eof"];
  const sidecarChild = start("sidecar", [node, LAUNCHER, "sidecar", ...sidecarArgs]);
  const ready = await sidecarChild.ready<SidecarReady>(sidecarFile);
  const sidecar = openSidecar(ready.admin);
  // All that the agent is given: a proxy, in the variable that gRPC clients read anyway.
  const agentChild = start("agent", [node, join(EXAMPLES, "agent.ts"), upstream], {
    ...process.env,
    grpc_proxy: `http://agent:${ready.credential}@${ready.proxy}`,
    no_grpc_proxy: "",
    no_proxy: "",
  });

  return {
    control,
    sidecar,
    ready,
    measured,
    upstream,
    trustFile,
    profileFile,
    controlCa: where.controlCa,
    audience: where.audience,
    operator: OPERATOR,
    loginKey: profile.loginKey,
    children: {
      control: controlChild,
      sidecar: sidecarChild,
      payments: upstreamChild,
      agent: agentChild,
    },
    async close() {
      sidecar.close();
      control.close();
      // Agent first, control plane last: each still has whom it speaks to.
      const order = [agentChild, sidecarChild, upstreamChild, controlChild];
      for (const child of order.filter((c) => started.includes(c))) await child.end();
    },
  };
}

/** Root, grant and login key, and a tenant that they speak for; the first time only. */
async function foundTenant(where: ControlReady, ca: string, keys: string): Promise<void> {
  const bootstrap = (await readFile(where.bootstrapTokenFile, "utf8")).trim();
  const owner = openControl({ address: where.control, ca, tenant: "", login: null, bootstrap });
  try {
    if ((await listTenants(owner)).some((t) => t.tenant === TENANT)) return;
    const root = await keptKey(join(keys, "root.key"));
    const grant = await keptKey(join(keys, "grant.key"));
    const login = await keptKey(join(keys, "login.key"));
    const holder = { holder: OPERATOR, ttlUs: 365 * DAY_US };
    await createTenant(owner, {
      tenantId: TENANT,
      root,
      keys: [
        { ...holder, role: "OPERATOR_GRANT", key: grant.publicKey },
        { ...holder, role: "OPERATOR_LOGIN", key: login.publicKey, loginRole: "ADMIN" },
      ],
    });
  } finally {
    owner.close();
  }
}

/** Records the identity, grants it what it says it needs, and opens a dock for one instance. */
async function admit(
  { control, data, keys }: { control: Control; data: string; keys: string },
  measured: Measured,
  rootKey: Uint8Array,
) {
  await recordManifest(control, measured);
  const signers = [await fileSigner(join(keys, "grant.key"))];
  const grant = await createGrant(control, signers, {
    manifest: measured.manifest,
    manifestHash: measured.hash,
    scopes: [{ name: "read:payments", limits: NO_LIMITS }],
    purpose: PURPOSE,
    forUs: DAY_US,
    leaseTtlMaxUs: LEASE_TTL_US,
    liveness: { heartbeatIntervalUs: heartbeatIntervalDevUs },
  });
  return bringAboard(control, {
    signers,
    grantRef: grant.ref,
    manifestHash: measured.hash,
    rootKey,
    folder: join(data, "sidecars"),
  });
}

const manifestText = (upstream: string): string => `name: reconciler
version: v7
code: [agent.ts, structs.ts]
runtime: node
capabilities:
  read:payments:
    - grpc: payments.v1.Payments/{Get,List,Watch}*
      at: ${upstream}
`;

export const describe = (measured: Measured): string =>
  `${manifestLabel(measured.manifest)}  ${toHex(measured.hash).slice(0, 16)}…`;

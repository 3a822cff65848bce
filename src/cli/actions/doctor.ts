import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { release } from "node:os";
import { StatusError } from "../../wire/status.ts";
import type { Context } from "../context.ts";
import { explain } from "../explain.ts";
import { EXIT, Failure, Unreachable } from "../failure.ts";
import { isCommand, type Setting } from "../profile.ts";

/** What one look at this machine and its settings found. */
export interface Finding {
  readonly check: string;
  /** WARN: it works, and somebody should know. */
  readonly level: "OK" | "WARN" | "FAIL";
  /** One line, with what to type where something is wrong. */
  readonly detail: string;
  /** What a command that hits upon it would exit with; 0 unless FAIL. */
  readonly exit: number;
}

const ok = (check: string, detail: string): Finding => ({ check, level: "OK", detail, exit: 0 });
const warn = (check: string, detail: string): Finding => ({
  check,
  level: "WARN",
  detail,
  exit: 0,
});
const fail = (check: string, detail: string, exit: number = EXIT.config): Finding => ({
  check,
  level: "FAIL",
  detail,
  exit,
});

/** `package.json` says the same to npm. */
const NODE_MIN = [24, 15] as const;
const KEYS: readonly Setting[] = ["loginKey", "grantKey", "rootKey", "bootstrap"];
/** Where things listen unless they are told otherwise. */
const PORTS = { "control plane": 7443, "sidecar's proxy": 7071 } as const;

/**
 * Looks at everything that commands and processes here rest on, and changes nothing.
 *
 * @param trial of sealing an agent, by making a cage.
 */
export async function examine(context: Context, trial: () => Promise<Trial>): Promise<Finding[]> {
  return [
    node(process.versions.node),
    profile(context),
    ...KEYS.flatMap((setting) => keyFile(context, setting)),
    ...dataFolders(context),
    ...authority(context),
    ...(await controlPlane(context)),
    ...(await Promise.all(Object.entries(PORTS).map(([what, at]) => port(what, at)))),
    sealing(await trial()),
  ];
}

/** The exit code of an examination: the first thing that is wrong, as a command would meet it. */
export const exitOf = (findings: readonly Finding[]): number =>
  findings.find((f) => f.level === "FAIL")?.exit ?? EXIT.ok;

export function node(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const enough = major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]);
  const wanted = `${NODE_MIN.join(".")} or later`;
  return enough ? ok("node", version) : fail("node", `${version}; install ${wanted}`);
}

function profile({ profilePath }: Context): Finding {
  if (existsSync(profilePath)) return ok("profile", profilePath);
  return warn("profile", `${profilePath} is not there; dragons tenant create or dev writes one`);
}

/** Private keys and tokens are their owner's alone. */
function keyFile(context: Context, setting: Setting): Finding[] {
  const path = context.optional(setting);
  if (path === null) return [];
  if (isCommand(path)) return [ok(setting, "held by a command")];
  return [modeOf(setting, path, "600")];
}

function dataFolders(context: Context): Finding[] {
  const folder = context.optional("sidecar");
  if (folder === null) return [];
  const keys = `${folder.replace(/\/+$/, "")}.keys`;
  return [
    modeOf("sidecar data", folder, "700"),
    ...(existsSync(keys) ? [modeOf("sidecar keys", keys, "700")] : []),
  ];
}

function modeOf(check: string, path: string, wanted: "600" | "700"): Finding {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) === 0) return ok(check, path);
    const octal = (mode & 0o777).toString(8);
    return fail(check, `${path} is open to others (${octal}); type: chmod ${wanted} ${path}`);
  } catch (error) {
    return fail(check, (error as Error).message);
  }
}

function authority(context: Context): Finding[] {
  const path = context.optional("controlCa");
  if (path === null) return [];
  try {
    const { validToDate, validFromDate } = new X509Certificate(readFileSync(path));
    const until = validToDate.toISOString();
    if (Date.now() > validToDate.getTime()) return [fail("control CA", `${path} ended ${until}`)];
    if (Date.now() < validFromDate.getTime()) {
      const from = validFromDate.toISOString();
      return [fail("control CA", `${path} begins ${from}; is this machine's clock right?`)];
    }
    return [ok("control CA", `${path}, until ${until}`)];
  } catch (error) {
    return [fail("control CA", `${path}: ${(error as Error).message}`)];
  }
}

/** One harmless call as the operator who is set: it tells the way, the login and the clocks. */
async function controlPlane(context: Context): Promise<Finding[]> {
  const at = context.optional("control") ?? "";
  try {
    const control = await context.control();
    await control.manifests.listManifests({ pageSize: 1 });
    return [
      ok("control plane", `${at} answers`),
      ok("login", `${context.required("operator")} of ${context.required("tenant")}`),
      ok("clock", "near enough to the control plane's for logins"),
    ];
  } catch (error) {
    if (error instanceof Unreachable) {
      return [fail("control plane", error.message, EXIT.unreachable)];
    }
    if (error instanceof Failure) return [warn("control plane", `not asked: ${error.message}`)];
    const reached = ok("control plane", `${at} answers`);
    const clock = error instanceof StatusError ? clockOf(error.message) : null;
    if (clock !== null) return [reached, clock];
    const failure = explain(error);
    if (failure === null) throw error;
    return [reached, fail("login", failure.message, failure.exit)];
  }
}

/** A login token is refused for its times alone when the two clocks are far apart. */
export function clockOf(refusal: string): Finding | null {
  const set = "; set this machine's clock, or the control plane's";
  if (refusal.includes("token.iat")) {
    return fail("clock", `this machine is more than a minute ahead of the control plane${set}`);
  }
  if (refusal.includes("token.exp")) {
    return fail("clock", `this machine is minutes behind the control plane${set}`);
  }
  return null;
}

/** Both answers are well: something of ours may be what listens. */
function port(what: string, at: number): Promise<Finding> {
  return new Promise((resolve) => {
    const server = createServer();
    const check = `port ${at}`;
    server.once("error", (error: NodeJS.ErrnoException) => {
      const taken = error.code === "EADDRINUSE";
      const said = taken ? "somebody listens there" : error.message;
      resolve(taken ? ok(check, `${said}; the default of the ${what}`) : warn(check, said));
    });
    server.listen(at, "127.0.0.1", () => {
      server.close(() => resolve(ok(check, `free; the default of the ${what}`)));
    });
  });
}

/**
 * What a cage that was made for it, and a canary in it, found. Without one agents run advisory, which
 * somebody has to type: that is no failure of this machine.
 */
export function sealing(trial: Trial): Finding {
  if ("lacking" in trial) {
    return warn("sealing", `${trial.why}; to mend it: ${trial.remedy}; else run --contain off`);
  }
  if (trial.faults.length > 0) return fail("sealing", trial.faults.join("; "));
  return ok("sealing", `Linux ${release()}: a cage was made, and a canary in it found no way out`);
}

/** As the sidecar tells it: walls that do not hold, or why there can be none. */
type Trial =
  | { readonly faults: readonly string[] }
  | { readonly lacking: true; readonly why: string; readonly remedy: string };

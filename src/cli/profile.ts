import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { EXIT, Failure } from "./failure.ts";

/**
 * Where the command line works: which control plane, which tenant, with which keys. A setting comes
 * from its flag, else from the environment, else from the profile file, else from its default;
 * `dragons config view` shows which.
 */
export const SETTINGS = {
  control: { flag: "--control", env: "DRAGONS_CONTROL", fallback: "127.0.0.1:7443", path: false },
  controlCa: { flag: "--control-ca", env: "DRAGONS_CONTROL_CA", fallback: "", path: true },
  audience: { flag: "--audience", env: "DRAGONS_AUDIENCE", fallback: "", path: false },
  tenant: { flag: "--tenant", env: "DRAGONS_TENANT", fallback: "", path: false },
  operator: { flag: "--operator", env: "DRAGONS_OPERATOR", fallback: "", path: false },
  loginKey: { flag: "--login-key", env: "DRAGONS_LOGIN_KEY", fallback: "", path: true },
  grantKey: { flag: "--grant-key", env: "DRAGONS_GRANT_KEY", fallback: "", path: true },
  rootKey: { flag: "--root-key", env: "DRAGONS_ROOT_KEY", fallback: "", path: true },
  bootstrap: { flag: "--bootstrap", env: "DRAGONS_BOOTSTRAP", fallback: "", path: true },
  trust: { flag: "--trust", env: "DRAGONS_TRUST", fallback: "", path: true },
  sidecar: { flag: "--sidecar", env: "DRAGONS_SIDECAR", fallback: "", path: true },
} as const;

export type Setting = keyof typeof SETTINGS;
export type Origin = "flag" | "environment" | "profile" | "default";
export interface Resolved {
  readonly value: string;
  readonly origin: Origin;
}
export type Profile = Partial<Record<Setting, string>>;

/** Whether a key is held by a command, `exec:<hex public key> <command>…`, and not by a file. */
export const isCommand = (key: string): boolean => key.startsWith("exec:");

/** `--profile`, else DRAGONS_PROFILE, else `.dragons/profile.json` here. */
export const profilePath = (flag: string | undefined, env: NodeJS.ProcessEnv): string =>
  resolve(flag ?? env.DRAGONS_PROFILE ?? join(".dragons", "profile.json"));

/** @throws Failure when the file is there and is not a profile. */
export function readProfile(path: string): Profile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new Failure(EXIT.config, `profile ${path}: ${(error as Error).message}`);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // What the parser says would quote the file, and it may be a key.
    throw new Failure(EXIT.config, `profile ${path} is not JSON`);
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new Failure(EXIT.config, `profile ${path} must be a JSON object`);
  }
  const profile: Profile = {};
  for (const [key, value] of Object.entries(parsed)) {
    if (!(key in SETTINGS)) {
      const known = Object.keys(SETTINGS).join(", ");
      throw new Failure(EXIT.config, `profile ${path}: unknown setting ${key}; known: ${known}`);
    }
    if (typeof value !== "string") {
      throw new Failure(EXIT.config, `profile ${path}: ${key} must be a string`);
    }
    const setting = key as Setting;
    // Paths in a profile are relative to it, so that the folder can be moved whole.
    const relative = SETTINGS[setting].path && !isAbsolute(value) && !isCommand(value);
    profile[setting] = relative ? join(dirname(path), value) : value;
  }
  return profile;
}

/** What a control plane's ready file tells of how to reach it and to own it, as settings. */
export function readReady(path: string): Profile {
  try {
    const ready = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    const { control, controlCa, audience, bootstrapTokenFile } = ready;
    const all = { control, controlCa, audience, bootstrap: bootstrapTokenFile };
    if (Object.values(all).every((v) => typeof v === "string")) return all as Profile;
  } catch (error) {
    if (!(error instanceof SyntaxError)) {
      throw new Failure(EXIT.config, `--ready: ${(error as Error).message}`);
    }
  }
  throw new Failure(EXIT.config, `--ready: ${path} is no ready file of a control plane`);
}

/** One setting by precedence. */
export function resolveSetting(
  setting: Setting,
  flags: Readonly<Record<string, unknown>>,
  env: NodeJS.ProcessEnv,
  profile: Profile,
): Resolved {
  const { env: variable, fallback } = SETTINGS[setting];
  const flag = flags[setting];
  if (typeof flag === "string") return { value: flag, origin: "flag" };
  const fromEnv = env[variable];
  if (fromEnv !== undefined && fromEnv !== "") return { value: fromEnv, origin: "environment" };
  const fromFile = profile[setting];
  if (fromFile !== undefined) return { value: fromFile, origin: "profile" };
  return { value: fallback, origin: "default" };
}

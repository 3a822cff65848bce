import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Control, SidecarClient } from "./client.ts";
import { EXIT, Failure } from "./failure.ts";
import { FORMATS, type Format } from "./output.ts";
import {
  type Profile,
  profilePath,
  type Resolved,
  readProfile,
  resolveSetting,
  SETTINGS,
  type Setting,
} from "./profile.ts";

/** What one command runs with: its settings, and the processes that it may talk to. */
export class Context {
  readonly format: Format;
  readonly profilePath: string;
  readonly #flags: Readonly<Record<string, unknown>>;
  readonly #env: NodeJS.ProcessEnv;
  readonly #profile: Profile;
  readonly #open: { close(): void }[] = [];

  constructor(flags: Readonly<Record<string, unknown>>, env: NodeJS.ProcessEnv) {
    this.#flags = flags;
    this.#env = env;
    this.format = formatOf(flags.output);
    this.profilePath = profilePath(flags.profile as string | undefined, env);
    this.#profile = readProfile(this.profilePath);
  }

  resolved(setting: Setting): Resolved {
    return resolveSetting(setting, this.#flags, this.#env, this.#profile);
  }

  /** null: it is set nowhere. */
  optional(setting: Setting): string | null {
    const { value } = this.resolved(setting);
    return value === "" ? null : value;
  }

  /** @throws Failure that says the three ways to set it. */
  required(setting: Setting): string {
    const value = this.optional(setting);
    if (value !== null) return value;
    const { flag, env } = SETTINGS[setting];
    throw new Failure(
      EXIT.config,
      `${setting} is not set: give ${flag}, set ${env}, or write it into ${this.profilePath}`,
    );
  }

  /** Where keys that are made go unless told otherwise: beside the profile. */
  get keysFolder(): string {
    return join(dirname(this.profilePath), "keys");
  }

  /** This context with values for what no flag sets. Closed with this one. */
  under(values: Readonly<Record<string, unknown>>): Context {
    return this.#keep(new Context({ ...values, ...this.#flags }, this.#env));
  }

  /** The control plane, as the operator whose login key is set. */
  async control(): Promise<Control> {
    const { openControl } = await import("./client.ts");
    const { openSigner } = await import("./actions/keys.ts");
    const tenant = this.required("tenant");
    const login = {
      operator: this.required("operator"),
      audience: this.required("audience"),
      signer: await openSigner(this.required("loginKey")),
    };
    return this.#keep(openControl({ ...this.#where(), tenant, login, bootstrap: null }));
  }

  /** The same, for whoever does with less where none is set: null. */
  async controlIfSet(): Promise<Control | null> {
    const needed = ["controlCa", "audience", "tenant", "operator", "loginKey"] as const;
    return needed.every((name) => this.optional(name) !== null) ? this.control() : null;
  }

  /** The control plane, as its owner. */
  async owner(): Promise<Control> {
    const { openControl } = await import("./client.ts");
    const bootstrap = secretLine(this.required("bootstrap"), "bootstrap");
    return this.#keep(openControl({ ...this.#where(), tenant: "", login: null, bootstrap }));
  }

  /** The sidecar whose data folder is set. */
  async sidecar(): Promise<SidecarClient> {
    const { openSidecar } = await import("./client.ts");
    return this.#keep(openSidecar(join(this.required("sidecar"), "admin.sock")));
  }

  close(): void {
    for (const open of this.#open) open.close();
  }

  #where(): { address: string; ca: string } {
    const path = this.required("controlCa");
    try {
      return { address: this.required("control"), ca: readFileSync(path, "utf8") };
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure(EXIT.config, `controlCa: ${(error as Error).message}`);
    }
  }

  #keep<T extends { close(): void }>(open: T): T {
    this.#open.push(open);
    return open;
  }
}

function formatOf(value: unknown): Format {
  if (value === undefined) return "table";
  const format = FORMATS.find((f) => f === value);
  if (format !== undefined) return format;
  throw new Failure(EXIT.usage, `--output: ${value as string} is none of ${FORMATS.join(", ")}`);
}

/** One line of a file that nobody else may read. */
function secretLine(path: string, name: string): string {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0) {
      throw new Failure(
        EXIT.config,
        `${name}: ${path} is open to others; fix it with: chmod 600 ${path}`,
      );
    }
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(EXIT.config, `${name}: ${(error as Error).message}`);
  }
}

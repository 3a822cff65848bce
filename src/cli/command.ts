import type { Command } from "commander";
import { Context } from "./context.ts";
import { SETTINGS, type Setting } from "./profile.ts";

/** Settings of every command that talks to the control plane as an operator. */
export const OPERATOR: readonly Setting[] = [
  "control",
  "controlCa",
  "audience",
  "tenant",
  "operator",
  "loginKey",
];
/** Settings of every command that talks to it as its owner. */
export const OWNER: readonly Setting[] = ["control", "controlCa", "bootstrap"];

const MEANS: Record<Setting, string> = {
  control: "host:port of the control plane",
  controlCa: "PEM of the authority that its certificate comes from",
  audience: "its id, dcp_…, which it says when it starts",
  tenant: "tenant",
  operator: "who you are in the tenant's keyset",
  loginKey: "key file that signs you in, or exec:<hex> <command>",
  grantKey: "key file that signs grants, or exec:<hex> <command>",
  rootKey: "key file of the tenant root, or exec:<hex> <command>",
  bootstrap: "file of the owner's token",
  trust: "trust file",
  sidecar: "data folder of a sidecar",
};

/** A command that does something: its format, its profile, and the settings that it reads. */
export function leaf(
  parent: Command,
  usage: string,
  summary: string,
  settings: readonly Setting[],
): Command {
  const command = parent.command(usage).description(summary);
  command.option("-o, --output <format>", "table, json, yaml or name");
  command.option("--profile <file>", "where settings are kept [.dragons/profile.json]");
  for (const setting of settings) {
    command.option(`${SETTINGS[setting].flag} <value>`, MEANS[setting]);
  }
  return command;
}

/** What commander calls: opens the context, and closes whatever was opened. */
export const run =
  <O>(body: (context: Context, options: O, args: readonly string[]) => Promise<void>) =>
  async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command;
    const context = new Context(command.opts(), process.env);
    try {
      await body(context, command.opts() as O, command.args);
    } finally {
      context.close();
    }
  };

/** For options that may be repeated. */
export const collect = (value: string, before: readonly string[]): string[] => [...before, value];

/** Options that were given, for whoever takes those alone. */
export const defined = <T extends object>(options: T) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };

import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Allowed, decideByScope, type Refused } from "../../domain/authorize.ts";
import type { Claim } from "../../domain/claim.ts";
import { NO_LIMITS, type ScopeGrant } from "../../domain/grant.ts";
import { checkRecording, type Manifest, manifestLabel } from "../../domain/manifest.ts";
import { needsOf, readInputs } from "../../domain/read-inputs.ts";
import {
  compileScopes,
  type Judged,
  judge,
  matching,
  nearest,
  type Scopes,
} from "../../domain/scope.ts";
import { type Expectation, parseExpectations } from "../../native/expectations-yaml.ts";
import { parseManifestYaml } from "../../native/manifest-yaml.ts";
import { YamlFileError } from "../../native/strict-yaml.ts";
import { parseAction } from "../action-line.ts";
import type { Context } from "../context.ts";
import { EXIT, Failure } from "../failure.ts";
import { getGrant } from "./grant.ts";
import { getLease } from "./lease.ts";
import { findManifest } from "./manifest.ts";

/** An action to try, as it is typed. */
export interface Trial {
  readonly action: string;
  /** `[name, value, name, value, …]` */
  readonly fields: readonly string[];
  /** Of HTTP its body; of MCP its arguments, as JSON; null: none. */
  readonly body: string | null;
}

/** What the gate would say, and what each rule that speaks of the action makes of it. */
export interface Explained {
  readonly claim: Claim;
  readonly decision: Allowed | Refused;
  /** In the order in which they are asked. */
  readonly judged: readonly Judged[];
  /** The rule that came nearest where none speaks of it. */
  readonly near: string | null;
}

/** Decides on a trial by the gate's own functions, as if what is held were leased now. */
export function tryAction(scopes: Scopes, held: readonly ScopeGrant[], trial: Trial): Explained {
  const { claim: asked, query } = parseAction(trial.action);
  const rules = matching(scopes, asked);
  const needs = needsOf(rules.flatMap((r) => r.when?.inputs ?? []));
  const inputs = needs === null ? [] : readInputs(needs, { query, ...readable(asked, trial) });
  const claim = { ...asked, inputs };
  return {
    claim,
    decision: decideByScope({ scopes, granted: held }, held, claim),
    judged: judge(scopes, held, claim),
    near: rules.length > 0 ? null : (nearest(scopes, claim)?.scope ?? null),
  };
}

/** What the adapter would have read, JSON being meant where nothing else is said. */
function readable({ protocol }: Claim, { fields, body }: Trial) {
  const typed = fields.some((f, i) => i % 2 === 0 && f.toLowerCase() === "content-type");
  const said = typed || body === null ? fields : [...fields, "content-type", "application/json"];
  const text = protocol === "MCP" && body !== null ? `{"params":{"arguments":${body}}}` : body;
  return { fields: said, body: text === null ? null : new TextEncoder().encode(text) };
}

export interface Tested {
  readonly expectation: Expectation;
  readonly explained: Explained;
  readonly passed: boolean;
}

/** Tries every expectation of a file. @throws Failure naming file and line. */
export async function testScopes(manifest: Manifest, file: string): Promise<Tested[]> {
  const scopes = compileScopes(manifest);
  const expectations = await reading(file, async () =>
    parseExpectations(await readFile(file, "utf8")),
  );
  return expectations.map((expectation) => {
    const names = expectation.held ?? manifest.capabilities.map((c) => c.name);
    const explained = tryAction(scopes, heldByName(manifest, names), expectation);
    return { expectation, explained, passed: isMet(expectation, explained.decision) };
  });
}

function isMet({ expect, scope }: Expectation, decision: Allowed | Refused): boolean {
  if (scope !== null && decision.scope !== scope) return false;
  if (expect === "allow") return decision.allowed;
  return !decision.allowed && (expect === "deny" || decision.reason === expect);
}

/** What is held, without limits. @throws Failure for a scope that the manifest has not. */
export function heldByName(manifest: Manifest, names: readonly string[]): ScopeGrant[] {
  const known = manifest.capabilities.map((c) => c.name);
  const unknown = names.find((n) => !known.includes(n));
  if (unknown !== undefined) {
    const has = known.length === 0 ? "none" : known.join(", ");
    throw new Failure(
      EXIT.usage,
      `scope: ${manifestLabel(manifest)} has no ${unknown}; it has ${has}`,
    );
  }
  return names.map((name) => ({ name, limits: NO_LIMITS }));
}

/** The manifest meant by a file, or by what `manifest show` takes. No agent's files are measured. */
export async function manifestFor(context: Context, name: string): Promise<Manifest> {
  if (!existsSync(name)) return (await findManifest(await context.control(), name)).manifest;
  const file = (await stat(name)).isDirectory() ? join(name, "dragon.yaml") : name;
  return reading(file, async () => {
    const {
      name: called,
      agentVersion,
      runtime,
      capabilities,
      servers,
      listens,
    } = parseManifestYaml(await readFile(file, "utf8"));
    const bare = { version: 1, code: [], config: [], runtime, agentVersion, name: called };
    const manifest: Manifest = {
      ...bare,
      capabilities: [...capabilities],
      servers: [...servers],
      listens: [...listens],
    };
    const problem = checkRecording(manifest);
    if (problem !== null) throw new YamlFileError(0, problem.detail);
    return manifest;
  });
}

/** The scopes of a grant or a lease. */
export async function heldBy(
  context: Context,
  { grant, lease }: { readonly grant?: string; readonly lease?: string },
): Promise<readonly ScopeGrant[] | null> {
  if (lease !== undefined) return (await getLease(await context.control(), lease)).scopes;
  return grant === undefined ? null : (await getGrant(await context.control(), grant)).scopes;
}

async function reading<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof YamlFileError)) throw error;
    throw new Failure(EXIT.config, `${file}: ${error.message}`);
  }
}

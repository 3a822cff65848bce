import { fromHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { trustFileMax } from "../domain/limits.ts";

/**
 * What an auditor trusts, and on whose word: never read from the pack.
 *
 *     {
 *       "format": "dragons trust 0",
 *       "tenant": "acme",
 *       "rootKey": "d75a98…511a",                          64 hex digits: the tenant root
 *       "keysetVersion": 3,                                optional: refuse an older keyset
 *       "cosigners": ["3d4017…660c"],                      optional: instead of the keyset's own
 *       "witnesses": [{ "name": "auditor", "key": "…" }],  optional
 *       "quorum": 1,                                       optional: how many witnesses suffice
 *       "knownHead": { "ledger": "…", "size": 42, "root": "…" },   optional: a head seen before
 *       "asOf": "2026-11-22T21:00:00Z",                    optional: judge age as of then
 *       "maxAgeSeconds": 86400                             optional: older checkpoints are STALE
 *     }
 */
export interface TrustFile {
  readonly tenant: string;
  readonly rootKey: Uint8Array;
  /** From 1; 1: any. */
  readonly keysetVersion: number;
  /** null: the COSIGNER keys of the tenant's keyset. */
  readonly cosigners: readonly Uint8Array[] | null;
  readonly witnesses: readonly Witness[];
  /** 0: no witness is asked for. */
  readonly quorum: number;
  readonly knownHead: KnownHead | null;
  /** Microseconds since the epoch; null: now. */
  readonly asOfUs: number | null;
  /** null: any age will do. */
  readonly maxAgeUs: number | null;
}

export interface Witness {
  readonly name: string;
  readonly key: Uint8Array;
}

export interface KnownHead {
  readonly ledgerId: Uint8Array;
  readonly size: number;
  readonly root: Uint8Array;
}

export const TRUST_FORMAT = "dragons trust 0";

/** Which field is wrong, and what to write instead. */
export interface TrustFault {
  readonly fault: true;
  readonly field: string;
  readonly fix: string;
}

export const isTrustFault = (value: TrustFile | TrustFault): value is TrustFault =>
  "fault" in value;

type Json = Record<string, unknown>;

class Fault extends Error {
  readonly field: string;
  constructor(field: string, fix: string) {
    super(fix);
    this.field = field;
  }
}

/** Reads a trust file. What is unknown, doubled or out of shape is refused, with its fix. */
export function parseTrustFile(crypto: Crypto, source: string): TrustFile | TrustFault {
  try {
    return read(crypto, source);
  } catch (error) {
    if (error instanceof Fault) return { fault: true, field: error.field, fix: error.message };
    throw error;
  }
}

const TOP = [
  "format",
  "tenant",
  "rootKey",
  "keysetVersion",
  "cosigners",
  "witnesses",
  "quorum",
  "knownHead",
  "asOf",
  "maxAgeSeconds",
];

function read(crypto: Crypto, source: string): TrustFile {
  if (source.length > trustFileMax)
    throw new Fault("file", `keep it under ${trustFileMax} characters`);
  // Escapes could spell one key in two ways, and no value here needs them.
  if (source.includes("\\")) throw new Fault("file", "write it without backslash escapes");
  let json: unknown;
  try {
    json = JSON.parse(source);
  } catch {
    throw new Fault("file", "make it JSON");
  }
  const top = object("file", json, TOP);
  for (const key of TOP) {
    const times = source.match(new RegExp(`"${key}"\\s*:`, "g"))?.length ?? 0;
    if (times > 1) throw new Fault(key, "write it once");
  }
  if (top.format !== TRUST_FORMAT) throw new Fault("format", `write "${TRUST_FORMAT}"`);
  const tenant = top.tenant;
  if (typeof tenant !== "string" || tenant === "") throw new Fault("tenant", "name the tenant");
  const witnesses = list("witnesses", top.witnesses ?? []).map((value, i) => {
    const at = `witnesses[${i}]`;
    const witness = object(at, value, ["name", "key"]);
    const name = witness.name;
    if (typeof name !== "string" || name === "") throw new Fault(`${at}.name`, "name the witness");
    return { name, key: key(crypto, `${at}.key`, witness.key) };
  });
  const quorum = whole("quorum", top.quorum ?? witnesses.length, 0);
  if (quorum > witnesses.length) {
    throw new Fault("quorum", `ask for at most the ${witnesses.length} witnesses that are named`);
  }
  if (quorum === 0 && witnesses.length > 0) {
    throw new Fault("quorum", "ask for at least 1, or name no witness");
  }
  const cosigners = top.cosigners;
  return {
    tenant,
    rootKey: key(crypto, "rootKey", top.rootKey),
    keysetVersion: whole("keysetVersion", top.keysetVersion ?? 1, 1),
    cosigners:
      cosigners === undefined
        ? null
        : list("cosigners", cosigners).map((value, i) => key(crypto, `cosigners[${i}]`, value)),
    witnesses,
    quorum,
    knownHead: top.knownHead === undefined ? null : knownHead(top.knownHead),
    asOfUs: top.asOf === undefined ? null : instant("asOf", top.asOf),
    maxAgeUs:
      top.maxAgeSeconds === undefined
        ? null
        : whole("maxAgeSeconds", top.maxAgeSeconds, 1, 4_000_000_000) * 1_000_000,
  };
}

function knownHead(value: unknown): KnownHead {
  const head = object("knownHead", value, ["ledger", "size", "root"]);
  return {
    ledgerId: hash("knownHead.ledger", head.ledger),
    size: whole("knownHead.size", head.size, 0),
    root: hash("knownHead.root", head.root),
  };
}

function object(field: string, value: unknown, keys: readonly string[]): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Fault(field, `make it an object with ${keys.join(", ")}`);
  }
  for (const name of Object.keys(value)) {
    if (!keys.includes(name)) {
      const at = field === "file" ? name : `${field}.${name}`;
      throw new Fault(at, `remove it: the fields are ${keys.join(", ")}`);
    }
  }
  return value as Json;
}

function list(field: string, value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new Fault(field, "make it a list");
  return value;
}

function whole(
  field: string,
  value: unknown,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
    throw new Fault(field, `write a whole number from ${least} to ${most}`);
  }
  return value as number;
}

function hash(field: string, value: unknown): Uint8Array {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value)) {
    throw new Fault(field, "write 64 lower-case hexadecimal digits");
  }
  return fromHex(value);
}

function key(crypto: Crypto, field: string, value: unknown): Uint8Array {
  const bytes = hash(field, value);
  const problem = crypto.keyProblem(bytes);
  if (problem !== null) throw new Fault(field, `write a sound Ed25519 public key (${problem})`);
  return bytes;
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

function instant(field: string, value: unknown): number {
  const ms = typeof value === "string" && INSTANT.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms) || ms < 0) throw new Fault(field, "write it as 2026-11-22T21:00:00Z");
  return ms * 1000;
}

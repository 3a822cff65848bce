import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AlarmBody } from "../../src/domain/alarm.ts";
import type { Codec } from "../../src/domain/canonical.ts";
import { ClaimBody, LimitState } from "../../src/domain/claim.ts";
import { DirectiveBody } from "../../src/domain/directive.ts";
import { DockBody, JoinKey } from "../../src/domain/dock.ts";
import { EquivocationBody } from "../../src/domain/equivocation.ts";
import { GenesisBody } from "../../src/domain/genesis.ts";
import { GrantBody, Limits, LivenessPolicy, ScopeGrant } from "../../src/domain/grant.ts";
import {
  DirectiveResult,
  HeartbeatBody,
  Novelty,
  ScopeCount,
  ScopeSpent,
} from "../../src/domain/heartbeat.ts";
import { Input } from "../../src/domain/input.ts";
import { IntentBody } from "../../src/domain/intent.ts";
import { KeyEntry, KeysetBody, Threshold } from "../../src/domain/keyset.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { Capability, FileDigest, ManifestBody } from "../../src/domain/manifest.ts";
import { McpServer } from "../../src/domain/mcp-server.ts";
import {
  ActionBody,
  EvidenceBody,
  GoalBody,
  Opening,
  OutcomeBody,
  PayloadRow,
} from "../../src/domain/payload.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { RecordBody } from "../../src/domain/record.ts";
import { RevocationBody } from "../../src/domain/revocation.ts";
import { Rule } from "../../src/domain/rule.ts";
import { Signature, SignedBytes } from "../../src/domain/signed.ts";
import {
  Condition,
  Interval,
  TransitionBasis,
  TransitionBody,
} from "../../src/domain/transition.ts";
import { file_dragons_v1_artifacts } from "../../src/gen/dragons/v1/artifacts_pb.ts";

/**
 * Any proto3 library reads and writes the signed bodies: what the strict codec makes, protobuf-es
 * reads, and makes again byte for byte.
 */

type AnyCodec = Codec<Record<string, unknown>>;

/** Each under its name in the contract. One that is missing here is missed by the first test. */
const CODECS = {
  AlarmBody,
  ActionBody,
  Capability,
  ClaimBody,
  Condition,
  DirectiveBody,
  DirectiveResult,
  DockBody,
  EquivocationBody,
  EvidenceBody,
  FileDigest,
  GenesisBody,
  GoalBody,
  GrantBody,
  HeartbeatBody,
  Input,
  IntentBody,
  Interval,
  JoinKey,
  KeyEntry,
  KeysetBody,
  LeaseBody,
  LimitState,
  Limits,
  LivenessPolicy,
  ManifestBody,
  McpServer,
  Novelty,
  Opening,
  OutcomeBody,
  PayloadRow,
  ReceiptHeader,
  RecordBody,
  RevocationBody,
  Rule,
  ScopeCount,
  ScopeGrant,
  ScopeSpent,
  Signature,
  SignedBytes,
  Threshold,
  TransitionBasis,
  TransitionBody,
};
/** Closed lists that the domain spells in lower case. */
const LOWER = new Set(["Recorded"]);

const DOMAIN = join(import.meta.dirname, "../../src/domain");
const codecs = new Map(Object.entries(CODECS) as unknown as [string, AnyCodec][]);
const schemas = new Map(file_dragons_v1_artifacts.messages.map((m) => [m.name, m]));

test("the contract and the domain know the same bodies", () => {
  expect([...codecs.keys()].sort()).toEqual([...schemas.keys()].sort());
  const sources = readdirSync(DOMAIN).map((file) => readFileSync(join(DOMAIN, file), "utf8"));
  const declared = sources.flatMap((s) => [...s.matchAll(/^export const (\w+Body) = message\(/gm)]);
  expect(declared.length).toBeGreaterThan(15);
  for (const [, name] of declared) expect([...codecs.keys()]).toContain(name);
});

const codecOf = (desc: DescMessage): AnyCodec => codecs.get(desc.name) as AnyCodec;
const ZERO = "UNSPECIFIED";
const names = (field: DescField & { enum: unknown }): { number: number; name: string }[] => {
  const { values, name } = (field as { enum: import("@bufbuild/protobuf").DescEnum }).enum;
  const prefix = `${name.replace(/(?<!^)([A-Z])/g, "_$1").toUpperCase()}_`;
  const spell = (text: string) => (LOWER.has(name) && text !== ZERO ? text.toLowerCase() : text);
  return values.map((v) => ({ number: v.number, name: spell(v.name.slice(prefix.length)) }));
};

const accepts = (desc: DescMessage, field: DescField, value: unknown): boolean => {
  try {
    codecOf(desc).encode({ ...codecOf(desc).decode(new Uint8Array(0)), [field.localName]: value });
    return true;
  } catch {
    return false;
  }
};

/** A random value of a field, as the domain spells it. */
function valueIn(desc: DescMessage, field: DescField): fc.Arbitrary<unknown> {
  const one = (scalar: ScalarType | null): fc.Arbitrary<unknown> => {
    if (field.message) return bodyOf(field.message);
    if (field.enum) return fc.constantFrom(...names(field as never).map((v) => v.name));
    switch (scalar) {
      case ScalarType.UINT64:
        return fc.oneof(fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER), fc.maxSafeNat());
      case ScalarType.UINT32:
        return fc.oneof(fc.constantFrom(0, 0xffff_ffff), fc.nat());
      case ScalarType.STRING:
        return fc.string({ unit: "grapheme", maxLength: 200 });
      case ScalarType.BYTES: {
        const wrap = (b: Uint8Array) => (field.fieldKind === "list" ? [b] : b);
        const free = accepts(desc, field, wrap(new Uint8Array(7)));
        if (free) return fc.uint8Array({ maxLength: 300 });
        const length = [32, 64].find((n) => accepts(desc, field, wrap(new Uint8Array(n).fill(1))));
        const exact = fc.uint8Array({ minLength: length ?? -1, maxLength: length ?? -1 });
        return field.fieldKind === "list" ? exact : fc.oneof(fc.constant(new Uint8Array()), exact);
      }
      default:
        throw new Error(`${desc.name}.${field.name}: a type outside the strict profile`);
    }
  };
  if (field.fieldKind === "list") {
    const element = one(field.listKind === "scalar" ? field.scalar : null);
    return fc.array(element, { maxLength: 4 });
  }
  return one(field.fieldKind === "scalar" ? field.scalar : null);
}

const bodyOf = (desc: DescMessage): fc.Arbitrary<Record<string, unknown>> =>
  fc.record(Object.fromEntries(desc.fields.map((f) => [f.localName, valueIn(desc, f)])));

/** The same value, as protobuf-es spells it. */
function toGen(desc: DescMessage, value: Record<string, unknown>): Record<string, unknown> {
  const one = (field: DescField, v: unknown): unknown => {
    if (field.message) return create(field.message, toGen(field.message, v as never) as never);
    if (field.enum) return names(field as never).find((n) => n.name === v)?.number;
    return typeof v === "number" && (field as { scalar?: ScalarType }).scalar === ScalarType.UINT64
      ? BigInt(v)
      : v;
  };
  const entries = desc.fields.flatMap((field): [string, unknown][] => {
    const v = value[field.localName];
    if (field.fieldKind === "list") {
      return [[field.localName, (v as unknown[]).map((e) => one(field, e))]];
    }
    // Absent and empty are the same in the strict profile.
    const empty = field.message && codecOf(field.message).encode(v as never).length === 0;
    return empty ? [] : [[field.localName, one(field, v)]];
  });
  return Object.fromEntries(entries);
}

describe.each([...schemas.values()].map((s) => [s.name, s] as const))("%s", (_name, desc) => {
  test("protobuf-es reads and writes what the strict codec does, byte for byte", () => {
    fc.assert(
      fc.property(bodyOf(desc), (value) => {
        const strict = codecOf(desc).encode(value);
        const message = create(desc, toGen(desc, value) as never);
        expect(toBinary(desc, message)).toEqual(strict);
        expect(toBinary(desc, fromBinary(desc, strict))).toEqual(strict);
        expect(codecOf(desc).decode(toBinary(desc, message))).toEqual(value);
      }),
      { numRuns: 60 },
    );
  });

  test("its closed lists end at the same value", () => {
    for (const field of desc.fields) {
      if (field.fieldKind !== "enum") continue;
      const beyond = Math.max(...names(field as never).map((n) => n.number)) + 1;
      const message = reflect(desc);
      message.set(field, beyond as never);
      expect(() => codecOf(desc).decode(toBinary(desc, message.message as never))).toThrow(
        /unknown value/,
      );
    }
  });
});

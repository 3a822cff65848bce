import { readdirSync } from "node:fs";
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
import type { Codec } from "../../src/domain/canonical.ts";
import { file_dragons_v1_artifacts } from "../../src/gen/dragons/v1/artifacts_pb.ts";

/**
 * Any proto3 library reads and writes the signed bodies: what the strict codec makes, protobuf-es
 * reads, and makes again byte for byte. Both sides are found, not listed, so none can be forgotten.
 */

type AnyCodec = Codec<Record<string, unknown>>;

const DOMAIN = join(import.meta.dirname, "../../src/domain");
/** Rows that one process keeps for itself: never signed, never on the wire. */
const KEPT = new Set(["RecordRow", "Rhythm", "Facts", "OrganismView", "Order"]);
/** Closed lists that the domain spells in lower case. */
const LOWER = new Set(["Recorded"]);

const codecs = new Map<string, AnyCodec>();
for (const file of readdirSync(DOMAIN)) {
  if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
  const exported: Record<string, unknown> = await import(join(DOMAIN, file));
  for (const [name, value] of Object.entries(exported)) {
    const isCodec = typeof value === "object" && value !== null && "writeTo" in value;
    if (isCodec && !KEPT.has(name)) codecs.set(name, value as never);
  }
}
const schemas = new Map(file_dragons_v1_artifacts.messages.map((m) => [m.name, m]));

test("the contract and the domain know the same bodies", () => {
  expect([...codecs.keys()].sort()).toEqual([...schemas.keys()].sort());
  expect(codecs.size).toBeGreaterThan(35);
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

import { type DescField, type DescMessage, getOption, ScalarType } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { source, unsourced } from "../../src/gen/dragons/v1/sources_pb.ts";
import { ALL_METHODS, nameOf } from "../control/rpcs.ts";

/**
 * Every number that is served traces to a signed artifact, or its field says why it does not. The walk
 * is over the generated descriptors, so that a new number cannot be forgotten.
 */
const NAMES = ["record", "receipt", "revocation", "keyset", "heartbeat"];
const NO_NUMBERS = [ScalarType.STRING, ScalarType.BYTES, ScalarType.BOOL];

interface Number {
  readonly path: string;
  readonly field: DescField;
}

/** What is not covered by the field that holds it. */
function numbersOf(message: DescMessage, seen = new Set<string>()): Number[] {
  if (seen.has(message.typeName)) return [];
  seen.add(message.typeName);
  return message.fields.flatMap((field) => {
    if (saysAnything(field)) return [];
    if (field.message !== undefined) return numbersOf(field.message, seen);
    const numeric = field.scalar !== undefined && !NO_NUMBERS.includes(field.scalar);
    return numeric ? [{ path: `${message.name}.${field.name}`, field }] : [];
  });
}

const saysAnything = (field: DescField): boolean =>
  getOption(field, source) !== "" || getOption(field, unsourced) !== "";

/** Fields with one of the two options, of every answer. */
function* optioned(message: DescMessage, seen: Set<string>): Generator<DescField> {
  if (seen.has(message.typeName)) return;
  seen.add(message.typeName);
  for (const field of message.fields) {
    if (saysAnything(field)) yield field;
    if (field.message !== undefined) yield* optioned(field.message, seen);
  }
}

test("every number of every answer names its artifact, or says why it has none", () => {
  expect(ALL_METHODS.length).toBeGreaterThan(30);
  const silent = ALL_METHODS.flatMap((m) =>
    numbersOf(m.output).map(({ path }) => `${nameOf(m)}: ${path}`),
  );
  expect(silent).toEqual([]);
});

test("what they name is there: one of the closed list, or a field beside it", () => {
  const seen = new Set<string>();
  const wrong: string[] = [];
  let walked = 0;
  for (const method of ALL_METHODS) {
    for (const field of optioned(method.output, seen)) {
      walked++;
      const [named, why] = [getOption(field, source), getOption(field, unsourced)];
      const beside = named.split(/[.@]/)[0] as string;
      const known =
        NAMES.includes(named) || field.parent.fields.some((f) => f.name === beside && f !== field);
      const fits = named === "" ? why.length > 5 : known && why === "";
      if (!fits) wrong.push(`${field.parent.name}.${field.name}: ${named}${why}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(walked).toBeGreaterThan(30);
});

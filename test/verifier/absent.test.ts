import { expect, test } from "vitest";
import { lacks } from "../skips.ts";
import { check, checked, goodStory, type Twists } from "./build.ts";
import { expectAgreement } from "./second.ts";

/** Each field of each signed object left out in turn: both verifiers know which may be. */

const blank = (value: unknown): unknown => {
  if (typeof value === "number") return 0;
  if (typeof value === "string") return /^[A-Z_]+$/.test(value) ? "UNSPECIFIED" : "";
  if (value instanceof Uint8Array) return new Uint8Array(0);
  return Array.isArray(value) ? [] : value;
};

async function fieldsOf(name: keyof Twists): Promise<string[]> {
  const fields: string[] = [];
  const look = <T extends object>(body: T): T => {
    if (fields.length === 0) fields.push(...Object.keys(body));
    return body;
  };
  await goodStory({ [name]: look });
  return fields;
}

const OBJECTS = ["keyset", "manifest", "grant", "dock", "genesis", "lease", "heartbeat"] as const;

test.skipIf(lacks("python3"))(
  "both verifiers say the same of any field left out",
  async () => {
    for (const name of OBJECTS) {
      const fields = await fieldsOf(name);
      expect(fields.length).toBeGreaterThan(5);
      for (const field of fields) {
        const without = <T extends object>(body: T): T => ({
          ...body,
          [field]: blank(body[field as keyof T]),
        });
        const story = await goodStory({ [name]: without });
        await check(story, await story.pack());
      }
    }
    expectAgreement(checked);
  },
  60_000,
);

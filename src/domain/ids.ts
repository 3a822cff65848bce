/**
 * Names of things: a prefix that says what it is, and a UUIDv7 as 32 lower-case hex digits.
 *
 *     rcp_0189dcd553117d408db09496a2eef37b
 *
 * Within one generator ids only ever increase, so that receipt ids sort in the order their intents
 * opened. An instance id is the 32 digits alone.
 */
export type IdPrefix = "rcp" | "lse" | "grt" | "dck" | "hbt" | "trn" | "dir";

/** Where new ids come from (`src/native/ids.ts`). One per process and store. */
export interface IdGenerator {
  /**
   * 32 hex digits of a UUIDv7, strictly above every earlier one and above the id that the generator
   * was seeded with, whatever the clock does.
   */
  next(): string;
}

const UUID_V7 = /^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/;

export const newId = (prefix: IdPrefix, gen: IdGenerator): string => `${prefix}_${gen.next()}`;

export const isId = (prefix: IdPrefix, s: string): boolean =>
  s.length === 36 && s.startsWith(`${prefix}_`) && UUID_V7.test(s.slice(4));

export const newInstanceId = (gen: IdGenerator): string => gen.next();

export const isInstanceId = (s: string): boolean => s.length === 32 && UUID_V7.test(s);

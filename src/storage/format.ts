import { utf8 } from "../domain/bytes.ts";
import { message, u32 } from "../domain/canonical.ts";
import type { Store, Write } from "./store.ts";

/**
 * The form of what a store holds, as a number in the store itself: a release reads its own form and
 * the one before, which it brings up to its own, and refuses a newer one by name before it touches
 * anything. What was written before stores were numbered is form 0.
 */
export interface Format {
  /** What is kept, for people: `ledger`. */
  readonly what: string;
  /** Written by this release. */
  readonly version: number;
  /** By the version that they start from: what to write to get to the next. */
  readonly steps: ReadonlyMap<number, (store: Store) => Write[]>;
}

/** No rows to change: form 1 is form 0 with its number written down. */
const nothing = (): Write[] => [];

export const LEDGER_FORMAT: Format = { what: "ledger", version: 1, steps: new Map([[0, nothing]]) };

/** Between all other keys of the stores here: none begins with an `f`. */
const KEY = utf8("format");
/** Below are the journal's own rows. */
const FIRST = Uint8Array.of(1);
const END = Uint8Array.of(0xff);

const Stamp = message("format", { version: u32(1) });

/** This release cannot read what is stored. The process exits 78. */
export class FormatUnknown extends Error {
  override readonly name = "FormatUnknown";
}

/**
 * The form of what is stored; null: nothing is.
 * @throws FormatUnknown when this release cannot read it. Nothing was changed.
 */
export function checkFormat(store: Store, format: Format): number | null {
  const row = store.get(KEY);
  if (row === null && store.range({ from: FIRST, below: END, limit: 1 }).length === 0) return null;
  const { version } = row === null ? Stamp.empty() : Stamp.decode(row);
  const { what, version: own, steps } = format;
  if (version > own) {
    throw new FormatUnknown(
      `the ${what} has format ${version}, written by a newer release; this one reads up to ${own}. ` +
        "Start that release, or a newer one; nothing was changed here",
    );
  }
  if (version < own && !steps.has(version)) {
    const oldest = Math.min(own, ...steps.keys());
    throw new FormatUnknown(
      `the ${what} has format ${version}, and this release reads ${oldest} to ${own}. ` +
        "Start the releases in between, one after the other; nothing was changed here",
    );
  }
  return version;
}

/** Brings what is stored up to this release's form, in one commit. Throws as `checkFormat` does. */
export async function upgradeFormat(store: Store, format: Format): Promise<void> {
  const found = checkFormat(store, format);
  if (found === format.version) return;
  const step = found === null ? nothing : format.steps.get(found);
  const value = Stamp.encode({ version: format.version });
  await store.commit([...(step ?? nothing)(store), { key: KEY, value }]);
}

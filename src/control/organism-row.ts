import { bytes, message } from "../domain/canonical.ts";

/**
 * What is stored of one organism, in one row: it is all written together. Each in its own form, since neither is
 * looked into where rows are brought up to another.
 */
export const OrganismRow = message("organismRow", {
  /** OrganismView. */
  view: bytes(1),
  /** The last beat that was accepted, SignedBytes; empty: none yet. */
  beat: bytes(2),
});

export const organismKey = (instanceId: string): string => `organisms/${instanceId}`;

import { toHex } from "../../domain/bytes.ts";

/** An alarm in a sentence, with what to do about it. */
export const joinKeySpent = ({ joinKey }: { readonly joinKey: Uint8Array }): string =>
  `join key ${toHex(joinKey).slice(0, 16)} was used again after it was spent: its token is in more ` +
  "hands than one; look at what docked with it, and revoke what you do not know";

import { randomFillSync } from "node:crypto";

/** Bytes drawn from the system at once: asking costs as much for 32 as for all of these. */
const DRAWN = 4096;

const drawn = new Uint8Array(DRAWN);
let at = DRAWN;

/** Strong random bytes, in memory of their own. Each is given out once, and then forgotten here. */
export function random(n: number): Uint8Array {
  if (n > DRAWN) return randomFillSync(new Uint8Array(n));
  if (at + n > DRAWN) {
    randomFillSync(drawn);
    at = 0;
  }
  const given = drawn.slice(at, at + n);
  drawn.fill(0, at, at + n);
  at += n;
  return given;
}

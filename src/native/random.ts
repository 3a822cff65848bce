import { randomFillSync } from "node:crypto";

/** Bytes drawn from the system at once: asking costs as much for 32 as for all of these. */
const DRAWN = 4096;

const drawn = new Uint8Array(DRAWN);
let at = DRAWN;

/** Strong random bytes, in memory of their own. Each is given out once, and then forgotten here. */
export function random(n: number): Uint8Array {
  if (n > DRAWN) return randomFillSync(new Uint8Array(n));
  draw(n);
  const given = drawn.slice(at, at + n);
  drawn.fill(0, at, at + n);
  at += n;
  return given;
}

/** A strong random unsigned integer of 32 bits. */
export function randomU32(): number {
  draw(4);
  let given = 0;
  for (const end = at + 4; at < end; at++) {
    given = given * 256 + (drawn[at] as number);
    drawn[at] = 0;
  }
  return given;
}

/** Sees to it that `n` bytes lie there that nobody was given. */
function draw(n: number): void {
  if (at + n <= DRAWN) return;
  randomFillSync(drawn);
  at = 0;
}

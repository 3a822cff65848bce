import { concat } from "../../src/domain/bytes.ts";
import {
  EndFrame,
  type FrameKind,
  frame,
  once,
  packStart,
  readFrames,
} from "../../src/verifier/pack.ts";

export interface Piece {
  kind: FrameKind;
  body: Uint8Array;
}

/** A pack taken apart, without its END. */
export async function takeApart(pack: Uint8Array): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for await (const frames of readFrames(once(pack))) {
    for (const { kind, body } of frames) if (kind !== "END") pieces.push({ kind, body });
  }
  return pieces;
}

/** A pack of these frames, with an END that counts them. */
export function putTogether(pieces: readonly Piece[]): Uint8Array {
  const end = EndFrame.encode({ frames: pieces.length + 1 });
  return concat(packStart(), ...pieces.map((p) => frame(p.kind, p.body)), frame("END", end));
}

/** The n-th frame of a kind (from 1), as an index into the pieces. */
export function nth(pieces: readonly Piece[], kind: FrameKind, n: number): number {
  const places = pieces.flatMap((p, i) => (p.kind === kind ? [i] : []));
  const at = places[n - 1];
  if (at === undefined) throw new RangeError(`no ${kind} ${n}`);
  return at;
}

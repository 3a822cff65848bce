/**
 * Text from a pack, cut into what may be shown as it is and what may not: control characters, format
 * characters such as those that turn the direction of reading, separators of lines, and halves of
 * characters. Whoever draws it writes the code point out instead.
 */
export interface Piece {
  readonly text: string;
  /** It stands for a character that is not shown: `U+202E`. */
  readonly escaped: boolean;
}

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]|\p{M}{5,}/gu;

/** At most `max` UTF-16 units of it; `left` tells how many more there are. */
export function visible(text: string, max: number): { pieces: Piece[]; left: number } {
  const shown = text.slice(0, max);
  const pieces: Piece[] = [];
  let from = 0;
  for (const { 0: hidden, index } of shown.matchAll(HIDDEN)) {
    if (index > from) pieces.push({ text: shown.slice(from, index), escaped: false });
    for (const character of hidden) pieces.push({ text: codePoint(character), escaped: true });
    from = index + hidden.length;
  }
  if (from < shown.length) pieces.push({ text: shown.slice(from), escaped: false });
  return { pieces, left: text.length - shown.length };
}

const codePoint = (character: string): string =>
  `U+${(character.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0")}`;

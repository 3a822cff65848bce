/**
 * HPACK's Huffman code (RFC 7541, appendix B), for reading: what we write is never coded by it. The
 * code is canonical, so that the length of each symbol's code says everything: shorter codes come
 * first, and among equals the smaller symbol.
 */

/** Bits → the symbols of that length: characters where they can be read, bytes where not. */
const BY_LENGTH: readonly (readonly [bits: number, text: string, others: readonly number[]])[] = [
  [5, "012aceiost", []],
  [6, " %-./3456789=A_bdfghlmnpru", []],
  [7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", []],
  [8, "&*,;XZ", []],
  [10, '!"()?', []],
  [11, "'+|", []],
  [12, "#>", []],
  [13, "$@[]~", [0]],
  [14, "^}", []],
  [15, "<`{", []],
  [19, "\\", [195, 208]],
  [20, "", [128, 130, 131, 162, 184, 194, 224, 226]],
  [21, "", [153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230]],
  [
    22,
    "",
    [
      129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187,
      189, 190, 196, 198, 228, 232, 233,
    ],
  ],
  [
    23,
    "",
    [
      1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168,
      174, 175, 180, 182, 183, 188, 191, 197, 231, 239,
    ],
  ],
  [24, "", [9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]],
  [25, "", [199, 207, 234, 235]],
  [26, "", [192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255]],
  [
    27,
    "",
    [203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254],
  ],
  [
    28,
    "",
    [
      2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30,
      31, 127, 220, 249,
    ],
  ],
  [30, "", [10, 13, 22, 256]],
];

/** The end of a string, which must never stand in one. */
const EOS = 256;

/**
 * The code as a machine that takes four bits at a time: for each state (an inner node of the tree)
 * and each four bits the next state, the symbol told on the way (shorter codes than four bits do not
 * exist, so one at most), and whether a string may end there.
 *
 *     entry = next state << 16 | ENDS? | TELLS? | symbol
 */
const TELLS = 0x100;
const ENDS = 0x200;
const BAD = -1;

interface Node {
  /** Child by bit: another node, a symbol (as -1 - symbol), or nothing yet. */
  readonly child: (Node | number | null)[];
  readonly state: number;
}

function buildTree(): Node[] {
  const nodes: Node[] = [];
  const node = (): Node => {
    const made = { child: [null, null], state: nodes.length };
    nodes.push(made);
    return made;
  };
  const root = node();
  let code = 0;
  let bits = 0;
  for (const [length, text, others] of BY_LENGTH) {
    const symbols = [...Array.from(text, (c) => c.charCodeAt(0)), ...others].sort((a, b) => a - b);
    code <<= length - bits;
    bits = length;
    for (const symbol of symbols) {
      let at = root;
      for (let bit = bits - 1; bit > 0; bit--) {
        const side = (code >>> bit) & 1;
        at.child[side] ??= node();
        at = at.child[side] as Node;
      }
      at.child[code & 1] = -1 - symbol;
      code++;
    }
  }
  return nodes;
}

function buildMachine(): Int32Array {
  const nodes = buildTree();
  const root = nodes[0] as Node;
  const ends = mayEnd(root);
  const machine = new Int32Array(nodes.length * 16);
  for (const from of nodes) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let at = from;
      let told = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const next = at.child[(nibble >>> bit) & 1] as Node | number;
        if (typeof next !== "number") at = next;
        else if (next === -1 - EOS) {
          told = BAD;
          break;
        } else {
          told = TELLS | (-1 - next);
          at = root;
        }
      }
      machine[from.state * 16 + nibble] =
        told === BAD ? BAD : (at.state << 16) | (ends.has(at.state) ? ENDS : 0) | told;
    }
  }
  return machine;
}

/** A string's last byte is filled up with ones, the beginning of EOS: seven of them at most. */
function mayEnd(root: Node): Set<number> {
  const ends = new Set<number>();
  let at: Node | number | null | undefined = root;
  for (let bits = 0; bits < 8 && typeof at === "object" && at !== null; bits++) {
    ends.add(at.state);
    at = at.child[1];
  }
  return ends;
}

const MACHINE = buildMachine();

/** A coded byte is at least five bits of what it says: nothing decoded is longer than this times it. */
export const EXPANSION = 8 / 5;

/**
 * Decodes `from` between `start` and `end` into `into`, which has room.
 *
 * @returns bytes written; -1: it is no such code.
 */
export function huffmanDecode(
  from: Uint8Array,
  start: number,
  end: number,
  into: Uint8Array,
): number {
  let entry = ENDS;
  let written = 0;
  for (let at = start; at < end; at++) {
    const byte = from[at] as number;
    entry = MACHINE[(entry >>> 16) * 16 + (byte >>> 4)] as number;
    if (entry === BAD) return -1;
    if ((entry & TELLS) !== 0) into[written++] = entry;
    entry = MACHINE[(entry >>> 16) * 16 + (byte & 15)] as number;
    if (entry === BAD) return -1;
    if ((entry & TELLS) !== 0) into[written++] = entry;
  }
  return (entry & ENDS) === 0 ? -1 : written;
}

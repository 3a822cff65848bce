/** One instruction of the classic BPF that seccomp filters are written in, see <linux/filter.h>. */
export interface Instruction {
  readonly code: number;
  /** Instructions to skip where a condition holds, and where it does not. */
  readonly held: number;
  readonly otherwise: number;
  readonly k: number;
}

const LOAD_WORD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const MASK = 0x54;
const RETURN = 0x06;

/** What `struct seccomp_data` holds, by its offset: the low word of each argument, which is all that is read. */
export const FIELD = { number: 0, architecture: 4, argument: (n: number): number => 16 + 8 * n };

const plain = (code: number, k: number): Instruction => ({ code, held: 0, otherwise: 0, k });

export const load = (offset: number): Instruction[] => [plain(LOAD_WORD, offset)];
/** Keeps only these bits of what was loaded. */
export const mask = (bits: number): Instruction[] => [plain(MASK, bits)];
export const answer = (action: number): Instruction[] => [plain(RETURN, action)];

/** Goes on where what was loaded is `k`; ends with `body` otherwise. */
export const unlessEqual = (k: number, body: readonly Instruction[]): Instruction[] => [
  { code: JUMP_EQUAL, held: body.length, otherwise: 0, k },
  ...body,
];

/** Runs `body` where what was loaded is `k`; goes on behind it otherwise. */
export const whenEqual = (k: number, body: readonly Instruction[]): Instruction[] =>
  guarded(JUMP_EQUAL, k, body);
export const whenAtLeast = (k: number, body: readonly Instruction[]): Instruction[] =>
  guarded(JUMP_AT_LEAST, k, body);
export const whenAnyBit = (bits: number, body: readonly Instruction[]): Instruction[] =>
  guarded(JUMP_ANY_BIT, bits, body);

function guarded(code: number, k: number, body: readonly Instruction[]): Instruction[] {
  if (body.length > 0xff) throw new RangeError("a jump goes 255 instructions at most");
  return [{ code, held: 0, otherwise: body.length, k }, ...body];
}

/** The program as the kernel reads it: eight bytes each, in the order of this machine's (little) end. */
export function assemble(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  for (const [i, { code, held, otherwise, k }] of program.entries()) {
    view.setUint16(8 * i, code, true);
    view.setUint8(8 * i + 2, held);
    view.setUint8(8 * i + 3, otherwise);
    view.setUint32(8 * i + 4, k, true);
  }
  return bytes;
}

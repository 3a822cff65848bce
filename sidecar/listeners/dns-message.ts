import { isIPv4 } from "node:net";
import { normaliseHost } from "../../src/domain/host.ts";
import { dnsMessageMax } from "../../src/domain/limits.ts";

/** A look-up as RFC 1035 writes it, read strictly: one question, nothing else but EDNS options. */
export interface Question {
  /** Normalised; null: no name that a host can have. */
  readonly name: string | null;
  readonly type: number;
  /** The message as it came, up to the end of its question. */
  readonly head: Buffer;
}

/** Types of records that are told of, from IANA's registry. */
export const TYPE = { A: 1, AAAA: 28 } as const;

/** How a look-up ended, as RFC 1035 numbers it. */
export const CODE = { OK: 0, FORMAT: 1, FAILED: 2, NO_NAME: 3, NOT_IMPLEMENTED: 4 } as const;
export type Code = (typeof CODE)[keyof typeof CODE];

const HEADER = 12;
const IN = 1;
const OPT = 41;
/** Answer, authoritative, cut off, and a code: nothing that a question says. */
const NO_QUESTION = 0xfa0f;
const ANSWER = 0x8080;
const RECURSION_DESIRED = 0x0100;
const OPCODE = 0x7800;
/** Seconds for which an answer may be kept: it is true for as long as the instance is. */
const TTL = 60;

/** null: it is none, or not one that anybody sends. */
export function readQuestion(message: Buffer): Question | null {
  if (message.length < HEADER + 5 || message.length > dnsMessageMax) return null;
  if ((message.readUInt16BE(2) & NO_QUESTION) !== 0) return null;
  const [questions, answers, authorities, more] = [4, 6, 8, 10].map((at) =>
    message.readUInt16BE(at),
  ) as [number, number, number, number];
  if (questions !== 1 || answers !== 0 || authorities !== 0 || more > 1) return null;
  const labels: string[] = [];
  let at = HEADER;
  for (;;) {
    const length = message[at++];
    // Only labels as they are: a question has nothing before it that it could point to.
    if (length === undefined || length > 63 || at + length > message.length) return null;
    if (length === 0) break;
    labels.push(message.toString("latin1", at, at + length));
    at += length;
  }
  if (at + 4 > message.length || message.readUInt16BE(at + 2) !== IN) return null;
  const type = message.readUInt16BE(at);
  const head = message.subarray(0, at + 4);
  if (more === 0 ? head.length !== message.length : !isOptions(message.subarray(at + 4)))
    return null;
  return { name: nameOf(labels), type, head };
}

/** One OPT record at the root, whole. */
const isOptions = (rest: Buffer): boolean =>
  rest.length >= 11 &&
  rest[0] === 0 &&
  rest.readUInt16BE(1) === OPT &&
  rest.readUInt16BE(9) === rest.length - 11;

function nameOf(labels: readonly string[]): string | null {
  // A label may hold any byte, even a dot.
  if (labels.length === 0 || labels.some((label) => label.includes("."))) return null;
  const name = normaliseHost(labels.join("."));
  return typeof name !== "string" || isIPv4(name) ? null : name;
}

/** The answer to a question: one address, or none of the type that was asked for. */
export function answerTo({ head }: Question, code: Code, address: Buffer | null): Buffer {
  const message = Buffer.from(head);
  const asked = head.readUInt16BE(2);
  message.writeUInt16BE(ANSWER | (asked & (OPCODE | RECURSION_DESIRED)) | code, 2);
  message.writeUInt16BE(address === null ? 0 : 1, 6);
  message.writeUInt16BE(0, 10);
  if (address === null) return message;
  const record = Buffer.alloc(12);
  // The name is that of the question.
  record.writeUInt16BE(0xc000 | HEADER, 0);
  record.writeUInt16BE(address.length === 4 ? TYPE.A : TYPE.AAAA, 2);
  record.writeUInt16BE(IN, 4);
  record.writeUInt32BE(TTL, 6);
  record.writeUInt16BE(address.length, 10);
  return Buffer.concat([message, record, address]);
}

/** To what cannot be read: its number, and that it was none. null: there is not even a number. */
export function refusalOf(message: Buffer): Buffer | null {
  if (message.length < HEADER || (message.readUInt16BE(2) & 0x8000) !== 0) return null;
  const answer = Buffer.alloc(HEADER);
  message.copy(answer, 0, 0, 2);
  const plain = (message.readUInt16BE(2) & OPCODE) === 0;
  answer.writeUInt16BE(ANSWER | (plain ? CODE.FORMAT : CODE.NOT_IMPLEMENTED), 2);
  return answer;
}

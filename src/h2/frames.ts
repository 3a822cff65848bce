/** HTTP/2's numbers (RFC 9113 §6, §7), and how a peer's fault is told inside this room. */

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const FLAG = {
  END_STREAM: 0x1,
  ACK: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const;

export const CODE = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;

/** Bytes before each payload: length (3), type, flags, stream (4). */
export const HEAD_BYTES = 9;
/** Bytes of a payload that every peer takes, and the most that we take: we announce nothing else. */
export const PAYLOAD_BYTES = 16_384;
export const WINDOW_DEFAULT = 65_535;
export const WINDOW_MAX = 0x7fff_ffff;
export const STREAM_ID_MAX = 0x7fff_ffff;

/** What a client says first. The server's first word is its SETTINGS. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Why a connection cannot go on. Expected of any peer, so a value. */
export interface Fault {
  readonly code: number;
  readonly detail: string;
}

export const fault = (code: number, detail: string): Fault => ({ code, detail });

/** Writes the nine bytes before a payload at `at`. */
export function writeHead(
  into: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): void {
  into[at] = length >>> 16;
  into[at + 1] = length >>> 8;
  into[at + 2] = length;
  into[at + 3] = type;
  into[at + 4] = flags;
  into[at + 5] = stream >>> 24;
  into[at + 6] = stream >>> 16;
  into[at + 7] = stream >>> 8;
  into[at + 8] = stream;
}

/** 31 bits; the first one is reserved and says nothing. */
export const readU31 = (from: Uint8Array, at: number): number =>
  (((from[at] as number) & 0x7f) << 24) |
  ((from[at + 1] as number) << 16) |
  ((from[at + 2] as number) << 8) |
  (from[at + 3] as number);

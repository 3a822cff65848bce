const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
const CONTROL_BYTES_MAX = 125;

/** A place among frames. */
export interface FrameMark {
  /** Between two messages. */
  readonly atBoundary: boolean;
  /** Between two frames: a frame of our own may stand here. */
  readonly atFrameEnd: boolean;
  /** Whole messages before it. */
  readonly messages: number;
}

/**
 * Follows WebSocket frames (RFC 6455, §5) through chunks that know nothing of them, without keeping any
 * of it. Strict: no extension was agreed on, so no reserved bit stands; lengths are in their shortest
 * form; clients mask and servers do not; control frames are short and whole.
 */
export class FrameMeter {
  /** Whole messages that passed; control frames are none. */
  messages = 0;
  /** A close frame passed; nothing comes after it. */
  closed = false;
  readonly #masked: boolean;
  readonly #messageBytesMax: number;
  /** The head of the frame, as far as it is there: at most 14 bytes. */
  readonly #head = new Uint8Array(14);
  #headFill = 0;
  /** Of the frame's payload. */
  #left = 0;
  #inPayload = false;
  #control = false;
  #final = false;
  /** A message was begun, and is not whole. */
  #inMessage = false;
  #messageBytes = 0;
  #maskAt = 0;

  /** @param masked whether it is the client that speaks. */
  constructor(masked: boolean, messageBytesMax: number) {
    this.#masked = masked;
    this.#messageBytesMax = messageBytesMax;
  }

  /** Between two messages. */
  get atBoundary(): boolean {
    return this.atFrameEnd && !this.#inMessage;
  }

  /** Between two frames: a frame of our own may stand here. */
  get atFrameEnd(): boolean {
    return this.#headFill === 0 && !this.#inPayload;
  }

  /** Where it stands, for whoever has let pass what was pushed. */
  get mark(): FrameMark {
    const { atBoundary, atFrameEnd, messages } = this;
    return { atBoundary, atFrameEnd, messages };
  }

  /**
   * @param onPayload is given what the frames carry, unmasked, in order.
   * @param one no more than the message under way is wanted: what comes after it is not looked at.
   * @returns what is wrong with the chunk, which then must not pass; or where in it the first message
   * ended (-1: none did).
   */
  push(chunk: Uint8Array, onPayload: (bytes: Uint8Array) => void, one = false): string | number {
    let boundary = -1;
    for (let at = 0; at < chunk.length && !(one && boundary >= 0); ) {
      if (this.closed) return "goes on after its close frame";
      if (!this.#inPayload) {
        this.#head[this.#headFill++] = chunk[at++] as number;
        if (this.#headFill < this.#headBytes()) continue;
        const fault = this.#begin();
        if (fault !== null) return fault;
      } else {
        const taken = Math.min(this.#left, chunk.length - at);
        onPayload(this.#unmask(chunk.subarray(at, at + taken)));
        at += taken;
        this.#left -= taken;
      }
      if (this.#inPayload && this.#left === 0) {
        this.#finish();
        if (boundary < 0 && this.atBoundary) boundary = at;
      }
    }
    return boundary;
  }

  /** How long the head is, as far as is known. */
  #headBytes(): number {
    if (this.#headFill < 2) return 2;
    const length = (this.#head[1] as number) & 0x7f;
    const extended = length === 126 ? 2 : length === 127 ? 8 : 0;
    return 2 + extended + (((this.#head[1] as number) & 0x80) !== 0 ? 4 : 0);
  }

  #begin(): string | null {
    const [first, second] = this.#head as unknown as [number, number];
    const opcode = first & 0x0f;
    this.#final = (first & 0x80) !== 0;
    this.#control = opcode >= CLOSE;
    if ((first & 0x70) !== 0) return "has a reserved bit set";
    if (![CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG].includes(opcode)) {
      return `has the opcode ${opcode}, which is none`;
    }
    if (((second & 0x80) !== 0) !== this.#masked) {
      return this.#masked ? "is not masked" : "is masked";
    }
    const length = this.#length(second & 0x7f);
    if (length === null) return "does not tell its length in the shortest form";
    if (this.#control) {
      if (!this.#final || length > CONTROL_BYTES_MAX)
        return "is a control frame in parts or too long";
      if (opcode === CLOSE && length === 1) return "closes with half a code";
    } else {
      if ((opcode === CONTINUATION) !== this.#inMessage) {
        return this.#inMessage ? "begins a message within another" : "continues no message";
      }
      this.#messageBytes = (this.#inMessage ? this.#messageBytes : 0) + length;
      if (this.#messageBytes > this.#messageBytesMax) {
        return `is of a message with more than ${this.#messageBytesMax} bytes`;
      }
      this.#inMessage = true;
    }
    this.#left = length;
    this.#inPayload = true;
    this.#maskAt = 0;
    return null;
  }

  #length(short: number): number | null {
    const view = new DataView(this.#head.buffer);
    if (short < 126) return short;
    if (short === 126) return view.getUint16(2) < 126 ? null : view.getUint16(2);
    const long = view.getBigUint64(2);
    return long < 65_536n || long > BigInt(Number.MAX_SAFE_INTEGER) ? null : Number(long);
  }

  #unmask(bytes: Uint8Array): Uint8Array {
    if (!this.#masked) return bytes;
    const key = this.#headFill - 4;
    const out = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) {
      out[i] = (bytes[i] as number) ^ (this.#head[key + ((this.#maskAt + i) & 3)] as number);
    }
    this.#maskAt += bytes.length;
    return out;
  }

  #finish(): void {
    this.#inPayload = false;
    if (((this.#head[0] as number) & 0x0f) === CLOSE) this.closed = true;
    this.#headFill = 0;
    if (this.#control || !this.#final) return;
    this.#inMessage = false;
    this.messages++;
  }
}

/**
 * A close frame: a code, and a reason of at most 123 bytes.
 *
 * @param key of the mask, 4 bytes; null: a server's, which has none.
 */
export function closeFrame(code: number, reason: string, key: Uint8Array | null): Buffer {
  const said = Buffer.from(reason, "utf8");
  // Not in the middle of a character.
  let end = Math.min(said.length, CONTROL_BYTES_MAX - 2);
  while (end > 0 && end < said.length && ((said[end] as number) & 0xc0) === 0x80) end--;
  const payload = Buffer.alloc(2 + end);
  payload.writeUInt16BE(code);
  said.copy(payload, 2, 0, end);
  const head = Buffer.of(0x80 | CLOSE, payload.length | (key === null ? 0 : 0x80));
  if (key === null) return Buffer.concat([head, payload]);
  for (let i = 0; i < payload.length; i++) {
    payload[i] = (payload[i] as number) ^ (key[i & 3] as number);
  }
  return Buffer.concat([head, key, payload]);
}

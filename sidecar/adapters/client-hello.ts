import { clientHelloBytesMax, clientHelloRecordsMax } from "../../src/domain/limits.ts";

/** What the first message of a TLS client says of where it goes. */
export interface ClientHello {
  /** As it is spelled; null: it names no server. */
  readonly serverName: string | null;
  /** It may name another server in what it encrypts (ECH), or pretends to: nobody can tell which. */
  readonly encrypted: boolean;
}

const [HANDSHAKE, CLIENT_HELLO, TLS12] = [22, 1, 0x0303] as const;
const SERVER_NAME = 0;

/** `encrypted_client_hello` of RFC 9849, the numbers of its drafts, and what came before it (ESNI). */
const hides = (extension: number): boolean =>
  (extension >= 0xfe00 && extension <= 0xfe0d) || extension === 0xffce;

/**
 * Reads a ClientHello (RFC 8446, §4.1.2) off the beginning of a connection, over as many records as it
 * came in. null: more of it is to come. A string: what is wrong with it, to follow "it".
 */
export function readClientHello(bytes: Buffer): ClientHello | string | null {
  const message = handshake(bytes);
  return message === null || typeof message === "string" ? message : hello(new Cursor(message));
}

/** The body of the first handshake message, without its own head. */
function handshake(bytes: Buffer): Buffer | string | null {
  let message: Buffer = Buffer.alloc(0);
  for (let [at, records] = [0, 0]; ; records++) {
    if (records === clientHelloRecordsMax) return `says hello in more than ${records} records`;
    if (bytes.length < at + 5) return null;
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== HANDSHAKE || bytes[at + 1] !== 3 || length === 0 || length > 16_384) {
      return "is no TLS handshake";
    }
    if (bytes.length < at + 5 + length) return null;
    message = Buffer.concat([message, bytes.subarray(at + 5, at + 5 + length)]);
    at += 5 + length;
    if (message[0] !== CLIENT_HELLO) return "does not begin with a ClientHello";
    if (message.length < 4) continue;
    const size = message.readUIntBE(1, 3);
    if (size > clientHelloBytesMax) return `says ${size} bytes in its ClientHello`;
    if (message.length > 4 + size) return "has another message behind its ClientHello";
    if (message.length === 4 + size) return message.subarray(4);
  }
}

function hello(body: Cursor): ClientHello | string {
  const version = body.number(2);
  body.skip(32);
  body.vector(1);
  body.vector(2);
  body.vector(1);
  const extensions = new Cursor(body.vector(2));
  if (!body.whole) return "has a ClientHello that is torn";
  if (version < TLS12) return "offers no TLS from 1.2 on";
  const seen = new Set<number>();
  let serverName: string | null = null;
  while (!extensions.atEnd && !extensions.torn) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    if (seen.has(type)) return `has the extension ${type} twice`;
    seen.add(type);
    if (type !== SERVER_NAME || extensions.torn) continue;
    const named = nameIn(data);
    if (named === null) return "names its server in no way that is one";
    serverName = named;
  }
  if (extensions.torn) return "has a ClientHello that is torn";
  return { serverName, encrypted: [...seen].some(hides) };
}

/** RFC 6066, §3: one name, of the one kind that there is. */
function nameIn(data: Buffer): string | null {
  const outer = new Cursor(data);
  const list = new Cursor(outer.vector(2));
  const kind = list.number(1);
  const name = list.vector(2).toString("latin1");
  return outer.whole && list.whole && kind === 0 && name !== "" ? name : null;
}

/** Reads on from where it stands; what is not there leaves it torn, and reads as nothing. */
class Cursor {
  readonly #bytes: Buffer;
  #at = 0;
  torn = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Everything was there, and nothing is left. */
  get whole(): boolean {
    return this.atEnd && !this.torn;
  }

  skip(bytes: number): void {
    this.#take(bytes);
  }

  number(bytes: 1 | 2): number {
    const taken = this.#take(bytes);
    return this.torn ? 0 : taken.readUIntBE(0, bytes);
  }

  /** Bytes with their length before them. */
  vector(lengthBytes: 1 | 2): Buffer {
    return this.#take(this.number(lengthBytes));
  }

  #take(bytes: number): Buffer {
    if (this.torn || this.#at + bytes > this.#bytes.length) {
      this.torn = true;
      return Buffer.alloc(0);
    }
    this.#at += bytes;
    return this.#bytes.subarray(this.#at - bytes, this.#at);
  }
}

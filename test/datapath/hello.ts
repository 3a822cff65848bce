/** What a ClientHello is made of, to be spoilt. */
export interface HelloParts {
  /** null: it names no server. */
  readonly serverName?: string | null;
  /** `[number, data]`, behind the server's name. */
  readonly extensions?: readonly (readonly [number, Buffer])[];
  readonly version?: number;
  /** Bytes behind the last extension, inside of the message. */
  readonly more?: Buffer;
  /** Payload bytes of each record but the last. */
  readonly record?: number;
}

const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 255]);
const vector = (bytes: Buffer): Buffer => Buffer.concat([u16(bytes.length), bytes]);

export function serverNameExtension(name: string): Buffer {
  return vector(Buffer.concat([Buffer.from([0]), vector(Buffer.from(name, "latin1"))]));
}

/** The bytes of a ClientHello in its records, as RFC 8446 has it. */
export function clientHello(parts: HelloParts = {}): Buffer {
  const { serverName = "localhost", extensions = [], version = 0x0303, more, record } = parts;
  const all = [
    ...(serverName === null ? [] : [[0, serverNameExtension(serverName)] as const]),
    ...extensions,
  ];
  const body = Buffer.concat([
    u16(version),
    Buffer.alloc(32, 7),
    Buffer.from([0]),
    vector(Buffer.from([0x13, 0x01])),
    Buffer.from([1, 0]),
    vector(Buffer.concat(all.flatMap(([type, data]) => [u16(type), vector(data)]))),
    more ?? Buffer.alloc(0),
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), vector(body)]);
  const size = record ?? message.length;
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1]), vector(piece));
  }
  return Buffer.concat(records);
}

import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** HTTP/2 as bytes, for what no library would send. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const SETTINGS = frame(FRAME.SETTINGS, 0, 0, new Uint8Array(0));
const SETTINGS_ACK = frame(FRAME.SETTINGS, 1, 0, new Uint8Array(0));

/** A header block of literals without indexing; names and values as they are, in latin1. */
export function block(fields: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    parts.push(Buffer.from([0]), text(fields[i] as string), text(fields[i + 1] as string));
  }
  return Buffer.concat(parts);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

export const headers = (stream: number, fields: readonly string[], flags = END_HEADERS): Buffer =>
  frame(FRAME.HEADERS, flags, stream, block(fields));

/** A plaintext upstream that answers each request's head with these bytes. */
export async function frameUpstream(
  answer: (stream: number) => Uint8Array,
): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(SETTINGS);
    let held = Buffer.alloc(0);
    let prefaced = false;
    socket.on("data", (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      if (!prefaced) {
        if (held.length < PREFACE.length) return;
        held = held.subarray(PREFACE.length);
        prefaced = true;
      }
      while (held.length >= 9 && held.length >= 9 + held.readUIntBE(0, 3)) {
        const length = held.readUIntBE(0, 3);
        const [type, flags, stream] = [held[3], held[4] as number, held.readUInt32BE(5)];
        held = held.subarray(9 + length);
        if (type === FRAME.SETTINGS && (flags & 1) === 0) socket.write(SETTINGS_ACK);
        if (type === FRAME.HEADERS) socket.write(answer(stream));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

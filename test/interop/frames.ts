import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** Frames of HTTP/2, as far as they are told apart here. */
export const DATA = 0;
export const RST_STREAM = 3;
const SETTINGS = 4;
const END_STREAM = 1;
const HEAD = 9;
const PREFACE = 24;

export interface Frame {
  readonly type: number;
  readonly endStream: boolean;
  /** RST_STREAM's error; 0 otherwise. */
  readonly code: number;
}

/** An upstream that answers nothing and writes down each frame, as no HTTP/2 library tells them. */
export async function frameLog(): Promise<{
  readonly port: number;
  /** Resolves with all frames until now once one of this type has come. */
  until(type: number): Promise<Frame[]>;
  close(): void;
}> {
  const frames: Frame[] = [];
  const sockets = new Set<Socket>();
  let waiting: { type: number; resolve: (frames: Frame[]) => void }[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(Buffer.from([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]));
    let rest = Buffer.alloc(0);
    let skip = PREFACE;
    socket.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      if (rest.length < skip) return;
      rest = rest.subarray(skip);
      skip = 0;
      while (rest.length >= HEAD && rest.length >= HEAD + rest.readUIntBE(0, 3)) {
        const type = rest[3] as number;
        const endStream = type <= 1 && ((rest[4] as number) & END_STREAM) !== 0;
        frames.push({ type, endStream, code: type === RST_STREAM ? rest.readUInt32BE(HEAD) : 0 });
        rest = rest.subarray(HEAD + rest.readUIntBE(0, 3));
        for (const w of waiting.filter((w) => w.type === type)) w.resolve([...frames]);
        waiting = waiting.filter((w) => w.type !== type);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    until: (type) =>
      new Promise((resolve) => {
        if (frames.some((f) => f.type === type)) resolve([...frames]);
        else waiting.push({ type, resolve });
      }),
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/**
 * An upstream that is no ceiling: it answers every gRPC call over plaintext HTTP/2 with the same 100
 * bytes, from frames made beforehand. It reads of a request where it ends and nothing else, so it is
 * of no use outside of a bench.
 *
 *     node bench/upstream.ts        prints {"port": …}
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

const [DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE] = [0, 1, 4, 6, 8];
const [END_STREAM, ACK, END_HEADERS] = [1, 1, 4];
const HEAD = 9;
const PREFACE = 24;
const BODY = 100;
/** Credit given back to the peer in one piece; it starts with 2^30. */
const CREDIT = 1 << 20;

function frame(type: number, flags: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** HPACK: a literal field without indexing, new name, no Huffman. */
const literal = (name: string, value: string): Buffer =>
  Buffer.from(
    `\0${String.fromCharCode(name.length)}${name}${String.fromCharCode(value.length)}${value}`,
    "latin1",
  );

/** `:status: 200` is entry 8 of the static table. */
const answerHead = frame(
  HEADERS,
  END_HEADERS,
  Buffer.concat([Buffer.of(0x88), literal("content-type", "application/grpc")]),
);
const message = Buffer.concat([Buffer.of(0), u32(BODY - 5), Buffer.alloc(BODY - 5, "a")]);
const answerBody = frame(DATA, 0, message);
const trailers = frame(HEADERS, END_STREAM | END_HEADERS, literal("grpc-status", "0"));
const ANSWER = Buffer.concat([answerHead, answerBody, trailers]);
/** Where its three frames name their stream. */
const IDS = [5, answerHead.length + 5, answerHead.length + answerBody.length + 5];

/** MAX_CONCURRENT_STREAMS 4096, INITIAL_WINDOW_SIZE 1 MiB; then credit for the connection. */
const GREETING = Buffer.concat([
  frame(SETTINGS, 0, Buffer.from([0, 3, 0, 0, 0x10, 0, 0, 4, 0, 0x10, 0, 0])),
  frame(WINDOW_UPDATE, 0, u32(0x3f000000)),
]);

function serve(socket: Socket): void {
  let rest: Buffer = Buffer.alloc(0);
  let skip = PREFACE;
  let window = 65_535;
  let taken = 0;
  const waiting: number[] = [];
  let out: Buffer[] = [];
  const answer = (stream: number): void => {
    if (window < BODY) {
      waiting.push(stream);
      return;
    }
    window -= BODY;
    const copy = Buffer.from(ANSWER);
    for (const at of IDS) copy.writeUInt32BE(stream, at);
    out.push(copy);
  };
  const take = (type: number, flags: number, stream: number, payload: Buffer): void => {
    if (type === DATA) taken += payload.length;
    if ((type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0) answer(stream);
    else if (type === SETTINGS && (flags & ACK) === 0) out.push(frame(SETTINGS, ACK, Buffer.of()));
    else if (type === PING && (flags & ACK) === 0) out.push(frame(PING, ACK, payload));
    else if (type === WINDOW_UPDATE && stream === 0) {
      window += payload.readUInt32BE();
      for (const late of waiting.splice(0)) answer(late);
    }
  };
  socket.on("error", () => socket.destroy());
  socket.write(GREETING);
  socket.on("data", (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    if (skip > 0 && bytes.length >= skip) {
      at = skip;
      skip = 0;
    }
    while (skip === 0 && bytes.length - at >= HEAD) {
      const end = at + HEAD + bytes.readUIntBE(at, 3);
      if (end > bytes.length) break;
      const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff;
      take(
        bytes[at + 3] as number,
        bytes[at + 4] as number,
        stream,
        bytes.subarray(at + HEAD, end),
      );
      at = end;
    }
    rest = bytes.subarray(at);
    if (taken > CREDIT) {
      out.push(frame(WINDOW_UPDATE, 0, u32(taken)));
      taken = 0;
    }
    if (out.length > 0) socket.write(out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out));
    out = [];
  });
}

const server = createServer({ noDelay: true }, serve).listen(0, "127.0.0.1", 4096);
await once(server, "listening");
console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }));

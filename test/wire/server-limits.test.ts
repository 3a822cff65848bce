import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { connect as connectRaw } from "node:net";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { LedgerService } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { openServer, type RpcServer, type ServerLimits, serve } from "../../src/wire/grpc.ts";
import type { CallContext, Entry, Handlers } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { CARRIERS, sockets } from "./carriers.ts";

/** What one connection may cost: a client that is no gRPC library at all tries to cost more. */

const LIMITS: ServerLimits = {
  messageBytesMax: 1 << 20,
  streamsPerConnectionMax: 10,
  sessionMemoryMb: 32,
  idleUs: 3600e6,
  ageUs: 3600e6,
  ageGraceUs: 1e6,
  keepaliveUs: 3600e6,
  keepaliveTimeoutUs: 10e6,
};
const MIB = new Uint8Array(1 << 20).subarray(64);

let carrier: (typeof CARRIERS)[number][1] = () => null;
let server: RpcServer | null = null;
let session: ClientHttp2Session | null = null;
let port = 0;
/** Calls that reached their handler. */
let begun = 0;

afterEach(async () => {
  session?.destroy();
  await server?.close(0);
});

/** `watchReceipts` says one thing of almost 1 MiB, and then waits until its caller is gone. */
async function open(limits: Partial<ServerLimits>, entry?: Entry): Promise<ClientHttp2Session> {
  server = openServer({
    transport: carrier(),
    limits: { ...LIMITS, ...limits },
    onFault: (error) => {
      throw error;
    },
  });
  const handlers = {
    async *watchReceipts(_: unknown, { signal }: CallContext) {
      begun++;
      yield { resumeToken: "", receipt: { body: MIB } };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    },
  };
  const none = () => Promise.reject(new Error("not called here"));
  const rest = { sync: none, listReceipts: none, getReceipt: none };
  const all = { ...rest, ...handlers } as unknown as Handlers<typeof LedgerService>;
  serve(server, LedgerService, all, entry && (() => entry));
  begun = 0;
  port = await server.listen("127.0.0.1:0");
  session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  await once(session, "remoteSettings");
  return session;
}

/** A call whose answer is never read. */
function call(): ClientHttp2Stream {
  const stream = begin();
  stream.end(new Uint8Array(5));
  return stream;
}

/** The headers of a call, and nothing else yet. */
function begin(): ClientHttp2Stream {
  const stream = (session as ClientHttp2Session).request({
    ":method": "POST",
    ":path": "/dragons.v1.LedgerService/WatchReceipts",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  return stream;
}
const closed = async (stream: ClientHttp2Stream): Promise<number | undefined> => {
  if (!stream.closed) await once(stream, "close");
  return stream.rstCode;
};

test("a connection is told how many calls it may have at once, and has no more", async () => {
  const { remoteSettings } = await open({ streamsPerConnectionMax: 3 });
  expect(remoteSettings.maxConcurrentStreams).toBe(3);
  await Promise.all([call(), call(), call()].map((s) => once(s, "response")));
  call();
  // Whatever was sent before a ping has arrived when it is answered.
  await new Promise((resolve) => session?.ping(resolve));
  expect(begun).toBe(3);
});

test("a connection that lets answers pile up gets no further call once it holds its share of memory", async () => {
  await open({ sessionMemoryMb: 2 });
  const streams: ClientHttp2Stream[] = [];
  const refused: (number | undefined)[] = [];
  for (let i = 0; i < 10 && refused.length === 0; i++) {
    const stream = call();
    streams.push(stream);
    const [how] = await Promise.race([
      once(stream, "response").then(() => ["answered"]),
      closed(stream).then((code) => [code]),
    ]).catch(() => [stream.rstCode]);
    if (typeof how === "number") refused.push(how);
  }
  expect(refused).toEqual([constants.NGHTTP2_ENHANCE_YOUR_CALM]);
  expect(streams.length).toBeGreaterThan(2);
});

/** The head of a message that long, and none of it. */
function announcing(bytes: number): Uint8Array {
  const head = new Uint8Array(5);
  new DataView(head.buffer).setUint32(1, bytes);
  return head;
}

describe.each(CARRIERS)("%s", (_, transport) => {
  beforeAll(() => {
    carrier = transport;
  });

  test("a caller who is not let in is told at the headers, and no byte of what it sends is taken", async () => {
    const refusal = new StatusError("UNAUTHENTICATED", "CREDENTIAL_INVALID", "nobody knows you");
    const admit = () => {
      throw refusal;
    };
    await open({}, { admit, messageBytesMax: null });
    const stream = begin();
    stream.write(announcing(LIMITS.messageBytesMax));
    stream.write(new Uint8Array(1 << 16));
    const [headers] = await once(stream, "response");
    expect(headers).toMatchObject({ "grpc-status": "16" });
    expect(decodeURI(headers["grpc-message"])).toBe("nobody knows you");
    expect(begun).toBe(0);
  });

  test("a method's own limit ends a longer message as soon as its length is told", async () => {
    await open({}, { admit: () => "anybody", messageBytesMax: 100 });
    const long = begin();
    long.write(announcing(101));
    const [headers] = await once(long, "response");
    expect(headers).toMatchObject({ "grpc-status": "8" });
    const short = begin();
    short.end(Buffer.concat([announcing(100), new Uint8Array(100)]));
    // Not a message of this method, but one that was read.
    const [answer] = await once(short, "response");
    expect(answer).toMatchObject({ "grpc-status": "3" });
  });

  test("a connection without calls is told to go", async () => {
    const idle = await open({ idleUs: 50_000 });
    await once(idle, "goaway");
  });

  test("a connection that is old takes no new calls; one under way is cut when its grace is over", async () => {
    const old = await open({ ageUs: 100_000, ageGraceUs: 50_000 });
    const stream = call();
    await once(stream, "response");
    await once(old, "goaway");
    await closed(stream);
  });

  test("a peer that answers no ping is given up", async () => {
    await open({ keepaliveUs: 100_000, keepaliveTimeoutUs: 50_000 });
    const mute = connectRaw(port);
    // Greets as it should, and says not a word after that: our ping is heard, and then it ends.
    mute.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    mute.write(Buffer.from("000000040000000000", "hex"));
    const heard: Buffer[] = [];
    mute.on("data", (bytes: Buffer) => heard.push(bytes));
    await once(mute, "close");
    // A PING: eight bytes, type 6, no flags, of no stream.
    expect(Buffer.concat(heard).toString("hex")).toContain("000008060000000000");
  });
});

test.each([
  ["by grpc-js", null],
  ["by our own HTTP/2", Uint8Array.of(1)],
])(
  "a peer that reads nothing holds up the end no longer than those under way may take, %s",
  async (_, certificate) => {
    carrier = () => sockets(certificate);
    await open({});
    const mute = connectRaw(port);
    mute.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    mute.write(Buffer.from("000000040000000000", "hex"));
    await once(mute, "readable");
    await server?.close(50_000);
    server = null;
    mute.destroy();
  },
);

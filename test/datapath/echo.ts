import grpc from "@grpc/grpc-js";

const raw = (b: Buffer): Buffer => b;
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});

export const ECHO = {
  unary: method("/test.Echo/Unary", false, false),
  collect: method("/test.Echo/Collect", true, false),
  count: method("/test.Echo/Count", false, true),
  chat: method("/test.Echo/Chat", true, true),
  forbidden: method("/test.Other/Do", false, false),
};
export type Client = InstanceType<grpc.ServiceClientConstructor>;
const EchoClient = grpc.makeGenericClientConstructor(ECHO, "test.Echo");

/** Metadata that comes to the service goes back in trailers, spelled as it came. */
function mirror(call: { metadata: grpc.Metadata }): grpc.Metadata {
  const back = new grpc.Metadata();
  for (const key of Object.keys(call.metadata.getMap())) {
    if (key.startsWith("x-")) for (const v of call.metadata.get(key)) back.add(key, v);
  }
  return back;
}

/** What the upstream saw, by call. */
export interface Seen {
  cancelled: number;
  deadlines: number[];
}

/** An upstream by grpc-js that knows nothing of sidecars. */
export async function echoServer(
  credentials: grpc.ServerCredentials,
): Promise<{ port: number; seen: Seen; close(): void }> {
  const seen: Seen = { cancelled: 0, deadlines: [] };
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(ECHO, {
    unary(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      call.on("cancelled", () => seen.cancelled++);
      const deadline = call.getDeadline();
      seen.deadlines.push(deadline instanceof Date ? deadline.getTime() : deadline);
      const asked = call.request.toString("latin1", 0, 20);
      if (asked === "never") return;
      if (asked === "fail") {
        done({ code: 9, details: "naïve %", metadata: mirror(call) });
        return;
      }
      call.sendMetadata(mirror(call));
      done(null, call.request, mirror(call));
    },
    collect(call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      const parts: Buffer[] = [];
      call.on("data", (part: Buffer) => parts.push(part));
      call.on("end", () => done(null, Buffer.concat(parts)));
    },
    count(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      call.sendMetadata(mirror(call));
      if (call.request.toString() === "never") return;
      for (let i = 0; i < Number(call.request.toString()); i++) call.write(Buffer.from(`${i}`));
      call.end(mirror(call));
    },
    chat(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
      call.on("cancelled", () => seen.cancelled++);
      call.on("data", (part: Buffer) => call.write(part));
      call.on("end", () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (e, p) => (e === null ? resolve(p) : reject(e))),
  );
  return { port, seen, close: () => server.forceShutdown() };
}

/** An unmodified client; `proxy` is what `grpc_proxy` says, empty for a direct call. */
export function echoClient(
  target: string,
  credentials: grpc.ChannelCredentials,
  proxy: string,
): Client {
  if (proxy === "") delete process.env.grpc_proxy;
  else process.env.grpc_proxy = proxy;
  const client = new EchoClient(target, credentials, {
    "grpc.max_receive_message_length": -1,
    "grpc.use_local_subchannel_pool": 1,
  });
  delete process.env.grpc_proxy;
  return client;
}

/** Everything a caller can see of a call. */
export interface Told {
  messages: string[];
  code: number;
  details: string;
  head: [string, unknown[]][];
  trailers: [string, unknown[]][];
}

/** Makes a call of any kind and tells what came of it. */
export function call(
  client: Client,
  name: keyof typeof ECHO,
  messages: (Buffer | string)[],
  metadata: grpc.Metadata = new grpc.Metadata(),
  options: grpc.CallOptions = {},
): Promise<Told> {
  const { path, requestStream, responseStream } = ECHO[name];
  const told: Told = { messages: [], code: -1, details: "", head: [], trailers: [] };
  return new Promise((resolve) => {
    const end = (status: grpc.StatusObject) =>
      resolve({
        ...told,
        code: status.code,
        details: status.details,
        trailers: entries(status.metadata),
      });
    const take = (m: Buffer | undefined) => {
      if (m !== undefined) told.messages.push(m.toString("latin1"));
    };
    const first = Buffer.from(messages[0] ?? "");
    const none = () => {};
    const c = (
      requestStream
        ? responseStream
          ? client.makeBidiStreamRequest(path, raw, raw, metadata, options)
          : client.makeClientStreamRequest(path, raw, raw, metadata, options, (_e, m) => take(m))
        : responseStream
          ? client.makeServerStreamRequest(path, raw, raw, first, metadata, options)
          : client.makeUnaryRequest(path, raw, raw, first, metadata, options, (_e, m) => take(m))
    ) as grpc.ClientDuplexStream<Buffer, Buffer>;
    c.on("error", none);
    c.on("metadata", (m: grpc.Metadata) => {
      told.head = entries(m);
    });
    c.on("status", end);
    if (responseStream) c.on("data", take);
    if (requestStream) {
      for (const m of messages) c.write(Buffer.from(m as string));
      c.end();
    }
  });
}

const entries = (m: grpc.Metadata): [string, unknown[]][] =>
  Object.keys(m.getMap())
    .filter((k) => k !== "date")
    .sort()
    .map((k) => [k, m.get(k).map((v) => (typeof v === "string" ? v : v.toString("hex")))]);

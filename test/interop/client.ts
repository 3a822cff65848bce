import { hash } from "node:crypto";
import { text } from "node:stream/consumers";
import grpc from "@grpc/grpc-js";
import type { Case } from "./cases.ts";

// A grpc-js client that knows of no sidecar: what its environment says is all it is told. Reads a job
// from its standard input, makes one call after the other, and prints what it saw of each.

interface Job {
  readonly tls: boolean;
  readonly target: string;
  readonly gzipTarget: string;
  readonly cases: readonly Case[];
}

const GZIP = 2;
const raw = (b: Buffer): Buffer => b;

const job = JSON.parse(await text(process.stdin)) as Job;
const open = (target: string, options: grpc.ChannelOptions): grpc.Client =>
  new grpc.Client(
    target,
    job.tls ? grpc.credentials.createSsl() : grpc.credentials.createInsecure(),
    { "grpc.max_receive_message_length": -1, ...options },
  );
const client = open(job.target, {});
const squeezing = open(job.gzipTarget, { "grpc.default_compression_algorithm": GZIP });

const observations: unknown[] = [];
for (const one of job.cases) observations.push(await run(one.gzip ? squeezing : client, one));
client.close();
squeezing.close();
process.stdout.write(JSON.stringify(observations));

function run(on: grpc.Client, one: Case): Promise<unknown> {
  const metadata = new grpc.Metadata();
  for (const [name, value] of one.metadata) {
    metadata.add(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }
  const options: grpc.CallOptions =
    one.deadlineMs === null ? {} : { deadline: Date.now() + one.deadlineMs };
  const queue = one.requests.map((r) => Buffer.from(r, "base64"));
  const messages: string[] = [];
  let head: unknown = [];
  return new Promise((resolve) => {
    const take = (m: Buffer | undefined): void => {
      if (m === undefined) return;
      messages.push(`${m.length} ${hash("sha256", m)}`);
      if (one.cancelAfter === messages.length) call.cancel();
      else if (one.pingPong) send();
    };
    const first = queue[0] ?? Buffer.alloc(0);
    const none = (): void => {};
    const done = (_e: unknown, m?: Buffer): void => take(m);
    const { path, kind } = one;
    const call = (
      kind === "unary"
        ? on.makeUnaryRequest(path, raw, raw, first, metadata, options, done)
        : kind === "clientStream"
          ? on.makeClientStreamRequest(path, raw, raw, metadata, options, done)
          : kind === "serverStream"
            ? on.makeServerStreamRequest(path, raw, raw, first, metadata, options)
            : on.makeBidiStreamRequest(path, raw, raw, metadata, options)
    ) as grpc.ClientDuplexStream<Buffer, Buffer>;
    const send = (): void => {
      const next = queue.shift();
      if (next !== undefined) call.write(next);
      else if (one.halfClose) call.end();
    };
    call.on("error", none);
    call.on("metadata", (m: grpc.Metadata) => {
      head = fields(m);
      if (one.cancelAfter === 0) call.cancel();
    });
    call.on("status", ({ code, details, metadata: trailers }: grpc.StatusObject) =>
      // A unary answer is told after its status.
      setImmediate(() => resolve({ code, details, head, messages, trailers: fields(trailers) })),
    );
    if (kind === "serverStream" || kind === "bidi") call.on("data", take);
    if (kind === "unary" || kind === "serverStream") return;
    if (one.pingPong) {
      send();
      return;
    }
    for (const m of queue) call.write(m);
    if (one.halfClose) call.end();
  });
}

function fields(m: grpc.Metadata): [string, string][] {
  return Object.keys(m.getMap())
    .sort()
    .flatMap((k) => m.get(k).map((v): [string, string] => [k, asText(v)]));
}

function asText(value: grpc.MetadataValue): string {
  return typeof value === "string" ? value : value.toString("base64");
}

import { hash } from "node:crypto";
import { once } from "node:events";
import http2, { type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import grpc from "@grpc/grpc-js";
import { HOLD, SERVICE } from "./cases.ts";
import { readAsked, sizedAnswer, sumAnswer } from "./messages.ts";

/** What the service saw of one call, for a comparison of both ends. */
export interface Saw {
  readonly path: string;
  readonly authority: string;
  /** By name; of a gzip call a flat list, as sent. */
  readonly metadata: unknown;
  readonly deadline: boolean;
  /** Messages, each as `length sha256`; of a gzip call the raw frames, joined. */
  readonly messages: string[];
  ended: "" | "finished" | "cancelled";
}

export interface Service {
  readonly port: number;
  readonly gzipPort: number;
  /** Resolves with everything seen until now, in the order of arrival, once so many calls ended. */
  seen(count: number): Promise<Saw[]>;
  /** Forgets. */
  forget(): void;
  close(): void;
}

export interface ServiceTls {
  readonly certPem: string;
  readonly keyPem: string;
}

const raw = (b: Buffer): Buffer => b;
const shape = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: SERVICE + name,
  requestStream,
  responseStream,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});

type Unary = grpc.ServerUnaryCall<Buffer, Buffer>;
type Collecting = grpc.ServerReadableStream<Buffer, Buffer>;
type Streaming = grpc.ServerWritableStream<Buffer, Buffer>;
type Duplex = grpc.ServerDuplexStream<Buffer, Buffer>;
type Answer = grpc.sendUnaryData<Buffer>;

/** gRPC's interop service, by grpc-js, and beside it a service that answers compressed. */
export async function openService(tls: ServiceTls | null): Promise<Service> {
  const log = new CallLog();
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(
    {
      EmptyCall: shape("EmptyCall", false, false),
      UnaryCall: shape("UnaryCall", false, false),
      StreamingInputCall: shape("StreamingInputCall", true, false),
      StreamingOutputCall: shape("StreamingOutputCall", false, true),
      FullDuplexCall: shape("FullDuplexCall", true, true),
    },
    {
      EmptyCall: (call: Unary, answer: Answer) => {
        log.end(log.begin(call), "finished");
        answer(null, Buffer.alloc(0));
      },
      UnaryCall: (call: Unary, answer: Answer) => unary(log, call, answer),
      StreamingInputCall: (call: Collecting, answer: Answer) => collect(log, call, answer),
      StreamingOutputCall: (call: Streaming) => {
        const saw = log.begin(call);
        saw.messages.push(digest(call.request));
        for (const size of readAsked(call.request).sizes)
          call.write(Buffer.from(sizedAnswer(size)));
        log.end(saw, "finished");
        call.end();
      },
      FullDuplexCall: (call: Duplex) => duplex(log, call),
    },
  );
  const credentials =
    tls === null
      ? grpc.ServerCredentials.createInsecure()
      : grpc.ServerCredentials.createSsl(null, [
          { cert_chain: Buffer.from(tls.certPem), private_key: Buffer.from(tls.keyPem) },
        ]);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (e, p) => (e === null ? resolve(p) : reject(e))),
  );
  const gzip = await openGzip(tls, log);
  return {
    port,
    gzipPort: gzip.port,
    seen: (count) => log.seen(count),
    forget: () => log.forget(),
    close() {
      server.forceShutdown();
      gzip.close();
    },
  };
}

function unary(log: CallLog, call: Unary, answer: Answer): void {
  const saw = log.begin(call);
  saw.messages.push(digest(call.request));
  const { code, message, sizes } = readAsked(call.request);
  const { head, trailers } = echoed(call.metadata);
  log.end(saw, "finished");
  if (code !== 0) {
    answer({ code, details: message, metadata: trailers });
    return;
  }
  call.sendMetadata(head);
  answer(null, Buffer.from(sizedAnswer(sizes[0] ?? 0)), trailers);
}

function collect(log: CallLog, call: Collecting, answer: Answer): void {
  const saw = log.begin(call);
  // At once, so that a client can tell that the service has the call.
  call.sendMetadata(new grpc.Metadata());
  const held = call.metadata.get(HOLD).length > 0;
  let sum = 0;
  call.on("cancelled", () => log.end(saw, "cancelled"));
  call.on("data", (m: Buffer) => {
    saw.messages.push(digest(m));
    sum += readAsked(m).body.length;
  });
  call.on("end", () => {
    // grpc-js and Node's HTTP/2 tell a reset as an end first.
    if (held || saw.ended !== "") return;
    log.end(saw, "finished");
    answer(null, Buffer.from(sumAnswer(sum)));
  });
}

function duplex(log: CallLog, call: Duplex): void {
  const saw = log.begin(call);
  const { head, trailers } = echoed(call.metadata);
  call.sendMetadata(head);
  const held = call.metadata.get(HOLD).length > 0;
  call.on("cancelled", () => log.end(saw, "cancelled"));
  call.on("data", (m: Buffer) => {
    saw.messages.push(digest(m));
    const { code, message, sizes } = readAsked(m);
    for (const size of sizes) call.write(Buffer.from(sizedAnswer(size)));
    if (code === 0) return;
    log.end(saw, "finished");
    call.emit("error", { code, details: message, metadata: trailers });
  });
  call.on("end", () => {
    if (held || saw.ended !== "") return;
    log.end(saw, "finished");
    call.end(trailers);
  });
}

/** `x-…-bin` goes back in trailers, every other `x-…` in the head, repeats and order kept. */
function echoed(metadata: grpc.Metadata): { head: grpc.Metadata; trailers: grpc.Metadata } {
  const back = { head: new grpc.Metadata(), trailers: new grpc.Metadata() };
  for (const key of Object.keys(metadata.getMap()).filter((k) => k.startsWith("x-"))) {
    const into = key.endsWith("-bin") ? back.trailers : back.head;
    for (const value of metadata.get(key)) into.add(key, value);
  }
  return back;
}

/** Gives every frame back as it came, compressed by whoever compressed it. */
async function openGzip(tls: ServiceTls | null, log: CallLog) {
  const sessions = new Set<http2.Http2Session>();
  const server =
    tls === null
      ? http2.createServer()
      : http2.createSecureServer({ cert: tls.certPem, key: tls.keyPem });
  server.on("session", (s) => sessions.add(s));
  const onStream = (
    stream: ServerHttp2Stream,
    headers: http2.IncomingHttpHeaders,
    _flags: number,
    flat: unknown,
  ): void => {
    const { ":path": path = "", ":authority": authority = "" } = headers;
    // Flat, as grpc-js does not see them: it joins what comes repeatedly.
    const all = flat as string[];
    const fields = all.filter((_, i) => !all[i - (i % 2)]?.startsWith(":"));
    const saw = log.add(path, authority, fields, false);
    const parts: Buffer[] = [];
    stream.respond(
      {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-encoding": headers["grpc-encoding"] ?? "none was announced",
      },
      { waitForTrailers: true },
    );
    stream.on("error", () => {});
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.on("data", (part: Buffer) => {
      parts.push(part);
      stream.write(part);
    });
    stream.on("end", () => {
      const frames = Buffer.concat(parts);
      // Flag 1: the client did compress, so the case proves what it says.
      saw.messages.push(`${digest(frames)} flag ${frames[0]}`);
      log.end(saw, "finished");
      stream.end();
    });
  };
  server.on("stream", onStream);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = (): void => {
    for (const s of sessions) s.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

const digest = (m: Uint8Array): string => `${m.length} ${hash("sha256", m)}`;

class CallLog {
  #saw: Saw[] = [];
  #waiting: { count: number; resolve: (saw: Saw[]) => void }[] = [];

  begin(call: Unary | Collecting | Streaming | Duplex): Saw {
    const values = Object.keys(call.metadata.getMap()).map((k) => [
      k,
      call.metadata.get(k).map((v) => (typeof v === "string" ? v : v.toString("base64"))),
    ]);
    const deadline = call.getDeadline() !== Number.POSITIVE_INFINITY;
    return this.add(call.getPath(), call.getHost(), Object.fromEntries(values), deadline);
  }

  add(path: string, authority: string, metadata: unknown, deadline: boolean): Saw {
    const saw: Saw = { path, authority, metadata, deadline, messages: [], ended: "" };
    this.#saw.push(saw);
    return saw;
  }

  end(saw: Saw, how: "finished" | "cancelled"): void {
    if (saw.ended !== "") return;
    saw.ended = how;
    this.#tell();
  }

  #tell(): void {
    const ended = this.#saw.filter((s) => s.ended !== "").length;
    for (const w of this.#waiting.filter((w) => ended >= w.count)) w.resolve([...this.#saw]);
    this.#waiting = this.#waiting.filter((w) => ended < w.count);
  }

  seen(count: number): Promise<Saw[]> {
    return new Promise((resolve) => {
      this.#waiting.push({ count, resolve });
      this.#tell();
    });
  }

  forget(): void {
    this.#saw = [];
  }
}

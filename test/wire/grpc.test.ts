import { once } from "node:events";
import { connect } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { rootCertificates } from "node:tls";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import {
  EmptySchema,
  FileDescriptorSetSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Encoded } from "../../src/wire/encoded.ts";
import {
  createClient,
  openChannel,
  openServer,
  type RpcChannel,
  type RpcServer,
  type ServerLimits,
  serve,
} from "../../src/wire/grpc.ts";
import { encode } from "../../src/wire/messages.ts";
import { Queue } from "../../src/wire/queue.ts";
import type { CallContext, CallOptions, Requests } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { Tail } from "../../src/wire/tail.ts";
import { CARRIERS } from "./carriers.ts";

// A service with each kind of RPC over { text, bytes }; the product has no use for one of them.
const MESSAGE = {
  name: "Word",
  field: [
    { name: "text", number: 1, type: Type.STRING, label: Label.OPTIONAL, jsonName: "text" },
    { name: "data", number: 2, type: Type.BYTES, label: Label.OPTIONAL, jsonName: "data" },
  ],
};
const io = { inputType: ".lab.Word", outputType: ".lab.Word" };
const registry = createFileRegistry(
  create(FileDescriptorSetSchema, {
    file: [
      {
        name: "lab.proto",
        package: "lab",
        syntax: "proto3",
        messageType: [MESSAGE],
        service: [
          {
            name: "Lab",
            method: [
              { name: "Echo", ...io },
              { name: "Count", ...io, serverStreaming: true },
              { name: "Join", ...io, clientStreaming: true },
              { name: "Upper", ...io, clientStreaming: true, serverStreaming: true },
            ],
          },
        ],
      },
    ],
  }),
);
const Lab = registry.getService("lab.Lab");
const Output = registry.getMessage("lab.Word");
if (Lab === undefined || Output === undefined) throw new Error("no lab");

interface Word {
  text?: string;
  data?: Uint8Array;
}
interface LabHandlers {
  echo(word: Word, context: CallContext): Promise<Word>;
  count(word: Word, context: CallContext): AsyncIterable<Word>;
  join(words: Requests<Word>, context: CallContext): Promise<Word>;
  upper(words: Requests<Word>, context: CallContext): AsyncIterable<Word>;
}
interface LabClient {
  echo(word: Word, options?: CallOptions): Promise<Word>;
  count(word: Word, options?: CallOptions): AsyncIterable<Word>;
  join(words: AsyncIterable<Word>, options?: CallOptions): Promise<Word>;
  upper(words: AsyncIterable<Word>, options?: CallOptions): AsyncIterable<Word>;
}

const limits: ServerLimits = {
  messageBytesMax: 64 * 1024,
  streamsPerConnectionMax: 100,
  sessionMemoryMb: 32,
  idleUs: 60e6,
  ageUs: 3600e6,
  ageGraceUs: 1e6,
  keepaliveUs: 30e6,
  keepaliveTimeoutUs: 10e6,
};

const plain: LabHandlers = {
  echo: async (word) => ({ text: word.text ?? "" }),
  async *count({ text }) {
    for (let i = 0; i < Number(text); i++) yield { text: String(i) };
  },
  async join(words) {
    const all: string[] = [];
    for await (const w of words) all.push(w.text ?? "");
    return { text: all.join(" ") };
  },
  async *upper(words) {
    for await (const w of words) yield { text: (w.text ?? "").toUpperCase() };
  },
};

async function* of(...texts: string[]): AsyncGenerator<Word> {
  for (const text of texts) yield { text };
}
async function texts(words: AsyncIterable<Word>): Promise<string[]> {
  const all: string[] = [];
  for await (const w of words) all.push(w.text ?? "");
  return all;
}
const failure = (work: Promise<unknown>): Promise<StatusError> =>
  work.then(
    () => Promise.reject(new Error("did not fail")),
    (e) => {
      expect(e).toBeInstanceOf(StatusError);
      return e;
    },
  );

describe.each(CARRIERS)("%s", (_, transport) => {
  let handlers: LabHandlers = plain;
  const faults: unknown[] = [];
  let server: RpcServer;
  let channel: RpcChannel;
  let client: LabClient;
  let port = 0;

  beforeAll(async () => {
    server = openServer({ transport: transport(), limits, onFault: (error) => faults.push(error) });
    serve(server, Lab, {
      echo: (w: Word, c: CallContext) => handlers.echo(w, c),
      count: (w: Word, c: CallContext) => handlers.count(w, c),
      join: (w: Requests<Word>, c: CallContext) => handlers.join(w, c),
      upper: (w: Requests<Word>, c: CallContext) => handlers.upper(w, c),
    } as never);
    port = await server.listen("127.0.0.1:0");
    channel = openChannel({
      address: `127.0.0.1:${port}`,
      tls: null,
      messageBytesMax: 1024 * 1024,
      keepaliveUs: 30e6,
      keepaliveTimeoutUs: 10e6,
    });
    client = createClient(Lab, channel) as unknown as LabClient;
  });
  beforeEach(() => {
    handlers = plain;
    faults.length = 0;
  });
  afterAll(async () => {
    channel.close();
    await server.close(0);
  });

  test("all four kinds of RPC", async () => {
    expect((await client.echo({ text: "hello" })).text).toBe("hello");
    expect(await texts(client.count({ text: "3" }))).toEqual(["0", "1", "2"]);
    expect((await client.join(of("a", "b", "c"))).text).toBe("a b c");
    expect(await texts(client.upper(of("x", "y")))).toEqual(["X", "Y"]);
  });

  test("a bidirectional stream answers while requests still come", async () => {
    const requests = new Queue<Word>(4);
    const answers = client.upper(requests)[Symbol.asyncIterator]();
    requests.push({ text: "one" });
    expect((await answers.next()).value).toMatchObject({ text: "ONE" });
    requests.push({ text: "two" });
    expect((await answers.next()).value).toMatchObject({ text: "TWO" });
    requests.end();
    expect((await answers.next()).done).toBe(true);
  });

  test("a handler that stops reading early still answers, in order, and ends well", async () => {
    handlers = {
      ...plain,
      async *upper(words) {
        for await (const w of words) {
          yield { text: w.text ?? "" };
          break;
        }
        yield { text: "enough" };
      },
      async join(words) {
        for await (const w of words) return { text: w.text ?? "" };
        return {};
      },
    };
    const requests = new Queue<Word>(8);
    for (const text of ["a", "b", "c"]) requests.push({ text });
    expect(await texts(client.upper(requests))).toEqual(["a", "enough"]);
    const more = new Queue<Word>(8);
    for (const text of ["a", "b", "c"]) more.push({ text });
    expect((await client.join(more)).text).toBe("a");
  });

  test("what is encoded once is told to many as the same messages, among others and in order", async () => {
    const long = "x".repeat(5000);
    const bytesOf = (message: Word) => encode(Output, message as never);
    const one = Encoded.of(Output, { text: "one" } as never);
    // The second in parts.
    const both = Encoded.inARow(Output, [
      [bytesOf({ text: long })],
      [bytesOf({ text: "three" }), bytesOf({ data: Uint8Array.of(1) })],
    ]);
    const before = Buffer.from(both.frames);
    handlers = {
      ...plain,
      async *count() {
        yield one as never;
        yield { text: "between" };
        yield both as never;
      },
      async *upper() {
        yield both as never;
      },
    };
    const told = ["one", "between", long, "three"];
    const all = [1, 2, 3].map(() => texts(client.count({})));
    expect(await Promise.all(all)).toEqual([told, told, told]);
    expect(await texts(client.upper(of()))).toEqual([long, "three"]);
    expect(both.frames.equals(before)).toBe(true);
  });

  test("what was encoded as something else is a fault, and never sent", async () => {
    const foreign = Encoded.of(EmptySchema, {});
    handlers = {
      ...plain,
      async *count() {
        yield foreign as never;
      },
    };
    expect((await failure(texts(client.count({})))).code).toBe("INTERNAL");
    expect(faults).toEqual([new TypeError("a google.protobuf.Empty in place of a lab.Word")]);
  });

  describe("a handler that ends with a tail", () => {
    /** Answers "first"; what it hears is said by `on` to its queue. */
    function tailed(on: (word: Word, queue: Queue<Word>) => Promise<void> | void, max = 8) {
      const queue = new Queue<Word>(max);
      const done: string[] = [];
      const isDone = Promise.withResolvers<void>();
      const handler: LabHandlers["upper"] = async function* (words) {
        yield { text: "first" };
        words.each(
          (word) => on(word, queue),
          (error) => (error === null ? queue.end() : queue.fail(error)),
        );
        return new Tail(queue as never, () => {
          done.push("done");
          isDone.resolve();
        });
      };
      handlers = { ...plain, upper: handler };
      return { queue, done, isDone: isDone.promise };
    }

    test("goes on from its queue, to the end of what it is sent, and is done once", async () => {
      const { done } = tailed(({ text = "" }, queue) => void queue.push({ text: `${text}!` }));
      expect(await texts(client.upper(of("a", "b", "c")))).toEqual(["first", "a!", "b!", "c!"]);
      expect(done).toEqual(["done"]);
    });

    test("is handed each message when the one before is done with, and answers meanwhile", async () => {
      const log: string[] = [];
      tailed(async ({ text = "" }, queue) => {
        log.push(`${text} began`);
        queue.push({ text });
        await new Promise(setImmediate);
        log.push(`${text} ended`);
      });
      expect(await texts(client.upper(of("a", "b")))).toEqual(["first", "a", "b"]);
      expect(log).toEqual(["a began", "a ended", "b began", "b ended"]);
    });

    test.each([
      [
        "at once",
        (error: StatusError) => {
          throw error;
        },
      ],
      ["later", (error: StatusError) => Promise.reject(error)],
    ] as const)("tells why it took a message no more, %s", async (_when, refuse) => {
      const heard: string[] = [];
      const { done } = tailed(({ text = "" }, queue) => {
        heard.push(text);
        queue.push({ text });
        return refuse(new StatusError("ABORTED", "FORK", "two histories"));
      });
      const got: string[] = [];
      const error = await failure(
        (async () => {
          for await (const w of client.upper(of("a", "b"))) got.push(w.text ?? "");
        })(),
      );
      expect(error).toMatchObject({ code: "ABORTED", reason: "FORK" });
      expect([got, heard, done]).toEqual([["first", "a"], ["a"], ["done"]]);
    });

    test.each(["cancelled", "past its deadline", "faulty"] as const)(
      "and is %s is done with: its queue has ended, and nothing more is taken",
      async (how) => {
        const { queue, done, isDone } = tailed(() => {});
        const abort = new AbortController();
        const requests = new Queue<Word>(1);
        const options = {
          signal: abort.signal,
          timeoutUs: how.startsWith("past") ? 200_000 : 60e6,
        };
        const answers = client.upper(requests, options)[Symbol.asyncIterator]();
        await answers.next();
        const rest = answers.next();
        if (how === "cancelled") abort.abort();
        if (how === "faulty") queue.push(Encoded.of(EmptySchema, {}) as never);
        await failure(rest);
        await isDone;
        expect([queue.ended, queue.push({}), done]).toEqual([true, false, ["done"]]);
        expect(faults.length).toBe(how === "faulty" ? 1 : 0);
        requests.end();
      },
    );

    test("and whose caller has gone before it came to it is done with all the same", async () => {
      const [entered, leave] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const done = Promise.withResolvers<void>();
      const queue = new Queue<Word>(1);
      handlers = {
        ...plain,
        async *upper() {
          yield { text: "first" };
          entered.resolve();
          await leave.promise;
          return new Tail(queue as never, done.resolve) as never;
        },
      };
      const abort = new AbortController();
      const call = failure(texts(client.upper(new Queue<Word>(1), { signal: abort.signal })));
      await entered.promise;
      abort.abort();
      await call;
      leave.resolve();
      await done.promise;
      expect(queue.ended).toBe(true);
    });

    test("is held back by who never reads, and its queue is as bounded as ever", async () => {
      const { queue, isDone } = tailed(() => {}, 4);
      const requests = new Queue<Word>(1);
      const answers = client.upper(requests)[Symbol.asyncIterator]();
      await answers.next();
      const data = new Uint8Array(32 * 1024);
      let taken = 0;
      for (let full = 0; full < 20; ) {
        if (queue.push({ data })) taken++;
        else full++;
        await client.echo({ text: "still there?" });
      }
      expect(taken).toBeLessThan(500);
      await answers.return?.(undefined);
      await isDone;
      requests.end();
    });
  });

  test("bytes arrive as plain Uint8Arrays", async () => {
    handlers = { ...plain, echo: async (w) => w };
    const { data } = await client.echo({ data: new Uint8Array([1, 2, 3]) });
    expect(data).toEqual(new Uint8Array([1, 2, 3]));
    expect(Object.getPrototypeOf(data)).toBe(Uint8Array.prototype);
  });

  test.each(["echo", "count", "join", "upper"] as const)(
    "an error of %s keeps its code, reason, message and metadata",
    async (kind) => {
      const thrown = new StatusError(
        "FAILED_PRECONDITION",
        "REGRESS",
        "the ledger came back shorter",
        {
          held_size: "7",
        },
      );
      const refuse = async () => Promise.reject(thrown);
      async function* refuseStream(): AsyncGenerator<Word> {
        yield { text: "before" };
        throw thrown;
      }
      handlers = { echo: refuse, join: refuse, count: refuseStream, upper: refuseStream };
      const got: string[] = [];
      const calls = {
        echo: () => client.echo({}),
        join: () => client.join(of()),
        count: async () => {
          for await (const w of client.count({})) got.push(w.text ?? "");
        },
        upper: async () => {
          for await (const w of client.upper(of())) got.push(w.text ?? "");
        },
      };
      const error = await failure(calls[kind]());
      expect(error).toMatchObject({
        code: "FAILED_PRECONDITION",
        reason: "REGRESS",
        message: "the ledger came back shorter",
        metadata: { held_size: "7" },
      });
      if (kind === "count" || kind === "upper") expect(got).toEqual(["before"]);
      expect(faults).toEqual([]);
    },
  );

  test("a handler's bug is told as INTERNAL, and what it was to the server alone", async () => {
    const secret = new Error("the key is 42");
    handlers = { ...plain, echo: () => Promise.reject(secret) };
    const error = await failure(client.echo({}));
    expect(error.code).toBe("INTERNAL");
    expect(JSON.stringify([error.message, error.metadata])).not.toContain("42");
    expect(faults).toEqual([secret]);
  });

  test.each(["unary", "stream"] as const)(
    "cancelling a %s call aborts its handler",
    async (kind) => {
      const entered = Promise.withResolvers<CallContext>();
      const left = Promise.withResolvers<void>();
      const wait = (context: CallContext) =>
        new Promise<void>((resolve) => {
          context.signal.addEventListener("abort", () => resolve());
          entered.resolve(context);
        });
      handlers = {
        ...plain,
        async echo(_, context) {
          await wait(context);
          left.resolve();
          return {};
        },
        async *count(_, context) {
          try {
            yield { text: "first" };
            await wait(context);
          } finally {
            left.resolve();
          }
        },
      };
      const abort = new AbortController();
      const call =
        kind === "unary"
          ? client.echo({}, { signal: abort.signal })
          : texts(client.count({}, { signal: abort.signal }));
      await entered.promise;
      abort.abort();
      expect((await failure(call)).code).toBe("CANCELLED");
      await left.promise;
    },
  );

  test("a reader that leaves its loop cancels the call", async () => {
    const aborted = Promise.withResolvers<void>();
    handlers = {
      ...plain,
      async *count(_, { signal }) {
        signal.addEventListener("abort", () => aborted.resolve());
        for (let i = 0; ; i++) {
          yield { text: String(i) };
          await new Promise<void>((resolve) => setImmediate(resolve));
        }
      },
    };
    for await (const w of client.count({})) if (w.text === "5") break;
    await aborted.promise;
  });

  test("a writer that never reads holds the handler back", async () => {
    let made = 0;
    const aborted = Promise.withResolvers<void>();
    handlers = {
      ...plain,
      async *count(_, { signal }) {
        signal.addEventListener("abort", () => aborted.resolve());
        const data = new Uint8Array(32 * 1024);
        for (; made < 5_000; made++) yield { data };
      },
    };
    const answers = client.count({})[Symbol.asyncIterator]();
    await answers.next();
    // It has stopped when a whole round trip on the same connection finds the count unchanged.
    for (let before = -1; before !== made; ) {
      before = made;
      for (let i = 0; i < 20; i++) await client.echo({ text: "still there?" });
    }
    expect(made).toBeLessThan(500);
    await answers.return?.(undefined);
    await aborted.promise;
  });

  test("a deadline reaches the handler, and ends the call on both sides", async () => {
    const seen = Promise.withResolvers<number>();
    const aborted = Promise.withResolvers<void>();
    handlers = {
      ...plain,
      echo: (_, { signal, deadlineUs }) => {
        seen.resolve(deadlineUs);
        signal.addEventListener("abort", () => aborted.resolve());
        return new Promise(() => {});
      },
    };
    const error = await failure(client.echo({}, { timeoutUs: 100_000 }));
    expect(error.code).toBe("DEADLINE_EXCEEDED");
    expect(Math.abs((await seen.promise) / 1000 - Date.now())).toBeLessThan(10_000);
    await aborted.promise;
  });

  test("metadata: text, bytes, and a deadline that was not given", async () => {
    const seen = Promise.withResolvers<CallContext>();
    handlers = {
      ...plain,
      async echo(_, context) {
        seen.resolve(context);
        return {};
      },
    };
    const token = new Uint8Array([0, 255, 7]);
    await client.echo(
      {},
      { metadata: { authorization: "Bearer x", "dragons-session-bin": token } },
    );
    const { metadata, deadlineUs, peer } = await seen.promise;
    expect(metadata.text("authorization")).toBe("Bearer x");
    expect(metadata.binary("dragons-session-bin")).toEqual(token);
    expect(metadata.text("absent")).toBeUndefined();
    expect(deadlineUs).toBe(Infinity);
    expect(peer).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  test("a message above the limit is refused, unary and streamed, and the server goes on", async () => {
    const data = new Uint8Array(limits.messageBytesMax + 1);
    expect((await failure(client.echo({ data }))).code).toBe("RESOURCE_EXHAUSTED");
    async function* large() {
      yield { data };
    }
    expect((await failure(texts(client.upper(large())))).code).toBe("RESOURCE_EXHAUSTED");
    expect((await client.echo({ text: "well" })).text).toBe("well");
  });

  /** One call in raw HTTP/2, with whatever bytes. Resolves to its grpc-status, or how it broke off. */
  function rawCall(path: string, body: Uint8Array): Promise<string> {
    return new Promise((resolve, reject) => {
      const session = connect(`http://127.0.0.1:${port}`);
      session.on("error", reject);
      const stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
      });
      let status = "";
      const read = (h: Record<string, unknown>) => {
        if (typeof h["grpc-status"] === "string") status = h["grpc-status"];
      };
      stream.on("response", read);
      stream.on("trailers", read);
      stream.on("error", () => {});
      stream.resume();
      stream.on("close", () => {
        session.close();
        resolve(status || `reset ${stream.rstCode}`);
      });
      stream.end(body);
    });
  }
  const frame = (...bytes: number[]): Uint8Array =>
    new Uint8Array([0, 0, 0, 0, bytes.length, ...bytes]);

  test.each(["/lab.Lab/Echo", "/lab.Lab/Count", "/lab.Lab/Join", "/lab.Lab/Upper"])(
    "malformed bytes at %s are an answer to their sender",
    async (path) => {
      // Not a message: a length that runs past the end; text that is no UTF-8.
      expect(await rawCall(path, frame(0x0a, 0x7f, 0x41))).toBe("3");
      expect(await rawCall(path, frame(0x0a, 0x02, 0xc3, 0x28))).toBe("3");
      // Not a frame: compressed by nothing, one cut off in the middle, and one that promises 4 GB.
      expect(await rawCall(path, new Uint8Array([1, 0, 0, 0, 1, 9]))).not.toBe("0");
      await rawCall(path, new Uint8Array([0, 0, 0, 0, 9, 1]));
      expect(await rawCall(path, new Uint8Array([0, 255, 255, 255, 255, 1]))).not.toBe("0");
      expect((await client.echo({ text: "well" })).text).toBe("well");
      expect(faults).toEqual([]);
    },
  );

  test("a server that ends its streams tells each, those that begin later as well, and no other call", async () => {
    const ending = openServer({ transport: transport(), limits, onFault: (e) => faults.push(e) });
    const left: string[] = [];
    const queue = new Queue<Word>(1);
    serve(ending, Lab, {
      ...plain,
      async *count() {
        try {
          yield { text: "first" };
          await new Promise(setImmediate);
          yield* new Queue<Word>(1);
        } finally {
          left.push("count");
        }
      },
      async *upper() {
        yield { text: "first" };
        return new Tail(queue as never, () => left.push("upper"));
      },
    } as never);
    const there = openChannel({
      address: `127.0.0.1:${await ending.listen("127.0.0.1:0")}`,
      tls: null,
      messageBytesMax: 1024,
      keepaliveUs: 30e6,
      keepaliveTimeoutUs: 10e6,
    });
    const lab = createClient(Lab, there) as unknown as LabClient;
    const requests = new Queue<Word>(1);
    const calls = [lab.count({}), lab.upper(requests)].map((c) => c[Symbol.asyncIterator]());
    await Promise.all(calls.map((call) => call.next()));
    const rests = calls.map((call) => failure(call.next()));
    const why = new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "come back");
    ending.endStreams(why);
    const told = { code: "UNAVAILABLE", reason: "SHUTTING_DOWN" };
    expect(await Promise.all(rests)).toMatchObject([told, told]);
    expect(left).toContain("upper");
    expect(queue.ended).toBe(true);
    expect(await failure(texts(lab.count({})))).toMatchObject(told);
    expect((await lab.echo({ text: "well" })).text).toBe("well");
    expect(faults).toEqual([]);
    requests.end();
    there.close();
    await ending.close(0);
  });

  test("a method that is not there", async () => {
    expect(await rawCall("/lab.Lab/Nothing", frame())).toBe("12");
  });

  test("a source of requests that fails cancels the call", async () => {
    async function* source(): AsyncGenerator<Word> {
      yield { text: "a" };
      throw new Error("no more");
    }
    expect((await failure(client.join(source()))).code).toBe("CANCELLED");
  });

  test("nobody at the other end is UNAVAILABLE", async () => {
    const nobody = openChannel({
      address: "127.0.0.1:1",
      tls: null,
      messageBytesMax: 1024,
      keepaliveUs: 30e6,
      keepaliveTimeoutUs: 10e6,
    });
    const error = await failure((createClient(Lab, nobody) as unknown as LabClient).echo({}));
    nobody.close();
    expect(error).toMatchObject({ code: "UNAVAILABLE", reason: "" });
  });
});

test("a connection on which TLS is never answered is UNAVAILABLE in time, and dialled anew", async () => {
  const dialled: Socket[] = [];
  const dark = createServer((socket) => dialled.push(socket));
  await once(dark.listen(0, "127.0.0.1"), "listening");
  const way = openChannel({
    address: `127.0.0.1:${(dark.address() as AddressInfo).port}`,
    tls: { ca: new TextEncoder().encode(rootCertificates[0] as string) },
    messageBytesMax: 1024,
    keepaliveUs: 60e6,
    keepaliveTimeoutUs: 10e6,
    connectUs: 50_000,
  });
  const asked = (createClient(Lab, way) as unknown as LabClient).count({ text: "3" });
  expect(await failure(texts(asked))).toMatchObject({ code: "UNAVAILABLE", reason: "" });
  await once(dark, "connection");
  expect(dialled).toHaveLength(2);
  way.close();
  for (const socket of dialled) socket.destroy();
  dark.close();
});

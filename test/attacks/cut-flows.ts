import { once } from "node:events";
import type { ClientHttp2Stream, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Carrier } from "../../sidecar/gate/cuts.ts";
import {
  framed,
  RawClient,
  type Rig,
  rawUpstream,
  type Seen,
  tunnel,
} from "../datapath/harness.ts";
import { clientHello } from "../datapath/hello.ts";
import {
  AUTHORIZATION,
  type SocketUpstream,
  socketUpstream,
  Wire,
} from "../datapath/http-client.ts";

/** What an answer is made of, as the agent is given it, each byte a character. */
export interface Pieces {
  /** A message that has begun. */
  readonly half: string;
  readonly rest: string;
  /** What comes behind it. */
  readonly next: string;
  /** Body bytes of half a message, and of a whole one. */
  readonly bytes: readonly [number, number];
}

/** What the agent was told at last. */
export interface Told {
  /** The answer's body as it is framed, without what the sidecar said itself. */
  readonly body: string;
  /** Everything that may hold a reason. */
  readonly text: string;
  /** It looks whole. */
  readonly whole: boolean;
}

/** One action in flight between an agent and an upstream. */
export interface Flow {
  /** The upstream answers all there is to answer. */
  answer(): void;
  /** The upstream goes on with its message, and begins another. */
  goOn(): void;
  /** The agent goes on with its message. */
  sayMore(): void;
  /** The agent ends what it asks. */
  finish(): void;
  /** All that the upstream was given of the request's body, as it is framed. */
  given(): string;
  /** The upstream's side of it has ended; it was told as much, or saw it break off. */
  readonly gone: Promise<unknown>;
  readonly told: Promise<Told>;
}

/** One way for an action to travel, with an upstream and an agent of its own. */
export interface Way {
  /** Everything was asked, and nothing answered. */
  asked(): Promise<Flow>;
  /** Half a message of the answer has come to the agent, who may still say more. */
  half(): Promise<Flow>;
  /** Half of what is asked has come to the upstream, which says nothing. */
  asking(): Promise<Flow>;
  /** All of it has come there but its end. */
  unended(): Promise<Flow>;
  close(): void;
}

export interface Walk {
  readonly carrier: Carrier;
  readonly wire: string;
  readonly pieces: Pieces;
  /** Nothing of what is asked leaves before it has come whole. */
  readonly held?: true;
  open(rig: Rig): Promise<Way>;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

// gRPC

const HI = latin1(framed(Buffer.from("hi")));
const GRPC_HEAD = { ":status": 200, "content-type": "application/grpc" };

async function grpcWay(rig: Rig): Promise<Way> {
  const reached = Promise.withResolvers<ServerHttp2Stream>();
  const upstream = await rawUpstream((stream) => reached.resolve(stream));
  const client = await RawClient.open(rig, `127.0.0.1:${upstream.port}`);
  const begin = async (
    said: string,
    ends: boolean,
  ): Promise<{ up: ServerHttp2Stream; flow: Flow; agent: ClientHttp2Stream }> => {
    const call = client.start("/test.Echo/Chat");
    call.stream.write(said, "latin1");
    if (ends) call.stream.end();
    const up = await reached.promise;
    let given = "";
    up.on("data", (chunk: Buffer) => {
      given += latin1(chunk);
    });
    if (ends) await once(up, "end");
    else while (given.length < said.length) await once(up, "data");
    up.on("wantTrailers", () => up.sendTrailers({ "grpc-status": "0" }));
    const flow: Flow = {
      answer() {
        up.respond(GRPC_HEAD, { waitForTrailers: true });
        up.end(HI, "latin1");
      },
      goOn: () => void up.write(HI.slice(6) + HI, "latin1"),
      sayMore: () =>
        void call.stream.write(said.length < HI.length ? HI.slice(said.length) : HI, "latin1"),
      finish: () => void call.stream.end(),
      given: () => (ends || (up.rstCode === 0 && up.closed) ? `${given} and its end` : given),
      gone: new Promise((resolve) => up.once("close", resolve)),
      told: call.closed.then((seen) => ({
        body: latin1(seen.body),
        text: [...seen.head, ...seen.trailers].join("\n"),
        whole: [...seen.head, ...seen.trailers].join().includes("grpc-status,0"),
      })),
    };
    return { up, flow, agent: call.stream };
  };
  return {
    asked: async () => (await begin(HI, true)).flow,
    asking: async () => (await begin(HI.slice(0, 6), false)).flow,
    unended: async () => (await begin(HI, false)).flow,
    async half() {
      const { up, flow, agent } = await begin(HI, false);
      up.respond(GRPC_HEAD, { waitForTrailers: true });
      const came = once(agent, "data");
      up.write(HI.slice(0, 6), "latin1");
      await came;
      return flow;
    },
    close() {
      client.close();
      upstream.close();
    },
  };
}

// HTTP

/** A body with what of it is there, of a message that is there in part. */
function bodyOf(heard: string): { body: string; whole: boolean } | null {
  const at = heard.indexOf("\r\n\r\n");
  if (at < 0) return null;
  const head = heard.slice(0, at);
  let rest = heard.slice(at + 4);
  if (!/^transfer-encoding: chunked/im.test(head)) {
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    return { body: rest, whole: rest.length === length };
  }
  for (let body = ""; ; ) {
    const [line, size] = /^([0-9a-f]+)\r\n/.exec(rest) ?? [];
    if (line === undefined || size === "0") return { body, whole: rest.endsWith("0\r\n\r\n") };
    const length = Number.parseInt(size as string, 16);
    body += rest.slice(line.length, line.length + length);
    rest = rest.slice(line.length + length + 2);
  }
}

const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

/** An agent on either HTTP, with one request. */
interface Agent {
  say(text: string): void;
  end(): void;
  /** Resolves once so much of the answer's body is there. */
  hears(body: string): Promise<void>;
  readonly told: Promise<Told>;
  close(): void;
}

async function http1Agent(
  rig: Rig,
  host: string,
  path = "/ok",
  type = "text/plain",
): Promise<Agent> {
  const wire = await Wire.open(rig);
  wire.say(
    `POST http://${host}${path} HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}Content-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  const told = wire.hears({ test: (text) => bodyOf(text)?.whole === true });
  return {
    say: (text) => wire.say(chunk(text)),
    end: () => wire.say("0\r\n\r\n"),
    hears: async (body) => void (await wire.hears({ test: (text) => bodyOf(text)?.body === body })),
    told: told.then((text) => ({ text, ...(bodyOf(text) ?? { body: "", whole: false }) })),
    close: () => wire.close(),
  };
}

async function http2Agent(
  rig: Rig,
  host: string,
  path = "/ok",
  type = "text/plain",
): Promise<Agent> {
  const client = await RawClient.open(rig, host);
  const { stream, closed } = client.start(path, ["content-type", type]);
  const told = ({ head, body, ended, rstCode }: Seen): Told => ({
    body: latin1(body),
    text: [...head, latin1(body)].join("\n"),
    whole: ended && rstCode === 0,
  });
  return {
    say: (text) => void stream.write(text),
    end: () => void stream.end(),
    async hears(body) {
      for (let length = 0; length < body.length; ) {
        const [piece] = (await once(stream, "data")) as [Buffer];
        length += piece.length;
      }
    },
    told: closed.then(told),
    close: () => client.close(),
  };
}

/** What an HTTP upstream has heard, awaited by those who need it. */
async function listening() {
  const state = { up: null as Socket | null, wake: [] as (() => void)[] };
  const upstream: SocketUpstream = await socketUpstream((socket) => {
    state.up = socket;
    for (const wake of state.wake.splice(0)) wake();
  });
  return {
    upstream,
    say: (text: string) => void state.up?.write(text, "latin1"),
    hears: async (end: string): Promise<void> => {
      while (!upstream.heard.join("").endsWith(end)) {
        await new Promise<void>((wake) => state.wake.push(wake));
      }
    },
    given: () => upstream.heard.join("").split("\r\n\r\n").slice(1).join("\r\n\r\n"),
  };
}

const httpWay =
  (pieces: Pieces, head: string, frame: (text: string) => string, agentOf: typeof http1Agent) =>
  async (rig: Rig): Promise<Way> => {
    const { upstream, say, hears, given } = await listening();
    const agent = await agentOf(rig, `127.0.0.1:${upstream.port}`);
    const begin = async (ends: boolean): Promise<Flow> => {
      agent.say("asked");
      if (ends) agent.end();
      await hears(ends ? "\r\n0\r\n\r\n" : chunk("asked"));
      const last = head.includes("chunked") ? "0\r\n\r\n" : "";
      return {
        answer: () => say(head + frame(pieces.half + pieces.rest) + last),
        goOn: () => say(frame(pieces.rest + pieces.next)),
        sayMore: () => agent.say("more"),
        finish: () => agent.end(),
        given,
        gone: upstream.gone[0] as Promise<unknown>,
        told: agent.told,
      };
    };
    return {
      asked: () => begin(true),
      asking: () => begin(false),
      unended: () => begin(false),
      async half() {
        const flow = await begin(false);
        const there = agent.hears(pieces.half);
        say(head + frame(pieces.half));
        await there;
        return flow;
      },
      close() {
        agent.close();
        upstream.close();
      },
    };
  };

// WebSocket

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const SWITCH =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/** As a client sends it, with a mask of zeros. */
const masked = (text: string) => `\x81${String.fromCharCode(0x80 | text.length)}\0\0\0\0${text}`;
const plain = (text: string, first = 0x81) => String.fromCharCode(first, text.length) + text;
/** What the sidecar itself says last, to the upstream and to the agent. */
const CLOSE = "\x88";
const withoutGoingAway = (frames: string): string =>
  frames.slice(-8, -6) === `${CLOSE}\x82` ? frames.slice(0, -8) : frames;
const withoutPolicyViolation = (frames: string): string => {
  const at = frames.lastIndexOf(CLOSE);
  return frames.slice(at + 2, at + 4) === "\x03\xf0" ? frames.slice(0, at) : frames;
};

const FRAMES: Pieces = {
  half: plain("half", 0x01),
  rest: plain("rest", 0x80),
  next: plain("next"),
  bytes: [4, 8],
};

async function webSocketWay(rig: Rig): Promise<Way> {
  const { upstream, say, hears, given } = await listening();
  const host = `127.0.0.1:${upstream.port}`;
  const wire = await Wire.open(rig);
  const open = async (): Promise<Flow> => {
    wire.say(
      `GET http://${host}/ok HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
    );
    await hears("\r\n\r\n");
    const told = (text: string): Told => ({
      body: withoutPolicyViolation(text.split("\r\n\r\n").slice(1).join("\r\n\r\n")),
      text,
      whole: false,
    });
    return {
      answer: () => say(SWITCH),
      goOn: () => say(FRAMES.rest + FRAMES.next),
      sayMore: () => wire.say("e me".repeat(4)),
      finish: () => wire.say("\x88\x80\0\0\0\0"),
      given,
      gone: upstream.gone[0] as Promise<unknown>,
      told: wire
        .hears({ test: (text) => /^HTTP\/1.1 [45]/.test(text) && bodyOf(text)?.whole === true })
        .then(told),
    };
  };
  const switched = async (said: string): Promise<Flow> => {
    const flow = await open();
    say(SWITCH);
    await wire.hears(/^HTTP\/1.1 101[\s\S]*\r\n\r\n$/);
    wire.say(said);
    await hears(said);
    return flow;
  };
  // No frame of anybody's stands within a frame; between two, the sidecar may say that it goes.
  const whole = async (): Promise<Flow> => ({
    ...(await switched(masked("said"))),
    given: () => withoutGoingAway(given()),
    sayMore: () => wire.say(masked("more")),
  });
  return {
    asked: open,
    asking: () => switched(masked("half of what is said").slice(0, 10)),
    unended: whole,
    async half() {
      const flow = await whole();
      const there = wire.hears(/half$/);
      say(FRAMES.half);
      await there;
      return flow;
    },
    close() {
      wire.close();
      upstream.close();
    },
  };
}

// Opaque TLS

/** Of a whole answer nobody knows that it is one. */
const UNREAD: Pieces = { half: "half", rest: "rest", next: "next", bytes: [4, 4] };

async function opaqueWay(rig: Rig): Promise<Way> {
  const { upstream, say, hears } = await listening();
  const target = `127.0.0.1:${upstream.port}`;
  rig.opaque.add(target);
  const wire = new Wire(await tunnel(rig.stack.proxyAddress.port, target));
  const begin = async (said: string): Promise<Flow> => {
    wire.socket.write(clientHello({ serverName: null }));
    wire.say(said);
    await hears(said);
    return {
      answer: () => say("half"),
      goOn: () => say("restnext"),
      sayMore: () => wire.say("more"),
      finish: () => void wire.socket.end(),
      given: () => upstream.heard.join(""),
      gone: upstream.gone[0] as Promise<unknown>,
      told: wire.all().then((text) => ({ body: text, text, whole: wire.ended === "end" })),
    };
  };
  return {
    asked: () => begin("asked"),
    asking: () => begin("half of it"),
    unended: () => begin("all of it"),
    async half() {
      const flow = await begin("asked");
      const there = wire.hears(/half$/);
      say("half");
      await there;
      return flow;
    },
    close() {
      wire.close();
      upstream.close();
    },
  };
}
// MCP: what is asked passes whole, and of what is answered each message

const CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}';
const NOTE = 'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n';
const RESULT = 'data: {"jsonrpc":"2.0","id":1,"result":{"content":[]}}\n\n';
const MESSAGES: Pieces = {
  half: NOTE,
  rest: RESULT,
  next: NOTE,
  bytes: [NOTE.length, NOTE.length + RESULT.length],
};
/** What the sidecar says in the end, as an event or as the whole answer. */
const REFUSAL = /(?:event: message\ndata: )?\{[^\n]*dev\.dragons[^\n]*\n*$/;

const mcpWay =
  (agentOf: typeof http1Agent) =>
  async (rig: Rig): Promise<Way> => {
    const { upstream, say, hears, given } = await listening();
    const host = `127.0.0.1:${upstream.port}`;
    rig.servers.push({ name: "tracker", scheme: "HTTP", target: host, path: "/mcp" });
    const agent = await agentOf(rig, host, "/mcp", "application/json");
    const asked = async (): Promise<Flow> => {
      agent.say(CALL);
      agent.end();
      await hears(CALL);
      return {
        answer: () => say(`${EVENTS_HEAD}${chunk(NOTE + RESULT)}0\r\n\r\n`),
        goOn: () => say(chunk(RESULT.slice(9) + NOTE)),
        // It has said all that it can.
        sayMore: () => {},
        finish: () => {},
        given,
        gone: upstream.gone[0] as Promise<unknown>,
        told: agent.told.then((told) => ({
          ...told,
          body: told.body.replace(REFUSAL, ""),
          whole: told.whole && !REFUSAL.test(told.body),
        })),
      };
    };
    return {
      asked,
      asking: asked,
      unended: asked,
      async half() {
        const flow = await asked();
        const there = agent.hears(NOTE);
        say(EVENTS_HEAD + chunk(NOTE + RESULT.slice(0, 9)));
        await there;
        return flow;
      },
      close() {
        agent.close();
        upstream.close();
      },
    };
  };

const BODY: Pieces = { half: "half", rest: "rest", next: "", bytes: [4, 8] };
const EVENTS: Pieces = { half: "data: ha", rest: "lf\n\n", next: "data: ne", bytes: [8, 12] };
const PLAIN_HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n";
const EVENTS_HEAD =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const asIs = (text: string): string => text;

const GRPC: Pieces = { half: HI.slice(0, 6), rest: HI.slice(6), next: HI, bytes: [6, 7] };

/** Every carrier has its walks: one that is added to the table has to be added here, or nothing compiles. */
const BY_CARRIER: Record<Carrier, readonly Omit<Walk, "carrier">[]> = {
  GRPC: [{ wire: "HTTP/2", pieces: GRPC, open: grpcWay }],
  HTTP_BODY: [
    { wire: "HTTP/1.1", pieces: BODY, open: httpWay(BODY, PLAIN_HEAD, asIs, http1Agent) },
    { wire: "HTTP/2", pieces: BODY, open: httpWay(BODY, PLAIN_HEAD, asIs, http2Agent) },
  ],
  HTTP_EVENTS: [
    { wire: "HTTP/1.1", pieces: EVENTS, open: httpWay(EVENTS, EVENTS_HEAD, chunk, http1Agent) },
    { wire: "HTTP/2", pieces: EVENTS, open: httpWay(EVENTS, EVENTS_HEAD, chunk, http2Agent) },
  ],
  OPAQUE: [{ wire: "TCP", pieces: UNREAD, open: opaqueWay }],
  MCP: [
    { wire: "HTTP/1.1", pieces: MESSAGES, held: true, open: mcpWay(http1Agent) },
    { wire: "HTTP/2", pieces: MESSAGES, held: true, open: mcpWay(http2Agent) },
  ],
  WEB_SOCKET: [{ wire: "HTTP/1.1", pieces: FRAMES, open: webSocketWay }],
};

export const WALKS: readonly Walk[] = Object.entries(BY_CARRIER).flatMap(([carrier, walks]) =>
  walks.map((walk) => ({ carrier: carrier as Carrier, ...walk })),
);

import { once } from "node:events";
import http2, { type Http2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, type Socket } from "node:net";
import { AuthorityHolder, type Decide } from "../../sidecar/gate/authority.ts";
import { Gate, type GateLedger } from "../../sidecar/gate/gate.ts";
import { Spendings } from "../../sidecar/ledger/tally.ts";
import type {
  Closing,
  IntentDraft,
  OpenIntent,
  RecordDraft,
} from "../../sidecar/ledger/work-ledger.ts";
import { openStack, type Stack, type StackConfig } from "../../sidecar/stack.ts";
import type { Resolve } from "../../sidecar/upstream/address.ts";
import { authorize } from "../../src/domain/authorize.ts";
import { UNLIMITED } from "../../src/domain/grant.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import type { Manifest } from "../../src/domain/manifest.ts";
import type { McpServer } from "../../src/domain/mcp-server.ts";
import type { Rule } from "../../src/domain/rule.ts";
import { compileScopes } from "../../src/domain/scope.ts";
import type { Verified } from "../../src/domain/signed.ts";
import { type Clock, systemClock } from "../../src/native/clock.ts";
import { type CertificateAuthority, createCa } from "../../src/native/pki.ts";

export const CREDENTIAL = "launch-secret";

/** A ledger that remembers in memory, and can be told to refuse. */
class MemoryLedger implements GateLedger {
  readonly opened: (IntentDraft & OpenIntent)[] = [];
  readonly closed: (Closing & { receiptId: string; draft: IntentDraft })[] = [];
  readonly recorded: RecordDraft[] = [];
  refusal: Error | null = null;
  readonly #spendings = new Spendings([]);
  readonly #reserved = new Map<number, number>();
  #waiting: { count: number; resolve: () => void }[] = [];

  async open(draft: IntentDraft): Promise<OpenIntent> {
    if (this.refusal !== null) throw this.refusal;
    const intentSeq = this.opened.length + 1;
    const intent = { receiptId: `rcp_${intentSeq}`, intentSeq, openedAtUs: draft.openedAtUs };
    this.opened.push({ ...draft, ...intent });
    this.#spendings.open(draft);
    return intent;
  }

  async reserve(intent: OpenIntent, bytes: number): Promise<void> {
    if (this.refusal !== null) throw this.refusal;
    const draft = this.opened[intent.intentSeq - 1] as IntentDraft;
    this.#spendings.reserve(draft.grantRef, draft.scope, bytes);
    this.#reserved.set(intent.intentSeq, this.#reservedFor(intent.intentSeq) + bytes);
  }

  #reservedFor(intentSeq: number): number {
    return this.#reserved.get(intentSeq) ?? this.opened[intentSeq - 1]?.reservedBytes ?? 0;
  }

  close(intent: OpenIntent, closing: Closing): string {
    const draft = this.opened[intent.intentSeq - 1] as IntentDraft;
    if (this.closed.some((c) => c.receiptId === intent.receiptId)) {
      throw new Error(`${intent.receiptId} was settled twice`);
    }
    this.closed.push({ ...closing, receiptId: intent.receiptId, draft });
    const { grantRef, scope } = draft;
    const reserved = this.#reservedFor(intent.intentSeq);
    const { intentSeq } = intent;
    this.#spendings.close({ grantRef, scope, intentSeq, reserved, charged: closing.spentBytes });
    this.#tell();
    return intent.receiptId;
  }

  record(draft: RecordDraft): string {
    if (this.refusal !== null) throw this.refusal;
    this.recorded.push(draft);
    this.#tell();
    return `rcp_denial_${this.recorded.length}`;
  }

  /** Resolves once so many receipts were told, closed and recorded together. */
  receipts(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ count, resolve });
      this.#tell();
    });
  }

  #tell(): void {
    const told = this.closed.length + this.recorded.length;
    for (const w of this.#waiting.filter((w) => told >= w.count)) w.resolve();
    this.#waiting = this.#waiting.filter((w) => told < w.count);
  }

  spent(grantRef: Uint8Array, scope: string) {
    return this.#spendings.of(grantRef, scope);
  }
}

export const MINUTE_US = 60_000_000;

export function leaseFrom(nowUs: number, over: Partial<LeaseBody> = {}): Verified<LeaseBody> {
  const limits = {
    maxActions: UNLIMITED,
    maxBytes: UNLIMITED,
    ratePerMinute: UNLIMITED,
    maxConcurrent: UNLIMITED,
  };
  const body: LeaseBody = {
    version: 1,
    leaseId: "lse_1",
    tenantId: "acme",
    instanceId: "i",
    leaseSeq: 1,
    ledgerId: new Uint8Array(32).fill(1),
    manifestHash: new Uint8Array(32).fill(2),
    grantRef: new Uint8Array(32).fill(3),
    scopes: [
      {
        name: "use:echo",
        limits,
      },
    ],
    notBeforeUs: nowUs,
    notAfterUs: nowUs + MINUTE_US,
    issuedAtUs: nowUs,
    headSize: 0,
    headRoot: new Uint8Array(32),
    intentsOpened: 0,
    intentsHead: new Uint8Array(32),
    revocationEpoch: 0,
    sessionEpoch: 1,
    controlSize: 0,
    controlRoot: new Uint8Array(32),
    observeUntilUs: 0,
    ...over,
  };
  const ref = new Uint8Array(32).fill(body.leaseSeq + 10);
  return { body, ref, signed: { body: new Uint8Array(), signatures: [] } };
}

/** Allowed where `x-account` is 7. */
export const GUARDED = "/test.Guarded/Say";

/** What is allowed at MCP servers: `tracker` must not ask the agent for anything, `friend` may. */
const mcpRules = (): Rule[] =>
  ["tracker", "friend"].flatMap((target) => {
    const rule = (verb: string, path = "", when = ""): Rule => {
      return { protocol: "MCP", target, verb, path, when, scheme: "UNSPECIFIED" };
    };
    const asks = ["sampling/createMessage", "elicitation/create"].map((verb) => rule(verb));
    return [
      rule("tools/call", "{echo,count,ask,poll}"),
      rule("tools/call", "pay", "args.amount <= 5"),
      rule("resources/read", "memo://ok"),
      rule("prompts/get", "hello"),
      rule("subscriptions/listen"),
      ...["tasks/get", "tasks/result", "tasks/cancel"].map((verb) => rule(verb)),
      ...(target === "friend" ? asks : []),
    ];
  });

/** The domain's own decision, under a manifest with two scopes: test.Echo and /ok, wherever they are. */
export const decide: Decide = (held, claim, nowUs) => {
  const { target, verb } = claim;
  const rules: Rule[] = [
    { protocol: "GRPC", target, verb: "", path: "/test.Echo/*", when: "", scheme: "UNSPECIFIED" },
    {
      protocol: "GRPC",
      target,
      verb: "",
      path: GUARDED,
      when: 'header["x-account"] == 7',
      scheme: "UNSPECIFIED",
    },
    {
      protocol: "HTTP",
      target,
      verb: "POST",
      path: "/entries",
      when: 'json.amount <= 5 && json.currency in ["EUR", "USD"]',
      scheme: claim.scheme,
    },
    {
      protocol: "HTTP",
      target,
      verb: "POST",
      path: "/entries",
      when: "query.dry_run",
      scheme: claim.scheme,
    },
    { protocol: "OPAQUE", target, verb: "", path: "", when: "", scheme: "HTTPS" },
    ...mcpRules(),
    ...["/ok", "/ok/*", "/ok/*/*"].map((path): Rule => {
      return { protocol: "HTTP", target, verb, path, when: "", scheme: claim.scheme };
    }),
  ];
  const manifest: Manifest = {
    version: 1,
    name: "test",
    agentVersion: "v1",
    code: [],
    config: [],
    runtime: "",
    servers: [],
    listens: [],
    capabilities: ["use:echo", "use:other"].map((name) => ({ name, rules })),
  };
  const { tenantId, instanceId, ledgerId, manifestHash } = leaseFrom(0).body;
  const scopes = compileScopes(manifest);
  const subject = { tenantId, instanceId, ledgerId, manifestHash, scopes, granted: [] };
  return authorize({ subject, ...held }, claim, nowUs);
};

export interface Rig {
  readonly stack: Stack;
  readonly ledger: MemoryLedger;
  readonly authority: AuthorityHolder;
  readonly gate: Gate;
  readonly ca: CertificateAuthority;
  /** Targets to which TLS is passed on unread. */
  readonly opaque: Set<string>;
  /** MCP servers that speak HTTP; what is added counts at once. */
  readonly servers: McpServer[];
  close(): Promise<void>;
}

/** The whole data path over a ledger in memory. */
export async function openRig(
  config: Partial<StackConfig> = {},
  clock: Clock = systemClock,
  resolve: Resolve = async () => ["127.0.0.1"],
  real: GateLedger | null = null,
  lease: Verified<LeaseBody> | null = leaseFrom(clock.nowUs()),
  deciding: Decide = decide,
): Promise<Rig> {
  const opaque = new Set<string>();
  const ledger = new MemoryLedger();
  const authority = new AuthorityHolder(clock, deciding);
  const servers = [...(config.servers ?? [])];
  const gate = new Gate(
    real ?? ledger,
    authority,
    clock,
    {
      manifestHash: new Uint8Array(32).fill(2),
      purpose: "test",
      goal: "",
      measure: "FILES",
      enforcement: "ADVISORY",
      servers,
      listens: ["use:other"],
    },
    { denied() {}, observed() {}, finished() {}, low() {} },
  );
  authority.set({ manifestRecorded: true });
  if (lease !== null) authority.adopt(lease);
  const ca = await createCa("Dragons test", { nowUs: Date.now() * 1000, ttlUs: 60 * MINUTE_US });
  const stack = await openStack({
    config: {
      proxy: {
        host: "127.0.0.1",
        port: 0,
      },
      credential: CREDENTIAL,
      routes: [],
      agentUid: process.getuid?.() ?? -1,
      transparent: null,
      gateway: null,
      upstreamCa: "",
      passesUnread: (target) => opaque.has(target),
      leasedLists: false,
      ...config,
      servers,
    },
    gate,
    ca,
    clock,
    resolve,
  });
  const close = async () => {
    authority.close();
    await stack.close(0);
  };
  return { stack, ledger, authority, gate, ca, opaque, servers, close };
}

/** An upstream of bare HTTP/2 streams, for what no gRPC library would do. */
export async function rawUpstream(
  onStream: (stream: ServerHttp2Stream, raw: string[]) => void,
): Promise<{ port: number; server: Http2Server; close(): void }> {
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer();
  server.on("session", (s) => sessions.add(s));
  server.on("stream", (stream, _headers, _flags, raw) => {
    stream.on("error", () => {});
    onStream(stream, raw as unknown as string[]);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    for (const s of sessions) s.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, server, close };
}

/** A CONNECT tunnel, as an agent's client opens it. */
export async function tunnel(
  proxyPort: number,
  target: string,
  credential: string | null = CREDENTIAL,
): Promise<Socket> {
  const socket = connect(proxyPort, "127.0.0.1");
  await once(socket, "connect");
  const basic = credential === null ? "" : Buffer.from(`dragons:${credential}`).toString("base64");
  const authorization = credential === null ? "" : `Proxy-Authorization: Basic ${basic}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${authorization}\r\n`);
  const [head] = (await once(socket, "data")) as [Buffer];
  if (!head.toString().startsWith("HTTP/1.1 200 ")) throw new Error(`refused: ${head.toString()}`);
  return socket;
}

/** A gRPC message with its five bytes of framing. */
export function framed(body: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** What a bare HTTP/2 client saw of one call. */
export interface Seen {
  head: string[];
  body: Buffer;
  trailers: string[];
  /** `end` came: the stream looked whole. */
  ended: boolean;
  rstCode: number;
}

/** A bare HTTP/2 client inside a tunnel. */
export class RawClient {
  readonly session: http2.ClientHttp2Session;
  readonly #authority: string;

  constructor(socket: Socket, authority: string) {
    this.#authority = authority;
    this.session = http2.connect(`http://${authority}`, { createConnection: () => socket });
    this.session.on("error", () => {});
  }

  static async open(rig: Rig, target: string, credential?: string | null): Promise<RawClient> {
    return new RawClient(await tunnel(rig.stack.proxyAddress.port, target, credential), target);
  }

  /** Fields given here come after the usual ones; a name given here replaces a usual one. */
  start(path: string, fields: string[] = [], options: http2.ClientSessionRequestOptions = {}) {
    const usual = [
      ":method",
      "POST",
      ":scheme",
      "http",
      ":path",
      path,
      ":authority",
      this.#authority,
      "content-type",
      "application/grpc",
      "te",
      "trailers",
    ];
    const given = new Set(fields.filter((_, i) => i % 2 === 0));
    const kept: string[] = [];
    for (let i = 0; i < usual.length; i += 2) {
      if (!given.has(usual[i] as string)) kept.push(usual[i] as string, usual[i + 1] as string);
    }
    const pseudo: string[] = [];
    const regular: string[] = [];
    for (const list of [kept, fields]) {
      for (let i = 0; i < list.length; i += 2) {
        const into = list[i]?.startsWith(":") ? pseudo : regular;
        into.push(list[i] as string, list[i + 1] as string);
      }
    }
    const stream = this.session.request(
      [...pseudo, ...regular] as unknown as http2.OutgoingHttpHeaders,
      options,
    );
    const seen: Seen = { head: [], body: Buffer.alloc(0), trailers: [], ended: false, rstCode: -1 };
    stream.on("error", () => {});
    stream.on("response", (_h, _f, raw) => {
      seen.head = raw as unknown as string[];
    });
    stream.on("trailers", (_h, _f, raw) => {
      seen.trailers = raw as unknown as string[];
    });
    stream.on("data", (c: Buffer) => {
      seen.body = Buffer.concat([seen.body, c]);
    });
    stream.on("end", () => {
      seen.ended = true;
    });
    const closed = new Promise<Seen>((resolve) => {
      stream.on("close", () => resolve({ ...seen, rstCode: stream.rstCode }));
    });
    return { stream, closed };
  }

  /** A whole call. */
  call(path: string, body: Uint8Array, fields: string[] = []): Promise<Seen> {
    const { stream, closed } = this.start(path, fields);
    stream.end(body);
    return closed;
  }

  close(): void {
    this.session.destroy();
  }
}

/** The value of a field in a flat list. */
export function field(raw: readonly string[], name: string): string | undefined {
  const at = raw.findIndex((n, i) => i % 2 === 0 && n === name);
  return at < 0 ? undefined : raw[at + 1];
}

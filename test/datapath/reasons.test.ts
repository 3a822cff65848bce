import type { ServerHttp2Stream } from "node:http2";
import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Denial } from "../../sidecar/adapters/exchange.ts";
import { mcpDenial } from "../../sidecar/adapters/mcp-denial.ts";
import { mcpClaim } from "../../sidecar/adapters/mcp-message.ts";
import { LedgerUnavailable } from "../../sidecar/ledger/work-ledger.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import { mcpCode, REASONS, RENDERINGS, type Reason } from "../../src/domain/reason.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { draft, headersIn, start } from "../ledger/fixture.ts";
import {
  field,
  framed,
  GUARDED,
  leaseFrom,
  MINUTE_US,
  openRig,
  RawClient,
  type Rig,
  rawUpstream,
  type Seen,
  tunnel,
} from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** Every reason of the closed list is walked to a real refusal, and looks as docs/reasons.md says. */

const NOW_US = 1_800_000_000_000_000;
const GRPC = { ":status": 200, "content-type": "application/grpc" };
const HI = framed(Buffer.from("hi"));

let clock: ManualClock;
let rig: Rig;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;
let plain: SocketUpstream;
let onStream: (stream: ServerHttp2Stream) => void;
let clients: { close(): void }[];

beforeEach(async () => {
  clock = new ManualClock(NOW_US);
  clients = [];
  rig = await openRig({}, clock);
  onStream = (s) => s.respond({ ...GRPC, "grpc-status": "0" }, { endStream: true });
  upstream = await rawUpstream((s) => onStream(s));
  plain = await socketUpstream((s) => s.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
});
afterEach(async () => {
  for (const client of clients) client.close();
  await rig.close();
  upstream.close();
  plain.close();
});

const kept = <T extends { close(): void }>(client: T): T => {
  clients.push(client);
  return client;
};
const open = async (target = `127.0.0.1:${upstream.port}`, credential?: string) =>
  kept(await RawClient.open(rig, target, credential));
const call = async (fields: string[] = [], body: Uint8Array = HI, path = "/test.Echo/Say") =>
  (await open()).call(path, body, fields);

/** Reopens the rig: over names that lead elsewhere, or without a lease. */
async function reopen(...given: Parameters<typeof openRig>): Promise<void> {
  await rig.close();
  rig = await openRig(...given);
}
const adopt = (over: Partial<LeaseBody>) =>
  rig.authority.adopt(leaseFrom(NOW_US, { leaseSeq: 2, ...over }));

/** A call that stays open at its upstream. */
async function midway(fields: string[] = []) {
  const asked = new Promise<void>((resolve) => {
    onStream = (s) => {
      s.respond(GRPC);
      s.once("data", () => resolve());
    };
  });
  const { stream, closed } = (await open()).start("/test.Echo/Say", fields);
  stream.write(HI);
  await asked;
  return { stream, closed };
}

type Spoil = () => void | Promise<void>;
/** What an agent asks for is well; its authority is not. Any call is refused, in any protocol. */
const AUTHORITY: Partial<Record<Reason, Spoil>> = {
  NO_LEASE: () => reopen({}, clock, undefined, null, null),
  LEASE_NOT_YET_VALID: () => adopt({ notBeforeUs: NOW_US + 1 }),
  LEASE_EXPIRED: () => clock.advance(MINUTE_US),
  LEASE_REVOKED: () => rig.authority.revoke(),
  LEASE_MISMATCH: () => adopt({ tenantId: "globex" }),
  MANIFEST_NOT_RECORDED: () => rig.authority.set({ manifestRecorded: false }),
  MANIFEST_RETIRED: () => rig.authority.set({ retired: true }),
  MANIFEST_DRIFT: () => rig.authority.set({ drifted: true }),
  QUARANTINED: () => rig.authority.set({ quarantined: true }),
  STOPPED: () => rig.authority.set({ stopped: true }),
  SCOPE_NOT_GRANTED: () => adopt({ scopes: [] }),
  LIMIT_SPENT: () => {
    const scopes = leaseFrom(NOW_US).body.scopes.map(({ name, limits }) => ({
      name,
      limits: { ...limits, maxActions: 0 },
    }));
    adopt({ scopes });
  },
  LEDGER_UNAVAILABLE: () => {
    rig.ledger.refusal = new LedgerUnavailable("LEDGER_UNAVAILABLE", "the disk is full");
  },
  OVERLOADED: () => {
    rig.ledger.refusal = new LedgerUnavailable("OVERLOADED", "too many promises are open");
  },
};

/** What is asked, or where, cannot be; told to who asked, by gRPC. */
const CALLS: Partial<Record<Reason, () => Promise<Seen>>> = {
  CALLER_UNIDENTIFIED: async () => (await open(undefined, "guessed")).call("/test.Echo/Say", HI),
  REQUEST_NOT_NORMAL: () => call([], HI, "/test.Echo/../Other"),
  CONDITION_FALSE: () => call(["x-account", "8"], HI, GUARDED),
  CONDITION_UNEVALUABLE: () => call([], HI, GUARDED),
  AUTHORITY_MISMATCH: () => call([":authority", "evil.example:443"]),
  FRAMING_INVALID: () => call([], framed(Buffer.from("x"), 2)),
  MESSAGE_TOO_LARGE: () => call([], Buffer.from([0, 0, 0x50, 0, 0])),
  TARGET_FORBIDDEN: async () => {
    await reopen({}, clock, async () => ["10.0.0.7"]);
    return (await open(`name.example:${upstream.port}`)).call("/test.Echo/Say", HI);
  },
  UPSTREAM_UNREACHABLE: async () => (await open("127.0.0.1:1")).call("/test.Echo/Say", HI),
  UPSTREAM_FAILED: () => {
    onStream = (s) => {
      s.respond(GRPC);
      // Compressed, by its own word, in no encoding that it named.
      s.write(framed(Buffer.from("x"), 1));
    };
    return call();
  },
  DEADLINE_EXCEEDED: async () => {
    const { closed } = await midway(["grpc-timeout", "1S"]);
    clock.advance(2_000_000);
    return closed;
  },
};

/** Who asked is gone, or speaks nothing that could be answered: a receipt alone tells. */
const RECEIPTS: Partial<Record<Reason, () => Promise<readonly Reason[]>>> = {
  CLIENT_CANCELLED: async () => {
    const { stream } = await midway();
    stream.close(8);
    await rig.ledger.receipts(1);
    return rig.ledger.closed.map((c) => c.reason);
  },
  // The connection goes with the sidecar, mostly before what was said on it has left.
  HANDOFF: async () => {
    await midway();
    const closing = rig.stack.close(1000);
    clock.advance(1_000_000);
    await closing;
    return rig.ledger.closed.map((c) => c.reason);
  },
  PROTOCOL_UNSUPPORTED: async () => {
    const wire = kept(await Wire.open(rig));
    wire.say("SSH-2.0-OpenSSH_9.2\r\n");
    await rig.ledger.receipts(1);
    return rig.ledger.recorded.map((r) => r.reason);
  },
  CRASHED: async () => {
    const { ledger, store } = await start();
    await ledger.open(draft());
    const next = await start({ store });
    return headersIn(next.ledger).map((h) => h.reason);
  },
};

/** What a gRPC client is told: its status, and ErrorInfo's reason. */
function heard({ head, trailers }: Seen): { status: number; reason: string; domain: string } {
  const raw = [...head, ...trailers];
  const details = Buffer.from(field(raw, "grpc-status-details-bin") ?? "", "base64");
  const [info] = fromBinary(StatusSchema, details).details.map((d) =>
    anyUnpack(d, ErrorInfoSchema),
  );
  const status = Number(field(raw, "grpc-status"));
  return { status, reason: info?.reason ?? "", domain: info?.domain ?? "" };
}
const rendered = (reason: Reason) => ({
  status: RENDERINGS[reason].grpc,
  reason,
  domain: "dragons.dev",
});

test("every reason is walked to", () => {
  const walked = [AUTHORITY, CALLS, RECEIPTS].flatMap((part) => Object.keys(part));
  expect(walked.sort()).toEqual(REASONS.filter((r) => r !== "UNSPECIFIED").sort());
});

describe("gRPC", () => {
  test.each(Object.entries(AUTHORITY))("%s", async (reason, spoil) => {
    await spoil();
    expect(heard(await call())).toEqual(rendered(reason as Reason));
  });
  test.each(Object.entries(CALLS))("%s", async (reason, make) => {
    expect(heard(await make())).toEqual(rendered(reason as Reason));
  });
});

describe("HTTP", () => {
  test.each(Object.entries(AUTHORITY))("%s", async (reason, spoil) => {
    await spoil();
    const host = `127.0.0.1:${plain.port}`;
    const wire = kept(await Wire.open(rig));
    wire.say(`GET http://${host}/ok HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}\r\n`);
    const text = await wire.hears(/}$/);
    const { http } = RENDERINGS[reason as Reason];
    expect(text).toContain(`HTTP/1.1 ${http} ${reason}\r\n`);
    expect(JSON.parse(text.split("\r\n\r\n")[1] as string)).toMatchObject({
      status: http,
      title: reason,
    });
    expect(plain.heard.join("")).toBe("");
  });
});

describe("a receipt alone tells of", () => {
  test.each(Object.entries(RECEIPTS))("%s", async (reason, make) => {
    expect(await make()).toContain(reason);
  });
});

/** What is asked of an MCP server by its tool or its resource, and how the refusal comes back. */
const MCP: Partial<Record<Reason, { tool?: object; spoil?: Spoil; at?: string }>> = {
  CONDITION_FALSE: { tool: { name: "pay", arguments: { amount: 6 } } },
  CONDITION_UNEVALUABLE: { tool: { name: "pay", arguments: {} } },
  TARGET_FORBIDDEN: {
    spoil: () => reopen({}, clock, async () => ["10.0.0.7"]),
    at: "name.example",
  },
  UPSTREAM_UNREACHABLE: { at: "127.0.0.1:1" },
  UPSTREAM_FAILED: {},
  ...Object.fromEntries(Object.entries(AUTHORITY).map(([reason, spoil]) => [reason, { spoil }])),
};

describe("MCP", () => {
  /** What `tracker` answers, which is nothing that MCP knows unless something is refused before. */
  const ask = async (at: string, method: string, params: object): Promise<string> => {
    const target = /:[0-9]+$/.test(at) ? at : `${at}:${plain.port}`;
    rig.servers.splice(0, 1, { name: "tracker", scheme: "HTTP", target, path: "/mcp" });
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const wire = kept(await Wire.open(rig));
    wire.say(
      `POST http://${target}/mcp HTTP/1.1\r\nHost: ${target}\r\n${AUTHORIZATION}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    return (await wire.hears(/\}$/)).split("\r\n\r\n")[1] as string;
  };

  test.each(Object.entries(MCP))("%s", async (name, { tool, spoil, at = "127.0.0.1" }) => {
    const reason = name as Reason;
    plain.close();
    plain = await socketUpstream((s) => s.end("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhey"));
    await spoil?.();
    const told = { "dev.dragons/denial": expect.objectContaining({ reason }) };
    expect(JSON.parse(await ask(at, "tools/call", tool ?? { name: "echo" }))).toMatchObject(
      RENDERINGS[reason].mcp === "RESULT"
        ? { id: 1, result: { isError: true, _meta: told } }
        : { id: 1, error: { code: mcpCode(reason), data: told } },
    );
    if (tool !== undefined) return;
    expect(JSON.parse(await ask(at, "resources/read", { uri: "memo://ok" }))).toMatchObject({
      id: 1,
      error: { code: mcpCode(reason), data: told },
    });
  });

  test("AUTHORITY_MISMATCH is told as of HTTP: whose server it is for is not known", async () => {
    const target = `127.0.0.1:${plain.port}`;
    rig.servers.splice(0, 1, { name: "tracker", scheme: "HTTP", target, path: "/mcp" });
    const wire = kept(new Wire(await tunnel(rig.stack.proxyAddress.port, target)));
    wire.say("POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n");
    expect(await wire.hears(/\}$/)).toContain("HTTP/1.1 403 AUTHORITY_MISMATCH\r\n");
    expect(rig.ledger.recorded.map((r) => r.reason)).toEqual(["AUTHORITY_MISMATCH"]);
    expect(plain.heard.join("")).toBe("");
  });

  test("CRASHED is told by the receipt of a call that was open", async () => {
    const { ledger, store } = await start();
    await ledger.open(draft({ claim: mcpClaim("tracker", "tools/call", "pay") }));
    const next = await start({ store });
    expect(headersIn(next.ledger)).toContainEqual(
      expect.objectContaining({ verdict: "INDETERMINATE", reason: "CRASHED" }),
    );
  });

  // MCP names no deadline, so DEADLINE_EXCEEDED is walked to by none of its calls.
  test.each(REASONS.filter((r) => r !== "UNSPECIFIED"))(
    "%s has one look for each method",
    (reason) => {
      const denial: Denial = {
        denied: true,
        reason,
        message: "why",
        receiptId: "rcp_1",
        leaseId: "",
        scope: "use:echo",
        remedy: "",
      };
      const about = { id: 1, modern: true };
      const told = { "dev.dragons/denial": { reason, receipt_id: "rcp_1", scope: "use:echo" } };
      const said = expect.stringContaining(`why (${reason}, receipt rcp_1)`);
      const error = { error: { code: mcpCode(reason), message: said, data: told } };
      const look = (method: string): unknown =>
        JSON.parse(mcpDenial(denial, { ...about, method }).toString());
      expect(look("resources/read")).toEqual({ jsonrpc: "2.0", id: 1, ...error });
      const content = [{ type: "text", text: said }];
      const result = { content, isError: true, resultType: "complete", _meta: told };
      expect(look("tools/call")).toEqual({
        jsonrpc: "2.0",
        id: 1,
        ...(RENDERINGS[reason].mcp === "RESULT" ? { result } : error),
      });
    },
  );
});

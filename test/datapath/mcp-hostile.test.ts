import { once } from "node:events";
import type { Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { mcpAsksMax, mcpMessageBytesMax } from "../../src/domain/limits.ts";
import { openRig, type Rig } from "./harness.ts";
import { AUTHORIZATION, type SocketUpstream, socketUpstream, Wire } from "./http-client.ts";

/** Agents and servers that say MCP so that it could mean two things, by HTTP. */

let rig: Rig;
let upstream: SocketUpstream;
let wire: Wire;
let answer: (socket: Socket, heard: string) => void;

const CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}';
const OK = '{"jsonrpc":"2.0","id":1,"result":{"content":[]}}';

beforeEach(async () => {
  answer = says(OK);
  upstream = await socketUpstream((socket, heard) => answer(socket, heard));
  rig = await openRig({
    servers: [
      { name: "tracker", scheme: "HTTP", target: `127.0.0.1:${upstream.port}`, path: "/ok" },
    ],
  });
  wire = await Wire.open(rig);
});
afterEach(async () => {
  wire.close();
  await rig.close();
  upstream.close();
});

const host = () => `127.0.0.1:${upstream.port}`;
const JSON_TYPE = "Content-Type: application/json\r\n";
/** The endpoint lies at /ok, which rules for HTTP allow to everybody. */
function post(body: string | Buffer, fields = JSON_TYPE, line = "POST"): void {
  const [method, path = "/ok"] = line.split(" ");
  const bytes = Buffer.from(body);
  wire.say(
    `${method} http://${host()}${path} HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}${fields}Content-Length: ${bytes.length}\r\n\r\n`,
  );
  wire.say(bytes);
}
/** Answers the first whole request on each connection. */
function says(body: string | Buffer, type = "application/json", more = "") {
  const seen = new WeakSet<Socket>();
  return (socket: Socket, heard: string): void => {
    if (seen.has(socket) || !/\r\n\r\n[\s\S]*\}$/.test(heard)) return;
    seen.add(socket);
    const bytes = Buffer.from(body);
    socket.write(
      `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\n${more}Content-Length: ${bytes.length}\r\n\r\n`,
    );
    socket.write(bytes);
  };
}
const whole = (text: string): boolean => {
  const [head, body] = text.split("\r\n\r\n") as [string, string?];
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? -1);
  return body !== undefined && Buffer.byteLength(body, "latin1") >= length;
};
const heard = () => wire.hears({ test: whole });
const rpc = (method: string, params: object = {}) =>
  JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
const METHOD = (name: string) => `${JSON_TYPE}Mcp-Method: ${name}\r\n`;
const MODERN = {
  _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" },
};

describe("an agent cannot say", () => {
  test.each<[string, string | Buffer, number, string, string?]>([
    ["a batch", `[${CALL}]`, 400, "-31400"],
    ["a key twice", CALL.replace('"id":1', '"id":1,"method":"ping"'), 400, "-31400"],
    ["a key in other letters", CALL.replace('"id":1', '"id":1,"Method":"ping"'), 400, "-31400"],
    ["a tool twice, by case", CALL.replace('"name"', '"Name":"x","name"'), 200, "-31400"],
    ["an id that is null", CALL.replace('"id":1', '"id":null'), 400, "-31400"],
    ["an id that is no integer", CALL.replace('"id":1', '"id":1.5'), 400, "-31400"],
    ["an id beyond 2^53", CALL.replace('"id":1', '"id":9007199254740993'), 400, "-31400"],
    ["another JSON-RPC", CALL.replace("2.0", "1.0"), 200, "-31400"],
    ["a question that is an answer", CALL.replace('"id":1', '"id":1,"result":{}'), 200, "-31400"],
    ["bytes that are no UTF-8", Buffer.from([0x7b, 0xff, 0x7d]), 400, "-31400"],
    ["a byte order mark", `\ufeff${CALL}`, 400, "-31400"],
    ["two messages", `${CALL}${CALL}`, 400, "-31400"],
    ["nesting without end", "[".repeat(100_000), 400, "-31400"],
    ["a method that nobody knows", rpc("tools/run"), 200, "-31501"],
    ["a method in other letters", rpc("Tools/Call", { name: "echo" }), 200, "-31501"],
    ["what a server asks", rpc("sampling/createMessage"), 200, "-31501"],
    ["what HTTP says otherwise", rpc("session/end"), 200, "-31501"],
    ["a notification that asks", CALL.replace('"id":1,', ""), 501, "-31501"],
    ["a tool without a name", rpc("tools/call"), 200, "-31400"],
    ["a tool that is not seen", rpc("tools/call", { name: "echo\u200b" }), 200, "-31400"],
    ["a tool in other letters", rpc("tools/call", { name: "Echo" }), 200, "SCOPE_NOT_GRANTED"],
    ["a dot segment", rpc("resources/read", { uri: "memo://a/../ok" }), 200, "-31400"],
    ["an escaped dot", rpc("resources/read", { uri: "memo://a/%2E%2E/ok" }), 200, "-31400"],
    ["an escaped slash", rpc("resources/read", { uri: "memo://a%2Fok" }), 200, "-31400"],
    ["a URI that is none", rpc("resources/read", { uri: "MEMO://ok" }), 200, "-31400"],
    ["an answer to nothing", '{"jsonrpc":"2.0","id":1,"result":{}}', 400, "-31400"],
    ["a body that is no JSON", CALL, 400, "-31400", "Content-Type: text/plain\r\n"],
    // `+ACI-` is a quote in UTF-7, as servers read it that go by the charset.
    [
      "what another charset reads otherwise",
      CALL.replace('"echo"', '"echo","x":"+ACI-,+ACI-name+ACI-:+ACI-pay"'),
      400,
      "-31400",
      "Content-Type: application/json; charset=utf-7\r\n",
    ],
    [
      "a type that is no JSON to all",
      CALL,
      400,
      "-31400",
      "Content-Type: application/json-seq\r\n",
    ],
    [
      "another charset in a field that CGI reads",
      CALL,
      400,
      "-32020",
      `${JSON_TYPE}Content_Type: application/json; charset=utf-7\r\n`,
    ],
    ["an encoded body", gzipSync(CALL), 400, "-31400", `${JSON_TYPE}Content-Encoding: gzip\r\n`],
    ["more than a message holds", `${CALL}${" ".repeat(mcpMessageBytesMax)}`, 413, "-31413"],
    ["another method in a field", CALL, 400, "-32020", METHOD("ping")],
    ["another tool in a field", CALL, 400, "-32020", `${METHOD("tools/call")}Mcp-Name: pay\r\n`],
    [
      "a tool that is no base64",
      CALL,
      400,
      "-32020",
      `${JSON_TYPE}Mcp-Name: =?base64?ZWNobx?=\r\n`,
    ],
    ["a field that CGI reads", CALL, 400, "-32020", `${JSON_TYPE}Mcp_Method: ping\r\n`],
    ["a field twice", CALL, 400, "-32020", `${METHOD("tools/call")}mcp-method: tools/call\r\n`],
    [
      "no field where it must",
      CALL,
      400,
      "-32020",
      `${JSON_TYPE}MCP-Protocol-Version: 2026-07-28\r\n`,
    ],
    ["another version in its body", rpc("ping", MODERN), 400, "-32020", METHOD("ping")],
  ])("%s", async (_, body, status, said, fields) => {
    post(body, fields);
    const text = await heard();
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text).toContain(said);
    expect(upstream.heard.join("")).toBe("");
    expect(rig.ledger.recorded).toHaveLength(1);
    expect(rig.ledger.opened).toHaveLength(0);
  });

  test("chunks that are none", async () => {
    wire.say(
      `POST http://${host()}/ok HTTP/1.1\r\nHost: ${host()}\r\n${AUTHORIZATION}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    );
    expect(await heard()).toMatch(/^HTTP\/1.1 400 FRAMING_INVALID[\s\S]*-31400/);
    expect(upstream.heard.join("")).toBe("");
  });

  test.each(["/OK", "/ok/", "/ok/x", "/ok.json", "/ok;x", "/ok%20", "/ok%2F"])(
    "it by another spelling of the endpoint, %s, though HTTP is allowed there",
    async (path) => {
      post(CALL, JSON_TYPE, `POST ${path}`);
      expect(await heard()).toMatch(/^HTTP\/1.1 400 REQUEST_NOT_NORMAL/);
      expect(upstream.heard.join("")).toBe("");
    },
  );

  test.each(["PUT", "PATCH", "QUERY"])("anything by %s", async (method) => {
    post(CALL, JSON_TYPE, method);
    expect(await heard()).toMatch(/^HTTP\/1.1 501 PROTOCOL_UNSUPPORTED/);
    expect(upstream.heard.join("")).toBe("");
  });

  test("a body with GET, which would be another's request", async () => {
    post(CALL, JSON_TYPE, "GET");
    expect(await heard()).toMatch(/^HTTP\/1.1 400 REQUEST_NOT_NORMAL/);
    expect(upstream.heard.join("")).toBe("");
  });
});

test("what passes is what was said, to the byte, and its fields agree", async () => {
  const body = ` {"jsonrpc":"2.0", "id":1,\n"method":"tools\\/call","params":{"arguments":{"n":1e2,"big":12345678901234567890},"name":"\\u0065cho"}}`;
  post(body, `${METHOD("tools/call")}Mcp-Name: =?base64?ZWNobw==?=\r\nAccept-Encoding: gzip\r\n`);
  expect(await heard()).toContain(OK);
  expect(upstream.heard.join("")).toContain(`\r\n\r\n${body}`);
  expect(upstream.heard.join("")).not.toMatch(/accept-encoding/i);
});

const SAMPLE = '{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}';
const ASK = '"inputRequests":{"a":{"method":"sampling/createMessage"}}';

describe("a server cannot answer", () => {
  const events = (...messages: string[]) => messages.map((m) => `data: ${m}\n\n`).join("");
  const SSE = "text/event-stream";
  test.each<[string, string | Buffer, string, string, string?]>([
    ["another request", OK.replace('"id":1', '"id":2'), "application/json", "UPSTREAM_FAILED"],
    [
      "an id of another type",
      OK.replace('"id":1', '"id":"1"'),
      "application/json",
      "UPSTREAM_FAILED",
    ],
    ["with a key twice", OK.replace("{", '{"id":2,'), "application/json", "UPSTREAM_FAILED"],
    ["with a batch", `[${OK}]`, "application/json", "UPSTREAM_FAILED"],
    ["with a request of its own", SAMPLE, "application/json", "UPSTREAM_FAILED"],
    ["with nothing", "", "application/json", "UPSTREAM_FAILED"],
    ["with a page", "<html>", "text/html", "UPSTREAM_FAILED"],
    [
      "in an encoding",
      gzipSync(OK),
      "application/json",
      "UPSTREAM_FAILED",
      "Content-Encoding: gzip\r\n",
    ],
    ["in another charset", OK, "application/json; charset=utf-7", "UPSTREAM_FAILED"],
    ["by events in another charset", events(OK), `${SSE}; charset=utf-16`, "UPSTREAM_FAILED"],
    ["another request's event", events(OK.replace('"id":1', '"id":2')), SSE, "UPSTREAM_FAILED"],
    ["with an event that is no message", "data: {\n\n", SSE, "UPSTREAM_FAILED"],
    [
      "with an event of lines that hide one",
      `data: {"jsonrpc":"2.0","id":1,\ndata: "id":2}\n\n`,
      SSE,
      "UPSTREAM_FAILED",
    ],
    [
      "what asks inside",
      OK.replace('"content"', `"resultType":"input_required",${ASK},"content"`),
      "application/json",
      "SCOPE_NOT_GRANTED",
    ],
    [
      "what asks, and says that it does not",
      OK.replace('"content"', `"resultType":"complete",${ASK},"content"`),
      "application/json",
      "SCOPE_NOT_GRANTED",
    ],
    [
      "what asks in other letters",
      OK.replace('"content"', `${ASK.replace("input", "Input")},"content"`),
      "application/json",
      "UPSTREAM_FAILED",
    ],
    [
      "what asks for what nobody knows",
      OK.replace('"content"', `${ASK.replace("sampling", "x")},"content"`),
      "application/json",
      "PROTOCOL_UNSUPPORTED",
    ],
    [
      "what asks in an event",
      events(OK.replace('"content"', `${ASK},"content"`)),
      SSE,
      "SCOPE_NOT_GRANTED",
    ],
  ])("%s", async (_, body, type, reason, more) => {
    answer = says(body, type, more);
    post(CALL);
    const text = await wire.hears({ test: (t) => whole(t) || /dev\.dragons[\s\S]*\n\n/.test(t) });
    expect(text).toContain(reason);
    expect(text).not.toMatch(/sampling\/createMessage"|"id":2|<html>/);
    await rig.ledger.receipts(1);
  });

  test("more than a message holds, by pieces however small", async () => {
    answer = (socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ");
      socket.write("x".repeat(mcpMessageBytesMax));
    };
    post(CALL);
    expect(await wire.hears({ test: (t) => t.includes("dev.dragons") })).toContain(
      "MESSAGE_TOO_LARGE",
    );
    await rig.ledger.receipts(1);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "FAILED", reason: "MESSAGE_TOO_LARGE" }]);
  });

  test("by asking: it is told no, and its answer still comes", async () => {
    let asked: Socket | null = null;
    answer = (socket, said) => {
      if (said.includes("tools/call")) {
        asked = socket;
        socket.write(
          `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: x\ndata: ${SAMPLE}\n\ndata: {"jsonrpc":"2.0","id":8,"method":"tools/call"}\n\n`,
        );
      } else if (/"id":[89],"error":\{"code":-31[45]0[13]/.test(said)) {
        socket.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        if (said.includes('"id":9')) asked?.end(`data: ${OK}\n\n`);
      }
    };
    post(CALL);
    const text = await wire.hears({ test: (t) => t.includes(OK) });
    expect(text).not.toContain("sampling");
    expect(text).not.toContain('"id":8');
    expect(upstream.heard.join("")).toContain('"code":-31403');
  });

  const ask = (id: number) => `data: ${SAMPLE.replace('"id":9', `"id":${id}`)}\n\n`;
  const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

  test("by listening to no refusal: none keeps a connection beyond the call", async () => {
    const told: Promise<unknown>[] = [];
    let asked: Socket | null = null;
    answer = (socket, said) => {
      if (said.includes("tools/call")) {
        asked = socket;
        socket.write(`${HEAD}${ask(8)}${ask(9)}`);
      } else if (/"error":/.test(said)) {
        told.push(once(socket, "close"));
        if (told.length === 2) asked?.end(`data: ${OK}\n\n`);
      }
    };
    post(CALL);
    await wire.hears({ test: (t) => t.includes(OK) });
    await Promise.all(told);
    await rig.ledger.receipts(2);
    expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
  });

  test("by asking without end, and listening to no refusal", async () => {
    answer = (socket, said) => {
      if (!said.includes("tools/call")) return;
      socket.write(HEAD + Array.from({ length: mcpAsksMax + 1 }, (_, id) => ask(id)).join(""));
    };
    post(CALL);
    expect(await wire.hears({ test: (t) => t.includes("dev.dragons") })).toContain(
      "it asks, and does not listen to the answers",
    );
  });
});

// Says what fetch, node:http(s) and WebSocket see of each thing that the server does:
//     node client.mjs URL [with-websocket]
import { createHash } from "node:crypto";
import http from "node:http";
import https from "node:https";

const [base, webSocket] = process.argv.slice(2);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const big = Buffer.concat(
  Array.from({ length: 93_750 }, (_, i) => createHash("sha256").update(String(i)).digest()),
);
const HOP = new Set(["connection", "keep-alive"]);
const show = (...what) => console.log(JSON.stringify(what));

async function fetched(name, path, options) {
  const answer = await fetch(base + path, options);
  const body = Buffer.from(await answer.arrayBuffer());
  const fields = [...answer.headers].filter(([field]) => !HOP.has(field));
  show("fetch", name, answer.status, answer.statusText, answer.url, fields, sha256(body));
}
await fetched("get", "/echo?a=1&b=%2F..", { headers: { "x-custom": "caf\u00e9", cookie: "a=b" } });
await fetched("post", "/echo", { method: "POST", body: "hello" });
await fetched("put", "/echo", { method: "PUT", body: big });
const pieces = new ReadableStream({
  start(c) {
    for (const piece of ["one", "two"]) c.enqueue(Buffer.from(piece));
    c.close();
  },
});
await fetched("stream", "/echo", { method: "POST", body: pieces, duplex: "half" });
for (const path of ["big", "chunked", "gzip", "redirect", "empty", "missing", "close"]) {
  await fetched(path, `/${path}`);
}

const { request } = base.startsWith("https") ? https : http;
function asked(name, path, options, send) {
  return new Promise((resolve, reject) => {
    const asking = request(base + path, options, async (answer) => {
      const body = [];
      for await (const piece of answer) body.push(piece);
      const { statusCode, statusMessage, rawTrailers } = answer;
      const fields = [];
      for (let i = 0; i < answer.rawHeaders.length; i += 2) {
        const [field, value] = answer.rawHeaders.slice(i, i + 2);
        if (!HOP.has(field.toLowerCase())) fields.push(field, value);
      }
      show(
        "http",
        name,
        statusCode,
        statusMessage,
        fields,
        rawTrailers,
        sha256(Buffer.concat(body)),
      );
      resolve();
    });
    asking.on("error", reject);
    send(asking);
  });
}
await asked("get", "/echo", { headers: { "X-Custom": "Mixed" } }, (a) => a.end());
await asked("head", "/big", { method: "HEAD" }, (a) => a.end());
await asked("chunked", "/chunked", { headers: { TE: "trailers" } }, (a) => a.end());
await asked("trailers", "/echo", { method: "POST", headers: { Trailer: "X-Sum" } }, (a) => {
  a.write("some");
  a.addTrailers({ "X-Sum": "4" });
  a.end();
});
await asked(
  "expect",
  "/echo",
  { method: "PUT", headers: { Expect: "100-continue", "Content-Length": 5 } },
  (a) => {
    a.flushHeaders();
    a.on("continue", () => a.end("hello"));
  },
);

if (webSocket !== undefined) {
  const socket = new WebSocket(`${base.replace(/^http/, "ws")}/socket`);
  const said = ["one", "two", "three"];
  await new Promise((resolve, reject) => {
    socket.onopen = () => socket.send(said.shift());
    socket.onerror = () => reject(new Error("the WebSocket failed"));
    socket.onmessage = ({ data }) => {
      show("WebSocket", data);
      if (said.length > 0) socket.send(said.shift());
      else socket.close(1000, "enough");
    };
    socket.onclose = ({ code, wasClean }) => resolve(show("WebSocket", "closed", code, wasClean));
  });
}

// Says what node:http2 sees of each thing that the server does: node client-http2.mjs URL
// node:http2 reads no proxy variable, so the tunnel that https_proxy names is asked for here.
import { createHash } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import tls from "node:tls";

const base = new URL(process.argv[2]);
const big = Buffer.concat(
  Array.from({ length: 93_750 }, (_, i) => createHash("sha256").update(String(i)).digest()),
);

async function tunnel(proxy) {
  const { hostname, port, username, password } = new URL(proxy);
  const credential = Buffer.from(`${username}:${password}`).toString("base64");
  const headers = { "Proxy-Authorization": `Basic ${credential}` };
  const asking = http.request({
    host: hostname,
    port,
    method: "CONNECT",
    path: base.host,
    headers,
  });
  asking.end();
  const [answer, socket] = await once(asking, "connect");
  if (answer.statusCode !== 200) throw new Error(`CONNECT: ${answer.statusCode}`);
  return tls.connect({ socket, servername: base.hostname, ALPNProtocols: ["h2"] });
}

const { https_proxy: proxy } = process.env;
const socket = proxy === undefined ? undefined : await tunnel(proxy);
const session = http2.connect(base, socket === undefined ? {} : { createConnection: () => socket });

async function asked(name, headers, body, trailers) {
  const stream = session.request(headers, { waitForTrailers: trailers !== undefined });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  let trailing = {};
  stream.on("trailers", (fields) => {
    trailing = { ...fields };
  });
  const answered = once(stream, "response");
  stream.end(body);
  const [fields] = await answered;
  const hash = createHash("sha256");
  for await (const piece of stream) hash.update(piece);
  return JSON.stringify([name, { ...fields }, trailing, hash.digest("hex")]);
}
const show = async (...call) => console.log(await asked(...call));

await show("get", { ":path": "/echo?a=1&b=%2F..", "x-custom": "Mixed", cookie: "a=b" });
await show("post", { ":method": "POST", ":path": "/echo" }, "hello");
await show("put", { ":method": "PUT", ":path": "/echo" }, big);
await show("trailers", { ":method": "POST", ":path": "/echo" }, "some", { "x-sum": "4" });
await show("head", { ":method": "HEAD", ":path": "/big" });
for (const path of ["big", "chunked", "gzip", "redirect", "empty", "missing"]) {
  await show(path, { ":path": `/${path}` });
}
// All at once, by one connection.
const paths = ["/big", "/echo", "/chunked", "/big"];
const all = await Promise.all(paths.map((path, i) => asked(`at once ${i}`, { ":path": path })));
for (const line of all) console.log(line);
session.close();

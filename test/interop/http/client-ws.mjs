// Says what the npm package ws sees of a WebSocket: node client-ws.mjs URL
import WebSocket from "ws";

const show = (...what) => console.log(JSON.stringify(what));
const HOP = new Set(["connection", "keep-alive", "sec-websocket-accept"]);
const socket = new WebSocket(`${process.argv[2].replace(/^http/, "ws")}/socket`, {
  headers: { "x-custom": "mixed" },
});
const said = ["one", "caf\u00e9", "x".repeat(100)];
socket.on("upgrade", ({ statusCode, statusMessage, headers }) => {
  show(
    "upgrade",
    statusCode,
    statusMessage,
    Object.entries(headers).filter(([n]) => !HOP.has(n)),
  );
});
socket.on("open", () => socket.send(said.shift()));
socket.on("message", (data, binary) => {
  show("message", data.toString(), binary);
  if (said.length > 0) socket.send(said.shift());
  else socket.close(1000, "enough");
});
socket.on("close", (code, reason) => show("closed", code, reason.toString(), socket.extensions));

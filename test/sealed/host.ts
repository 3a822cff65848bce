import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { openCage } from "../../sidecar/cage/cage.ts";
import { findMeans } from "../../sidecar/cage/means.ts";
import { takeSnapshot } from "../../sidecar/cage/snapshot.ts";
import { NameServer } from "../../sidecar/listeners/dns.ts";
import { Names } from "../../sidecar/listeners/names.ts";
import { systemClock } from "../../src/native/clock.ts";
import { measure } from "../../src/native/manifest-file.ts";
import type { HostOptions } from "./rig.ts";

/**
 * A cage with whatever program in it, and somebody outside who answers every connection, once something
 * was said, with where it was meant for. It ends as the program does. What is typed at a terminal is
 * the program's.
 */
const options = JSON.parse(process.argv[2] as string) as HostOptions;
for (const name of ["SIGINT", "SIGQUIT"] as const) process.on(name, () => {});
const means = findMeans(process.env);
if ("lacking" in means) throw new Error(means.why);

const { cwd, scratch, yaml } = options;
const copies = join(scratch, "snapshot");
const snapshot =
  yaml === "" ? [] : (await takeSnapshot((await measure(cwd, yaml)).manifest, cwd, copies)).paths;
// Somebody writes to the originals as soon as they were read.
for (const path of snapshot) appendFileSync(path, "echo written later\n");
const cage = await openCage({
  means,
  view: {
    cwd,
    writable: options.writable,
    hidden: [scratch, ...options.hidden],
    shown: options.shown,
    snapshot: yaml === "" ? null : copies,
  },
  outside: options.outside,
  allowUnix: options.allowUnix,
  stdio: ["inherit", "inherit", "inherit"],
});
if ("lacking" in cage) throw new Error(cage.why);

const names = new Names(join(scratch, "names"));
const lookups = new NameServer(names, systemClock, () => {});
lookups.listen(cage.dns);
const server = createServer((socket) => {
  if (socket.localPort === 53) return lookups.accept(socket);
  const address = (socket.localAddress as string).replace(/^::ffff:/, "");
  const text = `${names.nameOf(address) ?? address} ${socket.localPort}\n`;
  socket.on("error", () => socket.destroy());
  socket.once("data", () => {
    socket.end(
      `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    );
  });
});
server.listen(cage.transparent);
await once(server, "listening");
const started = await cage.start(
  { files: {}, snapshot },
  { command: options.command, env: options.env },
);
if ("why" in started) process.stderr.write(`${started.why}\n`);
process.exit(await cage.exited);

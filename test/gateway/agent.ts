import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, isIPv6, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

/** What somebody behind a gateway tries, one thing after the other: it dials an address and says bytes. */
export interface Attempt {
  readonly address: string;
  readonly port: number;
  /** By UDP, where nothing comes back. */
  readonly udp?: true;
  /** TLS with this server name, trusting `ca`. */
  readonly tls?: { readonly serverName?: string; readonly ca: string };
  /** What it says; nothing: only whether it connects. */
  readonly say: string;
}

/** What came back: an HTTP status line, or how it ended. */
async function attempt({ address, port, udp, tls, say }: Attempt): Promise<string> {
  if (udp === true) return send(address, port, say);
  const socket = connect({ host: address, port });
  const gaveUp = setTimeout(() => socket.destroy(new Error("ETIMEDOUT")), 1500);
  try {
    await once(socket, "connect");
    const wire: Socket | TLSSocket =
      tls === undefined
        ? socket
        : connectTls({
            socket,
            ca: tls.ca,
            ...(tls.serverName === undefined
              ? { checkServerIdentity: () => undefined }
              : { servername: tls.serverName }),
          });
    if (wire !== socket) await once(wire, "secureConnect");
    wire.write(say);
    let heard = "";
    wire.on("data", (piece: Buffer) => {
      heard += piece.toString("latin1");
      if (heard.includes("\r\n\r\n") || !heard.startsWith("HTTP")) wire.end();
    });
    await once(wire, "close").catch(() => {});
    return /^[^\r\n]*/.exec(heard)?.[0] || "closed";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  } finally {
    clearTimeout(gaveUp);
    socket.destroy();
  }
}

async function send(address: string, port: number, said: string): Promise<string> {
  const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
  const error = await new Promise<Error | null>((done) => socket.send(said, port, address, done));
  socket.close();
  return error === null ? "sent" : ((error as NodeJS.ErrnoException).code ?? error.message);
}

const told: string[] = [];
for (const one of JSON.parse(process.argv[2] ?? "[]") as Attempt[]) told.push(await attempt(one));
process.stdout.write(`${JSON.stringify(told)}\n`);

import { createServer } from "node:net";
import { systemClock } from "../../src/native/clock.ts";
import type { ServerOptions } from "../../src/wire/grpc.ts";

type Transport = NonNullable<ServerOptions["transport"]>;

/** Sockets without TLS, as if each had shown this certificate: null: none. */
export function sockets(certificate: Uint8Array | null): Transport {
  const server = createServer();
  return {
    clock: systemClock,
    listener: {
      listen: (_address, accept) =>
        new Promise((resolve) => {
          server.on("connection", (socket) => accept(socket, certificate));
          server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
        }),
      close: () => new Promise((resolve) => server.close(() => resolve())),
    },
  };
}

/** What carries calls: one contract for both. */
export const CARRIERS: readonly (readonly [name: string, transport: () => Transport | null])[] = [
  ["by grpc-js", () => null],
  ["by our own HTTP/2", () => sockets(Uint8Array.of(1))],
];

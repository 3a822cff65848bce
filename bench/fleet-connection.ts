import { once } from "node:events";
import { connect as dial } from "node:net";
import { connect, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { H2Connection } from "../src/h2/connection.ts";
import type { RawHeaders } from "../src/h2/fields.ts";
import { systemClock } from "../src/native/clock.ts";
import { framed, MessageReader } from "../src/wire/grpc-frames.ts";
import { decode, encode, pathOf } from "../src/wire/messages.ts";
import type { ClientCertificate } from "../test/control/world.ts";

const MESSAGE_BYTES_MAX = 8 * 1024 * 1024;

/** Where the control plane is, and who one is to it. */
export interface Whereabouts {
  readonly port: number;
  readonly context: SecureContext;
}

/**
 * Kept by each sidecar, since reading a key anew costs a fifth of a connection. PEM. Without authorities: the
 * server is a process of ours, and looking at its certificate would cost as much again, here alone.
 */
export const contextOf = ({ certPem, keyPem }: ClientCertificate): SecureContext =>
  createSecureContext({ ca: [], cert: certPem, key: keyPem });

/** What comes on a stream. */
export interface Heard<T> {
  message(message: T): void;
  /** Once; null: it ended with OK. */
  over(why: Error | null): void;
}

interface Method<I extends DescMessage, O extends DescMessage> {
  readonly input: I;
  readonly output: O;
}

/** The call ended with a status that is not OK. */
export class Refused extends Error {
  readonly status: string;

  constructor(status: string, message: string) {
    super(`${status}: ${message}`);
    this.status = status;
  }
}

/**
 * One sidecar's connection: gRPC on HTTP/2 over TLS 1.3, with its certificate. By our own HTTP/2, since
 * ten thousand clients of grpc-js would need more of this machine than what is measured.
 */
export class FleetConnection {
  readonly #socket: TLSSocket;
  readonly #h2: H2Connection;

  private constructor(socket: TLSSocket, h2: H2Connection) {
    this.#socket = socket;
    this.#h2 = h2;
  }

  /** @param from an address of this machine: as strangers, connections are counted by address. */
  static async open({ port, context }: Whereabouts, from: string): Promise<FleetConnection> {
    const socket = connect({
      socket: dial({ host: "127.0.0.1", port, localAddress: from }),
      servername: "localhost",
      secureContext: context,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2"],
    });
    await once(socket, "secureConnect");
    const h2 = new H2Connection(socket, { role: "client", clock: systemClock });
    await h2.ready();
    return new FleetConnection(socket, h2);
  }

  /** A stream both ways. Returns what sends on it, and says whether it still could. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O> & Parameters<typeof pathOf>[0],
    heard: Heard<MessageShape<O>>,
    metadata: RawHeaders = [],
  ): (request: MessageInitShape<I>) => boolean {
    let ended = false;
    const reader = new MessageReader(MESSAGE_BYTES_MAX, {
      message: (bytes) => heard.message(decode(method.output, bytes)),
    });
    const over = (why: Error | null): void => {
      if (ended) return;
      ended = true;
      heard.over(why);
    };
    const told = (fields: RawHeaders | null): void => {
      const said = (name: string): string => fields?.[fields.indexOf(name) + 1] ?? "";
      const status = said("grpc-status");
      over(status === "0" ? null : new Refused(status, said("grpc-message")));
    };
    const head = [
      [":method", "POST"],
      [":scheme", "https"],
      [":path", pathOf(method)],
      [":authority", "localhost"],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ].flat();
    const stream = this.#h2.open([...head, ...metadata], false, {
      head: (fields, last) => last && told(fields),
      data(chunk) {
        reader.push(chunk);
        stream.consumed(chunk.length);
      },
      ended: told,
      reset: () => over(new Error("the connection was lost")),
      informational() {},
      sent() {},
      finished() {},
    });
    return (request) => {
      if (!ended) stream.write(framed(encode(method.input, request)));
      return !ended;
    };
  }

  /** Gone at once, as when a network breaks. */
  cut(): void {
    this.#socket.destroy();
    this.#h2.destroy();
  }
}

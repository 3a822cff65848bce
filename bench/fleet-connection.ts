import { once } from "node:events";
import { connect as dial } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { H2Connection } from "../src/h2/connection.ts";
import type { RawHeaders } from "../src/h2/fields.ts";
import { systemClock } from "../src/native/clock.ts";
import { framed, MessageReader } from "../src/wire/grpc-frames.ts";
import { decode, encode, pathOf } from "../src/wire/messages.ts";
import { Queue } from "../src/wire/queue.ts";

const MESSAGE_BYTES_MAX = 8 * 1024 * 1024;
const ANSWERS_MAX = 1024;

/** Where the control plane is, and by what it is known. PEM. */
export interface Whereabouts {
  readonly port: number;
  readonly ca: Uint8Array;
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
  static async open(
    { port, ca }: Whereabouts,
    { certPem, keyPem }: { readonly certPem: string; readonly keyPem: string },
    from: string,
  ): Promise<FleetConnection> {
    const socket = connect({
      socket: dial({ host: "127.0.0.1", port, localAddress: from }),
      servername: "localhost",
      ca: Buffer.from(ca),
      cert: certPem,
      key: keyPem,
      ALPNProtocols: ["h2"],
    });
    await once(socket, "secureConnect");
    const h2 = new H2Connection(socket, { role: "client", clock: systemClock });
    await h2.ready();
    return new FleetConnection(socket, h2);
  }

  /** A stream both ways. What is pushed to `requests` is sent at once. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O> & Parameters<typeof pathOf>[0],
    requests: Queue<MessageInitShape<I>>,
    metadata: RawHeaders = [],
  ): AsyncIterable<MessageShape<O>> {
    const answers = new Queue<MessageShape<O>>(ANSWERS_MAX);
    const reader = new MessageReader(MESSAGE_BYTES_MAX, {
      message: (bytes) => answers.push(decode(method.output, bytes)),
    });
    const over = (fields: RawHeaders | null): void => {
      const said = (name: string): string => fields?.[fields.indexOf(name) + 1] ?? "";
      if (said("grpc-status") === "0") answers.end();
      else answers.fail(new Refused(said("grpc-status"), said("grpc-message")));
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
      head: (fields, last) => last && over(fields),
      data(chunk) {
        reader.push(chunk);
        stream.consumed(chunk.length);
      },
      ended: over,
      reset: () => answers.fail(new Error("the connection was lost")),
      informational() {},
      sent() {},
      finished() {},
    });
    const send = async (): Promise<void> => {
      for await (const request of requests) stream.write(framed(encode(method.input, request)));
      stream.end();
    };
    void send();
    return answers;
  }

  /** Gone at once, as when a network breaks. */
  cut(): void {
    this.#socket.destroy();
    this.#h2.destroy();
  }
}

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { output } from "./process.ts";

export const PATH = "/acme.v1.Payments/Transfer";

/** What one run of h2load saw. */
export interface Load {
  readonly calls: number;
  readonly perSecond: number;
}

/** Drives unary gRPC calls of 100 bytes with h2load, closed loop: each stream sends when it was answered. */
export class Loader {
  readonly #program: string;
  readonly #folder: string;
  readonly #body: string;

  constructor(program: string, folder: string) {
    this.#program = program;
    this.#folder = folder;
    this.#body = join(folder, "body");
    const message = Buffer.alloc(100, "a");
    message[0] = 0;
    message.writeUInt32BE(95, 1);
    writeFileSync(this.#body, message);
  }

  /** So many calls, over so many connections, with so many streams at once on each. */
  async run(port: number, connections: number, streams: number, calls: number): Promise<Load> {
    return this.#run(port, connections, streams, calls, []);
  }

  /** The same, with how long each call took: µs, sorted. */
  async latencies(
    port: number,
    connections: number,
    streams: number,
    calls: number,
  ): Promise<number[]> {
    const log = join(this.#folder, `latencies-${process.hrtime.bigint()}`);
    await this.#run(port, connections, streams, calls, [`--log-file=${log}`]);
    return readFileSync(log, "latin1")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => Number(line.split("\t")[2]))
      .sort((a, b) => a - b);
  }

  async #run(
    port: number,
    connections: number,
    streams: number,
    calls: number,
    more: readonly string[],
  ): Promise<Load> {
    const text = await output("load", [
      ...[this.#program, "-n", `${calls}`, "-c", `${connections}`, "-m", `${streams}`],
      ...["-d", this.#body, "-H", "content-type: application/grpc", "-H", "te: trailers"],
      ...more,
      `http://127.0.0.1:${port}${PATH}`,
    ]);
    const rate = /finished in .*?, ([\d.]+) req\/s/.exec(text)?.[1];
    const good = /status codes: (\d+) 2xx/.exec(text)?.[1];
    if (rate === undefined || Number(good) !== calls) {
      throw new Error(`${good ?? "none"} of ${calls} calls were answered:\n${text}`);
    }
    return { calls, perSecond: Number(rate) };
  }
}

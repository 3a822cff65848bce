import { upstreamHttp1Max, upstreamHttp1Us } from "../../src/domain/limits.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { Permit } from "../gate/permit.ts";
import type { HttpExchange } from "./http-exchange.ts";
import { Http1Upstream } from "./http1.ts";
import { Http1Connection } from "./http1-connection.ts";
import { Http2Exchange } from "./http2-exchange.ts";
import { inTheClear, type Reach, type Unreachable } from "./reach.ts";
import { Upstream } from "./upstream.ts";

/**
 * The world as permits reach it by HTTP that is not gRPC. ALPN is mirrored: an agent that agreed on
 * HTTP/2 with us has its upstream asked for it, and one that speaks HTTP/1.1 has it spoken to by that.
 * In the clear nothing is offered, and every server speaks HTTP/1.1.
 */
export class HttpUpstream {
  readonly #clock: Clock;
  readonly #http1: Http1Upstream;
  readonly #http2: Upstream;
  /** Targets that agreed on HTTP/1.1, and until when nobody asks again. */
  readonly #onlyHttp1 = new Map<string, number>();

  constructor(clock: Clock, reach: Reach) {
    this.#clock = clock;
    this.#http1 = new Http1Upstream(clock, reach);
    this.#http2 = new Upstream(clock, reach, ["h2", "http/1.1"]);
  }

  /** @param how see `Http1Upstream.connect` and `Reach.connect`; and whether the agent speaks HTTP/2. */
  async connect(
    permit: Permit,
    how: { readonly repeatable: boolean; readonly http2: boolean; readonly address: string },
  ): Promise<HttpExchange | Unreachable> {
    const { target } = permit.facts.place;
    if (how.http2 && !inTheClear(permit) && !this.#speaksHttp1(target)) {
      const found = this.#http2.connect(permit, how.address);
      const kept = !(found instanceof Promise);
      const connection = await found;
      if (!("unreachable" in connection)) return new Http2Exchange(connection, kept);
      if (connection.onlyHttp1 !== true) return connection;
      this.#remember(target);
    }
    return this.#http1.connect(permit, how.repeatable, how.address);
  }

  #speaksHttp1(target: string): boolean {
    return this.#clock.monotonicUs() < (this.#onlyHttp1.get(target) ?? 0);
  }

  #remember(target: string): void {
    if (this.#onlyHttp1.size >= upstreamHttp1Max) {
      for (const oldest of this.#onlyHttp1.keys()) {
        this.#onlyHttp1.delete(oldest);
        break;
      }
    }
    this.#onlyHttp1.set(target, this.#clock.monotonicUs() + upstreamHttp1Us);
  }

  /** Takes back what is done with: its connection is kept if request and answer were both whole. */
  release(up: HttpExchange, whole: boolean): void {
    if (whole && up instanceof Http1Connection) this.#http1.release(up);
    else up.destroy();
  }

  close(): void {
    this.#http1.close();
    this.#http2.close();
  }
}

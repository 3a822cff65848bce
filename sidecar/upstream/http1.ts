import {
  http1ConnectionsMax,
  http1UpstreamFreshUs,
  http1UpstreamIdleUs,
} from "../../src/domain/limits.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { Permit } from "../gate/permit.ts";
import { Http1Connection } from "./http1-connection.ts";
import { type Reach, type Unreachable, unreachable } from "./reach.ts";

interface Pool {
  /** The one used last stands last. */
  idle: Http1Connection[];
  /** Idle, busy and dialling together. */
  count: number;
}

/** The world as permits reach it by HTTP/1: connections are kept for the next request to the same target. */
export class Http1Upstream {
  readonly #clock: Clock;
  readonly #reach: Reach;
  readonly #pools = new Map<string, Pool>();
  readonly #all = new Set<Http1Connection>();
  readonly #poolOf = new WeakMap<Http1Connection, Pool>();
  #sweep: Timer | null = null;
  #closed = false;

  constructor(clock: Clock, reach: Reach) {
    this.#clock = clock;
    this.#reach = reach;
  }

  /**
   * A connection for the permitted request alone.
   *
   * @param repeatable the request can be sent again when a kept connection turns out to have ended; one
   * that cannot gets a connection that was used just now, or a new one.
   * @param address see `Reach.connect`.
   */
  async connect(
    permit: Permit,
    repeatable: boolean,
    address: string,
  ): Promise<Http1Connection | Unreachable> {
    const { scheme, target } = permit.facts.place;
    const key = `${scheme} ${target} ${address}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = { idle: [], count: 0 };
      this.#pools.set(key, pool);
    }
    const trusted = repeatable ? http1UpstreamIdleUs : http1UpstreamFreshUs;
    const kept = pool.idle.at(-1);
    if (kept !== undefined && this.#idleFor(kept) < trusted) {
      pool.idle.pop();
      if (kept.usable) return kept;
      kept.destroy();
      return this.connect(permit, repeatable, address);
    }
    return this.#dial(permit, pool, address);
  }

  async #dial(permit: Permit, pool: Pool, address: string): Promise<Http1Connection | Unreachable> {
    if (pool.count >= http1ConnectionsMax) {
      const detail = `all ${http1ConnectionsMax} connections to it are in use`;
      return unreachable("OVERLOADED", detail);
    }
    pool.count++;
    const connection = await this.#reach.connect(
      permit,
      { protocols: ["http/1.1"], address },
      (reached) => new Http1Connection(reached),
    );
    if ("unreachable" in connection) {
      pool.count--;
      return connection;
    }
    this.#all.add(connection);
    this.#poolOf.set(connection, pool);
    connection.socket.once("close", () => {
      pool.count--;
      this.#all.delete(connection);
      pool.idle = pool.idle.filter((c) => c !== connection);
    });
    if (this.#closed) {
      connection.destroy();
      return unreachable("UPSTREAM_UNREACHABLE", "the sidecar is shutting down");
    }
    return connection;
  }

  /** Keeps a connection whose request and answer were both whole. */
  release(connection: Http1Connection): void {
    const pool = this.#poolOf.get(connection);
    if (pool === undefined || this.#closed || !connection.usable) {
      connection.destroy();
      return;
    }
    connection.lastUsedMonotonicUs = this.#clock.monotonicUs();
    connection.reader.onGone(() => connection.destroy());
    pool.idle.push(connection);
    this.#sweep ??= this.#clock.after(http1UpstreamIdleUs, () => this.#sweepNow());
  }

  #idleFor(connection: Http1Connection): number {
    return this.#clock.monotonicUs() - connection.lastUsedMonotonicUs;
  }

  /** Closes what is idle, and forgets targets that nobody uses. */
  #sweepNow(): void {
    this.#sweep = null;
    let waiting = 0;
    for (const [key, pool] of this.#pools) {
      for (const c of pool.idle) {
        if (this.#idleFor(c) >= http1UpstreamIdleUs) c.destroy();
        else waiting++;
      }
      pool.idle = pool.idle.filter((c) => !c.socket.destroyed);
      if (pool.count === 0) this.#pools.delete(key);
    }
    if (waiting > 0 && !this.#closed) {
      this.#sweep = this.#clock.after(http1UpstreamIdleUs / 2, () => this.#sweepNow());
    }
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    for (const connection of this.#all) connection.destroy();
    this.#pools.clear();
  }
}

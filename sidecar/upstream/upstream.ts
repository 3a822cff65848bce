import {
  connectionsPerUpstreamMax,
  upstreamAgeUs,
  upstreamIdleUs,
} from "../../src/domain/limits.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { Permit } from "../gate/permit.ts";
import { type Connection, openHttp2 } from "./connection.ts";
import { type Alpn, type Reach, type Unreachable, unreachable } from "./reach.ts";

/** The world as permits reach it: HTTP/2 connections, shared by all calls to one target. */
export class Upstream {
  readonly #clock: Clock;
  readonly #reach: Reach;
  readonly #protocols: readonly Alpn[];
  readonly #pools = new Map<string, Pool>();
  #sweep: Timer | null = null;
  #closed = false;

  /** @param protocols what to offer: HTTP/2, and HTTP/1.1 where the caller can do with that. */
  constructor(clock: Clock, reach: Reach, protocols: readonly Alpn[]) {
    this.#clock = clock;
    this.#reach = reach;
    this.#protocols = protocols;
  }

  /**
   * A connection that takes the permitted call now, at once if there is one already.
   *
   * @param address see `Reach.connect`.
   */
  connect(permit: Permit, address: string): Connection | Promise<Connection | Unreachable> {
    const { scheme, target } = permit.facts.place;
    const key = `${scheme} ${target} ${address}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = { connections: [], dialling: null };
      this.#pools.set(key, pool);
    }
    const usable = leastBusy(pool);
    if (usable !== null) {
      usable.lastUsedMonotonicUs = this.#clock.monotonicUs();
      return usable;
    }
    pool.dialling ??= this.#dial(permit, pool, address).finally(() => {
      pool.dialling = null;
    });
    return pool.dialling;
  }

  async #dial(permit: Permit, pool: Pool, address: string): Promise<Connection | Unreachable> {
    if (pool.connections.filter((c) => !c.gone).length >= connectionsPerUpstreamMax) {
      const detail = `all ${connectionsPerUpstreamMax} connections to it are full`;
      return unreachable("OVERLOADED", detail);
    }
    const connection = await this.#reach.connect(
      permit,
      { protocols: this.#protocols, address },
      (reached) => openHttp2(reached, this.#clock),
    );
    if ("unreachable" in connection) return connection;
    if (this.#closed) {
      connection.destroy();
      return unreachable("UPSTREAM_UNREACHABLE", "the sidecar is shutting down");
    }
    pool.connections = pool.connections.filter((c) => !c.gone);
    pool.connections.push(connection);
    this.#sweep ??= this.#clock.after(upstreamIdleUs / 4, () => this.#sweepNow());
    return connection;
  }

  /** Closes what is idle or old, and forgets what is gone. */
  #sweepNow(): void {
    this.#sweep = null;
    const now = this.#clock.monotonicUs();
    for (const [key, pool] of this.#pools) {
      for (const c of pool.connections) {
        const idle = c.streams === 0 && now - c.lastUsedMonotonicUs >= upstreamIdleUs;
        if (idle || now - c.openedMonotonicUs >= upstreamAgeUs) c.drain();
      }
      pool.connections = pool.connections.filter((c) => !c.gone);
      if (pool.connections.length === 0 && pool.dialling === null) this.#pools.delete(key);
    }
    if (this.#pools.size > 0 && !this.#closed) {
      this.#sweep = this.#clock.after(upstreamIdleUs / 4, () => this.#sweepNow());
    }
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    for (const pool of this.#pools.values()) for (const c of pool.connections) c.destroy();
    this.#pools.clear();
  }
}

interface Pool {
  connections: Connection[];
  dialling: Promise<Connection | Unreachable> | null;
}

function leastBusy(pool: Pool): Connection | null {
  let best: Connection | null = null;
  for (const c of pool.connections) {
    if (c.usable && (best === null || c.streams < best.streams)) best = c;
  }
  return best;
}

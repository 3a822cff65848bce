import { isIP } from "node:net";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import {
  connectionsPerUpstreamMax,
  upstreamAgeUs,
  upstreamIdleUs,
} from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { Permit } from "../gate/permit.ts";
import { isForbidden, type Resolve, splitTarget } from "./address.ts";
import { type Connection, dial, type Scheme } from "./connection.ts";

/** Why an upstream could not be reached. Expected, so a value. */
export interface Unreachable {
  readonly unreachable: true;
  readonly reason: Reason;
  readonly detail: string;
}

export interface UpstreamOptions {
  readonly clock: Clock;
  readonly resolve: Resolve;
  /** Certificates trusted beside the system's, PEM; empty: none. */
  readonly extraCa: string;
}

/**
 * The world as permits reach it: HTTP/2 connections, shared by all calls to one target. A name is
 * resolved once for each dial, and the address judged is the address dialled.
 */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #pools = new Map<string, Pool>();
  #trust: SecureContext | null = null;
  #sweep: Timer | null = null;
  #closed = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** A connection that takes the permitted call now, at once if there is one already. */
  connect(permit: Permit, scheme: Scheme): Connection | Promise<Connection | Unreachable> {
    const key = `${scheme} ${permit.facts.claim.target}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = { connections: [], dialling: null };
      this.#pools.set(key, pool);
    }
    const usable = leastBusy(pool);
    if (usable !== null) {
      usable.lastUsedMonotonicUs = this.#options.clock.monotonicUs();
      return usable;
    }
    pool.dialling ??= this.#dial(permit, scheme, pool).finally(() => {
      pool.dialling = null;
    });
    return pool.dialling;
  }

  async #dial(permit: Permit, scheme: Scheme, pool: Pool): Promise<Connection | Unreachable> {
    const { clock } = this.#options;
    const { target } = permit.facts.claim;
    const refused = (reason: Reason, detail: string): Unreachable => ({
      unreachable: true,
      reason,
      detail,
    });
    if (pool.connections.filter((c) => !c.gone).length >= connectionsPerUpstreamMax) {
      return refused("OVERLOADED", `all ${connectionsPerUpstreamMax} connections to it are full`);
    }
    const { host } = splitTarget(target);
    let addresses: string[];
    try {
      addresses = isIP(host) === 0 ? await this.#options.resolve(host) : [host];
    } catch (error) {
      return refused("UPSTREAM_UNREACHABLE", `${host} does not resolve: ${told(error)}`);
    }
    if (!permit.facts.namesAddress) {
      const bad = addresses.find((a) => isForbidden(a, host));
      if (bad !== undefined) {
        return refused("TARGET_FORBIDDEN", `${host} resolves to ${bad}, which is not public`);
      }
    }
    let last = "no address";
    for (const address of addresses) {
      try {
        const connection = await dial(
          ...([scheme, target, address] as const),
          () => this.#trusted(),
          () => clock.monotonicUs(),
        );
        if (this.#closed) {
          connection.destroy();
          return refused("UPSTREAM_UNREACHABLE", "the sidecar is shutting down");
        }
        pool.connections = pool.connections.filter((c) => !c.gone);
        pool.connections.push(connection);
        this.#sweep ??= clock.after(upstreamIdleUs / 4, () => this.#sweepNow());
        return connection;
      } catch (error) {
        last = `${address}: ${told(error)}`;
      }
    }
    return refused("UPSTREAM_UNREACHABLE", last);
  }

  #trusted(): SecureContext {
    if (this.#trust === null) {
      const system = getCACertificates("system");
      const roots = system.length > 0 ? system : getCACertificates("bundled");
      const { extraCa } = this.#options;
      this.#trust = createSecureContext({ ca: extraCa === "" ? roots : [...roots, extraCa] });
    }
    return this.#trust;
  }

  /** Closes what is idle or old, and forgets what is gone. */
  #sweepNow(): void {
    this.#sweep = null;
    const now = this.#options.clock.monotonicUs();
    for (const [key, pool] of this.#pools) {
      for (const c of pool.connections) {
        const idle = c.streams === 0 && now - c.lastUsedMonotonicUs >= upstreamIdleUs;
        if (idle || now - c.openedMonotonicUs >= upstreamAgeUs) c.drain();
      }
      pool.connections = pool.connections.filter((c) => !c.gone);
      if (pool.connections.length === 0 && pool.dialling === null) this.#pools.delete(key);
    }
    if (this.#pools.size > 0 && !this.#closed) {
      this.#sweep = this.#options.clock.after(upstreamIdleUs / 4, () => this.#sweepNow());
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

/** The innermost cause speaks plainest. */
function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.message === "" ? told(error.cause) : error.message;
}

import { hash } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import {
  connect as connectTls,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import { handshakeUs } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Permit } from "../gate/permit.ts";
import { isForbidden, plain, type Resolve, splitTarget } from "./address.ts";

/** Only where the permit says so is anything carried out in the clear. */
export const inTheClear = ({ facts }: Permit): boolean => facts.place.scheme === "HTTP";

/** Why an upstream could not be reached. Expected, so a value. */
export interface Unreachable {
  readonly unreachable: true;
  readonly reason: Reason;
  readonly detail: string;
  /** It answers, and agreed on HTTP/1.1. */
  readonly onlyHttp1?: true;
}

/** Whoever answers speaks no HTTP/2. */
export class NotHttp2 extends Error {}

export interface ReachOptions {
  readonly resolve: Resolve;
  /** Certificates trusted beside the system's, PEM; empty: none. */
  readonly extraCa: string;
}

export type Alpn = "h2" | "http/1.1";

/** A connection that was just opened, its certificate verified. */
export interface Reached {
  readonly socket: Socket;
  /** `ip:port` dialled. */
  readonly dialled: string;
  /** SHA-256 of the upstream's certificate (DER); empty: plaintext. */
  readonly peerCertificate: Uint8Array;
}

/**
 * Opens connections to where permits lead. A name is resolved once for each, and the address judged is
 * the address dialled.
 */
export class Reach {
  readonly #options: ReachOptions;
  #trust: SecureContext | null = null;

  constructor(options: ReachOptions) {
    this.#options = options;
  }

  /**
   * @param how what to agree on by ALPN, the one preferred first; and the address that the agent dialled
   * itself, which the name must lead to and which alone is dialled (empty: none).
   * @param open what to make of a connection; when it rejects, the next address is tried.
   */
  async connect<T>(
    permit: Permit,
    {
      protocols,
      address: dialled,
    }: { readonly protocols: readonly Alpn[]; readonly address: string },
    open: (reached: Reached) => T | Promise<T>,
  ): Promise<T | Unreachable> {
    const { target } = permit.facts.place;
    const { host } = splitTarget(target);
    let addresses: string[];
    try {
      addresses = isIP(host) === 0 ? await this.#options.resolve(host) : [host];
    } catch (error) {
      return unreachable("UPSTREAM_UNREACHABLE", `${host} does not resolve: ${told(error)}`);
    }
    if (dialled !== "") {
      if (!addresses.some((a) => plain(a) === dialled)) {
        const detail = `${host} does not resolve to ${dialled}, where the connection is to`;
        return unreachable("AUTHORITY_MISMATCH", detail);
      }
      addresses = [dialled];
    }
    if (!permit.facts.namesAddress) {
      const bad = addresses.find((a) => isForbidden(a, host));
      if (bad !== undefined) {
        return unreachable("TARGET_FORBIDDEN", `${host} resolves to ${bad}, which is not public`);
      }
    }
    let last = "no address";
    for (const address of addresses) {
      try {
        return await open(await this.#dial(permit, address, protocols));
      } catch (error) {
        if (error instanceof NotHttp2 && protocols.includes("http/1.1")) {
          return { ...unreachable("UPSTREAM_UNREACHABLE", told(error)), onlyHttp1: true };
        }
        last = `${address}: ${told(error)}`;
      }
    }
    return unreachable("UPSTREAM_UNREACHABLE", last);
  }

  /** Rejects when it does not answer in time, or its certificate does not hold. */
  async #dial(permit: Permit, address: string, protocols: readonly Alpn[]): Promise<Reached> {
    const { host, port } = splitTarget(permit.facts.place.target);
    const signal = AbortSignal.timeout(handshakeUs / 1000);
    const dialled = `${address.includes(":") ? `[${address}]` : address}:${port}`;
    // What is opaque is the agent's own TLS: its certificate is the agent's to verify.
    if (inTheClear(permit) || permit.facts.claim.protocol === "OPAQUE") {
      const socket = connectTcp({ host: address, port, noDelay: true });
      await opened(socket, "connect", signal);
      return { socket, dialled, peerCertificate: new Uint8Array() };
    }
    const secure = connectTls({
      host: address,
      port,
      // An address is verified as such; SNI is for names alone.
      ...(isIP(host) === 0 ? { servername: host } : {}),
      secureContext: this.#trusted(),
      minVersion: "TLSv1.2",
      ALPNProtocols: [...protocols],
    });
    await opened(secure, "secureConnect", signal);
    secure.setNoDelay(true);
    return { socket: secure, dialled, peerCertificate: certificateOf(secure) };
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
}

export const unreachable = (reason: Reason, detail: string): Unreachable => ({
  unreachable: true,
  reason,
  detail,
});

function certificateOf(secure: TLSSocket): Uint8Array {
  const certificate = secure.getPeerX509Certificate();
  return certificate === undefined ? new Uint8Array() : hash("sha256", certificate.raw, "buffer");
}

async function opened(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  try {
    await once(socket, event, { signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  // TLS that is broken off tells its error, and stays open.
  socket.on("error", () => socket.destroy());
}

/** The innermost cause speaks plainest. */
function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.message === "" ? told(error.cause) : error.message;
}

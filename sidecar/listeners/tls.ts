import type { Socket } from "node:net";
import tls, { type SecureContext, type TLSSocket } from "node:tls";
import { handshakeUs, mintedLeafTtlUs, mintedLeavesMax } from "../../src/domain/limits.ts";
import type { Clock } from "../../src/native/clock.ts";
import { type CertificateAuthority, type Issued, issueServer } from "../../src/native/pki.ts";
import type { Ingress } from "../adapters/exchange.ts";
import { splitTarget } from "../upstream/address.ts";

interface Leaf {
  readonly minted: Promise<Issued & { readonly context: SecureContext }>;
  readonly renewAtUs: number;
}

/**
 * Ends the agent's TLS inside its tunnel with a certificate for the name it asked for, so that what
 * it does can be judged. Which name that may be is judged per call, where a refusal can be told.
 */
export class TlsTerminator {
  readonly #ca: CertificateAuthority;
  readonly #clock: Clock;
  readonly #leaves = new Map<string, Leaf>();

  constructor(ca: CertificateAuthority, clock: Clock) {
    this.#ca = ca;
    this.#clock = clock;
  }

  accept(
    socket: Socket,
    ingress: Ingress,
    onSecure: (secure: TLSSocket, ingress: Ingress) => void,
    onFailed: (why: string) => void,
  ): void {
    const meant = ingress.target || ingress.dialled;
    const bound = meant === "" ? "localhost" : splitTarget(meant).host;
    this.#leaf(bound).then(
      (leaf) => {
        if (socket.destroyed) return;
        // One short-lived server for each connection: it carries what is known of the connection.
        const server = tls.createServer({
          // For clients that name no server: those that were given an address.
          cert: leaf.certPem,
          key: leaf.keyPem,
          // Both are spoken here, so it is the agent's own preference that counts.
          ALPNCallback: ({ protocols }) => protocols.find((p) => p === "h2" || p === "http/1.1"),
          minVersion: "TLSv1.2",
          handshakeTimeout: handshakeUs / 1000,
          SNICallback: (name, done) => {
            this.#leaf(name.toLowerCase()).then((named) => done(null, named.context), done);
          },
        });
        server.on("tlsClientError", (error: NodeJS.ErrnoException) => {
          onFailed(error.code ?? error.message);
          socket.destroy();
        });
        server.once("secureConnection", (secure) => {
          const serverName = typeof secure.servername === "string" ? secure.servername : "";
          onSecure(secure, { ...ingress, scheme: "https", serverName });
        });
        server.emit("connection", socket);
      },
      () => socket.destroy(),
    );
  }

  /** A leaf for one host, minted once and renewed before it ends. */
  #leaf(host: string): Leaf["minted"] {
    const nowUs = this.#clock.nowUs();
    const known = this.#leaves.get(host);
    if (known !== undefined && nowUs < known.renewAtUs) return known.minted;
    if (this.#leaves.size >= mintedLeavesMax) {
      for (const oldest of this.#leaves.keys()) {
        this.#leaves.delete(oldest);
        break;
      }
    }
    const minted = issueServer(this.#ca, [host], { nowUs, ttlUs: mintedLeafTtlUs }).then(
      (leaf) => ({
        ...leaf,
        context: tls.createSecureContext({ cert: leaf.certPem, key: leaf.keyPem }),
      }),
    );
    minted.catch(() => this.#leaves.delete(host));
    this.#leaves.set(host, { minted, renewAtUs: nowUs + mintedLeafTtlUs / 2 });
    return minted;
  }
}

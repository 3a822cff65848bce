import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { connectionsMax } from "../src/domain/limits.ts";
import type { McpServer } from "../src/domain/mcp-server.ts";
import type { Clock } from "../src/native/clock.ts";
import type { CertificateAuthority } from "../src/native/pki.ts";
import { serveGrpc } from "./adapters/grpc.ts";
import { isGrpc } from "./adapters/grpc-request.ts";
import { Http1Server } from "./adapters/http.ts";
import { serveHttp2 } from "./adapters/http2.ts";
import { McpAsks } from "./adapters/mcp-asks.ts";
import { McpResumes } from "./adapters/mcp-resumes.ts";
import { McpTrails } from "./adapters/mcp-trails.ts";
import { serveOpaque } from "./adapters/opaque.ts";
import type { Address, Passed } from "./config.ts";
import type { Gate } from "./gate/gate.ts";
import { Demux } from "./listeners/demux.ts";
import { proxyDoor, UNBOUND } from "./listeners/forward-proxy.ts";
import { gatewayListener } from "./listeners/gateway.ts";
import { type ReverseRoute, reverseListener } from "./listeners/reverse.ts";
import { TlsTerminator } from "./listeners/tls.ts";
import { allowTransparent, type NameOf, transparentListener } from "./listeners/transparent.ts";
import type { Resolve } from "./upstream/address.ts";
import { HttpUpstream } from "./upstream/http.ts";
import { Reach } from "./upstream/reach.ts";
import { Upstream } from "./upstream/upstream.ts";

/** Where the kernel hands over connections that an agent meant for the world. */
export interface Transparent {
  readonly nameOf: NameOf;
  /** Connections for look-ups. */
  readonly onLookup: (socket: Socket) => void;
}

export interface StackConfig {
  /** Where the forward proxy listens; port 0: any that is free. null: nowhere. */
  readonly proxy: Address | null;
  readonly credential: string;
  readonly routes: readonly (ReverseRoute & { readonly listen: Address })[];
  /** Whose connections a reverse route believes to be the agent's. */
  readonly agentUid: number;
  readonly transparent: Transparent | null;
  /** Where the kernel hands over what whoever is behind this machine dials; null: nobody is. */
  readonly gateway: Address | null;
  /** Whether TLS to a target is passed on as it is: by an opaque rule, and nothing else. */
  readonly passesUnread: (target: string) => boolean;
  /** MCP servers that speak HTTP, by the manifest. */
  readonly servers: readonly McpServer[];
  /** Lists of MCP servers show only what the lease in hand allows to ask for. */
  readonly leasedLists: boolean;
  /** Certificates trusted upstream beside the system's, PEM; empty: none. */
  readonly upstreamCa: string;
}

export interface Stack {
  /** Port 0: there is no forward proxy. */
  readonly proxyAddress: Address;
  /** In the order of the configuration. */
  readonly routeAddresses: readonly Address[];
  /**
   * Begins to accept what the kernel hands over there, and no more where it did before. Until then it
   * waits in the listener's queue, which has been open before us. Rejects as listening does.
   */
  takeOver(at: Passed): Promise<void>;
  /**
   * Accepts nothing more, lets calls in flight end for `drainMs`, then cuts them (HANDOFF). Every
   * action has been told to the ledger when it resolves.
   */
  close(drainMs: number): Promise<void>;
}

const NOWHERE: Address = { host: "", port: 0 };

/**
 * The whole proxy: listeners → demultiplexer → adapter → gate (and its ledger) → upstream.
 *
 * @param ca stands in for upstreams inside the agent's TLS tunnels; the agent trusts it.
 */
export async function openStack(options: {
  config: StackConfig;
  gate: Gate;
  ca: CertificateAuthority;
  clock: Clock;
  resolve: Resolve;
}): Promise<Stack> {
  const { config, gate, ca, clock, resolve } = options;
  const reach = new Reach({ resolve, extraCa: config.upstreamCa });
  const upstream = new Upstream(clock, reach, ["h2"]);
  const services = { gate, upstream, clock };
  const opaque = { gate, reach, clock };
  const httpUpstream = new HttpUpstream(clock, reach);
  const { servers, leasedLists } = config;
  const mcp = {
    leasedLists,
    asks: new McpAsks(gate),
    trails: new McpTrails(),
    resumes: new McpResumes(clock),
  };
  const httpServices = { gate, upstream: httpUpstream, clock, servers, ...mcp };
  const http1: Http1Server = new Http1Server(
    httpServices,
    proxyDoor(config.credential),
    (socket, ingress) => demux.accept(socket, ingress),
  );
  const demux = new Demux(clock, new TlsTerminator(ca, clock), {
    onHttp1: (socket, ingress) => http1.accept(socket, ingress),
    onStream: (stream, raw, last, ingress) =>
      isGrpc(raw)
        ? serveGrpc(stream, raw, last, ingress, services)
        : serveHttp2(stream, raw, last, ingress, httpServices),
    passesUnread: config.passesUnread,
    onUnread: (socket, hello, ingress) => void serveOpaque(socket, hello, ingress, opaque),
    onGarbage: (_ingress, detail) => {
      gate.refuse({ claim: null, traceparent: "" }, "PROTOCOL_UNSUPPORTED", detail);
    },
  });

  const listeners: Server[] = [];
  let handedOver: Server | null = null;
  let closed = false;
  const open = async (
    at: Address | Passed,
    accept: Parameters<typeof createServer>[1],
  ): Promise<Server> => {
    const server = createServer({ noDelay: true }, accept);
    server.maxConnections = connectionsMax;
    listeners.push(server);
    server.listen(at);
    await once(server, "listening");
    return server;
  };
  const listen = async (at: Address, accept: Parameters<typeof createServer>[1]) => {
    const server = await open(at, accept);
    return { host: at.host, port: (server.address() as AddressInfo).port };
  };
  const { proxy } = config;
  const proxyAddress =
    proxy === null ? NOWHERE : await listen(proxy, (socket) => demux.accept(socket, UNBOUND));
  if (config.gateway !== null) {
    const { gateway } = config;
    await allowTransparent(await open(gateway, gatewayListener(demux, gateway.port)));
  }
  const routeAddresses: Address[] = [];
  for (const route of config.routes) {
    const { listen: at, scheme, target } = route;
    const accept = reverseListener({ scheme, target }, config.agentUid, demux);
    routeAddresses.push(await listen(at, accept));
  }

  return {
    proxyAddress,
    routeAddresses,
    async takeOver(at) {
      if (config.transparent === null || closed) return;
      const { nameOf, onLookup } = config.transparent;
      handedOver?.close();
      handedOver = await open(at, transparentListener(nameOf, demux, onLookup));
    },
    async close(drainMs) {
      closed = true;
      for (const server of listeners) server.close();
      // Whoever came in last, with the listener's end, is still to be heard.
      const drained = demux.settled().then(() => Promise.all([demux.drain(), http1.drain()]));
      await Promise.race([
        drained,
        new Promise<void>((done) => void clock.after(drainMs * 1000, done)),
      ]);
      gate.cutAll("HANDOFF", "the sidecar is shutting down");
      demux.destroy();
      upstream.close();
      httpUpstream.close();
      await gate.idle();
    },
  };
}

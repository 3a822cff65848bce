import { setImmediate } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import {
  anonymousConnectionsMax,
  anonymousPerAddressMax,
  controlAgeGraceUs,
  controlAgeUs,
  controlIdleUs,
  controlKeepaliveTimeoutUs,
  controlKeepaliveUs,
  controlMessageBytesMax,
  controlSessionMemoryMb,
  controlStreamsMax,
  drainUs,
  handshakeSlowUs,
  handshakesAtOnce,
  handshakesPerTurn,
  handshakeUs,
  sidecarConnectionsMax,
  waitingConnectionsMax,
  waitingUsMax,
} from "../domain/limits.ts";
import { Health } from "../gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../gen/grpc/reflection/v1/reflection_pb.ts";
import type { Clock } from "../native/clock.ts";
import type { Issued } from "../native/pki.ts";
import { tlsListener } from "../native/tls-listener.ts";
import { openServer, type RpcServer, serve } from "../wire/grpc.ts";
import { HealthState } from "../wire/health.ts";
import { reflection } from "../wire/reflection.ts";
import type { Handlers } from "../wire/rpc.ts";
import { shuttingDown } from "../wire/status.ts";
import { type Authenticator, entries, tellingOfFailure } from "./auth.ts";
import { endingWithLeave } from "./leave.ts";
import { ServerCertificate } from "./server-certificate.ts";

/** A service with its implementation. */
export interface Mounted {
  readonly service: DescService;
  readonly handlers: Handlers<DescService>;
}

export const mounted = <S extends DescService>(service: S, handlers: Handlers<S>): Mounted => ({
  service,
  handlers: handlers as unknown as Handlers<DescService>,
});

export interface ControlServer {
  readonly rpc: RpcServer;
  /** For how long whoever comes next has waited at the door by now, in microseconds; 0: nobody waits. */
  waitedUs(): number;
  /** NOT_SERVING, streams are told to come back later, calls under way end; after a while, are cut. */
  close(): Promise<void>;
}

/**
 * TLS 1.3, every call guarded, health and reflection beside. One port for all: sidecars show a client
 * certificate, operators send a token. Does not listen yet.
 */
export async function controlServer(parts: {
  /** Makes a certificate for this server. */
  certificate: () => Promise<Issued>;
  /** The machine's: TLS goes by that on the other side, too. */
  clock: Clock;
  /** PEM of the authorities of the certificates that sidecars show. */
  sidecarCa: string;
  authenticator: Authenticator;
  services: readonly Mounted[];
  onFault: (error: unknown, method: string) => void;
}): Promise<ControlServer> {
  const transport = tlsListener({
    identity: await parts.certificate(),
    clientCa: parts.sidecarCa,
    limits: {
      certifiedMax: sidecarConnectionsMax,
      waitingMax: waitingConnectionsMax,
      waitingUsMax,
      anonymousMax: anonymousConnectionsMax,
      anonymousPerAddressMax,
      handshakesPerTurn,
      handshakesAtOnce,
      handshakeSlowUs,
      handshakeUs,
    },
    clock: parts.clock,
  });
  const certificate = new ServerCertificate({
    issue: parts.certificate,
    present: (next) => transport.present(next),
    clock: parts.clock,
    onFault: (error) => parts.onFault(error, "renewing the server's certificate"),
  });
  const rpc = openServer({
    transport: { listener: transport, clock: parts.clock },
    limits: {
      messageBytesMax: controlMessageBytesMax,
      streamsPerConnectionMax: controlStreamsMax,
      sessionMemoryMb: controlSessionMemoryMb,
      idleUs: controlIdleUs,
      ageUs: controlAgeUs,
      ageGraceUs: controlAgeGraceUs,
      keepaliveUs: controlKeepaliveUs,
      keepaliveTimeoutUs: controlKeepaliveTimeoutUs,
    },
    onFault: parts.onFault,
  });
  const described = parts.services.map((m) => m.service);
  const health = new HealthState(described.map((s) => s.typeName));
  const all = [
    ...parts.services,
    mounted(Health, health.handlers),
    mounted(ServerReflection, reflection([...described, Health])),
  ];
  for (const { service, handlers } of all) {
    const ending = endingWithLeave(service, handlers);
    serve(rpc, service, tellingOfFailure(service, ending), entries(service, parts.authenticator));
  }
  return {
    rpc,
    waitedUs: () => transport.waitedUs(),
    async close() {
      certificate.close();
      health.setServing(false);
      // A turn, in which those who watch our health hear of it.
      await setImmediate();
      // Tethers and watches never end by themselves. Their readers come back to whoever is next.
      rpc.endStreams(shuttingDown());
      await rpc.close(drainUs);
    },
  };
}

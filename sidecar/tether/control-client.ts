import { isInvalid } from "../../src/domain/invalid.ts";
import type { JoinToken } from "../../src/domain/join-token.ts";
import {
  controlMessageBytesMax,
  dockCallUs,
  dockRetryUs,
  tetherKeepaliveUs,
} from "../../src/domain/limits.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { LedgerService } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { TetherService } from "../../src/gen/dragons/v1/tether_pb.ts";
import type { Clock } from "../../src/native/clock.ts";
import { fromWire, toWire } from "../../src/wire/artifacts.ts";
import { createClient, openChannel } from "../../src/wire/grpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { ConfigError } from "../config.ts";
import type { DockCall } from "../identity/instance.ts";
import type { Report } from "../report.ts";
import type { TetherClient } from "./tether.ts";

/** The control plane as a sidecar calls it. */
export interface ControlClient {
  readonly dock: DockCall;
  readonly tether: TetherClient;
  close(): void;
}

/** Dials the address in the token, and believes only the certificate authority in the token. */
export function controlClient(token: JoinToken): ControlClient {
  const channel = openChannel({
    address: token.controlAddress,
    tls: { ca: new TextEncoder().encode(token.controlCa) },
    messageBytesMax: controlMessageBytesMax,
    keepaliveUs: tetherKeepaliveUs,
    keepaliveTimeoutUs: tetherKeepaliveUs,
  });
  const docks = createClient(DockService, channel);
  const tether = createClient(TetherService, channel);
  const ledgers = createClient(LedgerService, channel);
  return {
    async dock(genesis) {
      const answer = await docks.dock({ genesis: toWire(genesis) }, { timeoutUs: dockCallUs });
      const signed = (name: "keyset" | "grant" | "dock") => {
        const found = fromWire(answer[name], name);
        if (isInvalid(found)) throw new StatusError("DATA_LOSS", found.code, found.detail);
        return found;
      };
      return {
        keyset: signed("keyset"),
        grant: signed("grant"),
        dock: signed("dock"),
        manifest: answer.manifest,
      };
    },
    tether: {
      attach: (requests, signal) => tether.attach(requests, { signal }),
      sync: (requests, sessionToken, signal) =>
        ledgers.sync(requests, { signal, metadata: { "dragons-session-bin": sessionToken } }),
    },
    close: () => channel.close(),
  };
}

/** Nobody answered, or what is in between broke off: without a reason it was not the control plane. */
const isAbsence = ({ code, reason }: StatusError): boolean =>
  code === "UNAVAILABLE" ||
  code === "DEADLINE_EXCEEDED" ||
  (reason === "" && (code === "INTERNAL" || code === "CANCELLED"));

/** Docks, however long the control plane takes to be there; anything but its absence is final. */
export function dockWhenReached(
  dock: DockCall,
  { clock, report, stopped }: { clock: Clock; report: Report; stopped: AbortSignal },
): DockCall {
  return async (genesis) => {
    for (;;) {
      try {
        return await dock(genesis);
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        if (!isAbsence(error)) {
          throw new ConfigError(`docking was refused: ${error.message}`);
        }
        report("control plane not reached", { detail: error.message });
        await new Promise<void>((resolve) => void clock.after(dockRetryUs, resolve));
        if (stopped.aborted) throw new ConfigError("stopped before it could dock");
      }
    }
  };
}

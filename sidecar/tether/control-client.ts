import { isInvalid } from "../../src/domain/invalid.ts";
import type { JoinToken } from "../../src/domain/join-token.ts";
import {
  controlMessageBytesMax,
  dockCallUs,
  dockRetryUs,
  tetherKeepaliveUs,
} from "../../src/domain/limits.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { DockService } from "../../src/gen/dragons/v1/dock_pb.ts";
import { LedgerService } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { TetherService } from "../../src/gen/dragons/v1/tether_pb.ts";
import type { Clock } from "../../src/native/clock.ts";
import { certificatePem } from "../../src/native/pki.ts";
import { fromWire, toWire } from "../../src/wire/artifacts.ts";
import { createClient, openChannel, type RpcChannel } from "../../src/wire/grpc.ts";
import type { RpcClient } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { ConfigError } from "../config.ts";
import {
  type Certificate,
  type EnrolCall,
  enrol,
  type LedgerIdentity,
} from "../identity/certificate.ts";
import type { HeldAuthority } from "../identity/held-authority.ts";
import type { DockCall } from "../identity/instance.ts";
import type { Report } from "../report.ts";
import type { TetherClient } from "./tether.ts";

/** A ledger that has docked, and what it goes by. */
export interface AttachingLedger extends LedgerIdentity {
  readonly genesis: SignedBytes;
  /** What the newest keyset names, DER; empty: it leaves that to the token. */
  readonly controlCas: () => readonly Uint8Array[];
}

/** The ledger of an instance, which believes whatever certificate authorities its newest keyset names by then. */
export const attachingLedger = (
  authority: HeldAuthority,
  ledgerSigner: LedgerIdentity["ledgerSigner"],
): AttachingLedger => ({
  ledgerId: authority.genesis.ref,
  ledgerSigner,
  genesis: authority.genesis.signed,
  controlCas: () => authority.keyset.body.controlCas,
});

/** The control plane as a sidecar calls it. */
export interface ControlClient {
  readonly dock: DockCall;
  /**
   * The streams of a ledger that has docked, over connections with its certificate. A control plane
   * that came back from a backup may not know the ledger: it is docked again, by its genesis.
   */
  tether(ledger: AttachingLedger, clock: Clock): TetherClient;
  close(): void;
}

/**
 * Dials the address in the token, and believes the certificate authorities that the newest keyset
 * names; while it names none, the one in the token.
 */
export function controlClient(token: JoinToken): ControlClient {
  let named: AttachingLedger["controlCas"] = () => [];
  const believed = (): string => named().map(certificatePem).join("") || token.controlCa;
  const open = (ca: string, certificate?: Certificate): RpcChannel =>
    openChannel({
      address: token.controlAddress,
      tls: {
        ca: new TextEncoder().encode(ca),
        ...(certificate === undefined ? {} : { certificate }),
      },
      messageBytesMax: controlMessageBytesMax,
      keepaliveUs: tetherKeepaliveUs,
      keepaliveTimeoutUs: tetherKeepaliveUs,
    });
  // Without a certificate: for docking and enrolling alone.
  let anonymous: { readonly ca: string; readonly channel: RpcChannel } | null = null;
  const docks = (): RpcClient<typeof DockService> => {
    const ca = believed();
    if (anonymous?.ca !== ca) {
      anonymous?.channel.close();
      anonymous = { ca, channel: open(ca) };
    }
    return createClient(DockService, anonymous.channel);
  };
  const tethers: CertifiedTether[] = [];
  const dockNow = (genesis: SignedBytes) =>
    docks().dock({ genesis: toWire(genesis) }, { timeoutUs: dockCallUs });
  const enrolNow: EnrolCall = (request) => docks().enrol(request, { timeoutUs: dockCallUs });
  return {
    async dock(genesis) {
      const answer = await dockNow(genesis);
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
    tether(identity, clock) {
      named = identity.controlCas;
      const certified = async (): Promise<Certificate> => {
        try {
          return await enrol(enrolNow, identity, clock);
        } catch (error) {
          if (!(error instanceof StatusError && error.code === "NOT_FOUND")) throw error;
          await dockNow(identity.genesis);
          return enrol(enrolNow, identity, clock);
        }
      };
      const tether = new CertifiedTether({ enrol: certified, believed, open, clock });
      tethers.push(tether);
      return tether;
    },
    close() {
      for (const tether of tethers) tether.close();
      anonymous?.channel.close();
    },
  };
}

/** A connection with a certificate, and how many streams are open on it. */
interface Link {
  readonly channel: RpcChannel;
  readonly tether: RpcClient<typeof TetherService>;
  readonly ledgers: RpcClient<typeof LedgerService>;
  readonly renewAtUs: number;
  /** PEM of the authorities that were believed when it was opened. */
  readonly ca: string;
  streams: number;
}

interface CertifiedTetherParts {
  readonly enrol: () => Promise<Certificate>;
  /** PEM of the authorities to believe now. */
  readonly believed: () => string;
  readonly open: (ca: string, certificate: Certificate) => RpcChannel;
  readonly clock: Clock;
}

/**
 * Attaches and syncs with a certificate, which it renews in good time, and when others are to be
 * believed. Streams go on over the connection that they began on; new ones take the newest. A certificate that is not taken is
 * dropped, and the next call enrols anew: whatever became of it, the ledger key is enough.
 */
class CertifiedTether implements TetherClient {
  readonly #parts: CertifiedTetherParts;
  #link: Link | null = null;
  #enrolling: Promise<Link> | null = null;

  constructor(parts: CertifiedTetherParts) {
    this.#parts = parts;
  }

  attach: TetherClient["attach"] = (requests, signal) =>
    this.#over((link) => link.tether.attach(requests, { signal }));

  sync: TetherClient["sync"] = (requests, sessionToken, signal) => {
    const metadata = { "dragons-session-bin": sessionToken };
    return this.#over((link) => link.ledgers.sync(requests, { signal, metadata }));
  };

  close(): void {
    this.#link?.channel.close();
  }

  async *#over<T>(begin: (link: Link) => AsyncIterable<T>): AsyncGenerator<T> {
    const link = await this.#newest().catch((error: unknown) => {
      throw mended(error);
    });
    link.streams++;
    try {
      yield* begin(link);
    } catch (error) {
      const refused = error instanceof StatusError && error.reason === "CREDENTIAL_INVALID";
      if (refused && this.#link === link) this.#link = null;
      throw mended(error);
    } finally {
      link.streams--;
      this.#closeUnused(link);
    }
  }

  /** The newest link, made anew when it is time. One that still holds serves if that fails. */
  async #newest(): Promise<Link> {
    const { believed, clock } = this.#parts;
    // One that was opened when others were believed may lead to whom nobody vouches for any more.
    const held = this.#link?.ca === believed() ? this.#link : null;
    if (held !== null && clock.monotonicUs() < held.renewAtUs) return held;
    this.#enrolling ??= this.#renewed().finally(() => {
      this.#enrolling = null;
    });
    try {
      return await this.#enrolling;
    } catch (error) {
      if (held !== null && held === this.#link) return held;
      throw error;
    }
  }

  async #renewed(): Promise<Link> {
    const { enrol: enrolNow, believed, open } = this.#parts;
    const ca = believed();
    const certificate = await enrolNow();
    const channel = open(ca, certificate);
    const before = this.#link;
    const link: Link = {
      channel,
      tether: createClient(TetherService, channel),
      ledgers: createClient(LedgerService, channel),
      renewAtUs: certificate.renewAtUs,
      ca,
      streams: 0,
    };
    this.#link = link;
    if (before !== null) this.#closeUnused(before);
    return link;
  }

  #closeUnused(link: Link): void {
    if (link !== this.#link && link.streams === 0) link.channel.close();
  }
}

/** A certificate that is not believed looks like nobody being there; who was away is told what to do. */
function mended(error: unknown): unknown {
  if (!(error instanceof StatusError) || error.reason !== "" || error.code !== "UNAVAILABLE") {
    return error;
  }
  if (!/certificate/.test(error.message)) return error;
  const fix =
    "if the control plane's authority was exchanged while this sidecar was away, start it with --keyset FILE, " +
    "by: dragons key export FILE";
  return new StatusError("UNAVAILABLE", "", `${error.message}; ${fix}`);
}

/** Nobody answered, or what is in between broke off: without a reason it was not the control plane. */
const isAbsence = ({ code, reason }: StatusError): boolean =>
  code === "UNAVAILABLE" ||
  code === "DEADLINE_EXCEEDED" ||
  (reason === "" && (code === "INTERNAL" || code === "CANCELLED"));

/** Many dock at once, or it calls too often: later there is a place for it. */
const isCrowded = ({ reason }: StatusError): boolean => reason === "TOO_MANY_CALLS";

/** Docks, however long the control plane takes to be there and to have time; all else is final. */
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
        if (!isAbsence(error) && !isCrowded(error)) {
          throw new ConfigError(`docking was refused: ${error.message}`);
        }
        report("control plane not reached", { detail: error.message });
        await new Promise<void>((resolve) => void clock.after(dockRetryUs, resolve));
        if (stopped.aborted) throw new ConfigError("stopped before it could dock");
      }
    }
  };
}

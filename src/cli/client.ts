import { randomBytes } from "node:crypto";
import type { DescService } from "@bufbuild/protobuf";
import { toHex } from "../domain/bytes.ts";
import type { Signer } from "../domain/crypto.ts";
import {
  commandCallUs,
  controlKeepaliveTimeoutUs,
  controlKeepaliveUs,
  controlMessageBytesMax,
  loginTokenTtlUs,
} from "../domain/limits.ts";
import { signToken } from "../domain/token.ts";
import {
  AuditService,
  GrantService,
  KeyService,
  LeaseService,
  ManifestService,
  TenantService,
} from "../gen/dragons/v1/authority_pb.ts";
import { DockService } from "../gen/dragons/v1/dock_pb.ts";
import { EvidenceService } from "../gen/dragons/v1/evidence_pb.ts";
import { LedgerService } from "../gen/dragons/v1/ledger_pb.ts";
import { OrganismService } from "../gen/dragons/v1/organism_pb.ts";
import { type Clock, systemClock } from "../native/clock.ts";
import { createClient, openChannel, type RpcChannel } from "../wire/grpc.ts";
import type { CallOptions, RpcClient } from "../wire/rpc.ts";
import { StatusError } from "../wire/status.ts";
import { EXIT, Failure, Unreachable } from "./failure.ts";

/** An operator's login: who signs each call, and for which control plane. */
export interface Login {
  /** Holder of the key, as the keyset names them. */
  readonly operator: string;
  /** Id of the control plane, `dcp_…`. */
  readonly audience: string;
  readonly signer: Signer;
}

export interface ControlOptions {
  /** `host:port`. */
  readonly address: string;
  /** PEM of the authority that issued the server's certificate. */
  readonly ca: string;
  /** Empty: only the owner's calls can be made. */
  readonly tenant: string;
  /** null: only the owner's calls can be made. */
  readonly login: Login | null;
  /** The owner's bootstrap token, a secret. null: TenantService cannot be called. */
  readonly bootstrap: string | null;
  readonly clock?: Clock;
}

/** A control plane as an operator sees it. Calls reject with StatusError, Unreachable or Failure. */
export interface Control {
  readonly address: string;
  readonly ca: string;
  readonly tenant: string;
  readonly clock: Clock;
  readonly tenants: RpcClient<typeof TenantService>;
  readonly keys: RpcClient<typeof KeyService>;
  readonly manifests: RpcClient<typeof ManifestService>;
  readonly grants: RpcClient<typeof GrantService>;
  readonly docks: RpcClient<typeof DockService>;
  readonly leases: RpcClient<typeof LeaseService>;
  readonly audit: RpcClient<typeof AuditService>;
  readonly ledgers: RpcClient<typeof LedgerService>;
  readonly organisms: RpcClient<typeof OrganismService>;
  close(): void;
}

/** Dials at the first call. Each call carries a token of its own, or the owner's. */
export function openControl(options: ControlOptions): Control {
  const { address, ca, tenant, clock = systemClock } = options;
  const channel = openChannel({
    address,
    tls: { ca: Buffer.from(ca) },
    messageBytesMax: controlMessageBytesMax,
    keepaliveUs: controlKeepaliveUs,
    keepaliveTimeoutUs: controlKeepaliveTimeoutUs,
  });
  const where = `control plane ${address}`;
  const fix = "is it running, and is --control-ca its authority?";
  const asOperator = async () => ({ authorization: await bearer(options, clock) });
  const asOwner = async () => ({ authorization: `Bearer ${ownersToken(options)}` });
  const client = <S extends DescService>(service: S) =>
    guarded(service, channel, { where, fix, metadata: asOperator });
  return {
    address,
    ca,
    tenant,
    clock,
    tenants: guarded(TenantService, channel, { where, fix, metadata: asOwner }),
    keys: client(KeyService),
    manifests: client(ManifestService),
    grants: client(GrantService),
    docks: client(DockService),
    leases: client(LeaseService),
    audit: client(AuditService),
    ledgers: client(LedgerService),
    organisms: client(OrganismService),
    close: () => channel.close(),
  };
}

/** A sidecar's own service, on the unix socket in its data folder. */
export interface SidecarClient {
  readonly evidence: RpcClient<typeof EvidenceService>;
  close(): void;
}

/** @param socket path of `admin.sock` */
export function openSidecar(socket: string): SidecarClient {
  const channel = openChannel({
    address: `unix:${socket}`,
    tls: null,
    messageBytesMax: controlMessageBytesMax,
    keepaliveUs: controlKeepaliveUs,
    keepaliveTimeoutUs: controlKeepaliveTimeoutUs,
  });
  const evidence = guarded(EvidenceService, channel, {
    where: `sidecar at ${socket}`,
    fix: "is it running on that data folder (--sidecar)?",
    metadata: async () => ({}),
  });
  return { evidence, close: () => channel.close() };
}

async function bearer({ tenant, login }: ControlOptions, clock: Clock): Promise<string> {
  if (login === null) {
    throw new Failure(EXIT.config, "loginKey is not set: give --login-key FILE");
  }
  const iat = Math.floor(clock.nowUs() / 1_000_000);
  const { operator, audience, signer } = login;
  const claims = {
    iss: operator,
    sub: operator,
    aud: audience,
    tenant,
    iat,
    exp: iat + loginTokenTtlUs / 1_000_000,
    jti: toHex(randomBytes(16)),
  };
  return `Bearer ${await signToken(claims, signer)}`;
}

function ownersToken({ bootstrap }: ControlOptions): string {
  if (bootstrap !== null) return bootstrap;
  throw new Failure(
    EXIT.config,
    "bootstrap is not set: give --bootstrap FILE, the control plane's bootstrap.token",
  );
}

interface Guard {
  readonly where: string;
  readonly fix: string;
  readonly metadata: () => Promise<Readonly<Record<string, string>>>;
}

type AnyCall = (request: unknown, options?: CallOptions) => unknown;

/** A client whose every call carries its credential, has an end, and says who did not answer. */
function guarded<S extends DescService>(
  service: S,
  channel: RpcChannel,
  guard: Guard,
): RpcClient<S> {
  const plain = createClient(service, channel) as unknown as Record<string, AnyCall>;
  const calls = service.methods.map(({ localName, methodKind }) => {
    const call = plain[localName] as AnyCall;
    const guardedCall: AnyCall =
      methodKind === "unary"
        ? (request, options) => unary(call, request, options ?? {}, guard)
        : (request, options) => streamed(call, request, options ?? {}, guard);
    return [localName, guardedCall] as const;
  });
  return Object.fromEntries(calls) as unknown as RpcClient<S>;
}

async function unary(call: AnyCall, request: unknown, options: CallOptions, guard: Guard) {
  const metadata = { ...options.metadata, ...(await guard.metadata()) };
  try {
    return await call(request, { timeoutUs: commandCallUs, ...options, metadata });
  } catch (error) {
    throw unreachable(error, guard);
  }
}

async function* streamed(call: AnyCall, request: unknown, options: CallOptions, guard: Guard) {
  const metadata = { ...options.metadata, ...(await guard.metadata()) };
  try {
    yield* call(request, { ...options, metadata }) as AsyncIterable<unknown>;
  } catch (error) {
    throw unreachable(error, guard);
  }
}

/** Without a reason it was not the other side that spoke, but the way there. */
function unreachable(error: unknown, { where, fix }: Guard): unknown {
  if (!(error instanceof StatusError) || error.reason !== "") return error;
  if (error.code !== "UNAVAILABLE" && error.code !== "DEADLINE_EXCEEDED") return error;
  const said = bare(error.message);
  const mended = /certificate/.test(said)
    ? "its certificate is by no authority in --control-ca: if that was exchanged, take the control plane's ca.pem anew"
    : fix;
  return new Unreachable(`${where} cannot be reached: ${said}; ${mended}`);
}

/** Without what grpc-js wraps around what the network said. */
const bare = (message: string): string =>
  message
    .replace(/^No connection established\. Last error: (?:Error: )?/, "")
    .replace(/\.? Resolution note:.*$/s, "")
    .replace(/; if the root CA is installed locally, .*$/s, "");

/** Every page of a listing, one after the other. */
export async function* pages<P extends { readonly nextPageToken: string }>(
  page: (pageToken: string) => Promise<P>,
): AsyncGenerator<P> {
  let token = "";
  do {
    const next = await page(token);
    yield next;
    token = next.nextPageToken;
  } while (token !== "");
}

/** A request id of its own for each mutation. */
export const requestId = (): string => toHex(randomBytes(16));

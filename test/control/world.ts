import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import type { AdmissionRates } from "../../src/control/admission.ts";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { RESTORED_KEY, RestoredRow } from "../../src/control/tenant.ts";
import { compare } from "../../src/domain/bytes.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { DOCK, type DockBody } from "../../src/domain/dock.ts";
import { GENESIS, type GenesisBody } from "../../src/domain/genesis.ts";
import { GRANT, type GrantBody, UNLIMITED } from "../../src/domain/grant.ts";
import { newId, newInstanceId } from "../../src/domain/ids.ts";
import { KEY_ROLES, KEYSET, type KeyEntry, type KeysetBody } from "../../src/domain/keyset.ts";
import { type Manifest, ManifestBody, manifestHash } from "../../src/domain/manifest.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { signToken, type TokenClaims } from "../../src/domain/token.ts";
import { TenantService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { idGenerator } from "../../src/native/ids.ts";
import { generateSeed, seedSigner } from "../../src/native/keys.ts";
import { createClient, openChannel, type RpcChannel } from "../../src/wire/grpc.ts";
import type { CallOptions, RpcClient } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";

/** A control plane over real TLS and LMDB, with time in the test's hand, and people who use it. */

const HOUR_US = 3_600_000_000;
const NONE = new Uint8Array(0);
export const ids = idGenerator();
export const newSigner = (): Signer => seedSigner(generateSeed());
export const random32 = (): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(32));

let requests = 0;
export const requestId = (): string => `r-${++requests}`;

export type Role = "VIEWER" | "OPERATOR" | "ADMIN";

export interface ClientCertificate {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface Door {
  client<S extends DescService>(service: S): RpcClient<S>;
}

export interface World {
  readonly clock: ManualClock;
  readonly running: RunningControl;
  /** What the bootstrap token opens. */
  readonly owner: CallOptions;
  client<S extends DescService>(service: S): RpcClient<S>;
  /** A connection of one's own, with this certificate or none. Closed with the world. */
  door(certificate?: ClientCertificate): Door;
  /** Stops it and starts it again on the same folder. */
  restart(awayUs?: number): Promise<void>;
  end(): Promise<void>;
}

export async function startWorld(rates?: AdmissionRates): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "dragons-control-"));
  const data = join(folder, "data");
  // Certificates are judged by the machine's clock, whatever ours says: it begins a day behind, so
  // that what is issued after a test moved it on is valid by both.
  const clock = new ManualClock((Date.now() - 24 * 3_600_000) * 1000);
  let running: RunningControl;
  let channels: RpcChannel[] = [];
  let ca: Uint8Array;
  const open = (certificate?: ClientCertificate): RpcChannel => {
    const channel = openChannel({
      address: running.ready.control,
      tls: { ca, ...(certificate && { certificate }) },
      messageBytesMax: 8 * 1024 * 1024,
      keepaliveUs: 60_000_000,
      keepaliveTimeoutUs: 10_000_000,
    });
    channels.push(channel);
    return channel;
  };
  let owner: CallOptions;
  const start = async (): Promise<void> => {
    running = await runControl(
      {
        data,
        listen: { host: "127.0.0.1", port: 0 },
        names: [],
        readyFile: null,
        stdinEof: false,
      },
      { clock, ...(rates && { rates }) },
    );
    const token = await readFile(running.ready.bootstrapTokenFile, "utf8");
    owner = { metadata: { authorization: `Bearer ${token.trim()}` } };
    ca = await readFile(running.ready.controlCa);
    open();
  };
  const stop = async (): Promise<void> => {
    for (const channel of channels) channel.close();
    channels = [];
    await running.close();
  };
  await start();
  return {
    clock,
    get running() {
      return running;
    },
    get owner() {
      return owner;
    },
    client: (service) => createClient(service, channels[0] as RpcChannel),
    door(certificate) {
      const channel = open(certificate);
      return { client: (service) => createClient(service, channel) };
    },
    async restart(awayUs = 0) {
      await stop();
      clock.advance(awayUs);
      await start();
    },
    async end() {
      await stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** Marks a tenant as `control restore` does, and starts the control plane on it. */
export async function restored(world: World, tenantId: string, row: RestoredRow): Promise<void> {
  const value = RestoredRow.encode(row);
  const writes = [{ key: RESTORED_KEY, value }];
  await world.running.tenants.get(tenantId)?.record({ entries: [], writes });
  await world.restart();
}

/** A tenant's people and keys. */
export interface House {
  readonly tenantId: string;
  readonly root: Signer;
  readonly grantKey: Signer;
  readonly logins: Readonly<Record<Role, Signer>>;
  keyset: SignedBytes;
  /** Credentials of one's role, signed just now. */
  as(role: Role, claims?: Partial<TokenClaims>, key?: Signer): Promise<CallOptions>;
}

export function keysetBody(
  house: Pick<House, "tenantId" | "grantKey" | "logins">,
  nowUs: number,
  control: { issuerKey: Uint8Array; cosignerKey: Uint8Array; controlLedgerKey: Uint8Array },
): KeysetBody {
  const entry = (role: KeyEntry["role"], key: Uint8Array, more: Partial<KeyEntry> = {}) => ({
    role,
    key: Uint8Array.from(key),
    notBeforeUs: nowUs - HOUR_US,
    notAfterUs: nowUs + 1000 * HOUR_US,
    holder: "control",
    compromisedFromUs: 0,
    loginRole: "UNSPECIFIED" as const,
    ...more,
  });
  const keys: KeyEntry[] = [
    entry("OPERATOR_GRANT", house.grantKey.publicKey, { holder: "alice" }),
    ...(["VIEWER", "OPERATOR", "ADMIN"] as const).map((loginRole) =>
      entry("OPERATOR_LOGIN", house.logins[loginRole].publicKey, {
        holder: loginRole.toLowerCase(),
        loginRole,
      }),
    ),
    entry("ISSUER", control.issuerKey),
    entry("COSIGNER", control.cosignerKey),
    entry("CONTROL_LEDGER", control.controlLedgerKey),
  ];
  keys.sort(
    (a, b) => KEY_ROLES.indexOf(a.role) - KEY_ROLES.indexOf(b.role) || compare(a.key, b.key),
  );
  return {
    version: 1,
    tenantId: house.tenantId,
    keysetVersion: 1,
    issuedAtUs: nowUs,
    keys,
    thresholds: [],
    previous: NONE,
    rootKey: NONE,
    controlCas: [],
  };
}

/** Makes a tenant as its owner and its root would. */
export async function makeHouse(world: World, tenantId: string): Promise<House> {
  const tenants = world.client(TenantService);
  const prepared = await tenants.prepareTenant({ tenantId }, world.owner);
  const people = {
    tenantId,
    root: newSigner(),
    grantKey: newSigner(),
    logins: { VIEWER: newSigner(), OPERATOR: newSigner(), ADMIN: newSigner() },
  };
  const body = keysetBody(people, world.clock.nowUs(), prepared);
  const keyset = await signBody(KEYSET, body, [people.root]);
  await tenants.createTenant(
    { requestId: requestId(), tenantId, rootKey: people.root.publicKey, keyset },
    world.owner,
  );
  return {
    ...people,
    keyset,
    async as(role, claims = {}, key = people.logins[role]) {
      const iat = Math.floor(world.clock.nowUs() / 1_000_000);
      const holder = role.toLowerCase();
      const token = await signToken(
        {
          iss: holder,
          sub: holder,
          aud: world.running.ready.audience,
          tenant: tenantId,
          iat,
          exp: iat + 600,
          jti: requestId(),
          ...claims,
        },
        key,
      );
      return { metadata: { authorization: `Bearer ${token}` } };
    },
  };
}

export const manifest = (more: Partial<Manifest> = {}): Manifest => ({
  version: 1,
  name: "reconciler",
  agentVersion: "v7",
  code: [{ path: "agent/main.py", sha256: native.sha256(NONE), size: 10 }],
  config: [],
  runtime: "python3",
  servers: [],
  listens: [],
  capabilities: [
    {
      name: "read:payments",
      rules: [
        {
          protocol: "GRPC",
          target: "payments.internal:443",
          verb: "",
          path: "/payments.v1.Payments/{Get,List}*",
          when: "",
          scheme: "UNSPECIFIED",
        },
      ],
    },
  ],
  ...more,
});

export const manifestBytes = (m: Manifest): Uint8Array => ManifestBody.encode(m);
export const hashOf = (m: Manifest): Uint8Array => manifestHash(native, manifestBytes(m));

export function grantBody(world: World, house: House, more: Partial<GrantBody> = {}): GrantBody {
  const nowUs = world.clock.nowUs();
  return {
    version: 1,
    grantId: newId("grt", ids),
    tenantId: house.tenantId,
    manifestHash: hashOf(manifest()),
    scopes: [
      {
        name: "read:payments",
        limits: {
          maxActions: UNLIMITED,
          maxBytes: UNLIMITED,
          ratePerMinute: UNLIMITED,
          maxConcurrent: UNLIMITED,
        },
      },
    ],
    notBeforeUs: nowUs,
    notAfterUs: nowUs + 24 * HOUR_US,
    issuedAtUs: nowUs,
    leaseTtlMaxUs: 60_000_000,
    purpose: "reconcile payments",
    instancesMax: 2,
    measureMin: "DECLARED",
    observeUntilUs: 0,
    liveness: {
      heartbeatIntervalUs: 0,
      stallDegradedUs: 0,
      stallAutohealUs: 0,
      silentBeyondLease: "UNSPECIFIED",
      quarantineStalled: "UNSPECIFIED",
    },
    ...more,
  };
}

export const signGrant = (house: House, body: GrantBody): Promise<SignedBytes> =>
  signBody(GRANT, body, [house.grantKey]);

export function dockBody(
  world: World,
  house: House,
  grantRef: Uint8Array,
  join: readonly { key: Uint8Array; ledgersMax: number }[],
  more: Partial<DockBody> = {},
): DockBody {
  const nowUs = world.clock.nowUs();
  return {
    version: 1,
    dockId: newId("dck", ids),
    tenantId: house.tenantId,
    grantRef,
    joinKeys: [...join].sort((a, b) => compare(a.key, b.key)),
    notBeforeUs: nowUs,
    notAfterUs: nowUs + HOUR_US,
    issuedAtUs: nowUs,
    ...more,
  };
}

export const signDock = (house: House, body: DockBody): Promise<SignedBytes> =>
  signBody(DOCK, body, [house.grantKey]);

export async function genesis(
  world: World,
  house: House,
  dockRef: Uint8Array,
  join: Signer,
  more: Partial<GenesisBody> = {},
  ledgerKey: Signer = newSigner(),
): Promise<{ signed: SignedBytes; ledgerKey: Signer; ledgerId: Uint8Array; body: GenesisBody }> {
  const body: GenesisBody = {
    version: 1,
    role: "WORK",
    tenantId: house.tenantId,
    instanceId: newInstanceId(ids),
    ledgerKey: ledgerKey.publicKey,
    manifestHash: hashOf(manifest()),
    dockRef,
    joinKey: join.publicKey,
    nonce: random32(),
    createdAtUs: world.clock.nowUs(),
    predecessor: NONE,
    ...more,
  };
  const signed = await signBody(GENESIS, body, [join, ledgerKey]);
  return { signed, ledgerKey, ledgerId: refOf(native, "genesis", signed.body), body };
}

/** What a call was refused with. */
export async function refusalOf(call: Promise<unknown>): Promise<StatusError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof StatusError) return error;
    throw error;
  }
  throw new Error("the call was not refused");
}

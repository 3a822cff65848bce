import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { equal, toHex, utf8 } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { type KeyEntry, keysOf, LOGIN_ROLES, type LoginRole } from "../domain/keyset.ts";
import { strangerMessageBytesMax } from "../domain/limits.ts";
import { checkToken, parseToken } from "../domain/token.ts";
import type { Clock } from "../native/clock.ts";
import type { CallContext, CallHead, Entry, Handlers } from "../wire/rpc.ts";
import { StatusError } from "../wire/status.ts";
import { type Access, accessOf } from "./access.ts";
import type { Admission } from "./admission.ts";
import type { SidecarCaller, SidecarCertificates } from "./certificates.ts";
import { type Tenant, TenantFailed } from "./tenant.ts";
import type { Tenants } from "./tenants.ts";

/** Who called, once it is proven. */
export interface Operator {
  readonly tenant: Tenant;
  /** Name of the key's holder in the keyset. */
  readonly holder: string;
  /** Login key that signed the token. */
  readonly key: Uint8Array;
  readonly role: LoginRole;
}

/** What one needs to be let in. */
export interface Authenticator {
  /**
   * Lets a call in, or throws UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED. Returns who
   * called where the access asks for somebody, else null.
   */
  admit(access: Access, credentials: CallHead): Operator | SidecarCaller | null;
}

export interface AuthenticatorParts {
  readonly tenants: Pick<Tenants, "get">;
  readonly certificates: Pick<SidecarCertificates, "read">;
  readonly admission: Admission;
  readonly crypto: Crypto;
  readonly clock: Clock;
  /** Id of this control plane: what a token's `aud` must say. */
  readonly audience: string;
  readonly bootstrapToken: string;
}

const BEARER = /^Bearer ([\x21-\x7e]+)$/i;

export function authenticator(parts: AuthenticatorParts): Authenticator {
  return {
    admit(access, credentials) {
      switch (access) {
        case "OPEN":
        case "PROOF":
          parts.admission.stranger(credentials.peer);
          return null;
        case "SIDECAR":
          return orCounted(parts, credentials, () => sidecarBy(parts, credentials));
        default:
          return orCounted(parts, credentials, () => operatorBy(parts, access, credentials));
      }
    },
  };
}

/** A credential that does not hold makes a stranger, who may not try as often as they like. */
function orCounted<T>({ admission }: AuthenticatorParts, { peer }: CallHead, admit: () => T): T {
  try {
    return admit();
  } catch (error) {
    if (error instanceof StatusError && error.code === "UNAUTHENTICATED") admission.stranger(peer);
    throw error;
  }
}

/** How calls of a service are let in: as the table of access says, by their headers alone. */
export const entries =
  (service: DescService, authenticator: Authenticator) =>
  ({ name }: DescMethod): Entry => {
    const access = accessOf(service, name);
    const isForStrangers = access === "OPEN" || access === "PROOF";
    return {
      admit: (head) => authenticator.admit(access, head),
      messageBytesMax: isForStrangers ? strangerMessageBytesMax : null,
    };
  };

/** The same service, whose callers are told so when nothing can be stored any more. */
export function tellingOfFailure<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
): Handlers<S> {
  type Any = (request: unknown, context: CallContext) => unknown;
  const telling = service.methods.map(({ localName }) => {
    const handler = (handlers as unknown as Record<string, Any>)[localName];
    const told: Any = (request, context) => {
      const answer = handler?.(request, context);
      return answer instanceof Promise ? answer.catch(toldAsUnavailable) : answer;
    };
    return [localName, told] as const;
  });
  return Object.fromEntries(telling) as unknown as Handlers<S>;
}

/** Whether it was carried out is not known: ask again with the same request_id, of whoever comes next. */
function toldAsUnavailable(error: unknown): never {
  if (!(error instanceof TenantFailed)) throw error;
  throw new StatusError(
    "UNAVAILABLE",
    "LEDGER_UNAVAILABLE",
    "nothing can be stored; this control plane ends",
  );
}

/** The operator who makes a call. @throws when the table of access lets it in without one: a bug. */
export function operatorOf({ caller }: CallContext): Operator {
  if (!isOperator(caller)) throw new Error("this call was let in without an operator");
  return caller;
}

/** The sidecar that makes a call. @throws when the table of access lets it in without one: a bug. */
export function sidecarOf({ caller }: CallContext): SidecarCaller {
  if (!isObject(caller) || !("ledger" in caller)) {
    throw new Error("this call was let in without a sidecar");
  }
  return caller as SidecarCaller;
}

export const isOperator = (caller: unknown): caller is Operator =>
  isObject(caller) && "role" in caller;

const isObject = (caller: unknown): caller is object =>
  typeof caller === "object" && caller !== null;

/** One kind of credential is as good as none where the other belongs: so neither is ever tried out. */
function sidecarBy(
  { certificates }: AuthenticatorParts,
  { metadata, certificate }: CallHead,
): SidecarCaller {
  if (metadata.text("authorization") !== undefined) {
    throw unauthenticated("sidecars show a client certificate, and send no authorization");
  }
  const caller = certificate === null ? null : certificates.read(certificate);
  if (caller === null) {
    throw unauthenticated("wants a client certificate that holds now; DockService.Enrol gives one");
  }
  return caller;
}

function operatorBy(
  parts: AuthenticatorParts,
  access: Exclude<Access, "OPEN" | "PROOF" | "SIDECAR">,
  { metadata, certificate }: CallHead,
): Operator | null {
  if (certificate !== null) {
    throw unauthenticated("this connection is a sidecar's; operators come without a certificate");
  }
  const token = bearer(metadata.text("authorization"), access);
  if (access === "BOOTSTRAP") {
    admitOwner(parts, token);
    return null;
  }
  const operator = identify(parts, token);
  if (LOGIN_ROLES.indexOf(operator.role) < LOGIN_ROLES.indexOf(access)) {
    throw new StatusError(
      "PERMISSION_DENIED",
      "ROLE_INSUFFICIENT",
      `${operator.holder} is ${operator.role}; this call needs ${access}`,
      { role: operator.role, needed: access },
    );
  }
  return operator;
}

function bearer(authorization: string | undefined, access: Access): string {
  const what = access === "BOOTSTRAP" ? "the bootstrap token" : "a token that a login key signed";
  const token = BEARER.exec(authorization ?? "")?.[1];
  if (token === undefined) {
    throw unauthenticated(`wants the header "authorization: Bearer" with ${what}`);
  }
  return token;
}

function admitOwner({ crypto, bootstrapToken }: AuthenticatorParts, token: string): void {
  // Of equal length whatever was sent, so that the comparison tells nothing.
  const given = crypto.sha256(utf8(token));
  if (!equal(given, crypto.sha256(utf8(bootstrapToken)))) {
    throw unauthenticated("this is not the bootstrap token of this control plane");
  }
}

function identify(parts: AuthenticatorParts, token: string): Operator {
  const { tenants, crypto, clock, audience } = parts;
  const parsed = parseToken(token);
  if (isInvalid(parsed)) throw unauthenticated(parsed.detail);
  const { claims, key } = parsed;
  const nowUs = clock.nowUs();
  const tenant = tenants.get(claims.tenant);
  const entry = tenant === null ? undefined : loginOf(tenant, key, nowUs);
  // One answer for a tenant that is not, and one that does not know the key.
  if (tenant === null || entry === undefined) {
    throw unauthenticated(
      `token: ${toHex(key)} is not a login key of tenant ${claims.tenant} valid now`,
    );
  }
  const problem = checkToken(crypto, parsed, audience, nowUs);
  if (problem !== null) throw unauthenticated(problem.detail);
  if (claims.sub !== entry.holder || claims.iss !== entry.holder) {
    throw unauthenticated("token.sub, token.iss: must be the key's holder as the keyset names it");
  }
  return { tenant, holder: entry.holder, key, role: entry.loginRole };
}

/** What the tenant's keyset says of a login key; undefined: it logs nobody in now. */
export const loginOf = (tenant: Tenant, key: Uint8Array, nowUs: number): KeyEntry | undefined =>
  tenant.revokedEpoch("KEY", key) !== 0
    ? undefined
    : keysOf(tenant.keyset(), "OPERATOR_LOGIN", nowUs).find((k) => equal(k.key, key));

export const unauthenticated = (detail: string): StatusError =>
  new StatusError("UNAUTHENTICATED", "CREDENTIAL_INVALID", detail);

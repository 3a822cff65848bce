import { compare, toHex, utf8 } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import {
  checkGrant,
  GRANT,
  GrantBody,
  LIMIT_NAMES,
  type Limits,
  LivenessPolicy,
  type Measure,
  type ScopeGrant,
  UNLIMITED,
  uncapped,
  verifyGrant,
} from "../../domain/grant.ts";
import { newId } from "../../domain/ids.ts";
import { isInvalid } from "../../domain/invalid.ts";
import { clockSkewMaxUs, leaseTtlDefaultUs } from "../../domain/limits.ts";
import { type Manifest, manifestLabel } from "../../domain/manifest.ts";
import type { Verified } from "../../domain/signed.ts";
import { refOf, signBody } from "../../domain/signing.ts";
import type { Grant } from "../../gen/dragons/v1/authority_pb.ts";
import { native } from "../../native/crypto.ts";
import { idGenerator } from "../../native/ids.ts";
import { fromWire } from "../../wire/artifacts.ts";
import { type Control, pages } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { parseBytes, parseCount } from "../units.ts";
import { readKeyset } from "./operator.ts";
import { type Outlet, recordedAt } from "./proposal.ts";
import { revoke } from "./revocation.ts";

/** What an operator is about to say. Lengths of time in microseconds. */
export interface NewGrant {
  readonly manifest: Manifest;
  /** manifest_hash of it, 32 bytes. */
  readonly manifestHash: Uint8Array;
  readonly scopes: readonly ScopeGrant[];
  readonly purpose: string;
  /** How long it holds, from now. */
  readonly forUs: number;
  /** The longest lease that may be cut from it; absent: 60 s. */
  readonly leaseTtlMaxUs?: number;
  /** Instances at once; absent: 1. */
  readonly instancesMax?: number;
  /** Absent: FILES. */
  readonly measureMin?: Exclude<Measure, "UNSPECIFIED">;
  /** Thresholds of liveness other than the defaults. */
  readonly liveness?: Partial<LivenessPolicy>;
  /** How long it merely observes, from now; absent: it enforces its scopes at once. */
  readonly observeForUs?: number;
}

/** A grant as it is shown. Hashes in hex, times in microseconds. */
export interface GrantView {
  readonly grantId: string;
  readonly ref: string;
  readonly manifestHash: string;
  readonly scopes: readonly ScopeGrant[];
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
  readonly leaseTtlMaxUs: number;
  readonly purpose: string;
  readonly instancesMax: number;
  readonly measureMin: string;
  readonly signedBy: readonly string[];
  /** Epoch of the revocation that ended it; 0: none did. */
  readonly revokedEpoch: number;
  /** Until then it merely observes; 0: it enforces its scopes. */
  readonly observeUntilUs: number;
}

/** Signs a grant with these operators' grant keys, and records it. */
export async function createGrant(
  control: Control,
  signers: readonly Signer[],
  wanted: NewGrant,
  outlet: Outlet = recordedAt(control),
): Promise<{ readonly grantId: string; readonly ref: Uint8Array }> {
  const nowUs = control.clock.nowUs();
  const body: GrantBody = {
    ...GrantBody.empty(),
    version: 1,
    grantId: newId("grt", idGenerator()),
    tenantId: control.tenant,
    manifestHash: wanted.manifestHash,
    scopes: [...wanted.scopes].sort((a, b) => compare(utf8(a.name), utf8(b.name))),
    // From a moment ago: whoever uses it may have a clock that is behind ours.
    notBeforeUs: nowUs - clockSkewMaxUs,
    notAfterUs: nowUs + wanted.forUs,
    issuedAtUs: nowUs,
    leaseTtlMaxUs: wanted.leaseTtlMaxUs ?? leaseTtlDefaultUs,
    purpose: wanted.purpose,
    instancesMax: wanted.instancesMax ?? 1,
    measureMin: wanted.measureMin ?? "FILES",
    liveness: { ...LivenessPolicy.empty(), ...wanted.liveness },
    observeUntilUs: wanted.observeForUs === undefined ? 0 : nowUs + wanted.observeForUs,
  };
  const problem = checkGrant(body);
  if (problem !== null) throw new Failure(EXIT.usage, problem.detail);
  const foreign = body.scopes.find(
    (s) => !wanted.manifest.capabilities.some((c) => c.name === s.name),
  );
  if (foreign !== undefined) {
    const names = wanted.manifest.capabilities.map((c) => c.name).join(", ");
    throw new Failure(
      EXIT.usage,
      `--scope: ${manifestLabel(wanted.manifest)} has no capability ${foreign.name}; it has ${names || "none"}`,
    );
  }
  const bottomless = uncapped(body.scopes, wanted.manifest);
  if (bottomless !== null) {
    throw new Failure(
      EXIT.usage,
      `--scope: ${bottomless} is opaque, so its bytes need a limit; write --scope ${bottomless}:max_bytes=10MB`,
    );
  }
  const signed = await signBody(GRANT, body, signers);
  await outlet("grant", signed);
  return { grantId: body.grantId, ref: refOf(native, "grant", signed.body) };
}

/**
 * `read:payments:max_actions=100,max_bytes=1MB,rate_per_minute=60,max_concurrent=4`. A limit that is
 * not said is refused, unless `unlimited` was: nobody is to get all of something by leaving it out.
 */
export function parseScope(text: string, unlimited: boolean): ScopeGrant {
  const colon = text.lastIndexOf(":");
  const hasLimits = colon >= 0 && text.includes("=", colon);
  const name = hasLimits ? text.slice(0, colon) : text;
  const said = new Map<string, number>();
  for (const part of hasLimits ? text.slice(colon + 1).split(",") : []) {
    const [key = "", value = "", ...more] = part.split("=");
    if (!LIMIT_NAMES.some(([, spelt]) => spelt === key) || more.length > 0 || said.has(key)) {
      const known = LIMIT_NAMES.map(([, spelt]) => spelt).join(", ");
      throw new Failure(EXIT.usage, `--scope ${name}: ${part} is no limit; known: ${known}`);
    }
    said.set(key, parseLimit(key, value, `--scope ${name}: ${key}`));
  }
  const limits = Object.fromEntries(
    LIMIT_NAMES.map(([field, spelt]) => {
      const value = said.get(spelt) ?? (unlimited ? UNLIMITED : undefined);
      if (value !== undefined) return [field, value];
      throw new Failure(
        EXIT.usage,
        `--scope ${name}: ${spelt} is not said; write --scope ${name}:${spelt}=N, or --unlimited to set no limit`,
      );
    }),
  ) as unknown as Limits;
  return { name, limits };
}

function parseLimit(key: string, value: string, flag: string): number {
  if (value === "unlimited") return UNLIMITED;
  return key === "max_bytes" ? parseBytes(value, flag) : parseCount(value, flag, 0);
}

/** Every grant, oldest first. */
export async function listGrants(control: Control): Promise<GrantView[]> {
  const all: GrantView[] = [];
  for await (const page of pages((pageToken) => control.grants.listGrants({ pageToken }))) {
    all.push(...page.grants.map(grantView));
  }
  return all;
}

/**
 * A grant that operators of the tenant signed, as the pinned root says who they are.
 * @throws Failure when the control plane hands out one that they did not.
 */
export async function verifiedGrant(
  control: Control,
  rootKey: Uint8Array,
  grantId: string,
): Promise<Verified<GrantBody>> {
  const keyset = await readKeyset(control, rootKey);
  const { grant } = await control.grants.getGrant({ grantId });
  const signed = fromWire(grant?.signed, "grant");
  const verified = isInvalid(signed)
    ? signed
    : verifyGrant(native, signed, keyset, null, control.clock.nowUs());
  if (isInvalid(verified)) {
    throw new Failure(EXIT.refused, `grant ${grantId}: ${verified.detail} (${verified.code})`);
  }
  return verified;
}

/** One grant by its id. */
export async function getGrant(control: Control, grantId: string): Promise<GrantView> {
  const { grant } = await control.grants.getGrant({ grantId });
  return grantView(grant as Grant);
}

function grantView({ signed, revokedEpoch }: Grant): GrantView {
  const read = fromWire(signed, "grant");
  if (isInvalid(read)) throw new Failure(EXIT.failed, read.detail);
  const body = GrantBody.decode(read.body);
  return {
    grantId: body.grantId,
    ref: toHex(refOf(native, "grant", read.body)),
    manifestHash: toHex(body.manifestHash),
    scopes: body.scopes,
    notBeforeUs: body.notBeforeUs,
    notAfterUs: body.notAfterUs,
    leaseTtlMaxUs: body.leaseTtlMaxUs,
    purpose: body.purpose,
    instancesMax: body.instancesMax,
    measureMin: body.measureMin,
    signedBy: read.signatures.map((s) => toHex(s.key)),
    revokedEpoch: Number(revokedEpoch),
    observeUntilUs: body.observeUntilUs,
  };
}

/** Takes a grant back for good: signed with operators' grant keys, as the tenant's next epoch. */
export async function revokeGrant(
  control: Control,
  signers: readonly Signer[],
  { grantId, reason }: { readonly grantId: string; readonly reason: string },
  outlet?: Outlet,
): Promise<{ readonly epoch: number }> {
  const { grant } = await control.grants.getGrant({ grantId });
  const read = fromWire(grant?.signed, "grant");
  if (isInvalid(read)) throw new Failure(EXIT.failed, read.detail);
  const target = refOf(native, "grant", read.body);
  return revoke(control, signers, { kind: "GRANT", target, reason }, outlet);
}

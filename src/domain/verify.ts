import { equal, toHex } from "./bytes.ts";
import type { Crypto } from "./crypto.ts";
import { type Invalid, type InvalidCode, invalid, isInvalid } from "./invalid.ts";
import { clockSkewMaxUs } from "./limits.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import { type Opened, openSigned, refOf } from "./signing.ts";

/** What verifying every kind begins with: the strict body, its signatures, version 1, its ref. */
export function openVersion1<T extends { version: number }>(
  crypto: Crypto,
  kind: SignedKind<T>,
  signed: SignedBytes,
): (Opened<T> & { verified: Verified<T> }) | Invalid {
  const opened = openSigned(crypto, kind, signed);
  if (isInvalid(opened)) return opened;
  const { body } = opened;
  if (body.version !== 1) {
    return invalid("E_VERSION", `${kind.name}.version is ${body.version}, not 1`);
  }
  return { ...opened, verified: { body, signed, ref: refOf(crypto, kind.name, signed.body) } };
}

/** The first of many checks that fails. Each is put off until those before it passed. */
export function firstOf(...checks: (() => Invalid | null)[]): Invalid | null {
  for (const check of checks) {
    const problem = check();
    if (problem !== null) return problem;
  }
  return null;
}

/** `ok`, or else this is wrong. */
export const must = (ok: boolean, code: InvalidCode, detail: string): Invalid | null =>
  ok ? null : invalid(code, detail);

/** A bytes field of the strict codec is either absent (empty) or of its one length. */
export const isPresent = (bytes: Uint8Array): boolean => bytes.length > 0;

/** `field` cites exactly this artifact, ledger or key. */
export const cites = (field: string, bytes: Uint8Array, wanted: Uint8Array): Invalid | null =>
  must(equal(bytes, wanted), "E_REF", `${field} is ${hexOr(bytes)}, not ${toHex(wanted)}`);

const hexOr = (bytes: Uint8Array): string => (isPresent(bytes) ? toHex(bytes) : "absent");

export const sameTenant = (field: string, tenant: string, wanted: string): Invalid | null =>
  must(tenant === wanted, "E_TENANT", `${field} is ${JSON.stringify(tenant)}, not ${wanted}`);

interface Interval {
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
}

/** Half-open intervals hold something. */
export const checkInterval = (name: string, i: Interval): Invalid | null =>
  must(i.notBeforeUs < i.notAfterUs, "E_FIELD", `${name}: notAfterUs is not after notBeforeUs`);

/** Whether `nowUs` is in [notBefore, notAfter): the question put to grants and docks when used. */
export function checkCurrent(name: string, i: Interval, nowUs: number): Invalid | null {
  if (nowUs < i.notBeforeUs) {
    return invalid("E_NOT_YET_VALID", `${name} begins at ${i.notBeforeUs}, and it is ${nowUs}`);
  }
  if (nowUs >= i.notAfterUs) {
    return invalid("E_EXPIRED", `${name} ended at ${i.notAfterUs}, and it is ${nowUs}`);
  }
  return null;
}

/** Nobody signs in the future, beyond what clocks may differ by. */
export const checkIssued = (field: string, issuedAtUs: number, nowUs: number): Invalid | null =>
  firstOf(
    () => must(issuedAtUs > 0, "E_FIELD", `${field} is absent`),
    () =>
      must(
        issuedAtUs <= nowUs + clockSkewMaxUs,
        "E_NOT_YET_VALID",
        `${field} is ${issuedAtUs}, ahead of now (${nowUs}) by more than clocks may differ`,
      ),
  );

/**
 * Why an artifact is not to be believed. Expected, so a value; a throw means a bug or broken
 * storage. `code` is what machines compare, `detail` names the field and what was wrong with it.
 */
export interface Invalid {
  readonly invalid: true;
  readonly code: InvalidCode;
  readonly detail: string;
}

export type InvalidCode =
  | "E_ENCODING"
  | "E_VERSION"
  | "E_FIELD"
  | "E_KEY_WEAK"
  | "E_KEY_NONCANONICAL"
  | "E_KEY_UNKNOWN"
  | "E_KEY_EXPIRED"
  | "E_KEY_COMPROMISED"
  | "E_SIGNATURE"
  | "E_THRESHOLD"
  | "E_TENANT"
  | "E_ROLLBACK"
  | "E_REF"
  | "E_NOT_YET_VALID"
  | "E_EXPIRED"
  | "E_WIDENED"
  | "E_MANIFEST"
  | "E_LEDGER"
  | "E_REVOKED";

export const invalid = (code: InvalidCode, detail: string): Invalid => ({
  invalid: true,
  code,
  detail,
});

export const isInvalid = <T extends object>(value: T | Invalid): value is Invalid =>
  "invalid" in value && value.invalid === true;

import { concat, fromHex, toHex, utf8 } from "./bytes.ts";
import { isInstanceId } from "./ids.ts";

/**
 * How a sidecar comes by its client certificate: it makes a key for TLS, and its ledger key vouches
 * for it. No other credential is needed, so that one that has expired stands in nobody's way.
 */
export interface Enrolment {
  readonly ledgerId: Uint8Array;
  /** Ed25519 public key that the certificate is to be for. */
  readonly tlsKey: Uint8Array;
  /** When it asks, microseconds since the epoch: what was said once is of no use for ever. */
  readonly askedAtUs: number;
}

/** What the ledger key signs: `dragons/v1/enrol\n`, ledger_id, tls_key, asked_at_us as u64be. */
export function enrolMessage({ ledgerId, tlsKey, askedAtUs }: Enrolment): Uint8Array {
  const at = new Uint8Array(8);
  new DataView(at.buffer).setBigUint64(0, BigInt(askedAtUs));
  return concat(utf8("dragons/v1/enrol\n"), ledgerId, tlsKey, at);
}

/** Whom a certificate names. */
export interface SidecarName {
  readonly tenantId: string;
  /** 32 hex digits. */
  readonly instanceId: string;
  readonly ledgerId: Uint8Array;
}

/** `dragons://acme/0193…/5f3a…`: the one URI in the certificate of a sidecar. */
export const formatSidecarName = ({ tenantId, instanceId, ledgerId }: SidecarName): string =>
  `dragons://${tenantId}/${instanceId}/${toHex(ledgerId)}`;

const NAME = /^dragons:\/\/([a-z0-9-]{1,63})\/([0-9a-f]{32})\/([0-9a-f]{64})$/;

/** null: this is no sidecar's name. */
export function parseSidecarName(uri: string): SidecarName | null {
  const [, tenantId = "", instanceId = "", ledgerId = ""] = NAME.exec(uri) ?? [];
  return isInstanceId(instanceId) ? { tenantId, instanceId, ledgerId: fromHex(ledgerId) } : null;
}

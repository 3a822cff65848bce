import { hash, X509Certificate } from "node:crypto";
import { equal } from "../domain/bytes.ts";
import { formatSidecarName, parseSidecarName } from "../domain/enrolment.ts";
import { sidecarCertificateTtlUs, sidecarConnectionsMax } from "../domain/limits.ts";
import { Recent } from "../domain/recent.ts";
import type { Clock } from "../native/clock.ts";
import {
  ed25519Spki,
  type Issued,
  issueLeaf,
  type ReadLeaf,
  readClientLeaf,
} from "../native/pki.ts";
import type { Cas } from "./identity.ts";
import type { LedgerRecord } from "./projection.ts";
import type { Tenant } from "./tenant.ts";
import type { Tenants } from "./tenants.ts";

/** Certificates begin some minutes before they are made, for clocks that are behind. */
const HOUR_US = 3_600_000_000;

/** A sidecar that showed its certificate: it may speak for this ledger, once it proves its key. */
export interface SidecarCaller {
  readonly tenant: Tenant;
  readonly ledger: LedgerRecord;
}

/** What was read of a certificate that verified, and when it holds: from, and until before. */
interface Shown {
  readonly leaf: ReadLeaf;
  readonly fromUs: number;
  readonly untilUs: number;
}

/**
 * The certificates that sidecars show: issued for a ledger, and read back as that ledger. TLS has
 * verified them when they come here; they are verified again all the same, so that who is let in
 * does not hang on what a library makes of a certificate that did not verify.
 */
export class SidecarCertificates {
  readonly #ca: Cas[0];
  /** With the time, in microseconds, from which on nothing of it is read any more. */
  readonly #roots: readonly { readonly root: X509Certificate; readonly untilUs: number }[];
  /** By their bytes, while their connections live. */
  readonly #shown = new WeakMap<Uint8Array, Shown>();
  /** By their SHA-256: when a network breaks, all come again with what verified before. */
  readonly #verified = new Recent<Shown>(sidecarConnectionsMax);
  readonly #tenants: Pick<Tenants, "get">;
  /** TLS goes by the machine's clock on both sides, and so do these. */
  readonly #machine: Pick<Clock, "nowUs">;

  constructor(cas: Cas, tenants: Pick<Tenants, "get">, machine: Pick<Clock, "nowUs">) {
    this.#ca = cas[0];
    // What the one before issued last has ended by then.
    const endsUs = cas[0].notBeforeUs + sidecarCertificateTtlUs + HOUR_US;
    this.#roots = cas.map(({ certPem }, i) => ({
      root: new X509Certificate(certPem),
      untilUs: i === 0 ? Number.POSITIVE_INFINITY : endsUs,
    }));
    this.#tenants = tenants;
    this.#machine = machine;
  }

  /** For the holder of `tlsKey` (Ed25519, 32 bytes), to speak for this ledger. */
  issue(
    { tenantId }: Pick<Tenant, "tenantId">,
    { instanceId, ledgerId }: LedgerRecord,
    tlsKey: Uint8Array,
  ): Omit<Issued, "keyPem"> {
    const subject = {
      commonName: instanceId,
      hosts: [],
      uris: [formatSidecarName({ tenantId, instanceId, ledgerId })],
      usages: ["client"] as const,
    };
    const options = { nowUs: this.#machine.nowUs(), ttlUs: sidecarCertificateTtlUs };
    return issueLeaf(this.#ca, subject, ed25519Spki(tlsKey), options);
  }

  /**
   * Whose certificate (DER) this is; null: nobody's, or it does not hold now. The bytes must not change:
   * a connection shows the same ones at each call. A certificate is parsed and verified when it is first seen.
   */
  read(der: Uint8Array): SidecarCaller | null {
    const nowUs = this.#machine.nowUs();
    const leaf = this.#leaf(der, nowUs);
    const [uri, ...more] = leaf?.uris ?? [];
    const name = uri === undefined || more.length > 0 ? null : parseSidecarName(uri);
    const tenant = name === null ? null : this.#tenants.get(name.tenantId);
    const ledger = name === null ? null : (tenant?.ledger(name.ledgerId) ?? null);
    if (name === null || tenant === null || ledger === null) return null;
    const agrees = ledger.instanceId === name.instanceId && equal(ledger.ledgerId, name.ledgerId);
    return agrees ? { tenant, ledger } : null;
  }

  #leaf(der: Uint8Array, nowUs: number): ReadLeaf | null {
    const known = this.#shown.get(der) ?? this.#again(der);
    if (known !== null) return nowUs >= known.fromUs && nowUs < known.untilUs ? known.leaf : null;
    for (const { root, untilUs } of this.#roots) {
      const leaf = nowUs < untilUs ? readClientLeaf(root, der, nowUs) : null;
      if (leaf === null) continue;
      const { notBeforeUs, notAfterUs } = leaf;
      const shown = { leaf, fromUs: notBeforeUs, untilUs: Math.min(notAfterUs, untilUs) };
      this.#shown.set(
        der,
        this.#verified.get(nameOf(der), () => shown),
      );
      return leaf;
    }
    return null;
  }

  #again(der: Uint8Array): Shown | null {
    const shown = this.#verified.known(nameOf(der));
    if (shown !== null) this.#shown.set(der, shown);
    return shown;
  }
}

const nameOf = (der: Uint8Array): string => hash("sha256", der, "base64");

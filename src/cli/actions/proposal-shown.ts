import { toHex } from "../../domain/bytes.ts";
import { DockBody } from "../../domain/dock.ts";
import { GrantBody, LIMIT_NAMES, type Limits, UNLIMITED } from "../../domain/grant.ts";
import { KeysetBody } from "../../domain/keyset.ts";
import { RevocationBody } from "../../domain/revocation.ts";
import { refOf } from "../../domain/signing.ts";
import { native } from "../../native/crypto.ts";
import { showDuration, showTime } from "../units.ts";
import type { Proposal } from "./proposal.ts";

/**
 * Every field of what is about to be signed, in words: nobody should sign what they cannot read. In
 * the order of the body, times and limits as people write them, hashes whole.
 */
export function shown({ kind, signed }: Proposal): Record<string, string> {
  const { body } = signed;
  const said = {
    grant: () => grant(GrantBody.decode(body)),
    dock: () => dock(DockBody.decode(body)),
    keyset: () => keyset(KeysetBody.decode(body)),
    revocation: () => revocation(RevocationBody.decode(body)),
  }[kind]();
  const by = signed.signatures.map((s) => toHex(s.key));
  return {
    what: kind,
    ...said,
    ref: toHex(refOf(native, kind, body)),
    "signed by": by.join(", ") || "nobody yet",
  };
}

const grant = (g: GrantBody): Record<string, string> => ({
  tenant: g.tenantId,
  grant: g.grantId,
  manifest: toHex(g.manifestHash),
  ...Object.fromEntries(g.scopes.map((s) => [`scope ${s.name}`, limits(s.limits)])),
  from: showTime(g.notBeforeUs),
  until: showTime(g.notAfterUs),
  lease: `at most ${showDuration(g.leaseTtlMaxUs)}`,
  purpose: g.purpose,
  instances: `${g.instancesMax}`,
  measured: g.measureMin.toLowerCase(),
  observes: g.observeUntilUs === 0 ? "no" : `ONLY, until ${showTime(g.observeUntilUs)}`,
  liveness:
    Object.entries(g.liveness)
      .filter(([, v]) => v !== 0 && v !== "UNSPECIFIED")
      .map(([name, v]) => `${name} ${typeof v === "number" ? showDuration(v) : v.toLowerCase()}`)
      .join(", ") || "the defaults",
  issued: showTime(g.issuedAtUs),
});

const limits = (l: Limits): string =>
  LIMIT_NAMES.map(([field, name]) => {
    const value = l[field];
    return `${name} ${value === UNLIMITED ? "unlimited" : value}`;
  }).join(", ");

const dock = (d: DockBody): Record<string, string> => ({
  tenant: d.tenantId,
  dock: d.dockId,
  grant: toHex(d.grantRef),
  "join keys": d.joinKeys.map((k) => `${toHex(k.key)}, ${k.ledgersMax} ledgers`).join("; "),
  from: showTime(d.notBeforeUs),
  until: showTime(d.notAfterUs),
  issued: showTime(d.issuedAtUs),
});

const keyset = (k: KeysetBody): Record<string, string> => ({
  tenant: k.tenantId,
  version: `${k.keysetVersion}`,
  ...Object.fromEntries(
    k.keys.map((e) => [
      `key ${toHex(e.key)}`,
      [
        e.role.toLowerCase(),
        ...(e.loginRole === "UNSPECIFIED" ? [] : [e.loginRole.toLowerCase()]),
        `of ${e.holder || "nobody named"}`,
        `${showTime(e.notBeforeUs)} to ${showTime(e.notAfterUs)}`,
        ...(e.compromisedFromUs === 0 ? [] : [`COMPROMISED from ${showTime(e.compromisedFromUs)}`]),
      ].join(", "),
    ]),
  ),
  thresholds:
    k.thresholds.map((t) => `${t.signatures} of ${t.role.toLowerCase()}`).join(", ") || "one each",
  ...(k.rootKey.length === 0 ? {} : { "HANDS OVER to root": toHex(k.rootKey) }),
  ...Object.fromEntries(
    k.controlCas.map((der) => [
      `control plane's authority ${toHex(native.sha256(der))}`,
      "believed by sidecars",
    ]),
  ),
  previous: toHex(k.previous) || "-",
  issued: showTime(k.issuedAtUs),
});

const revocation = (r: RevocationBody): Record<string, string> => ({
  tenant: r.tenantId,
  epoch: `${r.epoch}`,
  kind: r.kind.toLowerCase(),
  target: toHex(r.target) || "the whole tenant",
  effective: showTime(r.effectiveUs),
  reason: r.reason || "-",
  previous: toHex(r.previous) || "-",
});

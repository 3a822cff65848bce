import { expect, test } from "vitest";
import { sidecarCertificateTtlUs } from "../domain/limits.ts";
import { createCa, generateTlsKey, pemBlocks } from "../native/pki.ts";
import { SidecarCertificates } from "./certificates.ts";
import type { LedgerRecord } from "./projection.ts";
import type { Tenant } from "./tenant.ts";

const HOUR_US = 3_600_000_000;
const DAY_US = 24 * HOUR_US;
const startUs = Date.UTC(2026, 0, 1) * 1000;

const ledger = {
  instanceId: "01890a5dac96774bbcceb302099a8057",
  ledgerId: new Uint8Array(32).fill(7),
} as unknown as LedgerRecord;

async function authority() {
  const tenantId = "acme";
  const known = { ledger: true };
  const tenant = { tenantId, ledger: () => (known.ledger ? ledger : null) } as unknown as Tenant;
  const machine = { us: startUs, nowUs: () => machine.us };
  const made = { nowUs: startUs, ttlUs: 365 * DAY_US };
  const [next, old] = [await createCa("next", made), await createCa("old", made)];
  const tenants = { get: () => tenant };
  const by = (...cas: [typeof next, ...(typeof next)[]]) =>
    new SidecarCertificates(cas, tenants, machine);
  const shownBy = (issuer: SidecarCertificates): (() => Uint8Array) => {
    const { certPem } = issuer.issue(tenant, ledger, generateTlsKey().publicKey);
    const base64 = pemBlocks(certPem)[0]?.split("-----")[2] ?? "";
    // Each connection has bytes of its own.
    return () => new Uint8Array(Buffer.from(base64, "base64"));
  };
  return { known, machine, by, next, old, shownBy };
}

test("a certificate that verified once is let in on any connection, for as long as it holds and its ledger is known", async () => {
  const { by, next, machine, known, shownBy } = await authority();
  const certificates = by(next);
  const shown = shownBy(certificates);
  const one = shown();
  for (const der of [one, one, shown(), shown()]) {
    expect(certificates.read(der)?.ledger).toBe(ledger);
  }
  known.ledger = false;
  expect([certificates.read(one), certificates.read(shown())]).toEqual([null, null]);
  known.ledger = true;
  for (const us of [startUs + sidecarCertificateTtlUs, startUs - HOUR_US]) {
    machine.us = us;
    expect([certificates.read(one), certificates.read(shown())]).toEqual([null, null]);
  }
});

test("what the authority before issued is not let in past the time of the last that it could issue, known or not", async () => {
  const { by, next, old, machine, shownBy } = await authority();
  const shown = shownBy(by(old));
  const certificates = by(next, old);
  expect(certificates.read(shown())?.ledger).toBe(ledger);
  expect(by(next).read(shown())).toBeNull();
  machine.us = startUs + sidecarCertificateTtlUs + 2 * HOUR_US;
  expect(certificates.read(shown())).toBeNull();
});

test("one that was changed in any byte is another, and does not verify", async () => {
  const { by, next, shownBy } = await authority();
  const certificates = by(next);
  const shown = shownBy(certificates);
  expect(certificates.read(shown())).not.toBeNull();
  const changed = shown();
  changed[changed.length - 1] = (changed.at(-1) as number) ^ 1;
  expect(certificates.read(changed)).toBeNull();
});

import { toHex } from "../../src/domain/bytes.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";

/** As an auditor would write it. */
export function trustJson(trust: TrustFile) {
  const { tenant, rootKey, keysetVersion, cosigners, witnesses, quorum, knownHead } = trust;
  return {
    format: "dragons trust 0",
    tenant,
    rootKey: toHex(rootKey),
    keysetVersion,
    ...(cosigners && { cosigners: cosigners.map(toHex) }),
    witnesses: witnesses.map(({ name, key }) => ({ name, key: toHex(key) })),
    ...(witnesses.length > 0 && { quorum }),
    ...(knownHead && {
      knownHead: {
        ledger: toHex(knownHead.ledgerId),
        size: knownHead.size,
        root: toHex(knownHead.root),
      },
    }),
    ...(trust.asOfUs !== null && {
      asOf: new Date(trust.asOfUs / 1000).toISOString().replace(".000Z", "Z"),
    }),
    ...(trust.maxAgeUs !== null && { maxAgeSeconds: trust.maxAgeUs / 1_000_000 }),
  };
}

import { AlarmBody } from "../domain/alarm.ts";
import { text } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import { DIRECTIVE } from "../domain/directive.ts";
import { DOCK } from "../domain/dock.ts";
import { GENESIS } from "../domain/genesis.ts";
import { GRANT } from "../domain/grant.ts";
import { HEARTBEAT } from "../domain/heartbeat.ts";
import { type Invalid, invalid } from "../domain/invalid.ts";
import { KEYSET } from "../domain/keyset.ts";
import { LEASE } from "../domain/lease.ts";
import { ManifestBody, manifestHash } from "../domain/manifest.ts";
import { REVOCATION } from "../domain/revocation.ts";
import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import { TRANSITION } from "../domain/transition.ts";
import type { Recordable } from "./projection.ts";
import type { OpenRecord } from "./tenant-ledger.ts";

/**
 * Reads a record back as what it was when it was recorded. It was verified by the rule of its kind
 * then; now the ledger's own chain and signature stand for that, so nothing is judged by today's
 * clock and keyset again.
 */
export function reopen(crypto: Crypto, { record, artifact }: OpenRecord): Recordable | Invalid {
  const signed = <T>(kind: SignedKind<T>): Verified<T> => {
    // One copy, and all else views of it: what is kept of an organism would take three kilobytes more.
    const envelope = SignedBytes.view(artifact.slice());
    const ref = refOf(crypto, kind.name, envelope.body);
    return { body: kind.body.view(envelope.body), signed: envelope, ref };
  };
  try {
    switch (record.what) {
      case "keyset":
        return { what: "keyset", artifact: signed(KEYSET) };
      case "grant":
        return { what: "grant", artifact: signed(GRANT) };
      case "dock":
        return { what: "dock", artifact: signed(DOCK) };
      case "genesis":
        return { what: "genesis", artifact: signed(GENESIS) };
      case "lease":
        return { what: "lease", artifact: signed(LEASE) };
      case "revocation":
        return { what: "revocation", artifact: signed(REVOCATION) };
      case "transition":
        return { what: "transition", artifact: signed(TRANSITION) };
      case "directive":
        return { what: "directive", artifact: signed(DIRECTIVE) };
      case "heartbeat":
        return { what: "heartbeat", artifact: signed(HEARTBEAT) };
      case "manifest": {
        const body = ManifestBody.decode(artifact);
        const hash = manifestHash(crypto, artifact);
        // It is kept for long, and must not keep all of the row that it came in.
        return { what: "manifest", artifact: { hash, bytes: artifact.slice(), body } };
      }
      case "head":
        return { what: "head", artifact: text(artifact) };
      case "equivocation":
        return { what: "equivocation", artifact };
      case "alarm":
        return { what: "alarm", artifact: AlarmBody.decode(artifact) };
      case "UNSPECIFIED":
        return invalid("E_FIELD", "record.what: absent");
    }
  } catch (error) {
    if (error instanceof CodecError) return invalid("E_ENCODING", error.message);
    throw error;
  }
}

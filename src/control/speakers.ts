import { equal } from "../domain/bytes.ts";
import type { Signer } from "../domain/crypto.ts";
import { hasKey, type KeyRole, type KeysetBody, keysChangeUs, keysOf } from "../domain/keyset.ts";
import type { Verified } from "../domain/signed.ts";
import type { Tenant } from "./tenant.ts";

/** Whose key speaks in a role. */
export interface Speaker {
  /** Where none speaks the newest that is named, so that nothing is signed by a stranger. */
  readonly signer: Signer;
  /** Whether it may speak at all: the keyset names it, for now, and nobody took it back. */
  readonly speaks: boolean;
}

/** As it was found, from one time until another, as long as what it was found by is the same. */
interface Found extends Speaker {
  readonly among: readonly Signer[];
  readonly keyset: Verified<KeysetBody>;
  /** Of the last revocation. */
  readonly epoch: number;
  readonly fromUs: number;
  readonly untilUs: number;
}

type Judge = Pick<Tenant, "keyset" | "revocationEpoch" | "revokedEpoch" | "nowUs">;

/**
 * Which of our keys speak for a tenant: asked for with every lease, and the same until keys are made, named,
 * revoked or come to their time.
 */
export class Speakers {
  readonly #tenant: Judge;
  readonly #found = new Map<KeyRole, Found>();

  constructor(tenant: Judge) {
    this.#tenant = tenant;
  }

  /** @param among ours in this role, oldest first, at least one */
  of(role: KeyRole, among: readonly Signer[]): Speaker {
    const keyset = this.#tenant.keyset();
    const epoch = this.#tenant.revocationEpoch();
    const nowUs = this.#tenant.nowUs();
    const known = this.#found.get(role);
    const same = known?.among === among && known.keyset === keyset && known.epoch === epoch;
    if (same && nowUs >= known.fromUs && nowUs < known.untilUs) return known;
    const untilUs = keysChangeUs(keyset, nowUs);
    const speaker = this.#newest(role, among, nowUs);
    const found = { ...speaker, among, keyset, epoch, fromUs: nowUs, untilUs };
    this.#found.set(role, found);
    return found;
  }

  #newest(role: KeyRole, among: readonly Signer[], nowUs: number): Speaker {
    const keyset = this.#tenant.keyset();
    const speaking = keysOf(keyset, role, nowUs);
    const speaks = ({ publicKey }: Signer): boolean =>
      this.#tenant.revokedEpoch("KEY", publicKey) === 0 &&
      speaking.some((k) => equal(k.key, publicKey));
    const speaker = among.findLast(speaks);
    if (speaker !== undefined) return { signer: speaker, speaks: true };
    const named = among.findLast((s) => hasKey(keyset, s.publicKey));
    return { signer: named ?? (among[0] as Signer), speaks: false };
  }
}
